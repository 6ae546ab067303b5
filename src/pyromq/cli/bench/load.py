"""Workers that send: each waits until its next request is due, sends it, waits for the answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from pyromq.cli.bench.meter import Meter
from pyromq.cli.bench.pace import Pace, Ticket
from pyromq.codes import ResponseCode
from pyromq.errors import PyromqError

FAILURE_PAUSE_S: Final = 0.2
"""A worker waits so long after a failure: a cluster that is away is not asked in a busy loop."""

Request = Callable[[int, Ticket], Awaitable[int]]
"""Worker and ticket; sends the ticket's messages and returns the bytes of their bodies. Raises
PyromqError."""


class Load:
    """One run of workers. `stop` lets those under way finish and sends no more."""

    def __init__(self, pace: Pace, meter: Meter, now: Callable[[], float]) -> None:
        """`now`: the clock in seconds that pace and meter were begun with."""
        self._pace = pace
        self._meter = meter
        self._now = now
        self._stopping = asyncio.Event()

    async def run(self, request: Request, worker_count: int) -> None:
        """Returns when all tickets are done. Raises what is not a PyromqError."""
        async with asyncio.TaskGroup() as workers:
            for worker in range(worker_count):
                workers.create_task(self._work(request, worker), name=f"bench worker {worker}")

    def stop(self) -> None:
        self._pace.stop()
        self._stopping.set()

    async def _work(self, request: Request, worker: int) -> None:
        now, meter = self._now, self._meter
        while (ticket := self._pace.take(now())) is not None:
            if ticket.due_s > now():
                await self._pause(ticket.due_s - now())
                if self._stopping.is_set():
                    return
            try:
                size_bytes = await request(worker, ticket)
            except PyromqError as error:
                meter.has_failed(kind_of(error), str(error), count=ticket.message_count)
                await self._pause(FAILURE_PAUSE_S)
            else:
                latency_us = int((now() - ticket.due_s) * 1_000_000)
                meter.succeeded(latency_us, count=ticket.message_count, size_bytes=size_bytes)

    async def _pause(self, seconds: float) -> None:
        """Ends early when the run is stopped."""
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            return


def kind_of(error: PyromqError) -> str:
    """What is counted together: the kind of error and the server's code."""
    code = getattr(error, "code", None)
    name = type(error).__name__
    if not isinstance(code, int):
        return name
    try:
        return f"{name} {ResponseCode(code).name}"
    except ValueError:
        return f"{name} code {code}"


__all__ = ["FAILURE_PAUSE_S", "Load", "Request", "kind_of"]
