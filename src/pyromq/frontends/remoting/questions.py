"""Requests of a server to its clients, and the answers that come back on the same connection.

Few, or soon answered (an operator asks what a consumer is doing, a reply is handed to a client that
waits for it), so each may have a timer of its own. Follows NettyRemotingAbstract.responseTable of
org.apache.rocketmq.remoting 5.5.0.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple, Protocol

from pyromq.errors import AnswerTimedOut, PyromqError, RequestFailed, SystemBusy
from pyromq.waiting import Latch
from pyromq.wire.remoting.frame import Command

QUESTIONS_MAX: Final = 16_384
"""Open at once, all clients together; each holds about 1 KiB beside what its asker holds."""
CONNECTION_QUESTIONS_MAX: Final = 1_024
"""Open at once to one client: one that never answers does not take them all."""


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
        self._open: dict[int, dict[int, _Question]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, connection_id: int, opaque: int, timeout_ms: int) -> Latch[Command]:
        """A latch for the answer; it fails if none comes in time. Raises SystemBusy."""
        if self._count >= QUESTIONS_MAX:
            raise SystemBusy(f"{QUESTIONS_MAX} requests to clients wait for answers, no more do")
        of_connection = self._open.get(connection_id, {})
        if len(of_connection) >= CONNECTION_QUESTIONS_MAX:
            raise SystemBusy(
                f"{CONNECTION_QUESTIONS_MAX} requests to that client wait for answers, no more do"
            )
        latch: Latch[Command] = Latch()

        def overdue() -> None:
            self._fail(
                connection_id,
                opaque,
                AnswerTimedOut(f"the client did not answer within {timeout_ms} ms"),
            )

        timer = self._call_later(timeout_ms / 1000, overdue)
        self._open.setdefault(connection_id, of_connection)[opaque] = _Question(latch, timer)
        self._count += 1
        return latch

    def answered(self, connection_id: int, response: Command) -> bool:
        """Hands an answer over; False if nobody waits for it (any more)."""
        question = self._take(connection_id, response.opaque)
        if question is None:
            return False
        question.latch.set(response)
        return True

    def withdraw(self, connection_id: int, opaque: int) -> None:
        """It could not be asked after all: nobody waits for its latch."""
        self._take(connection_id, opaque)

    def connection_lost(self, connection_id: int) -> None:
        for opaque in list(self._open.get(connection_id, ())):
            self._fail(connection_id, opaque, RequestFailed("the client left before it answered"))

    def _fail(self, connection_id: int, opaque: int, error: PyromqError) -> None:
        question = self._take(connection_id, opaque)
        assert question is not None, "it is failed while it is open"
        question.latch.fail(error)

    def _take(self, connection_id: int, opaque: int) -> _Question | None:
        of_connection = self._open.get(connection_id)
        if of_connection is None:
            return None
        question = of_connection.pop(opaque, None)
        if question is None:
            return None
        self._count -= 1
        if not of_connection:
            del self._open[connection_id]
        question.timer.cancel()
        return question


__all__ = ["CONNECTION_QUESTIONS_MAX", "QUESTIONS_MAX", "CallLater", "Questions", "Timer"]
