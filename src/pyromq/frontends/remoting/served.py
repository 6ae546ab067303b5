"""One client's connection: its bytes, its requests under way, and what it may hold.

Nobody starves another: what one connection may have read in a turn is bounded, so are the requests
and the bytes that it may have under way. Beyond that it is not read from, and TCP slows it down.

Commands of a chunk are served in their order. If their answers grow past a bound before the turn
ends, the rest waits: reading pauses until the peer has taken what it asked for. (One chunk of
256 KiB may hold 1,300 pulls, each answered with as much.)
"""

from __future__ import annotations

from collections import deque
from collections.abc import Coroutine, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol

from msgspec import Struct

from pyromq.api import Caller, SendRequest
from pyromq.codes import VERSION_5_5_0, LanguageCode, RequestCode
from pyromq.errors import ProtocolViolation, RequestRefused, SystemBusy
from pyromq.frontends.remoting.express import ExpressLane
from pyromq.frontends.remoting.messages import lost_send
from pyromq.frontends.remoting.table import Answer, Table, WaitingVerb, refusal
from pyromq.turn import Turn
from pyromq.units import MIB
from pyromq.waiting import Latch
from pyromq.wire.remoting.connection import RemotingConnection, Splitter
from pyromq.wire.remoting.frame import FLAG_ONEWAY, FLAG_RESPONSE, Command
from pyromq.wire.remoting.headers import decode_header
from pyromq.wire.remoting.native import split, splitter_of_sends

if TYPE_CHECKING:
    from pyromq.wire.remoting.native import SocketReader

UNSENT_MAX: Final = 1 * MIB
"""Answers queued for one connection before its further commands wait. One answer may overshoot."""
IN_FLIGHT_MAX: Final = 65_536
"""Requests of one connection that wait for a commit or a message; Apache's client allows itself as
many asynchronous calls. More are refused as busy."""

TURN_SIZE_MAX: Final = 1 * MIB
"""Bytes read from one connection before all others had their turn. One chunk may overshoot."""
IN_FLIGHT_SIZE_MAX: Final = 32 * MIB
"""Bytes of records of one connection on the express lane that wait for their commit. It is read
from again when half of them are committed."""

ROOM_STEP: Final = 1024
"""The reader is told of fewer or more verbs under way in such steps."""
_split_sends: Final = splitter_of_sends(SendRequest)

# Why a connection is not read from.
_PUT_OFF: Final = 1
_RESTS: Final = 2
_IN_FLIGHT: Final = 4


class PeerName(Protocol):
    """Who is at the other end."""

    @property
    def address(self) -> str: ...

    @property
    def host(self) -> bytes: ...


class Output(Protocol):
    """The way out, as a transport supplies it."""

    @property
    def peer(self) -> PeerName: ...

    @property
    def descriptor(self) -> int | None:
        """The socket, if nothing that was written waits: it may be written to, without waiting."""
        ...

    @property
    def reader(self) -> SocketReader | None:
        """Who reads the socket, if it may give chunks to an express lane by itself."""
        ...

    @property
    def is_congested(self) -> bool:
        """The peer does not take what was written; `drained` will tell when it has."""
        ...

    def write(self, data: bytes) -> None: ...

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def close(self, reason: str) -> None: ...


class Door(Protocol):
    """What a connection asks of the door that owns it."""

    @property
    def turn(self) -> Turn: ...

    def changed(self, connection: ServedConnection) -> None:
        """It has something to send: flush it at the end of this turn."""
        ...

    def answered(self, connection: ServedConnection, response: Command) -> None:
        """The client answered a request of ours."""
        ...

    def failed(self, connection: ServedConnection, request: Command, error: Exception) -> Answer:
        """A verb raised what it must not: logs it, returns what the client is told."""
        ...

    def broken(self, connection: ServedConnection, error: Exception) -> None:
        """What it says to its client cannot be made: ends it."""
        ...

    def left(self, connection: ServedConnection, reason: str) -> None: ...


def _splitter_of(table: Table) -> Splitter:
    """Sends come typed where their verb takes them so."""
    row = table.get(RequestCode.SEND_MESSAGE_V2)
    return split if row is None or row.holding is None else _split_sends


