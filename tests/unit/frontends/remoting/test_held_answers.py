"""Answers to sends are made when a message is in the log, and held until its promise is kept."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pyromq.codes import ResponseCode
from pyromq.errors import RequestRefused
from pyromq.frontends.remoting import served
from pyromq.frontends.remoting.messages import lost_send
from pyromq.wire.remoting import frame
from pyromq.wire.remoting.frame import FLAG_ONEWAY, Command, SerializeType
from tests.support.lane_house import LaneHouse, split_answers
from tests.unit.wire.samples import SEND_EXT

MARKS = {"MSG_REGION": "DefaultRegion", "TRACE_ON": "true"}


@pytest.fixture
def house(tmp_path: Path) -> Iterator[LaneHouse]:
    it = LaneHouse(tmp_path, has_lane=False, clients=2)
    it.create_topic("TopicTest")
    yield it
    it.close()


def send(
    opaque: int, *, flag: int = 0, form: SerializeType = SerializeType.JSON, **ext: str
) -> bytes:
    return frame.encode(
        Command(310, opaque, flag, ext={**SEND_EXT, **ext}, body=b"b", serialize_type=form)
    )


def told(house: LaneHouse, client: int = 0) -> list[Command]:
    return split_answers(house.outputs[client].take())


def test_no_answer_leaves_before_the_turn_is_written(house: LaneHouse) -> None:
    house.receive(0, send(1) + send(2))
    house.connections[0].flush()
    assert told(house) == []
    house.end_turn()
    assert [(one.opaque, one.code) for one in told(house)] == [(1, 0), (2, 0)]


def test_with_sync_flush_the_answer_waits_for_the_sync(house: LaneHouse) -> None:
    house.engine.held_commit = house.engine.positions().commit
    house.receive(0, send(1))
    house.end_turn()
    assert told(house) == []
    house.engine.held_commit = None
    house.turn.end()
    assert [one.code for one in told(house)] == [0]


@pytest.mark.parametrize("form", SerializeType)
def test_a_sync_that_is_late_is_told_with_the_place_of_the_message(
    house: LaneHouse, form: SerializeType
) -> None:
    house.engine.held_commit = house.engine.positions().commit
    house.receive(0, send(7, form=form))
    house.end_turn()
    house.advance(6_000)
    (late,) = told(house)
    assert (late.code, late.opaque, late.remark) == (ResponseCode.FLUSH_DISK_TIMEOUT, 7, None)
    assert late.serialize_type is form
    assert late.ext["queueOffset"] == "0"
    assert late.ext["transactionId"] == "FD000000000000000000000000000002573E30946E0967319E800000"
    assert house.broker.counters.put_count == 1


def test_a_failed_sync_is_told_with_no_place(house: LaneHouse) -> None:
    house.engine.held_commit = house.engine.positions().commit
    house.engine.told_failure = "the disk is gone"
    house.receive(0, send(7) + send(8, flag=FLAG_ONEWAY))
    house.end_turn()
    (failed,) = told(house)
    assert (failed.code, failed.opaque) == (ResponseCode.SERVICE_NOT_AVAILABLE, 7)
    assert failed.remark == "the store failed: the disk is gone"
    assert failed.ext == MARKS


def test_a_one_way_send_is_counted_and_not_answered(house: LaneHouse) -> None:
    house.receive(0, send(1, flag=FLAG_ONEWAY) + send(2))
    house.end_turn()
    assert [one.opaque for one in told(house)] == [2]
    assert house.broker.counters.put_count == 2


def test_answers_tell_of_the_broker_as_it_was_when_they_were_stored(house: LaneHouse) -> None:
    house.receive(0, send(1))
    house.configure(region_id="Elsewhere", trace_on=False)
    house.receive(0, send(2))
    house.end_turn()
    first, second = told(house)
    assert {name: first.ext[name] for name in MARKS} == MARKS
    assert second.ext["MSG_REGION"] == "Elsewhere"
    assert second.ext["TRACE_ON"] == "false"


def test_a_client_that_left_is_not_answered_and_its_message_counts(house: LaneHouse) -> None:
    house.receive(0, send(1))
    house.receive(1, send(1))
    house.connections.pop(0).closed("gone")
    house.end_turn()
    assert told(house) == []
    assert [one.code for one in told(house, 1)] == [0]
    assert house.broker.counters.put_count == 2


def test_held_answers_count_as_requests_under_way_until_they_leave(
    house: LaneHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(served, "IN_FLIGHT_MAX", 2)
    house.receive(0, send(1) + send(2) + send(3))
    house.end_turn()
    assert [one.code for one in told(house)] == [0, 0, ResponseCode.SYSTEM_BUSY]
    house.receive(0, send(4) + send(5))
    house.end_turn()
    assert [one.code for one in told(house)] == [0, 0]


def test_refused_sends_do_not_stay_under_way(
    house: LaneHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(served, "IN_FLIGHT_MAX", 1)
    for opaque in range(3):
        house.receive(0, send(opaque, e="99"))
    house.end_turn()
    refused = told(house)
    assert [one.code for one in refused] == [ResponseCode.INVALID_PARAMETER] * 3
    assert refused[0].ext == MARKS


def test_half_a_surrogate_pair_in_a_key_is_told_as_a_question_mark(house: LaneHouse) -> None:
    odd = send(1).replace(b"\\u0001FD0000", b"\\u0001\\ud800")
    assert odd != send(1)
    house.receive(0, odd + send(2))
    house.end_turn()
    first, second = told(house)
    assert first.ext["transactionId"][0] == "?"
    assert second.code == 0


def test_the_message_that_creates_its_topic_waits_for_the_topic_too(house: LaneHouse) -> None:
    house.receive(0, send(1, b="New") + send(2, b="New") + send(3))
    house.end_turn()
    assert [(one.opaque, one.code) for one in told(house)] == [(1, 0), (2, 0), (3, 0)]


def largest_send(opaque: int) -> bytes:
    """With a header as long as it may be, and less in it than in that of the answer: a character of
    the key takes six bytes in both."""

    def of_size(size: int) -> bytes:
        key = f"UNIQ_KEY\x01{chr(3) * size}\x02"
        ext = {
            "a": "P",
            "b": "TopicTest",
            "c": "T",
            "d": "4",
            "e": "0",
            "f": "0",
            "g": "1",
            "h": "0",
        }
        return frame.encode(Command(310, opaque, ext={**ext, "i": key}, body=b"b"))

    room = frame.SERVER_LIMITS.header_size_max - len(of_size(0))
    return of_size(room // 6)


def test_an_answer_longer_than_a_request_may_be_can_still_be_taken_back(house: LaneHouse) -> None:
    house.receive(0, largest_send(6))
    house.end_turn()
    kept = house.outputs[0].data()
    assert frame.split(kept).violation is not None, "longer than a request may be"
    assert [one.code for one in frame.split(kept, frame.CLIENT_LIMITS).commands] == [0]
    house.engine.held_commit = house.engine.positions().commit
    house.engine.told_failure = "the disk is gone"
    house.receive(0, largest_send(7))
    house.receive(1, send(8))
    house.end_turn()
    assert [(one.opaque, one.code) for one in told(house)] == [(7, 14)]
    assert [(one.opaque, one.code) for one in told(house, 1)] == [(8, 14)]


@pytest.mark.parametrize("form", SerializeType)
def test_a_region_without_a_name_keeps_no_refusal_back(
    house: LaneHouse, form: SerializeType
) -> None:
    house.configure(region_id="")
    house.engine.held_commit = house.engine.positions().commit
    house.engine.told_failure = "the disk is gone"
    house.receive(0, send(7, form=form))
    house.receive(1, send(8))
    house.end_turn()
    assert [(one.opaque, one.code) for one in told(house)] == [(7, 14)]
    assert [(one.opaque, one.code) for one in told(house, 1)] == [(8, 14)]


def test_a_client_whose_refusal_cannot_be_made_keeps_it_from_nobody_else(
    house: LaneHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(answer: bytes, error: RequestRefused) -> Command:
        if frame.split(answer).commands[0].opaque == 7:
            raise ZeroDivisionError("a fault of ours")
        return lost_send(answer, error)

    monkeypatch.setattr(served, "lost_send", fail)
    house.engine.held_commit = house.engine.positions().commit
    house.engine.told_failure = "the disk is gone"
    house.receive(0, send(7))
    house.receive(1, send(8))
    house.end_turn()
    assert house.close_reasons()[0] == "its answers could not be sent"
    assert [(one.opaque, one.code) for one in told(house, 1)] == [(8, 14)]
