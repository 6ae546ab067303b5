"""The embedded broker for code without an event loop: it serves from a thread of its own.

The thread has a loop, the broker lives in it, and what the caller asks of the broker is done there.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyromq.testing.embedded import QUEUE_COUNT, embedded_broker

if TYPE_CHECKING:
    from pyromq.testing.embedded import EmbeddedBroker


class ThreadedBroker:
    """An `EmbeddedBroker` whose verbs wait instead of being awaited. Any thread may use it."""

    def __init__(self, embedded: EmbeddedBroker, loop: asyncio.AbstractEventLoop) -> None:
        self._embedded = embedded
        self._loop = loop
        self.namesrv_addr: str = embedded.namesrv_addr
        self.address: str = embedded.address
        self.store_dir: Path = embedded.store_dir

    def create_topic(
        self, name: str, *, queue_count: int = QUEUE_COUNT, is_order: bool = False
    ) -> None:
        """See `EmbeddedBroker.create_topic`."""
        self._run(self._embedded.create_topic(name, queue_count=queue_count, is_order=is_order))

    def delete_topic(self, name: str) -> None:
        """See `EmbeddedBroker.delete_topic`."""
        self._run(self._embedded.delete_topic(name))

    def _run(self, verb: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(verb, self._loop).result()


@contextmanager
def broker_in_thread(*, properties: Mapping[str, object] | None = None) -> Iterator[ThreadedBroker]:
    """As `embedded_broker`, for `with` instead of `async with`.

    What goes wrong at the start or at the end is raised here. The thread has ended when the block
    is left, in whatever way.
    """
    stay = _Stay(properties or {})
    thread = threading.Thread(target=stay.run, name="pyromq embedded broker", daemon=True)
    thread.start()
    try:
        yield stay.began.result()
    finally:
        stay.leave()
        thread.join()
    stay.ended.result()


class _Stay:
    """One broker's time in its thread. The futures pass what happens there to the caller."""

    def __init__(self, properties: Mapping[str, object]) -> None:
        self._properties = properties
        self._end: Callable[[], object] = lambda: None
        self.began: Future[ThreadedBroker] = Future()
        self.ended: Future[None] = Future()

    def run(self) -> None:
        """The thread's whole life."""
        from pyromq.app.serve import loop_factory

        try:
            with asyncio.Runner(loop_factory=loop_factory()) as runner:
                runner.run(self._serve())
        except BaseException as error:  # noqa: BLE001 — it is the caller's, who is in another thread
            (self.ended if self.began.done() else self.began).set_exception(error)
        else:
            self.ended.set_result(None)

    async def _serve(self) -> None:
        loop = asyncio.get_running_loop()
        told_to_leave = asyncio.Event()
        async with embedded_broker(properties=self._properties) as embedded:
            self._end = partial(loop.call_soon_threadsafe, told_to_leave.set)
            self.began.set_result(ThreadedBroker(embedded, loop))
            await told_to_leave.wait()

    def leave(self) -> None:
        """Ends it; waits for the start, where that was interrupted by Ctrl-C."""
        if self.began.exception() is None:
            self._end()


__all__ = ["ThreadedBroker", "broker_in_thread"]
