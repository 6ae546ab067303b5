"""Resets, clones and status of consumers: what must be durable, who is told, what is refused."""

from __future__ import annotations

import logging
from pathlib import Path

import msgspec
import pytest

from pyromq.api import Caller, ResetRequest
from pyromq.broker.offsets import OFFSET_PAIRS_MAX
from pyromq.domain.group import GroupConfig
from pyromq.domain.route import MessageQueue
from pyromq.errors import (
    AnswerTimedOut,
    ConsumerNotOnline,
    InvalidParameter,
    RequestFailed,
    ServiceUnavailable,
    StoreFailed,
    SystemBusy,
)
from pyromq.store.metadata import Metadata
from pyromq.units import QueueOffset
from tests.support.brokers import BrokerInHand, caller, heartbeat
from tests.support.clock import START_MS, ManualClock

MESSAGES = 5


def reset(**changed: object) -> ResetRequest:
    fields: dict[str, object] = {
        "group": "CG",
        "topic": "TopicTest",
        "timestamp_ms": 0,
        **changed,
    }
    return ResetRequest(**fields)  # type: ignore[arg-type]


def prepared(**settings: object) -> BrokerInHand:
    """Five messages a second apart in queue 0 of two, all consumed."""
    hand = BrokerInHand(**settings)  # type: ignore[arg-type]
    hand.create_topic("TopicTest", 2)
    hand.run(hand.broker.put_group(GroupConfig(group_name="CG")))
    for _ in range(MESSAGES):
        hand.send()
        hand.advance(1_000)
    for queue_id, offset in ((0, MESSAGES), (1, 0)):
        commit(hand, offset, queue_id)
    return hand


def commit(hand: BrokerInHand, offset: int, queue_id: int = 0) -> bool:
    return hand.run(
        hand.broker.commit_offset(caller(), "CG", "TopicTest", queue_id, QueueOffset(offset))
    )


def offset(hand: BrokerInHand, queue_id: int = 0, group: str = "CG") -> int:
    return hand.broker.consumer_offset(group, "TopicTest", queue_id, is_zero_if_not_found=None)


# --- where to -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (reset(timestamp_ms=START_MS + 2_000), {0: 2, 1: 0}),
        (reset(timestamp_ms=START_MS + 1_001), {0: 2, 1: 0}),
        (reset(timestamp_ms=2**63 - 1), {0: 5, 1: 0}),
        (reset(timestamp_ms=0), {0: 0, 1: 0}),
        (reset(timestamp_ms=-1), {0: 5, 1: 0}),
        (reset(timestamp_ms=-(2**63)), {0: 5, 1: 0}),
        (reset(timestamp_ms=0, queue_id=1), {1: 0}),
        (reset(timestamp_ms=0, queue_id=0, queue_offset=3), {0: 3}),
        (reset(timestamp_ms=0, queue_id=0, queue_offset=5), {0: 5}),
        (reset(timestamp_ms=-1, queue_id=0, queue_offset=-1), {0: 5}),
        (reset(timestamp_ms=-1, queue_id=-7, queue_offset=3), {0: 5, 1: 0}),
        (reset(timestamp_ms=START_MS + 9_999, is_forced=False), {0: 5, 1: 0}),
    ],
)
def test_a_reset_leads_to_a_time_an_offset_or_the_end(
    request_: ResetRequest, expected: dict[int, int]
) -> None:
    hand = prepared()
    assert hand.run(hand.broker.reset_offsets(caller(), request_)) == expected
    assert {queue_id: offset(hand, queue_id) for queue_id in expected} == expected


def test_a_reset_group_need_not_have_consumed_before() -> None:
    hand = prepared()
    hand.run(hand.broker.put_group(GroupConfig(group_name="New")))
    assert hand.run(hand.broker.reset_offsets(caller(), reset(group="New", timestamp_ms=-1))) == {
        0: 5,
        1: 0,
    }
    assert offset(hand, group="New") == 5


def test_a_reset_to_the_end_leaves_no_lag_at_once() -> None:
    hand = prepared()
    hand.send()
    hand.pull(queue_offset=QueueOffset(0))
    hand.run(hand.broker.reset_offsets(caller(), reset(timestamp_ms=START_MS + 3_000)))
    [first, _] = hand.broker.consume_stats("CG", topic="TopicTest").queues
    assert (first.consumer_offset, first.pull_offset, first.broker_offset) == (3, 3, 6)
    hand.run(hand.broker.reset_offsets(caller(), reset(timestamp_ms=-1)))
    [first, _] = hand.broker.consume_stats("CG", topic="TopicTest").queues
    assert (first.consumer_offset, first.pull_offset, first.broker_offset) == (6, 6, 6)


