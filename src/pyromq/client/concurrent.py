"""Concurrent consumption: many messages of a queue at a time, each ending by itself.

Source: impl.consumer.ConsumeMessageConcurrentlyService of org.apache.rocketmq.client 5.5.0.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from msgspec.structs import replace

from pyromq.client.consumption import ListenerCalls
from pyromq.client.message import ReceivedMessage
from pyromq.client.queue_reader import QueueReader
from pyromq.client.window import Window

LOCAL_RETRY_MS: Final = 5_000
"""When a message is tried again that no broker took back."""

GiveBack = Callable[[ReceivedMessage, int], Awaitable[bool]]
"""Message and delay level; whether a broker has taken it."""

_log = logging.getLogger("pyromq.client")


class ConcurrentWork:
    """Workers that take messages of all queues in the order of their arrival."""

    def __init__(self, calls: ListenerCalls, *, workers: int, give_back: GiveBack | None) -> None:
        """`give_back`: None in a broadcasting group, whose failed messages are lost to it."""
        self._calls = calls
        self._workers = workers
        self._give_back = give_back
        self._inbox: asyncio.Queue[tuple[QueueReader, Window, ReceivedMessage] | None] = (
            asyncio.Queue()
        )
        self._tasks: list[asyncio.Task[None]] = []
        self._is_stopping = False

    def start(self) -> None:
        loop = asyncio.get_running_loop()
        self._tasks = [
            loop.create_task(self._work(), name=f"consume {number}")
            for number in range(self._workers)
        ]

    def begin(self, reader: QueueReader) -> None:
        """Nothing to prepare."""

    async def finish(self, reader: QueueReader) -> None:
        """The queue is another member's; what still runs does not count any more."""

    def deliver(self, reader: QueueReader, window: Window, messages: list[ReceivedMessage]) -> None:
        for message in messages:
            self._inbox.put_nowait((reader, window, message))

    async def stop(self, timeout_ms: int) -> None:
        """Lets running listeners end, but not longer than that; begins no others."""
        self._is_stopping = True
        for _ in self._tasks:
            self._inbox.put_nowait(None)
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=timeout_ms / 1000)
            if late:
                _log.warning("%d listeners did not end within %d ms", len(late), timeout_ms)
            for task in late:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []

    async def _work(self) -> None:
        while (item := await self._inbox.get()) is not None:
            reader, window, message = item
            if reader.is_current(window) and not self._is_stopping:
                await self._consume(reader, window, message)

    async def _consume(self, reader: QueueReader, window: Window, message: ReceivedMessage) -> None:
        outcome = await self._calls.call(message)
        if not reader.is_current(window):
            return  # another member gets it again
        if not outcome.is_success:
            if self._give_back is None:
                _log.warning("%s failed and is dropped: broadcast", message.message_id)
            elif not await self._give_back(message, outcome.delay_level):
                again = raised(message)
                asyncio.get_running_loop().call_later(
                    LOCAL_RETRY_MS / 1000, self.deliver, reader, window, [again]
                )
                return
        reader.end(window, message)


def raised(message: ReceivedMessage) -> ReceivedMessage:
    """The same message, failed once more."""
    record = message.record
    return replace(message, record=replace(record, reconsume_times=record.reconsume_times + 1))


__all__ = ["LOCAL_RETRY_MS", "ConcurrentWork", "GiveBack", "raised"]
