"""Reading one assigned queue ahead of its consumption, within bounds.

Source: impl.consumer.DefaultMQPushConsumerImpl (pullMessage) of org.apache.rocketmq.client 5.5.0.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

from pyromq.client.errors import ServerRefused
from pyromq.client.message import ReceivedMessage
from pyromq.client.offset_store import OffsetStore
from pyromq.client.pull import Puller, PullStatus
from pyromq.client.window import Window
from pyromq.clock import Clock
from pyromq.codes import ResponseCode
from pyromq.domain.group import Subscription
from pyromq.domain.route import MessageQueue
from pyromq.errors import PyromqError
from pyromq.units import MIB

HELD_COUNT_MAX: Final = 1_000
HELD_BYTES_MAX: Final = 100 * MIB
SPAN_MAX: Final = 2_000
"""Per queue: Apache's pullThresholdForQueue, pullThresholdSizeForQueue, consumeConcurrentlyMaxSpan.
A message that does not end keeps the group's offset back; the span bounds what a crash repeats."""
FAILURE_PAUSE_MS: Final = 3_000
BUSY_PAUSE_MS: Final = 20

_BUSY: Final = frozenset({ResponseCode.SYSTEM_BUSY, ResponseCode.FLOW_CONTROL})

_log = logging.getLogger("pyromq.client")

Deliver: TypeAlias = Callable[["QueueReader", Window, list[ReceivedMessage]], None]


class QueueReader:
    """One queue of a push consumer: its task pulls, `deliver` hands on, `end` counts."""

    def __init__(
        self,
        queue: MessageQueue,
        *,
        subscription: Callable[[], Subscription],
        puller: Puller,
        offsets: OffsetStore,
        begin_at: Callable[[MessageQueue], Awaitable[int]],
        deliver: Deliver,
        clock: Clock,
        count_max: int = HELD_COUNT_MAX,
        bytes_max: int = HELD_BYTES_MAX,
        span_max: int | None = SPAN_MAX,
    ) -> None:
        self.queue = queue
        self.window: Window | None = None
        """None until it is known where to begin."""
        self.is_dropped = False
        self._subscription = subscription
        self._puller = puller
        self._offsets = offsets
        self._begin_at = begin_at
        self._deliver = deliver
        self._clock = clock
        self.last_pull_ms = 0
        self.last_end_ms = 0
        """Wall-clock times of the last pull and of the last message's end; 0: there was none."""
        self._count_max = count_max
        self._bytes_max = bytes_max
        self._span_max = span_max
        self._has_room = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(
            self._read(), name=f"pull {self.queue.topic}/{self.queue.queue_id}"
        )

    async def stop_reading(self) -> None:
        """What is held may still be consumed."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def restart_at(self, offset: int) -> None:
        """What is held does not count any more; goes on at `offset`."""
        await self.stop_reading()
        if not self.is_dropped:
            self._renew(offset)
            self.start()

    def is_current(self, window: Window) -> bool:
        """Whether the end of a message of that window counts."""
        return not self.is_dropped and window is self.window

    def end(self, window: Window, message: ReceivedMessage) -> None:
        """The message is done with, one way or another; notes how far the queue is consumed."""
        if not self.is_current(window):
            return
        window.end(message)
        self.last_end_ms = self._clock.now_ms()
        self._offsets.note(self.queue, window.commit_offset)
        if self._may_pull(window):
            self._has_room.set()

    def _renew(self, offset: int) -> Window:
        self.window = Window(offset)
        self._offsets.note(self.queue, offset)
        self._has_room.set()
        return self.window

    def _may_pull(self, window: Window) -> bool:
        return (
            window.count < self._count_max
            and window.size_bytes < self._bytes_max
            and (self._span_max is None or window.span <= self._span_max)
        )

    async def _read(self) -> None:
        while True:
            pause_ms = 0
            try:
                await self._read_once()
            except ServerRefused as error:
                pause_ms = BUSY_PAUSE_MS if error.code in _BUSY else FAILURE_PAUSE_MS
                _log.warning("pull of %s/%d: %s", self.queue.topic, self.queue.queue_id, error)
            except PyromqError as error:
                pause_ms = FAILURE_PAUSE_MS
                _log.warning("pull of %s/%d: %s", self.queue.topic, self.queue.queue_id, error)
            if pause_ms:
                await asyncio.sleep(pause_ms / 1000)

    async def _read_once(self) -> None:
        window = self.window
        if window is None:
            # Noted at once: who begins at the end must find that end again after a restart.
            window = self._renew(await self._begin_at(self.queue))
        while not self._may_pull(window):
            self._has_room.clear()
            await self._has_room.wait()
        self.last_pull_ms = self._clock.now_ms()
        pulled = await self._puller.pull(self.queue, window.next_offset, self._subscription())
        if pulled.status is PullStatus.OFFSET_ILLEGAL:
            _log.warning(
                "%s/%d: offset %d is outside %d..%d, going on at %d",
                self.queue.topic,
                self.queue.queue_id,
                window.next_offset,
                pulled.min_offset,
                pulled.max_offset,
                pulled.next_offset,
            )
            if pulled.next_offset == window.next_offset:
                await asyncio.sleep(FAILURE_PAUSE_MS / 1000)
            else:
                self._renew(pulled.next_offset)
            return
        messages = window.put(pulled.messages, pulled.next_offset)
        if messages:
            self._deliver(self, window, messages)
        elif not window.count:
            # What nobody wants is passed over, so that it is not filtered again after a restart.
            self._offsets.note(self.queue, window.commit_offset)


__all__ = ["HELD_BYTES_MAX", "HELD_COUNT_MAX", "SPAN_MAX", "Deliver", "QueueReader"]
