"""The log's side of a turn: one write, then everyone goes whose promise is kept by it.

Two promises exist. An ordinary message waits for the engine's commit (SYNC_FLUSH: synced,
ASYNC_FLUSH: written). A message sent with WAIT=false, or one-way, only wants to be written.
"""

from __future__ import annotations

from collections.abc import Callable

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
        self.committed = CommitGate(counters.count_acknowledged)
        """Until the engine's commit covers a log position: the promise of an ordinary send."""
        self.written = CommitGate(counters.count_acknowledged)
        """Until the operating system has the bytes up to a log position."""

        self.on_write_failed: Callable[[], None] = _nothing
        """Called after a write that failed."""

    @property
    def waiter_count(self) -> int:
        return self.committed.waiter_count + self.written.waiter_count

    def end_turn(self) -> None:
        """Does not raise: a failed write is told to those who waited for it."""
        engine = self._engine
        now_ms = self._clock.monotonic_ms()
        self.committed.mark(now_ms)
        self.written.mark(now_ms)
        try:
            engine.write()
        except StoreFailed as error:
            written = engine.positions().written
            self._fail_beyond(self.written, written, error)
            self._fail_beyond(self.committed, written, error)
            self.on_write_failed()
        else:
            failure = engine.failure()
            if failure is not None:
                self._fail_beyond(self.committed, engine.positions().commit, failure)
        positions = engine.positions()
        now_ms = self._clock.monotonic_ms()
        self.written.release(positions.written, now_ms)
        self.committed.release(positions.commit, now_ms)

    @property
    def oldest_ms(self) -> int | None:
        """Monotonic ms since which the longest waiting one waits; None if nobody does."""
        committed, written = self.committed.oldest_ms, self.written.oldest_ms
        if committed is None or written is None:
            return written if committed is None else committed
        return min(committed, written)

    def expire(self, timeout_ms: int) -> None:
        """Ends waits that took longer than `timeout_ms`."""
        now_ms = self._clock.monotonic_ms()
        self.committed.expire(now_ms, timeout_ms)
        self.written.expire(now_ms, timeout_ms)

    def _fail_beyond(self, gate: CommitGate, position: int, reason: object) -> None:
        gate.fail_beyond(position, lambda: ServiceUnavailable(f"the store failed: {reason}"))


def _nothing() -> None:
    """Nobody wants to know."""


__all__ = ["StoreTurn"]
