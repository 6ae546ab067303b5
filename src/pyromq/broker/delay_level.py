"""One delay level as the broker sees it: how far it is delivered, when its next message is due."""

from __future__ import annotations

from typing import Final

from pyromq.domain.delay import is_due, schedule_queue
from pyromq.units import QueueOffset

READ_COUNT_MIN: Final = 8
"""Records of a level read at once when few are due: those that are not are read in vain, which
costs 2 µs each where levels lie mixed in the log."""


class DelayLevel:
    """One delay level and its queue."""

    __slots__ = (
        "delay_ms",
        "head_ms",
        "held_ms",
        "level",
        "next_offset",
        "queue_id",
        "read_count",
    )

    def __init__(self, level: int, delay: int, next_offset: QueueOffset) -> None:
        self.level = level
        self.queue_id = schedule_queue(level)
        self.delay_ms = delay
        self.next_offset = next_offset
        """The first message that is not delivered."""
        self.head_ms: int | None = None
        """Store time of that message, None if there is none."""
        self.held_ms = 0
        """Monotonic time before which it is left alone: the store refused something."""
        self.read_count = READ_COUNT_MIN
        """Records to read at once: a guess by what was due the last time."""

    def is_due(self, now_ms: int, monotonic_ms: int) -> bool:
        return (
            self.head_ms is not None
            and is_due(self.head_ms, self.delay_ms, now_ms)
            and monotonic_ms >= self.held_ms
        )

    def wait_ms(self, now_ms: int, monotonic_ms: int) -> int | None:
        """How long until it has something due, None if nothing waits."""
        if self.head_ms is None:
            return None
        is_over = is_due(self.head_ms, self.delay_ms, now_ms)
        wait_ms = 0 if is_over else self.head_ms + self.delay_ms - now_ms
        return max(wait_ms, self.held_ms - monotonic_ms)

    def guess(self, delivered_count: int) -> None:
        """Learns from a read how many records to read next."""
        self.read_count = max(2 * delivered_count, READ_COUNT_MIN)


__all__ = ["READ_COUNT_MIN", "DelayLevel"]
