"""The log's side of a turn: one write, then everyone goes whose promise is kept by it.

Two promises exist. An ordinary message waits for the engine's commit (SYNC_FLUSH: synced,
ASYNC_FLUSH: written). A message sent with WAIT=false, or one-way, only wants to be written.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

from pyromq.api import ExpressReplies, Settled
from pyromq.broker.commits import CommitGate
from pyromq.clock import Clock
from pyromq.errors import ServiceUnavailable, StoreFailed
from pyromq.observe.counters import BrokerCounters
from pyromq.store.engine import Engine


class StoreTurn:
    """Writes the log at the end of a turn and releases what waited for it."""

    def __init__(self, engine: Engine, clock: Clock, counters: BrokerCounters) -> None:
        self._engine = engine
        self._clock = clock
        self._counters = counters
        self.committed = CommitGate(counters.count_acknowledged, counters.count_puts)
        """Until the engine's commit covers a log position: the promise of an ordinary send."""
        self.written = CommitGate(counters.count_acknowledged, counters.count_puts)
        """Until the operating system has the bytes up to a log position."""

        self.on_write_failed: Callable[[], None] = _nothing
        """Called after a write that failed."""

        self.express: ExpressReplies | None = None
        """A door's express lane, if there is one."""

        counters.catch_up = self.count_lane

        self.is_settled = True
        """When the last turn ended, everything appended was committed: then nobody waited."""

    @property
    def waiter_count(self) -> int:
        on_lane = 0 if self.express is None else self.express.waiter_count
        return self.committed.waiter_count + self.written.waiter_count + on_lane

    def end_turn(self) -> None:
        """Does not raise: a failed write is told to those who waited for it."""
        engine = self._engine
        express = self.express
        now_ms = self._clock.monotonic_ms()
        self.committed.mark(now_ms)
        self.written.mark(now_ms)
        if express is not None:
            express.mark(now_ms)
        try:
            engine.write()
        except StoreFailed as error:
            self._write_failed(error)
        else:
            failure = engine.failure()
            if failure is not None:
                commit = engine.positions().commit
                self._fail_beyond(self.committed, commit, failure)
                if express is not None:
                    express.fail_committed_beyond(commit, _failed(failure))
        positions = engine.positions()
        self.is_settled = positions.commit == positions.appended
        now_ms = self._clock.monotonic_ms()
        self.written.release(positions.written, now_ms)
        self.committed.release(positions.commit, now_ms)
        if express is not None:
            self._count(express.release(positions.written, positions.commit, now_ms))

    def end_short(self) -> bool:
        """Ends a turn in which nothing but the lane appended, if that is all there is to do. False:
        `end_turn` has to go on. Does not raise."""
        express = self.express
        if express is None or self.committed.has_waiters or self.written.has_waiters:
            return False
        try:
            is_settled = express.end_turn(self._clock.monotonic_ms())
        except StoreFailed as error:
            self._write_failed(error)
            return False
        if is_settled is None:
            return False
        self.is_settled = is_settled
        return True

    def _write_failed(self, error: StoreFailed) -> None:
        written = self._engine.positions().written
        # Each of them, whatever becomes of the others: their positions are given again. Last in,
        # first called.
        with ExitStack() as told:
            told.callback(self.on_write_failed)
            if self.express is not None:
                told.callback(self.express.fail_committed_beyond, written, _failed(error))
                told.callback(self.express.fail_written_beyond, written, _failed(error))
            told.callback(self._fail_beyond, self.committed, written, error)
            told.callback(self._fail_beyond, self.written, written, error)

    def count_lane(self) -> None:
        """Takes over what the lane counted in turns that it ended by itself."""
        if self.express is not None:
            self._count(self.express.take_counts())

    @property
    def oldest_ms(self) -> int | None:
        """Monotonic ms since which the longest waiting one waits; None if nobody does."""
        oldest = [self.committed.oldest_ms, self.written.oldest_ms]
        if self.express is not None:
            oldest.append(self.express.oldest_ms)
        return min((since_ms for since_ms in oldest if since_ms is not None), default=None)

    def expire(self, timeout_ms: int) -> None:
        """Ends waits that took longer than `timeout_ms`."""
        now_ms = self._clock.monotonic_ms()
        self.committed.expire(now_ms, timeout_ms)
        self.written.expire(now_ms, timeout_ms)
        if self.express is not None:
            self._count(self.express.expire(now_ms, timeout_ms))

    def _count(self, settled: Settled | None) -> None:
        """What the verbs count message by message, for all of the lane at once."""
        if settled is None:
            return
        counters = self._counters
        acknowledged, puts = settled
        for count, elapsed_ms in acknowledged:
            counters.count_acknowledged(count, elapsed_ms)
        for topic, messages, size, requests in puts:
            counters.put_count += messages
            counters.put_size += size
            counters.topic_puts.add(topic, messages, size, requests)

    def _fail_beyond(self, gate: CommitGate, position: int, reason: object) -> None:
        gate.fail_beyond(position, lambda: _failed(reason))


def _failed(reason: object) -> ServiceUnavailable:
    return ServiceUnavailable(f"the store failed: {reason}")


def _nothing() -> None:
    """Nobody wants to know."""


__all__ = ["StoreTurn"]
