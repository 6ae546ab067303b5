"""The commit gate: no reply before its durability promise is kept.

A verb that changed something holds the position its promise ends at (bytes of the log, or sequence
of the journal) and awaits `until` that position. Once per turn the gate learns how far the commit
has come and lets go, in order, whoever is covered: one wake-up for many replies.

Positions handed out rise, so the waiters form a queue that is sorted by itself: releasing looks
only at its head. Waiting is bounded: what waits longer than the limit is told that its outcome is
unknown (syncFlushTimeout, GroupCommitRequest of org.apache.rocketmq.store.CommitLog 5.5.0).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from pyromq.errors import FlushTimedOut, RequestRefused
from pyromq.waiting import Latch


class CommitGate:
    """Verbs waiting for one rising position."""

    def __init__(self, on_released: Callable[[int, int], None] | None = None) -> None:
        """`on_released(count, elapsed_ms)` is told of each group let go together."""
        self._commit = 0
        self._waiters: deque[tuple[int, Latch[None]]] = deque()
        self._marks: deque[tuple[int, int]] = deque()
        """(position of a turn's last waiter, monotonic ms at which that turn ended)."""
        self._on_released = on_released

    @property
    def waiter_count(self) -> int:
        return len(self._waiters)

    @property
    def oldest_ms(self) -> int | None:
        """Monotonic ms since which the longest waiting one waits; None if nobody does."""
        return self._marks[0][1] if self._marks else None

    def until(self, position: int) -> Latch[None]:
        """Set when the commit covers `position`; fails if it cannot, or not in time."""
        latch: Latch[None] = Latch()
        if position <= self._commit:
            latch.set(None)
        else:
            waiters = self._waiters
            assert not waiters or waiters[-1][0] <= position, "positions rise"
            waiters.append((position, latch))
        return latch

    def mark(self, monotonic_ms: int) -> None:
        """Ends a turn: whoever came in it waits since now."""
        if self._waiters:
            last = self._waiters[-1][0]
            if not self._marks or self._marks[-1][0] < last:
                self._marks.append((last, monotonic_ms))

    def release(self, commit: int, monotonic_ms: int) -> None:
        """The commit came so far: lets everyone go whom it covers."""
        if commit <= self._commit:
            return
        self._commit = commit
        marks = self._marks
        while marks:
            position, since_ms = marks[0]
            if position > commit:
                self._let_go(commit, monotonic_ms - since_ms)
                return
            marks.popleft()
            self._let_go(position, monotonic_ms - since_ms)
        self._let_go(commit, 0)

    def fail_beyond(self, position: int, error: Callable[[], RequestRefused]) -> None:
        """What lies behind `position` will never be committed."""
        lost = []
        while self._waiters and self._waiters[-1][0] > position:
            lost.append(self._waiters.pop()[1])
        while self._marks and self._marks[-1][0] > position:
            self._marks.pop()
        for latch in reversed(lost):
            latch.fail(error())

    def expire(self, monotonic_ms: int, timeout_ms: int) -> None:
        """Lets go, without a promise, whoever has waited for the whole timeout."""
        while self._marks and monotonic_ms - self._marks[0][1] >= timeout_ms:
            position, _ = self._marks.popleft()
            while self._waiters and self._waiters[0][0] <= position:
                self._waiters.popleft()[1].fail(
                    FlushTimedOut(f"the disk took longer than {timeout_ms} ms")
                )

    def _let_go(self, position: int, elapsed_ms: int) -> None:
        waiters = self._waiters
        count = 0
        while waiters and waiters[0][0] <= position:
            count += 1
            waiters.popleft()[1].set(None)
        if count and self._on_released is not None:
            self._on_released(count, elapsed_ms)


__all__ = ["CommitGate"]
