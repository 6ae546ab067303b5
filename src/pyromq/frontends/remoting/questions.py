"""Requests of a server to its clients, and the answers that come back on the same connection.

Rare (an operator asks what a consumer is doing), so each may have a timer of its own. Follows
NettyRemotingAbstract.responseTable of org.apache.rocketmq.remoting 5.5.0.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple, Protocol

from pyromq.errors import PyromqError, RequestFailed, SystemBusy
from pyromq.waiting import Latch
from pyromq.wire.remoting.frame import Command

QUESTIONS_MAX: Final = 1_024
"""Open at once, all clients together."""


class Timer(Protocol):
    """What `call_later` of a loop returns."""

    def cancel(self) -> None: ...


CallLater = Callable[[float, Callable[[], None]], Timer]


class _Question(NamedTuple):
    latch: Latch[Command]
    timer: Timer


class Questions:
    """Those that wait for an answer, by connection and number."""

    def __init__(self, call_later: CallLater) -> None:
        self._call_later = call_later
        self._open: dict[tuple[int, int], _Question] = {}

    def __len__(self) -> int:
        return len(self._open)

    def add(self, connection_id: int, opaque: int, timeout_ms: int) -> Latch[Command]:
        """A latch for the answer; it fails if none comes in time. Raises SystemBusy."""
        if len(self._open) >= QUESTIONS_MAX:
            raise SystemBusy(f"{QUESTIONS_MAX} requests to clients wait for answers, no more do")
        latch: Latch[Command] = Latch()
        key = (connection_id, opaque)

        def overdue() -> None:
            self._fail(key, RequestFailed(f"the client did not answer within {timeout_ms} ms"))

        self._open[key] = _Question(latch, self._call_later(timeout_ms / 1000, overdue))
        return latch

    def answered(self, connection_id: int, response: Command) -> bool:
        """Hands an answer over; False if nobody waits for it (any more)."""
        question = self._open.pop((connection_id, response.opaque), None)
        if question is None:
            return False
        question.timer.cancel()
        question.latch.set(response)
        return True

    def connection_lost(self, connection_id: int) -> None:
        for key in [key for key in self._open if key[0] == connection_id]:
            self._fail(key, RequestFailed("the client left before it answered"))

    def _fail(self, key: tuple[int, int], error: PyromqError) -> None:
        question = self._open.pop(key)
        question.timer.cancel()
        question.latch.fail(error)


__all__ = ["QUESTIONS_MAX", "CallLater", "Questions", "Timer"]
