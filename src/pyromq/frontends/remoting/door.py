"""The remoting door: connections on one side, a table of verbs on the other.

A chunk becomes commands, each command a call of its verb, and what the verbs say is queued on the
connection. Answers leave when the turn ends (`flush` is its last stage), so a chunk of many
requests is answered by one write, behind the write of the log that they wait for.

Follows NettyRemotingAbstract.processRequestCommand of org.apache.rocketmq.remoting 5.5.0: unknown
codes get 3, what a verb raises gets 1 (or its own code), one-way requests never get anything.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable
from typing import Final

from pyromq.codes import RequestCode, ResponseCode
from pyromq.errors import ConsumerNotOnline, RequestFailed, StoreFailed
from pyromq.frontends.remoting.express import ExpressLane
from pyromq.frontends.remoting.questions import CallLater, Questions
from pyromq.frontends.remoting.served import Output, ServedConnection
from pyromq.frontends.remoting.table import Answer, Table
from pyromq.turn import Turn
from pyromq.waiting import Latch
from pyromq.wire.remoting.frame import Command

_log = logging.getLogger("pyromq.remoting")

_connection_ids: Final = itertools.count(1)
"""One numbering for all doors of the process, as `Caller.connection_id` demands."""

_FAULT_KINDS_MAX: Final = 64
"""Kinds of unexpected errors that are told with their traceback."""
_FAULT_TEXT_MAX: Final = 200
"""Characters of an unexpected error's text that the client gets."""


class RemotingDoor:
    """Serves one table on any number of listeners; also the way out to their clients."""

    def __init__(
        self,
        name: str,
        table: Table,
        turn: Turn,
        *,
        call_soon: Callable[[Callable[[], None]], object],
        call_later: CallLater,
        connection_lost: Callable[[int], None],
        lane: ExpressLane | None = None,
    ) -> None:
        """`lane`: who stores ordinary sends without their verbs."""
        self.name = name
        self._table = table
        self.turn = turn
        self._call_soon = call_soon
        self._connection_lost = connection_lost
        self._lane = lane
        self._connections: dict[int, ServedConnection] = {}
        self._dirty: list[ServedConnection] = []
        """Each once, in the order in which they were served."""
        self._flushed_turn = 0
        """Number of the turn that was flushed last."""
        self._opaques = itertools.count(0)
        self._questions = Questions(call_later)
        self._fault_kinds: set[tuple[str, type[Exception]]] = set()

    def connect(self, output: Output) -> ServedConnection:
        """What a listener calls per accepted connection."""
        connection = ServedConnection(next(_connection_ids), output, self, self._table, self._lane)
        self._connections[connection.connection_id] = connection
        return connection

    @property
    def has_lane(self) -> bool:
        """Whether ordinary requests take the express lane."""
        return self._lane is not None

    @property
    def connection_count(self) -> int:
        return len(self._connections)

    def flush(self) -> None:
        """The turn's last stage: each connection that has something to say writes it once."""
        self._flushed_turn = self.turn.number
        dirty, self._dirty = self._dirty, []
        for connection in dirty:
            try:
                can_go_on = connection.flush()
            except Exception as error:  # noqa: BLE001 — a fault with one costs that one
                self.broken(connection, error)
            else:
                if can_go_on:
                    self._call_soon(connection.go_on)
        if self._lane is not None:
            self._lane.write()

    # ── asked by its connections ────────────────────────────────────────────────────────────────

    def changed(self, connection: ServedConnection) -> None:
        self._dirty.append(connection)
        turn = self.turn
        if not turn.is_ending or self._flushed_turn == turn.number:
            turn.request_end()

    def answered(self, connection: ServedConnection, response: Command) -> None:
        if not self._questions.answered(connection.connection_id, response):
            _log.debug("%s: answer without a question: %d", connection.address, response.opaque)

    def failed(self, connection: ServedConnection, request: Command, error: Exception) -> Answer:
        if isinstance(error, StoreFailed):
            return Answer(code=ResponseCode.SERVICE_NOT_AVAILABLE, remark=str(error))
        self._tell(f"request {request.code}", connection, error)
        text = f"{type(error).__name__}: {error}"
        return Answer(code=ResponseCode.SYSTEM_ERROR, remark=text[:_FAULT_TEXT_MAX])

    def broken(self, connection: ServedConnection, error: Exception) -> None:
        """Nobody knows what of its answers has gone out: its client must come anew."""
        self._tell("the connection", connection, error)
        try:
            connection.close("its answers could not be sent")
        except Exception as failure:  # noqa: BLE001 — the others are still to be flushed
            self._tell("the end", connection, failure)

    def _tell(self, what: str, connection: ServedConnection, error: Exception) -> None:
        kind = (what, type(error))
        if kind not in self._fault_kinds and len(self._fault_kinds) < _FAULT_KINDS_MAX:
            self._fault_kinds.add(kind)
            _log.error(
                "%s: %s of %s failed unexpectedly; repetitions are not shown",
                self.name,
                what,
                connection.address,
                exc_info=error,
            )

    def left(self, connection: ServedConnection, reason: str) -> None:
        del self._connections[connection.connection_id]
        _log.debug("%s: %s left: %s", self.name, connection.address, reason)
        self._questions.connection_lost(connection.connection_id)
        self._connection_lost(connection.connection_id)

    # ── the way out to clients ──────────────────────────────────────────────────────────────────

    def is_connected(self, connection_id: int) -> bool:
        return connection_id in self._connections

    def notify(
        self, connection_id: int, code: RequestCode, ext: dict[str, str], body: bytes = b""
    ) -> None:
        """A one-way request to a client; nothing happens if it has left."""
        connection = self._connections.get(connection_id)
        if connection is not None:
            request = Command.request(int(code), ext, body, opaque=self._opaque(), oneway=True)
            connection.send(request)

    def ask(
        self,
        connection_id: int,
        code: RequestCode,
        ext: dict[str, str],
        body: bytes = b"",
        *,
        timeout_ms: int,
    ) -> Latch[Command]:
        """A request to a client. The latch gets its answer, or fails if none comes in time.

        Raises ConsumerNotOnline if the client has left, SystemBusy if too many are open,
        RequestFailed if the fields are more than a header can carry.
        """
        connection = self._connections.get(connection_id)
        if connection is None:
            raise ConsumerNotOnline("the client is not connected")
        request = Command.request(int(code), ext, body, opaque=self._opaque())
        latch = self._questions.add(connection_id, request.opaque, timeout_ms)
        try:
            connection.send(request)
        except ValueError as error:
            self._questions.withdraw(connection_id, request.opaque)
            raise RequestFailed(f"the client cannot be asked: {error}") from error
        return latch

    def _opaque(self) -> int:
        return next(self._opaques) & 0x7FFF_FFFF


__all__ = ["RemotingDoor"]
