"""A door over a table of toy verbs: order, batching, waiting, limits, faults."""

from __future__ import annotations

import logging
import struct
from collections.abc import Callable
from typing import cast

import pytest

from pyromq.api import Caller
from pyromq.codes import LanguageCode, RequestCode, ResponseCode
from pyromq.errors import (
    AnswerTimedOut,
    ConsumerNotOnline,
    NoPermission,
    RequestFailed,
    StoreFailed,
    SystemBusy,
)
from pyromq.frontends.remoting import RemotingDoor, questions, served
from pyromq.frontends.remoting.questions import CONNECTION_QUESTIONS_MAX
from pyromq.frontends.remoting.served import ServedConnection
from pyromq.frontends.remoting.table import Answer, table_of
from pyromq.turn import Turn
from pyromq.waiting import Latch
from pyromq.wire.remoting.frame import Command, SerializeType, encode
from tests.support.connections import ManualTurns, MemoryOutput

ECHO = RequestCode.GET_BROKER_RUNTIME_INFO
WAIT = RequestCode.GET_ALL_CONSUMER_OFFSET
REFUSE = RequestCode.CLEAN_UNUSED_TOPIC
WAIT_AND_REFUSE = RequestCode.CLEAN_EXPIRED_CONSUMEQUEUE
BREAK = RequestCode.GET_BROKER_CONFIG
WAIT_AND_BREAK = RequestCode.GET_ALL_DELAY_OFFSET
STORE_FAILS = RequestCode.DELETE_EXPIRED_COMMITLOG
CALLER = RequestCode.GET_ALL_PRODUCER_INFO
BIG = RequestCode.GET_TIMER_METRICS
HUGE = RequestCode.GET_BROKER_HA_STATUS
NONSENSE = RequestCode.GET_SYSTEM_TOPIC_LIST_FROM_BROKER
WAIT_AND_TALK_NONSENSE = RequestCode.GET_BROKER_CLUSTER_INFO
WITH_HEADER = RequestCode.GET_MAX_OFFSET


class Toys:
    """Verbs that do what a test needs."""

    def __init__(self) -> None:
        self.latches: list[Latch[None]] = []
        self.callers: list[Caller] = []
        self.big_size = 100_000
        self.served_bodies: list[bytes] = []

    def echo(self, caller: Caller, header: None, command: Command) -> Answer:
        self.served_bodies.append(command.body)
        return Answer(command.ext, command.body)

    async def wait(self, caller: Caller, header: None, command: Command) -> Answer:
        latch: Latch[None] = Latch()
        self.latches.append(latch)
        await latch
        return Answer(body=command.body)

    def refuse(self, caller: Caller, header: None, command: Command) -> Answer:
        raise NoPermission("not you")

    async def wait_and_refuse(self, caller: Caller, header: None, command: Command) -> Answer:
        await self.wait(caller, header, command)
        raise NoPermission("not you either")

    def break_down(self, caller: Caller, header: None, command: Command) -> Answer:
        raise ZeroDivisionError("a fault of ours " + "x" * 1_000)

    async def wait_and_break(self, caller: Caller, header: None, command: Command) -> Answer:
        await self.wait(caller, header, command)
        raise ZeroDivisionError("later")

    def fail_to_store(self, caller: Caller, header: None, command: Command) -> Answer:
        raise StoreFailed("the disk is full")

    def note_caller(self, caller: Caller, header: None, command: Command) -> Answer:
        self.callers.append(caller)
        return Answer()

    def big(self, caller: Caller, header: None, command: Command) -> Answer:
        self.served_bodies.append(command.body)
        return Answer(body=bytes(self.big_size))

    def nonsense(self, caller: Caller, header: None, command: Command) -> Answer:
        return Answer(cast(dict[str, str], {"a": 5}))

    async def wait_and_talk_nonsense(
        self, caller: Caller, header: None, command: Command
    ) -> Answer:
        await self.wait(caller, header, command)
        return self.nonsense(caller, header, command)

    def huge(self, caller: Caller, header: None, command: Command) -> Answer:
        return Answer({"a": "x" * 0x100_0000})


