"""The broker's background loops: one owner, one name each, cancelled and awaited at the end.

A chore is a plain function that does what is due by the clock and returns; the loop around it only
decides how often it is asked. So tests advance a clock and call `run_due` instead of sleeping.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import NamedTuple

from pyromq.clock import Clock


class Chore(NamedTuple):
    """Something to be done every `interval_ms`."""

    name: str
    interval_ms: int
    run: Callable[[], None]


class Cleanup:
    """Runs chores; each in its own task once started."""

    def __init__(self, clock: Clock, chores: Sequence[Chore]) -> None:
        self._clock = clock
        self._chores = tuple(chores)
        self._due_ms = [clock.monotonic_ms() + chore.interval_ms for chore in self._chores]
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Needs a running loop."""
        assert not self._tasks, "started once"
        for chore in self._chores:
            task = asyncio.create_task(_loop(chore), name=f"broker: {chore.name}")
            task.add_done_callback(_tell_failure)
            self._tasks.append(task)

    async def stop(self) -> None:
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.gather(*tasks, return_exceptions=True)

    def run_due(self) -> None:
        """Runs now, each once, the chores whose time has come by the clock."""
        now_ms = self._clock.monotonic_ms()
        for index, chore in enumerate(self._chores):
            if now_ms >= self._due_ms[index]:
                self._due_ms[index] = now_ms + chore.interval_ms
                chore.run()


async def _loop(chore: Chore) -> None:
    while True:
        await asyncio.sleep(chore.interval_ms / 1000)
        chore.run()


def _tell_failure(task: asyncio.Task[None]) -> None:
    """A chore that raises is a mistake in this program: say so at once, not at the stop."""
    if not task.cancelled() and task.exception() is not None:
        task.get_loop().call_exception_handler(
            {"message": f"{task.get_name()} ended", "exception": task.exception(), "task": task}
        )


__all__ = ["Chore", "Cleanup"]
