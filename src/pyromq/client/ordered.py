"""Ordered consumption: one message of a queue after the other, and only while its lock is held.

A message that fails is tried again before the next one. Source: impl.consumer.ConsumeMessageOrderly
Service of org.apache.rocketmq.client 5.5.0.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

from pyromq.client.concurrent import raised
from pyromq.client.consumption import ListenerCalls
from pyromq.client.message import ReceivedMessage
from pyromq.client.queue_reader import QueueReader
from pyromq.client.window import Window
from pyromq.domain.route import MessageQueue

SUSPEND_MS: Final = 1_000
SUSPEND_MIN_MS: Final = 10
SUSPEND_MAX_MS: Final = 30_000
"""How long a queue waits after a failure: Apache's default and bounds."""

GiveUp = Callable[[ReceivedMessage], Awaitable[bool]]

_log = logging.getLogger("pyromq.client")


class _Line:
    """The messages of one queue that wait for their turn."""

    def __init__(self) -> None:
        self.waiting: deque[tuple[Window, ReceivedMessage]] = deque()
        self.has_news = asyncio.Event()
        self.is_ended = False
        self.task: asyncio.Task[None] | None = None


class OrderedWork:
    """One task per queue."""

    def __init__(
        self,
        calls: ListenerCalls,
        *,
        at_a_time: int,
        reconsume_times_max: int | None,
        give_up: GiveUp,
        is_locked: Callable[[MessageQueue], bool],
        lost_lock: Callable[[QueueReader], None],
    ) -> None:
        """`reconsume_times_max`: after so many failures `give_up` sends the message to the group's
        retries or dead letters; None: never. `lost_lock` is told a queue whose lock has ended."""
        self._calls = calls
        self._running = asyncio.Semaphore(at_a_time)
        self._times_max = reconsume_times_max
        self._give_up = give_up
        self._is_locked = is_locked
        self._lost_lock = lost_lock
        self._lines: dict[QueueReader, _Line] = {}

    def start(self) -> None:
        """Nothing runs before there are queues."""

    def begin(self, reader: QueueReader) -> None:
        line = self._lines[reader] = _Line()
        line.task = asyncio.get_running_loop().create_task(
            self._work(reader, line),
            name=f"consume {reader.queue.topic}/{reader.queue.queue_id}",
        )

    def deliver(self, reader: QueueReader, window: Window, messages: list[ReceivedMessage]) -> None:
        line = self._lines.get(reader)
        if line is not None:
            line.waiting.extend((window, message) for message in messages)
            line.has_news.set()

    async def finish(self, reader: QueueReader) -> None:
        """Lets the running message end; afterwards the queue may be another member's."""
        line = self._lines.pop(reader, None)
        if line is not None:
            line.is_ended = True
            line.has_news.set()
            assert line.task is not None
            await line.task

    async def stop(self, timeout_ms: int) -> None:
        """Lets running listeners end, but not longer than that."""
        tasks = [line.task for line in self._lines.values() if line.task is not None]
        for line in self._lines.values():
            line.is_ended = True
            line.has_news.set()
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=timeout_ms / 1000)
            if late:
                _log.warning("%d listeners did not end within %d ms", len(late), timeout_ms)
            for task in late:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        self._lines.clear()

    async def _work(self, reader: QueueReader, line: _Line) -> None:
        while not line.is_ended:
            if not line.waiting:
                line.has_news.clear()
                await line.has_news.wait()
                continue
            window, message = line.waiting.popleft()
            if reader.is_current(window):
                await self._consume(reader, line, window, message)

    async def _consume(
        self, reader: QueueReader, line: _Line, window: Window, message: ReceivedMessage
    ) -> None:
        """Until it is consumed or given up, or the queue is no longer ours."""
        while not line.is_ended and reader.is_current(window):
            if not self._is_locked(reader.queue):
                line.is_ended = True
                self._lost_lock(reader)
                return
            async with self._running:
                outcome = await self._calls.call(message)
            if outcome.is_success:
                reader.end(window, message)
                return
            is_over = self._times_max is not None and message.reconsume_times >= self._times_max
            if is_over and await self._give_up(message):
                reader.end(window, message)
                return
            message = raised(message)
            pause_ms = SUSPEND_MS if outcome.suspend_ms is None else outcome.suspend_ms
            pause_ms = min(max(pause_ms, SUSPEND_MIN_MS), SUSPEND_MAX_MS)
            await self._pause(line, pause_ms)

    async def _pause(self, line: _Line, pause_ms: int) -> None:
        """Ends early when the queue is taken away."""
        deadline = asyncio.get_running_loop().time() + pause_ms / 1000
        while not line.is_ended:
            line.has_news.clear()
            try:
                async with asyncio.timeout_at(deadline):
                    await line.has_news.wait()
            except TimeoutError:
                return


__all__ = ["OrderedWork"]