class DoorInHand:
    """A door, a turn that ends when told, and a client's end of one connection."""

    def __init__(self) -> None:
        self.toys = Toys()
        self.turns = ManualTurns()
        self.turn = Turn(self.turns.call_soon)
        self.lost: list[int] = []
        toys = self.toys
        self.door = RemotingDoor(
            "toys",
            table_of(
                [
                    (ECHO, toys.echo),
                    (WAIT, toys.wait),
                    (REFUSE, toys.refuse),
                    (WAIT_AND_REFUSE, toys.wait_and_refuse),
                    (BREAK, toys.break_down),
                    (WAIT_AND_BREAK, toys.wait_and_break),
                    (STORE_FAILS, toys.fail_to_store),
                    (CALLER, toys.note_caller),
                    (BIG, toys.big),
                    (HUGE, toys.huge),
                    (WITH_HEADER, toys.echo),
                    (NONSENSE, toys.nonsense),
                    (WAIT_AND_TALK_NONSENSE, toys.wait_and_talk_nonsense),
                ]
            ),
            self.turn,
            call_soon=self.turns.call_soon,
            call_later=self.turns.call_later,
            connection_lost=self.lost.append,
        )
        self.turn.set_stages([self.door.flush])
        self.output = MemoryOutput()
        self.connection: ServedConnection = self.door.connect(self.output)

    def receive(self, *commands: Command) -> None:
        """One chunk with these commands, and no end of the turn."""
        self.connection.receive(memoryview(b"".join(encode(command) for command in commands)))

    def ask(self, *commands: Command) -> list[Command]:
        """The answers that come by the end of the turn."""
        self.output.answers.clear()
        self.receive(*commands)
        self.turns.run()
        return self.output.answers


class BrokenOutput(MemoryOutput):
    """A way out with a fault of ours in it."""

    def __init__(self, is_close_broken: bool) -> None:
        super().__init__(("127.0.0.1", 40_999))
        self._is_close_broken = is_close_broken

    def write(self, data: bytes) -> None:
        raise ZeroDivisionError("a fault of ours")

    def close(self, reason: str) -> None:
        super().close(reason)
        if self._is_close_broken:
            raise ZeroDivisionError("another")


@pytest.fixture
def it() -> DoorInHand:
    return DoorInHand()


def request(code: int, opaque: int = 1, body: bytes = b"", **changed: object) -> Command:
    command = Command.request(int(code), {}, body, opaque=opaque)
    for name, value in changed.items():
        setattr(command, name, value)
    return command


def test_a_chunk_of_requests_is_answered_by_one_write(it: DoorInHand) -> None:
    answers = it.ask(*(request(ECHO, number, b"%d" % number) for number in range(50)))
    assert [(answer.opaque, answer.body) for answer in answers] == [
        (number, b"%d" % number) for number in range(50)
    ]
    assert it.output.write_count == 1
    assert all(answer.is_response and answer.code == 0 for answer in answers)


def test_nothing_is_sent_before_the_turn_ends(it: DoorInHand) -> None:
    it.receive(request(ECHO))
    assert it.output.answers == []
    it.turns.run()
    assert len(it.output.answers) == 1


@pytest.mark.parametrize("serialize_type", list(SerializeType))
def test_the_answer_takes_the_form_of_its_request(
    it: DoorInHand, serialize_type: SerializeType
) -> None:
    (answer,) = it.ask(request(ECHO, serialize_type=serialize_type))
    assert answer.serialize_type is serialize_type
    assert answer.language is LanguageCode.JAVA
    assert answer.version == 513


def test_a_chunk_may_end_inside_a_request(it: DoorInHand) -> None:
    data = encode(request(ECHO, 1, b"first")) + encode(request(ECHO, 2, b"second"))
    for cut in range(len(data)):
        it.output.answers.clear()
        it.connection.receive(memoryview(data[:cut]))
        it.connection.receive(memoryview(data[cut:]))
        it.turns.run()
        assert [answer.body for answer in it.output.answers] == [b"first", b"second"]


def test_answers_come_when_their_latches_are_set_not_in_order_of_asking(it: DoorInHand) -> None:
    assert it.ask(request(WAIT, 1, b"one"), request(WAIT, 2, b"two"), request(ECHO, 3)) != []
    assert [answer.opaque for answer in it.output.answers] == [3]
    it.toys.latches[1].set(None)
    it.turns.run()
    it.toys.latches[0].set(None)
    it.turns.run()
    assert [(answer.opaque, answer.body) for answer in it.output.answers[1:]] == [
        (2, b"two"),
        (1, b"one"),
    ]


def test_an_unknown_code_is_answered_as_apache_does(it: DoorInHand) -> None:
    (answer,) = it.ask(request(99_999))
    assert answer.code == ResponseCode.REQUEST_CODE_NOT_SUPPORTED
    assert answer.remark == " request type 99999 not supported"


