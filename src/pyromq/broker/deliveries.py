"""Deliveries under way: copies that are appended, but which a power cut could still undo.

A message that was delivered must not be forgotten before its copy is safe. So each level's offset
moves only when what was appended for it is flushed, with ASYNC_FLUSH too, where nobody waits for
that. Positions rise, so what is under way forms queues that are sorted by themselves.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from typing import Final, NamedTuple

from pyromq.units import LogOffset, QueueOffset

UNSAFE_TURNS_MAX: Final = 1_024
"""Turns whose copies are not flushed yet, counted one by one; more become one. A power cut during
that delivers more of them again, none is lost."""


class _Batch(NamedTuple):
    """Messages of one level, delivered one after another in this turn."""

    level: int
    first_offset: QueueOffset
    ends: list[LogOffset]
    """Of each message, where the log ends with its copy."""


class _Turn(NamedTuple):
    """The copies of one turn."""

    end: LogOffset
    """Of the last of them."""
    first: dict[int, QueueOffset]
    """Level → its first message among them."""
    next: dict[int, QueueOffset]
    """Level → offset behind its last one."""


class Deliveries:
    """What is known of copies between append and flush."""

    def __init__(self) -> None:
        self._turn: list[_Batch] = []
        self._unsafe: deque[_Turn] = deque()

    def __len__(self) -> int:
        """Groups of copies that are not safe yet."""
        return len(self._turn) + len(self._unsafe)

    def add(self, level: int, first_offset: QueueOffset, ends: list[LogOffset]) -> None:
        """Messages of the level from `first_offset` on were appended, with these ends."""
        assert ends, "something was delivered"
        self._turn.append(_Batch(level, first_offset, ends))

    def end_turn(self, appended: LogOffset) -> dict[int, QueueOffset]:
        """The log goes as far as `appended`: copies behind it are gone, as a write failed. To be
        called before anything else is appended in their place. (Copies that a slow disk is still
        being given are not gone.)

        Returns the first offset that is gone, of the levels concerned.
        """
        lost: dict[int, QueueOffset] = {}
        while self._unsafe and self._unsafe[-1].end > appended:
            lost |= self._unsafe.pop().first
        kept = _Turn(LogOffset(0), {}, {})
        for level, first_offset, ends in self._turn:
            count = bisect_right(ends, appended)
            if count and level not in lost:
                kept.first.setdefault(level, first_offset)
                kept.next[level] = QueueOffset(first_offset + count)
                kept = kept._replace(end=max(kept.end, ends[count - 1]))
            if count < len(ends):
                lost.setdefault(level, QueueOffset(first_offset + count))
        self._turn.clear()
        if kept.next:
            if len(self._unsafe) >= UNSAFE_TURNS_MAX:
                older = self._unsafe.pop()
                kept = _Turn(kept.end, kept.first | older.first, older.next | kept.next)
            self._unsafe.append(kept)
        return lost

    def safe(self, flushed: LogOffset) -> dict[int, int]:
        """Takes out what is on disk now: level → offset behind the last one that is safe."""
        moved: dict[int, int] = {}
        while self._unsafe and self._unsafe[0].end <= flushed:
            moved |= self._unsafe.popleft().next
        return moved


__all__ = ["UNSAFE_TURNS_MAX", "Deliveries"]
