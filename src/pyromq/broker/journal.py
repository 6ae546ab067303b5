"""How the verbs change metadata: apply now, ask for the end of the turn, wait for the journal.

The border to the journal's errors: verbs only ever see `ServiceUnavailable`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec

from pyromq.broker.commits import CommitGate
from pyromq.errors import ServiceUnavailable, StoreFailed
from pyromq.store.metadata import Metadata
from pyromq.turn import Turn
from pyromq.waiting import Latch

P = ParamSpec("P")


class Journal:
    """The journal of topics, groups and offsets as the verbs use it."""

    def __init__(self, metadata: Metadata, turn: Turn) -> None:
        self._metadata = metadata
        self._turn = turn
        self._gate = CommitGate()

    @property
    def waiter_count(self) -> int:
        return self._gate.waiter_count

    @property
    def has_waiters(self) -> bool:
        return self._gate.has_waiters

    @property
    def newest(self) -> int:
        """The sequence of the last change: who waits for it waits for all before it, too."""
        return self._metadata.positions().appended

    def change(self, make: Callable[P, int], /, *args: P.args, **kwargs: P.kwargs) -> int:
        """Makes one change of `Metadata`; returns the sequence to wait for."""
        try:
            sequence = make(*args, **kwargs)
        except StoreFailed as error:
            raise ServiceUnavailable(
                f"the metadata journal does not take changes: {error}"
            ) from error
        self._turn.request_end()
        return sequence

    def kept(self, sequence: int) -> Latch[None]:
        """Set when the change with that sequence, and all before it, cannot get lost any more."""
        return self._gate.until(sequence)

    def is_kept(self, sequence: int) -> bool:
        """Whether `kept` would be set at once."""
        return sequence <= self._metadata.kept_sequence()

    def end_turn(self, monotonic_ms: int) -> None:
        """Writes the turn's changes and lets go who waited for them. Does not raise."""
        self._gate.mark(monotonic_ms)
        try:
            self._metadata.write()
        except StoreFailed as error:
            self._fail(error)
        else:
            failure = self._metadata.failure()
            if failure is not None:
                self._fail(failure)
        self._gate.release(self._metadata.kept_sequence(), monotonic_ms)

    @property
    def oldest_ms(self) -> int | None:
        """Monotonic ms since which the longest waiting one waits; None if nobody does."""
        return self._gate.oldest_ms

    def expire(self, monotonic_ms: int, timeout_ms: int) -> None:
        self._gate.expire(monotonic_ms, timeout_ms)

    def _fail(self, reason: object) -> None:
        positions = self._metadata.positions()
        self._gate.fail_beyond(
            positions.written if self._metadata.is_full() else positions.commit,
            lambda: ServiceUnavailable(f"the metadata journal failed: {reason}"),
        )


__all__ = ["Journal"]
