"""The commit gate: no reply before its durability promise is kept.

A verb that changed something holds the position its promise ends at (bytes of the log, or sequence
of the journal) and awaits `until` that position; a send whose answer is made already leaves it here
with `hold`. Once per turn the gate learns how far the commit
has come and lets go, in order, whoever is covered: one wake-up for many replies.

Positions handed out rise, so the waiters form a queue that is sorted by itself: releasing looks
only at its head. Waiting is bounded: what waits longer than the limit is told that its outcome is
unknown (syncFlushTimeout, GroupCommitRequest of org.apache.rocketmq.store.CommitLog 5.5.0).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import ExitStack

from pyromq.api import SendReceiver, StoredSend
from pyromq.broker.held_sends import CountPuts, HeldSends
from pyromq.errors import FlushTimedOut, RequestRefused
from pyromq.waiting import Latch


class CommitGate:
    """Verbs waiting for one rising position."""

    def __init__(
        self,
        on_released: Callable[[int, int], None] | None = None,
        count_puts: CountPuts | None = None,
    ) -> None:
        """`on_released(count, elapsed_ms)` is told of each group let go together, `count_puts` of
        held sends that were acknowledged; without it none may be held."""
        self._commit = 0
        self._waiters: deque[tuple[int, Latch[None] | HeldSends]] = deque()
        """Each with the first, mostly the only, position that it waits for."""
        self._run: HeldSends | None = None
        """The last waiter, if what is held next may join it."""
        self._marks: deque[tuple[int, int]] = deque()
        """(position of a turn's last waiter, monotonic ms at which that turn ended)."""
        self._on_released = on_released
        self._count_puts = count_puts

    @property
    def has_waiters(self) -> bool:
        return bool(self._waiters)

    @property
    def waiter_count(self) -> int:
        """Requests that wait, counted one by one."""
        return sum(_count(waiter) for _, waiter in self._waiters)

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
            assert self._last <= position, "positions rise"
            self._run = None
            self._waiters.append((position, latch))
        return latch

    def hold(self, stored: StoredSend, answer: bytes, receiver: SendReceiver) -> None:
        """The same for a send whose receiver gets `answer` back, without a coroutine."""
        end = stored.end
        topic = stored.topic
        run = self._run
        if run is None or run.receiver is not receiver or run.topic is not topic:
            assert self._commit < end, "what was stored just now is not committed"
            assert self._last <= end, "positions rise"
            assert self._count_puts is not None, "this gate holds no sends"
            run = self._run = HeldSends(topic, receiver, self._count_puts)
            self._waiters.append((end, run))
        run.ends.append(end)
        run.sizes.append(end - stored.log_offset)
        run.answers.append(answer)

    @property
    def _last(self) -> int:
        """The last position that somebody waits for; 0 if nobody does."""
        return _last_of(*self._waiters[-1]) if self._waiters else 0

    def mark(self, monotonic_ms: int) -> None:
        """Ends a turn: whoever came in it waits since now."""
        self._run = None
        if self._waiters:
            last = self._last
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
        self._run = None
        lost: list[Latch[None] | HeldSends] = []
        while self._waiters and self._last > position:
            first, waiter = self._waiters.pop()
            if first <= position:
                assert isinstance(waiter, HeldSends)
                self._waiters.append((first, waiter.split(position)))
            lost.append(waiter)
        while self._marks and self._marks[-1][0] > position:
            self._marks.pop()
        with ExitStack() as all_others:  # are told, if a fault is met with one of them
            for waiter in lost:
                all_others.callback(waiter.fail, error())

    def expire(self, monotonic_ms: int, timeout_ms: int) -> None:
        """Lets go, without a promise, whoever has waited for the whole timeout."""
        while self._marks and monotonic_ms - self._marks[0][1] >= timeout_ms:
            position, _ = self._marks.popleft()
            late = []
            while self._waiters and self._waiters[0][0] <= position:
                late.append(self._waiters.popleft()[1])
            with ExitStack() as all_others:
                for waiter in reversed(late):
                    error = FlushTimedOut(f"the disk took longer than {timeout_ms} ms")
                    all_others.callback(waiter.fail, error)

    def _let_go(self, position: int, elapsed_ms: int) -> None:
        self._run = None
        waiters = self._waiters
        count = 0
        while waiters and waiters[0][0] <= position:
            first, waiter = waiters.popleft()
            if _last_of(first, waiter) > position:
                assert isinstance(waiter, HeldSends)
                covered = waiter.split(position)
                waiters.appendleft((waiter.ends[0], waiter))
                waiter = covered
            count += _count(waiter)
            waiter.set(None)
        if count and self._on_released is not None:
            self._on_released(count, elapsed_ms)


def _last_of(first: int, waiter: Latch[None] | HeldSends) -> int:
    return waiter.ends[-1] if isinstance(waiter, HeldSends) else first


def _count(waiter: Latch[None] | HeldSends) -> int:
    """Requests that wait."""
    return len(waiter.ends) if isinstance(waiter, HeldSends) else 1


__all__ = ["CommitGate"]
