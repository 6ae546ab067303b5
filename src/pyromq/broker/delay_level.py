"""One delay level as the broker sees it: how far it is delivered, when its next message is due."""

from __future__ import annotations

from typing import Final

from pyromq.domain.delay import is_undatable, schedule_queue
from pyromq.units import QueueOffset

ALL_DUE_MS: Final = (1 << 63) - 1
"""Later than any store time."""
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
        "seen_end",
        "seen_ms",
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
        self.seen_end = QueueOffset(0)
        """Messages before this one were seen waiting at `seen_ms`: noted when store times tell
        nothing, as the clock was set back."""
        self.seen_ms = 0

    def is_due(self, now_ms: int, monotonic_ms: int) -> bool:
        return self.wait_ms(now_ms, monotonic_ms) == 0

    def wait_ms(self, now_ms: int, monotonic_ms: int) -> int | None:
        """How long until it has something due, None if nothing waits."""
        if self.head_ms is None:
            return None
        wait_ms = self.head_ms + self.delay_ms - now_ms
        if self.next_offset < self.seen_end:
            wait_ms = min(wait_ms, self.seen_ms + self.delay_ms - monotonic_ms)
        return max(wait_ms, self.held_ms - monotonic_ms, 0)

    def is_lost_in_time(self, now_ms: int) -> bool:
        """Whether its head has to be seen waiting, as nothing else tells for how long it does."""
        return (
            self.head_ms is not None
            and self.next_offset >= self.seen_end
            and is_undatable(self.head_ms, self.delay_ms, now_ms)
        )

    def see(self, end: QueueOffset, monotonic_ms: int) -> None:
        """All before `end` waits by now."""
        self.seen_end, self.seen_ms = end, monotonic_ms

    def due(self, now_ms: int) -> tuple[int, int | None]:
        """Of a level that is due: the store time up to which its messages are, and how many of them
        at most, None for no limit."""
        due_ms = now_ms - self.delay_ms
        if self.head_ms is not None and self.head_ms > due_ms:
            return ALL_DUE_MS, self.seen_end - self.next_offset
        return due_ms, None

    def guess(self, delivered_count: int) -> None:
        """Learns from a read how many records to read next."""
        self.read_count = max(2 * delivered_count, READ_COUNT_MIN)


__all__ = ["ALL_DUE_MS", "READ_COUNT_MIN", "DelayLevel"]