class ServedConnection:
    """The protocol of one accepted connection, as the transport drives it."""

    __slots__ = ("_caller", "_descriptor", "_door", "_in_flight", "_is_closed", "_is_dirty",
                 "_lane", "_language", "_output", "_pauses", "_put_off", "_reader", "_room",
                 "_table", "_turn", "_turn_number", "_turn_size", "_verb_frame_count", "_wire",
                 "connection_id", "pending_bytes")  # fmt: skip

    def __init__(
        self,
        connection_id: int,
        output: Output,
        door: Door,
        table: Table,
        lane: ExpressLane | None = None,
    ) -> None:
        self.connection_id = connection_id
        self._verb_frame_count = 0
        """Whole frames so far, but those that the lane took out of the socket by itself."""
        self.pending_bytes = 0
        """Memory held for an unfinished frame, 0 between frames."""
        self._output = output
        self._door = door
        self._table = table
        host = output.peer.host
        self._lane = None if lane is None else lane.connect(self, connection_id, host)
        splitter: Splitter = _splitter_of(table) if self._lane is None else self._lane.deal
        self._wire = RemotingConnection(splitter=splitter)
        self._put_off: deque[Command] = deque()
        """Commands of the last chunk that wait for room; empty while reading is not paused."""
        self._in_flight = 0
        """Requests whose verbs wait; those on the lane are counted there."""
        self._turn_size = 0
        """Bytes read since the turn `_turn_number` ended."""
        self._turn = door.turn
        self._turn_number = 0
        self._pauses = 0
        """Why it is not read from, as bits; 0: it is."""
        self._is_closed = False
        self._is_dirty = False
        """Known to the door as having something to flush."""
        self._language: LanguageCode | None = None
        self._caller = Caller(connection_id, output.peer.address, output.peer.host)
        """Who calls, as long as the client calls itself the same."""
        self._descriptor: int | None = None
        """The socket that the lane writes to by itself; None: its answers come here."""
        self._choose_way()
        self._reader = None if self._lane is None else output.reader
        self._room = 0
        """What the reader knows: how many sends it may give to the lane by itself."""
        if self._reader is not None and self._lane is not None:
            self._lane.read_by(self._reader, IN_FLIGHT_SIZE_MAX)
            self._set_room()

    @property
    def address(self) -> str:
        return self._caller.address

    # ── driven by the transport ─────────────────────────────────────────────────────────────────

    @property
    def received_bytes_of_frame(self) -> int:
        return self._wire.received_bytes_of_frame

    @property
    def received_frame_count(self) -> int:
        """Whole frames so far."""
        on_lane = 0 if self._lane is None else self._lane.taken_count
        return self._verb_frame_count + on_lane

    @property
    def is_proven(self) -> bool:
        return self._wire.is_proven or (self._lane is not None and self._lane.taken_count > 0)

    def receive(self, data: memoryview) -> None:
        size = len(data)
        number = self._turn.number
        if number != self._turn_number:
            self._turn_number = number
            self._turn_size = 0
        self._turn_size += size
        if self._turn_size > TURN_SIZE_MAX:
            self._pause(_RESTS)
            self._change()
        wire, lane = self._wire, self._lane
        if lane is not None and not wire.is_proven:
            wire.is_proven = lane.taken_count > 0
        if lane is None or self.pending_bytes or self._put_off or wire.violation is not None:
            commands = wire.receive_data(data)
        else:
            commands = wire.receive_split(data, lane.deal(data))
        self.pending_bytes = wire.pending_bytes
        if commands:
            self._verb_frame_count += len(commands)
            if self._put_off:
                self._put_off.extend(commands)
            else:
                self._serve(commands)
        if wire.violation is not None:
            self._change()
        if self._reader is not None:
            self._set_room()

    def drained(self) -> None:
        if self._put_off:
            self.go_on()

    def closed(self, reason: str) -> None:
        self._is_closed = True
        self._put_off.clear()
        self._reader = None
        if self._lane is not None:
            self._lane.close()
        if (violation := self._wire.violation) is not None:
            reason = f"protocol violation: {violation}"
        self._door.left(self, reason)

    # ── driven by the express lane ──────────────────────────────────────────────────────────────

    @property
    def caller(self) -> Caller:
        return self._caller

    def rooms(self) -> tuple[int, int]:
        unsent = self._wire.unsent_bytes
        return IN_FLIGHT_MAX - self._in_flight, UNSENT_MAX - unsent if unsent < UNSENT_MAX else 0

    def is_put_off(self) -> bool:
        return bool(self._put_off)

    def took(self, under_way_size: int) -> None:
        if under_way_size > IN_FLIGHT_SIZE_MAX:
            self._pause(_IN_FLIGHT)
            self._choose_way()
        self._wire.is_proven = True

    def answered(self, data: bytes | None) -> None:
        self._verb_frame_count += 1  # that it grew is all that is asked of it
        self._wire.is_proven = True
        if data is None:
            return
        if self._descriptor is not None:
            self.write(data)
        else:
            self._wire.send_encoded(data)
            self._change()

    def resume(self, command: Command, verb: WaitingVerb) -> None:
        """It was counted and found right when it came."""
        caller = self._caller
        if command.version != caller.version or command.language is not self._language:
            caller = self._renamed_caller(command)
        header_type = self._table[command.code].header
        header = None if header_type is None else decode_header(header_type, command.ext)
        self._in_flight += 1
        self._step(verb(caller, header, command), command)

    def put_off(self, commands: list[Command]) -> None:
        self._verb_frame_count += len(commands)
        self._put_off.extend(commands)
        self._pause(_PUT_OFF)
        self._change()  # so that they are gone on with although nothing may wait to be written

    def serve(self, commands: list[Command]) -> None:
        self._verb_frame_count += len(commands)
        self._serve(commands)

    def released(self, under_way_size: int, data: bytes) -> None:
        try:
            if self._pauses & _IN_FLIGHT and under_way_size <= IN_FLIGHT_SIZE_MAX // 2:
                self._resume(_IN_FLIGHT)
            if data:
                self._wire.send_encoded(data)
                self._change()
            elif self._descriptor is None:
                self._choose_way()  # who gets no answers is never flushed
        except Exception as fault:  # noqa: BLE001 — others are to be told in the same call
            self._door.broken(self, fault)

    def write(self, data: bytes) -> None:
        """What its socket did not take of answers on the lane."""
        self._descriptor = None
        try:
            self._output.write(data)
        except Exception as fault:  # noqa: BLE001 — others are to be written to in the same call
            self._door.broken(self, fault)

    def _set_room(self) -> None:
        """A chunk that begins with a whole frame, while nothing is put off, may go to the lane; as
        long as so many of its sends are not more than the connection may have under way."""
        if self.pending_bytes or self._put_off or self._wire.violation is not None:
            room = 0
        else:
            room = max(IN_FLIGHT_MAX - self._in_flight, 0) // ROOM_STEP * ROOM_STEP
        if room != self._room and self._reader is not None:
            self._room = room
            self._reader.set_room(room)

    def _choose_way(self) -> None:
        """The lane writes by itself while nothing waits to be written, and nobody has to know."""
        lane = self._lane
        if lane is not None:
            descriptor = None if self._pauses & _IN_FLIGHT else self._output.descriptor
            if descriptor != self._descriptor:
                self._descriptor = descriptor
                lane.set_direct(descriptor)

    # ── driven by the door ──────────────────────────────────────────────────────────────────────

    def send(self, command: Command) -> None:
        """Queues a request or notification of ours."""
        if not self._is_closed:
            self._wire.send(command)
            self._change()

    def flush(self) -> bool:
        """Hands everything queued to the transport. True if it can go on now."""
        self._is_dirty = False
        if self._is_closed:
            return False
        if self._lane is not None and (out := self._lane.take_out()) is not None:
            self._wire.send_encoded(out)
        if self._wire.unsent_bytes:
            self._output.write(self._wire.data_to_send())
            self._choose_way()
        violation: ProtocolViolation | None = self._wire.violation
        if violation is not None and not self._put_off:
            self._output.close(str(violation))
            return False
        if self._pauses & _RESTS:
            return True
        return bool(self._put_off) and not self._output.is_congested

    def close(self, reason: str) -> None:
        """Ends it; commands that were put off are not served any more."""
        self._put_off.clear()
        self._output.close(reason)
        self._choose_way()

    def go_on(self) -> None:
        """Serves put-off commands, and reads again when none is left."""
        if self._is_closed:
            return
        self._resume(_RESTS)
        if not self._put_off or self._output.is_congested:
            return
        commands = list(self._put_off)
        self._put_off.clear()
        self._serve(commands)
        self._change()
        if not self._put_off:
            self._set_room()
            self._resume(_PUT_OFF)

    def _pause(self, why: int) -> None:
        self._pauses |= why
        self._output.pause_reading()

    def _resume(self, why: int) -> None:
        if self._pauses & why:
            self._pauses &= ~why
            if not self._pauses:
                self._output.resume_reading()

    # ── serving: written flat, as it runs once per request ──────────────────────────────────────

    def _serve(self, commands: list[Command]) -> None:
        wire = self._wire
        for index, command in enumerate(commands):
            if wire.unsent_bytes > UNSENT_MAX:
                self._put_off.extend(commands[index:])
                self._pause(_PUT_OFF)
                return
            if command.flag & FLAG_RESPONSE:
                self._door.answered(self, command)
            else:
                self._serve_request(command)

    def _serve_request(self, command: Command) -> None:
        row = self._table.get(command.code)
        if row is None:
            remark = f" request type {command.code} not supported"
            self._answer(command, Answer(code=3, remark=remark))
            return
        self._wire.is_proven = True
        header_type, plain, waiting, holding = row
        caller = self._caller
        if command.version != caller.version or command.language is not self._language:
            caller = self._renamed_caller(command)
        outcome: Answer | Coroutine[Any, None, Answer] | None
        is_under_way = False
        try:
            header: Struct | None = command.typed
            if header is None and header_type is not None:
                header = decode_header(header_type, command.ext)
                if holding is not None:
                    header = holding.request(header, command)
            if plain is not None:
                outcome = plain(caller, header, command)
            else:
                on_lane = 0 if self._lane is None else self._lane.held_count
                if self._in_flight + on_lane >= IN_FLIGHT_MAX:
                    raise SystemBusy("[OVERLOAD]system busy, start flow control for a while")
                self._in_flight += 1
                is_under_way = True
                if holding is not None:
                    outcome = holding.verb(caller, header, command, self)
                    if outcome is None:  # the broker has the answer, see `kept`
                        return
                else:
                    assert waiting is not None, "a row is plain, waits or holds"
                    outcome = waiting(caller, header, command)
        except RequestRefused as error:
            outcome = refusal(error)
        except Exception as error:  # noqa: BLE001 — a fault in one verb costs one request
            outcome = self._door.failed(self, command, error)
        if isinstance(outcome, Answer):
            if is_under_way:
                self._in_flight -= 1
            self._answer(command, outcome)
        else:
            self._step(outcome, command)

    def kept(self, count: int, answers: bytes) -> None:
        """See `SendReceiver`."""
        self._in_flight -= count
        if answers and not self._is_closed:
            self._wire.send_encoded(answers)
            self._change()

    def lost(self, answers: Sequence[bytes], error: RequestRefused) -> None:
        """See `SendReceiver`."""
        self._in_flight -= len(answers)
        if self._is_closed:
            return
        try:
            for answer in answers:
                if answer:
                    self._wire.send(lost_send(answer, error))
        except Exception as fault:  # noqa: BLE001 — the others who lost something must be told too
            self._door.broken(self, fault)
        self._change()

    def _step(self, verb: Coroutine[Any, None, Answer], command: Command) -> None:
        """The same as `waiting.step`, without its closures."""
        try:
            latch = verb.send(None)
        except StopIteration as end:
            answer = end.value
        except RequestRefused as error:
            answer = refusal(error)
        except Exception as error:  # noqa: BLE001 — a fault in one verb costs one request
            answer = self._door.failed(self, command, error)
        else:
            assert isinstance(latch, Latch), f"a verb may wait for a Latch only, not for {latch!r}"
            latch.when_set(partial(self._step, verb, command))
            return
        self._in_flight -= 1
        self._answer(command, answer)

    def _answer(self, request: Command, answer: Answer) -> None:
        if request.flag & FLAG_ONEWAY or self._is_closed:
            return
        response = Command(
            answer.code,
            request.opaque,
            FLAG_RESPONSE,
            LanguageCode.JAVA,
            VERSION_5_5_0,
            answer.remark,
            answer.ext,
            answer.body,
            request.serialize_type,
        )
        try:
            self._wire.send(response)
        except ValueError as error:  # more than a header can carry
            self._wire.send(
                Command.response_to(request, 1, remark=f"the answer cannot be sent: {error}")
            )
        except Exception as error:  # noqa: BLE001 — who sets a latch must not suffer for its waiter
            failure = self._door.failed(self, request, error)
            self._wire.send(Command.response_to(request, failure.code, remark=failure.remark))
        self._change()

    def _change(self) -> None:
        if not self._is_dirty:
            self._is_dirty = True
            self._door.changed(self)

    def _renamed_caller(self, command: Command) -> Caller:
        caller = self._caller
        self._language = command.language
        self._caller = Caller(
            caller.connection_id,
            caller.address,
            caller.host,
            command.language.name,
            command.version,
        )
        return self._caller


__all__ = ["IN_FLIGHT_MAX", "UNSENT_MAX", "Door", "Output", "PeerName", "ServedConnection"]