# --- what is promised -----------------------------------------------------------------------------


def test_a_reset_is_answered_when_it_is_durable() -> None:
    hand = prepared(sync_flush=True)
    asked = hand.ask(hand.broker.reset_offsets(caller(), reset()))
    hand.end_turn()
    assert asked.is_waiting
    hand.flush()
    assert asked.result == {0: 0, 1: 0}


def test_an_acknowledged_reset_outlives_a_kill(tmp_path: Path) -> None:
    metadata = Metadata.open_broker(tmp_path, sync_flush=False, clock=ManualClock())
    metadata.commit_offset("CG", "T", 0, 9)
    metadata.reset_offsets("CG", "T", {0: 4, 1: 2}, is_marked=True)
    metadata.write()
    again = Metadata.open_broker(tmp_path, sync_flush=False, clock=ManualClock())
    assert again.tables.offsets == again.tables.resets == {"T@CG": {0: 4, 1: 2}}
    again.adopt_resets("CG", "T", [0])
    again.write()
    last = Metadata.open_broker(tmp_path, sync_flush=False, clock=ManualClock())
    assert last.tables.resets == {"T@CG": {1: 2}}
    assert last.tables.offset("CG", "T", 0) == 4


def test_a_journal_that_failed_refuses_resets_and_still_serves_pulls(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hand = prepared()
    hand.run(hand.broker.reset_offsets(caller(), reset(queue_id=0)))

    def broken(*_what: object, **_how: object) -> int:
        raise StoreFailed("disk full")

    for name in ("reset_offsets", "adopt_resets", "clone_offsets"):
        monkeypatch.setattr(hand.metadata, name, broken)
    with pytest.raises(ServiceUnavailable, match="disk full"):
        hand.run(hand.broker.reset_offsets(caller(), reset()))
    with pytest.raises(ServiceUnavailable, match="disk full"):
        hand.run(hand.broker.clone_offsets("CG", "CG2", "TopicTest", is_offline=True))
    assert hand.pull(queue_offset=QueueOffset(5)).remark == "OFFSET_RESET"
    assert hand.pull(queue_offset=QueueOffset(0)).message_count == MESSAGES
    assert hand.pull(queue_offset=QueueOffset(0)).message_count == MESSAGES


def test_only_the_group_that_was_reset_is_told() -> None:
    hand = prepared()
    mine = hand.start_pull(queue_offset=QueueOffset(5))
    other = hand.start_pull(consumer_group="Other", queue_offset=QueueOffset(5))
    hand.run(hand.broker.reset_offsets(caller(), reset(queue_id=0)))
    assert mine.result.remark == "OFFSET_RESET"
    assert other.is_waiting


def test_a_reset_does_not_count_as_a_commit_that_went_back() -> None:
    hand = prepared()
    hand.run(hand.broker.reset_offsets(caller(), reset()))
    assert hand.broker.runtime_info()["lowerOffsetCommitTimes"] == "0"
    hand.pull(queue_offset=QueueOffset(5))
    assert commit(hand, 3)
    assert commit(hand, 2)
    assert hand.broker.runtime_info()["lowerOffsetCommitTimes"] == "1"


def test_who_reset_what_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    hand = prepared()
    hand.run(hand.broker.reset_offsets(caller(7), reset(queue_id=0)))
    assert caplog.messages == ["10.0.0.1:40007 reset group CG in topic TopicTest to {0: 0}"]


def test_there_must_be_room_for_the_offsets(monkeypatch: pytest.MonkeyPatch) -> None:
    hand = prepared()
    assert OFFSET_PAIRS_MAX == 1_000_000
    monkeypatch.setattr("pyromq.broker.offsets.OFFSET_PAIRS_MAX", 1)
    hand.run(hand.broker.put_group(GroupConfig(group_name="New")))
    with pytest.raises(SystemBusy):
        hand.run(hand.broker.reset_offsets(caller(), reset(group="New")))
    with pytest.raises(SystemBusy):
        hand.run(hand.broker.clone_offsets("CG", "New", "", is_offline=True))
    assert hand.run(hand.broker.reset_offsets(caller(), reset())) == {0: 0, 1: 0}
    assert list(hand.metadata.tables.offsets) == ["TopicTest@CG"]


# --- left to the clients --------------------------------------------------------------------------


def left_to_clients() -> BrokerInHand:
    hand = prepared(use_server_side_reset_offset=False)
    hand.run(hand.broker.heartbeat(caller(2), heartbeat("c2")))
    return hand


def test_clients_are_told_when_the_offsets_are_durable() -> None:
    hand = prepared(use_server_side_reset_offset=False, sync_flush=True)
    hand.ask(hand.broker.heartbeat(caller(2), heartbeat("c2")))
    hand.end_turn()
    hand.flush()
    asked = hand.ask(hand.broker.reset_offsets(caller(), reset()))
    hand.end_turn()
    assert asked.is_waiting
    assert hand.peers.resets == []
    hand.flush()
    assert asked.result == {0: 0, 1: 0}
    [(connection_id, told)] = hand.peers.resets
    assert connection_id == 2
    assert (told.group, told.topic, told.timestamp_ms) == ("CG", "TopicTest", 0)
    assert (told.broker_name, told.offsets) == ("broker-a", {0: 0, 1: 0})
    assert not told.is_for_cpp


def test_the_offsets_hold_also_if_all_clients_die_before_they_commit_them() -> None:
    hand = left_to_clients()
    hand.run(hand.broker.reset_offsets(caller(), reset()))
    hand.broker.connection_lost(2)
    assert offset(hand) == 0


def test_what_a_client_commits_until_it_has_paused_is_obeyed() -> None:
    hand = left_to_clients()
    hand.run(hand.broker.reset_offsets(caller(), reset()))
    assert commit(hand, 5)
    assert offset(hand) == 5
    assert hand.pull(queue_offset=QueueOffset(5)).remark == "OFFSET_OVERFLOW_ONE"


def test_a_requester_in_cpp_has_clients_told_in_their_form() -> None:
    hand = left_to_clients()
    asker = caller()
    cpp = Caller(asker.connection_id, asker.address, asker.host, "CPP", asker.version)
    hand.run(hand.broker.reset_offsets(cpp, reset()))
    [(_, told)] = hand.peers.resets
    assert told.is_for_cpp


def test_clients_that_are_too_old_are_not_told_and_nothing_changes() -> None:
    hand = left_to_clients()
    hand.run(hand.broker.heartbeat(caller(3, version=27), heartbeat("old")))
    with pytest.raises(RequestFailed) as refused:
        hand.run(hand.broker.reset_offsets(caller(), reset()))
    assert refused.value.remark == "the client does not support this feature. version=27"
    assert hand.peers.resets == []
    assert offset(hand) == MESSAGES


def test_without_clients_nothing_changes() -> None:
    hand = prepared(use_server_side_reset_offset=False)
    with pytest.raises(ConsumerNotOnline):
        hand.run(hand.broker.reset_offsets(caller(), reset()))
    assert offset(hand) == MESSAGES


def test_too_many_offsets_for_too_many_clients_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hand = left_to_clients()
    monkeypatch.setattr("pyromq.broker.resets.PUSHED_OFFSETS_MAX", 1)
    with pytest.raises(RequestFailed, match="1 clients cannot be told 2 offsets each"):
        hand.run(hand.broker.reset_offsets(caller(), reset()))


def test_a_reset_left_to_clients_ends_an_earlier_mark() -> None:
    hand = prepared()
    hand.run(hand.broker.reset_offsets(caller(), reset()))
    hand.configure(use_server_side_reset_offset=False)
    hand.run(hand.broker.heartbeat(caller(2), heartbeat("c2")))
    hand.run(hand.broker.reset_offsets(caller(), reset(timestamp_ms=-1)))
    assert hand.metadata.tables.resets == {}
    assert commit(hand, 3)


# --- clones ---------------------------------------------------------------------------------------


def test_a_clone_takes_exactly_the_offsets_of_its_source() -> None:
    hand = prepared()
    hand.run(hand.broker.put_group(GroupConfig(group_name="CG2")))
    hand.metadata.commit_offset("CG2", "TopicTest", 7, 70)
    hand.run(hand.broker.clone_offsets("CG", "CG2", "TopicTest", is_offline=False))
    assert hand.metadata.tables.offsets["TopicTest@CG2"] == {0: 5, 1: 0}
    commit(hand, 1)
    assert offset(hand, group="CG2") == 5


def test_a_clone_is_answered_when_it_is_durable() -> None:
    hand = prepared(sync_flush=True)
    asked = hand.ask(hand.broker.clone_offsets("CG", "CG2", "", is_offline=True))
    hand.end_turn()
    assert asked.is_waiting
    hand.flush()
    assert not asked.is_waiting


@pytest.mark.parametrize("name", ["", " ", "a@b", "x" * 121, "ü"])
def test_a_clone_needs_a_name_that_a_group_may_have(name: str) -> None:
    hand = prepared()
    with pytest.raises(InvalidParameter):
        hand.run(hand.broker.clone_offsets("CG", name, "", is_offline=True))


# --- status ---------------------------------------------------------------------------------------


def with_clients(count: int) -> BrokerInHand:
    hand = prepared()
    for number in range(2, 2 + count):
        hand.run(hand.broker.heartbeat(caller(number), heartbeat(f"c{number}")))
    return hand


QUEUE = MessageQueue(broker_name="broker-a", queue_id=0, topic="TopicTest")


def test_all_clients_are_asked_at_once_for_five_seconds() -> None:
    hand = with_clients(3)
    asked = hand.ask(hand.broker.consumer_status("CG", "TopicTest", ""))
    questions = hand.peers.status_asked
    assert [one.connection_id for one in questions] == [2, 3, 4]
    assert {(one.group, one.topic, one.timeout_ms) for one in questions} == {
        ("CG", "TopicTest", 5_000)
    }
    questions[2].latch.set({QUEUE: 9})
    questions[1].latch.fail(AnswerTimedOut("late"))
    assert asked.is_waiting
    questions[0].latch.set({})
    assert asked.result == {"c2": {}, "c4": {QUEUE: 9}}


def test_a_client_that_has_left_is_missing() -> None:
    hand = with_clients(2)
    hand.peers.unreachable.add(2)
    asked = hand.ask(hand.broker.consumer_status("CG", "TopicTest", " "))
    [question] = hand.peers.status_asked
    question.latch.set({QUEUE: 1})
    assert asked.result == {"c3": {QUEUE: 1}}


def test_a_named_client_is_asked_alone() -> None:
    hand = with_clients(3)
    asked = hand.ask(hand.broker.consumer_status("CG", "TopicTest", "c3"))
    [question] = hand.peers.status_asked
    assert question.connection_id == 3
    question.latch.set({QUEUE: 1})
    assert asked.result == {"c3": {QUEUE: 1}}


def test_an_old_client_cannot_be_asked() -> None:
    hand = with_clients(1)
    hand.run(hand.broker.heartbeat(caller(9, version=27), heartbeat("old")))
    with pytest.raises(RequestFailed, match="does not support this feature"):
        hand.run(hand.broker.consumer_status("CG", "TopicTest", ""))
    assert hand.peers.status_asked == []


def test_a_group_that_is_too_large_is_asked_client_by_client(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hand = with_clients(3)
    monkeypatch.setattr("pyromq.broker.consumer_status.ASKED_MAX", 2)
    with pytest.raises(RequestFailed, match="has 3 clients, at most 2 are asked together"):
        hand.run(hand.broker.consumer_status("CG", "TopicTest", ""))
    asked = hand.ask(hand.broker.consumer_status("CG", "TopicTest", "c2"))
    hand.peers.status_asked[0].latch.set({})
    assert asked.result == {"c2": {}}


def test_clients_that_tell_more_queues_than_an_answer_holds_are_asked_one_by_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hand = with_clients(3)
    monkeypatch.setattr("pyromq.broker.consumer_status.QUEUES_MAX", 3)
    many = {msgspec.structs.replace(QUEUE, queue_id=number): 7 for number in range(2)}
    asked = hand.ask(hand.broker.consumer_status("CG", "TopicTest", ""))
    for question in hand.peers.status_asked:
        question.latch.set(dict(many))
    with pytest.raises(RequestFailed, match="more than 3 queues; name one by clientAddr"):
        _ = asked.result
    asked = hand.ask(hand.broker.consumer_status("CG", "TopicTest", "c2"))
    hand.peers.status_asked[-1].latch.set(dict(many))
    assert asked.result == {"c2": many}