@pytest.mark.parametrize("code", [REFUSE, BREAK, ECHO, 99_999, WITH_HEADER])
def test_a_one_way_request_is_never_answered(it: DoorInHand, code: int) -> None:
    assert it.ask(request(code, flag=2)) == []
    assert it.output.write_count == 0


def test_what_a_verb_refuses_is_answered_with_its_code(it: DoorInHand) -> None:
    (answer,) = it.ask(request(REFUSE))
    assert (answer.code, answer.remark) == (ResponseCode.NO_PERMISSION, "not you")


def test_a_verb_may_refuse_after_it_waited(it: DoorInHand) -> None:
    assert it.ask(request(WAIT_AND_REFUSE)) == []
    it.toys.latches[0].set(None)
    it.turns.run()
    (answer,) = it.output.answers
    assert (answer.code, answer.remark) == (ResponseCode.NO_PERMISSION, "not you either")


def test_a_missing_header_field_is_named(it: DoorInHand) -> None:
    (answer,) = it.ask(request(WITH_HEADER, ext={"topic": "T"}))
    assert answer.code == ResponseCode.SYSTEM_ERROR
    assert answer.remark is not None
    assert "queueId" in answer.remark


def test_a_fault_of_ours_costs_one_request_and_is_told_once(
    it: DoorInHand, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        answers = it.ask(request(BREAK, 1), request(ECHO, 2), request(BREAK, 3))
    assert [answer.code for answer in answers] == [1, 0, 1]
    assert answers[0].remark is not None
    assert answers[0].remark.startswith("ZeroDivisionError: a fault of ours xxx")
    assert len(answers[0].remark) == 200
    errors = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert len(errors) == 1
    assert errors[0].exc_info is not None


def test_a_fault_after_waiting_is_answered_too(it: DoorInHand) -> None:
    it.ask(request(WAIT_AND_BREAK))
    it.toys.latches[0].set(None)
    it.turns.run()
    (answer,) = it.output.answers
    assert (answer.code, answer.remark) == (1, "ZeroDivisionError: later")


def test_a_failed_store_is_no_fault_of_ours(
    it: DoorInHand, caplog: pytest.LogCaptureFixture
) -> None:
    (answer,) = it.ask(request(STORE_FAILS))
    assert (answer.code, answer.remark) == (
        ResponseCode.SERVICE_NOT_AVAILABLE,
        "the disk is full",
    )
    assert not caplog.records


def test_the_caller_is_who_the_command_says(it: DoorInHand) -> None:
    it.ask(
        request(CALLER, language=LanguageCode.GO, version=317),
        request(CALLER, language=LanguageCode.GO, version=317),
        request(CALLER, language=LanguageCode.CPP, version=401),
    )
    first, second, third = it.toys.callers
    assert first is second
    assert (first.language, first.version) == ("GO", 317)
    assert (third.language, third.version) == ("CPP", 401)
    assert first.connection_id == it.connection.connection_id
    assert first.address == "127.0.0.1:40960"
    assert first.host == bytes([127, 0, 0, 1]) + struct.pack(">i", 40960)


def test_requests_before_a_broken_frame_are_served_then_the_connection_ends(
    it: DoorInHand,
) -> None:
    it.connection.receive(memoryview(encode(request(ECHO, 7)) + b"\x7f\xff\xff\xff"))
    it.turns.run()
    assert [answer.opaque for answer in it.output.answers] == [7]
    assert it.output.close_reason is not None
    assert "over the limit" in it.output.close_reason


def test_a_connection_is_proven_by_a_code_that_the_table_knows(it: DoorInHand) -> None:
    proven = []
    for code in (99_999, int(ECHO)):
        it.ask(request(code))
        proven.append(it.connection.is_proven)
    assert proven == [False, True]


def test_commands_beyond_the_output_bound_wait_and_reading_pauses(it: DoorInHand) -> None:
    it.receive(*(request(BIG, number, b"%d" % number) for number in range(30)))
    served_at_first = len(it.toys.served_bodies)
    assert 10 <= served_at_first <= 12  # 1 MiB of answers, one may overshoot
    assert it.output.reading[-1:] == [False]
    it.turns.run()
    assert [answer.opaque for answer in it.output.answers] == list(range(30))
    assert it.output.reading[-1:] == [True]
    assert it.output.write_count == 3


def test_put_off_commands_wait_until_the_peer_reads(it: DoorInHand) -> None:
    it.output.is_congested = True
    it.receive(*(request(BIG, number) for number in range(30)))
    it.turns.run()
    held = len(it.output.answers)
    assert held < 30
    assert it.output.reading[-1:] == [False]
    it.output.is_congested = False
    it.connection.drained()
    it.turns.run()
    assert [answer.opaque for answer in it.output.answers] == list(range(30))
    assert it.output.reading[-1:] == [True]


def test_a_broken_frame_behind_put_off_commands_ends_the_connection_after_them(
    it: DoorInHand,
) -> None:
    data = b"".join(encode(request(BIG, number)) for number in range(30)) + b"\x7f\xff\xff\xff"
    it.connection.receive(memoryview(data))
    it.turns.run()
    assert [answer.opaque for answer in it.output.answers] == list(range(30))
    assert it.output.close_reason is not None


def test_too_many_requests_under_way_are_refused_as_busy(
    it: DoorInHand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(served, "IN_FLIGHT_MAX", 3)
    answers = it.ask(*(request(WAIT, number) for number in range(5)))
    assert [(answer.opaque, answer.code) for answer in answers] == [(3, 2), (4, 2)]
    assert answers[0].remark == "[OVERLOAD]system busy, start flow control for a while"
    it.toys.latches[0].set(None)
    it.turns.run()
    it.ask(request(WAIT, 9))
    assert it.output.answers == []


def test_the_part_behind_hears_of_a_lost_connection_and_late_answers_are_dropped(
    it: DoorInHand,
) -> None:
    it.receive(request(WAIT), request(ECHO))
    it.connection.closed("closed by the peer")
    assert it.lost == [it.connection.connection_id]
    assert it.door.connection_count == 0
    it.toys.latches[0].set(None)
    it.turns.run()
    assert it.output.write_count == 0


def test_a_client_is_told_something_by_a_one_way_request(it: DoorInHand) -> None:
    code = RequestCode.NOTIFY_CONSUMER_IDS_CHANGED
    it.door.notify(it.connection.connection_id, code, {"consumerGroup": "CG2"}, b"body")
    it.turns.run()
    (notice,) = it.output.answers
    assert notice.code == 40
    assert notice.is_oneway
    assert not notice.is_response
    assert notice.ext == {"consumerGroup": "CG2"}
    assert notice.body == b"body"
    it.door.notify(999_999, code, {})  # gone: nothing happens
    it.turns.run()
    assert len(it.output.answers) == 1


def test_an_answer_to_no_question_is_dropped(it: DoorInHand) -> None:
    assert it.ask(request(ECHO, flag=1), request(ECHO, 2)) != []
    assert [answer.opaque for answer in it.output.answers] == [2]


def test_a_client_answers_a_request_of_ours(it: DoorInHand) -> None:
    latch = it.door.ask(
        it.connection.connection_id,
        RequestCode.GET_CONSUMER_RUNNING_INFO,
        {"clientId": "c"},
        timeout_ms=1_000,
    )
    it.turns.run()
    (question,) = it.output.answers
    assert (question.code, question.is_oneway, question.ext) == (307, False, {"clientId": "c"})
    it.receive(Command.response_to(question, body=b"running"))
    assert latch.result().body == b"running"
    it.turns.advance(10)  # its timer is no more
    it.receive(Command.response_to(question, body=b"twice"))
    assert latch.result().body == b"running"


def test_a_client_that_does_not_answer_fails_the_latch(it: DoorInHand) -> None:
    latch = it.door.ask(
        it.connection.connection_id, RequestCode.GET_CONSUMER_RUNNING_INFO, {}, timeout_ms=1_000
    )
    it.turns.advance(0.9)
    assert [latch.is_set] == [False]
    it.turns.advance(0.2)
    with pytest.raises(AnswerTimedOut, match="did not answer within 1000 ms"):
        latch.result()


def test_a_client_that_leaves_fails_the_latch_at_once(it: DoorInHand) -> None:
    connection_id = it.connection.connection_id
    latch = it.door.ask(connection_id, RequestCode.GET_CONSUMER_RUNNING_INFO, {}, timeout_ms=1_000)
    it.connection.closed("closed by the peer")
    with pytest.raises(RequestFailed, match="left"):
        latch.result()
    with pytest.raises(ConsumerNotOnline):
        it.door.ask(connection_id, RequestCode.GET_CONSUMER_RUNNING_INFO, {}, timeout_ms=1_000)


def test_a_silent_client_does_not_take_the_questions_of_the_others(it: DoorInHand) -> None:
    who, code = it.connection.connection_id, RequestCode.GET_CONSUMER_RUNNING_INFO
    for _ in range(CONNECTION_QUESTIONS_MAX):
        it.door.ask(who, code, {}, timeout_ms=1_000)
    with pytest.raises(SystemBusy, match="to that client"):
        it.door.ask(who, code, {}, timeout_ms=1_000)
    other = it.door.connect(MemoryOutput(("127.0.0.1", 40_961)))
    it.door.ask(other.connection_id, code, {}, timeout_ms=1_000)
    it.turns.advance(2)
    it.door.ask(who, code, {}, timeout_ms=1_000)


def test_questions_to_clients_are_bounded(it: DoorInHand, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(questions, "QUESTIONS_MAX", 2)
    code = RequestCode.GET_CONSUMER_RUNNING_INFO
    clients = [it.door.connect(MemoryOutput(("127.0.0.1", 41_000 + n))) for n in range(3)]
    for client in clients[:2]:
        it.door.ask(client.connection_id, code, {}, timeout_ms=1_000)
    with pytest.raises(SystemBusy, match="2 requests to clients"):
        it.door.ask(clients[2].connection_id, code, {}, timeout_ms=1_000)
    clients[0].closed("closed by the peer")
    it.door.ask(clients[2].connection_id, code, {}, timeout_ms=1_000)


def test_a_question_that_no_header_can_carry_is_refused_and_not_open(
    it: DoorInHand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(questions, "QUESTIONS_MAX", 1)
    who, code = it.connection.connection_id, RequestCode.GET_CONSUMER_RUNNING_INFO
    with pytest.raises(RequestFailed, match="cannot be asked"):
        it.door.ask(who, code, {"a": "x" * 0x100_0000}, timeout_ms=1_000)
    it.door.ask(who, code, {}, timeout_ms=1_000)


def test_an_answer_that_no_header_can_carry_is_an_error_not_a_fault(it: DoorInHand) -> None:
    (answer,) = it.ask(request(HUGE, 5))
    assert (answer.opaque, answer.code) == (5, 1)
    assert answer.remark is not None
    assert answer.remark.startswith("the answer cannot be sent")


def test_an_answer_that_cannot_be_encoded_is_a_fault_of_its_request_alone(
    it: DoorInHand, caplog: pytest.LogCaptureFixture
) -> None:
    answers = it.ask(request(NONSENSE, 5), request(ECHO, 6))
    assert [(answer.opaque, answer.code) for answer in answers] == [(5, 1), (6, 0)]
    it.ask(request(WAIT_AND_TALK_NONSENSE, 7))
    it.toys.latches[0].set(None)  # who sets it does not notice
    it.turns.run()
    assert [(answer.opaque, answer.code) for answer in it.output.answers] == [(7, 1)]
    assert any(record.exc_info for record in caplog.records)


@pytest.mark.parametrize("is_close_broken", [False, True])
def test_a_connection_that_cannot_be_written_to_is_closed_and_the_others_are_answered(
    it: DoorInHand, caplog: pytest.LogCaptureFixture, is_close_broken: bool
) -> None:
    broken = BrokenOutput(is_close_broken)
    first = it.door.connect(broken)
    first.receive(memoryview(encode(request(ECHO, 1))))
    it.receive(request(ECHO, 2))
    it.turns.run()
    assert [answer.opaque for answer in it.output.answers] == [2]
    assert broken.close_reason == "its answers could not be sent"
    told = [record for record in caplog.records if record.exc_info]
    assert len(told) == 1 + is_close_broken


def test_connections_have_numbers_of_their_own_across_doors() -> None:
    first, second = DoorInHand(), DoorInHand()
    assert first.connection.connection_id != second.connection.connection_id


def test_a_turn_flushes_connections_in_the_order_they_were_served(
    it: DoorInHand, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[int] = []

    def noting(number: int) -> Callable[[bytes], None]:
        return lambda _: order.append(number)

    connections = []
    for number in range(5):
        output = MemoryOutput()
        monkeypatch.setattr(output, "write", noting(number))
        connections.append(it.door.connect(output))
    for number in (3, 1, 4, 0, 2):
        connections[number].receive(memoryview(encode(request(ECHO))))
    it.turns.run()
    assert order == [3, 1, 4, 0, 2]
