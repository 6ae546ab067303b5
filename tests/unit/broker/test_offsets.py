"""Offsets: where a group begins, how it commits, and what queues look like."""

from __future__ import annotations

import pytest

from pyromq.api import ExpressPulled
from pyromq.broker.offsets import LOG_PERIOD_MS, OFFSET_PAIRS_MAX, UNUSUAL_COMMITS_SHOWN
from pyromq.domain.group import GroupConfig
from pyromq.errors import (
    GroupNotFound,
    InvalidParameter,
    QueryNotFound,
    RequestRefused,
    ServiceUnavailable,
    StoreFailed,
    SystemBusy,
    TopicNotFound,
)
from pyromq.store.engine import QueueRange
from pyromq.units import QueueOffset
from pyromq.wire import dialect
from tests.support.brokers import BrokerInHand, caller, send_request
from tests.support.clock import START_MS


@pytest.fixture
def hand() -> BrokerInHand:
    hand = BrokerInHand()
    hand.create_topic("TopicTest", 4)
    hand.run(hand.broker.put_group(GroupConfig(group_name="CG")))
    return hand


def commit(hand: BrokerInHand, offset: int, queue_id: int = 0, group: str = "CG") -> None:
    hand.run(hand.broker.commit_offset(caller(), group, "TopicTest", queue_id, QueueOffset(offset)))


def offset(
    hand: BrokerInHand, queue_id: int = 0, topic: str = "TopicTest", zero: bool | None = None
) -> int:
    return hand.broker.consumer_offset("CG", topic, queue_id, is_zero_if_not_found=zero)


# --- where a group begins -------------------------------------------------------------------------


def test_a_committed_offset_is_answered(hand: BrokerInHand) -> None:
    commit(hand, 7)
    assert offset(hand) == 7
    assert offset(hand, zero=False) == 7


def test_a_new_group_begins_at_zero_while_nothing_was_deleted(hand: BrokerInHand) -> None:
    for _ in range(50):
        hand.send()
    assert offset(hand) == 0
    assert offset(hand, zero=True) == 0
    assert offset(hand, queue_id=3) == 0, "an empty queue: its first message must not be missed"


def test_a_client_may_forbid_that(hand: BrokerInHand) -> None:
    with pytest.raises(QueryNotFound) as refused:
        offset(hand, zero=False)
    assert refused.value.remark == "Not found, do not set to zero, maybe this group boot first"


def test_a_queue_whose_head_was_deleted_lets_the_client_decide(
    hand: BrokerInHand, monkeypatch: pytest.MonkeyPatch
) -> None:
    shortened = QueueRange(QueueOffset(5), QueueOffset(9))
    monkeypatch.setattr(hand.engine, "queue_range", lambda *_queue: shortened)
    with pytest.raises(QueryNotFound) as refused:
        offset(hand)
    assert refused.value.remark == (
        "Not found, V3_0_6_SNAPSHOT maybe this group consumer boot first"
    )


@pytest.mark.parametrize(("topic", "queue_id"), [("Nope", 0), ("TopicTest", 4), ("TopicTest", -1)])
def test_there_is_no_begin_in_a_queue_that_does_not_exist(
    hand: BrokerInHand, topic: str, queue_id: int
) -> None:
    with pytest.raises(QueryNotFound):
        offset(hand, queue_id, topic)


# --- committing -----------------------------------------------------------------------------------


def test_a_lower_commit_is_obeyed_and_counted(hand: BrokerInHand) -> None:
    commit(hand, 10)
    commit(hand, 4)
    assert offset(hand) == 4
    assert hand.broker.counters.lower_commit_count == 1


def test_a_commit_beyond_the_end_is_obeyed(hand: BrokerInHand) -> None:
    commit(hand, 10**12)
    assert offset(hand) == 10**12


def test_commits_that_go_back_or_too_far_are_logged_with_who_made_them(
    hand: BrokerInHand, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(3):
        hand.send()
    commit(hand, 3)
    assert caplog.messages == []
    commit(hand, 1)
    hand.pull(commit_offset=QueueOffset(0), by=caller(2))
    hand.pull(commit_offset=QueueOffset(4), by=caller(2))
    assert caplog.messages == [
        "group CG goes back in topic TopicTest, queue 0, from 3 to 1: committed by 10.0.0.1:40001",
        "group CG goes back in topic TopicTest, queue 0, from 1 to 0: committed by 10.0.0.1:40002",
        "group CG is at 4 in topic TopicTest, queue 0, which ends at 3: "
        "committed by 10.0.0.1:40002",
    ]
    assert hand.broker.runtime_info()["lowerOffsetCommitTimes"] == "2"


def test_the_log_of_unusual_commits_cannot_be_flooded(
    hand: BrokerInHand, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(50):
        commit(hand, 1_000 - number)
    assert len(caplog.messages) == UNUSUAL_COMMITS_SHOWN
    hand.advance(LOG_PERIOD_MS)
    assert caplog.messages[UNUSUAL_COMMITS_SHOWN:] == ["89 more unusual commits not shown"]
    assert hand.broker.runtime_info()["lowerOffsetCommitTimes"] == "49"


def test_a_store_that_cannot_be_read_does_not_hinder_commits(
    hand: BrokerInHand, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_what: object) -> QueueRange:
        raise StoreFailed("bad block")

    monkeypatch.setattr(hand.engine, "queue_range", broken)
    commit(hand, 3)
    assert hand.metadata.tables.offset("CG", "TopicTest", 0) == 3


def test_a_commit_is_answered_when_the_journal_has_it() -> None:
    hand = BrokerInHand(sync_flush=True)
    hand.create_topic("TopicTest")
    hand.run(hand.broker.put_group(GroupConfig(group_name="CG")))
    asked = hand.ask(hand.broker.commit_offset(caller(), "CG", "TopicTest", 0, QueueOffset(1)))
    hand.end_turn()
    assert asked.is_waiting
    hand.flush()
    assert not asked.is_waiting


@pytest.mark.parametrize(
    ("group", "topic", "queue_id", "value", "kind", "remark"),
    [
        ("Nobody", "TopicTest", 0, 1, GroupNotFound, "Group Nobody not exist!"),
        ("Nobody", "Nope", 0, 1, GroupNotFound, "Group Nobody not exist!"),
        ("CG", "Nope", 0, 1, TopicNotFound, "Topic Nope not exist!"),
        ("CG", "TopicTest", -1, 1, InvalidParameter, "queueId[-1] is illegal"),
        ("CG", "TopicTest", 1024, 1, InvalidParameter, "queueId[1024] is illegal"),
        ("CG", "TopicTest", 0, -1, InvalidParameter, "commitOffset[-1] is illegal"),
    ],
)
def test_commits_that_cannot_be_are_refused(
    hand: BrokerInHand,
    group: str,
    topic: str,
    queue_id: int,
    value: int,
    kind: type[RequestRefused],
    remark: str,
) -> None:
    with pytest.raises(kind) as refused:
        hand.run(hand.broker.commit_offset(caller(), group, topic, queue_id, QueueOffset(value)))
    assert refused.value.remark.startswith(remark)


def test_pairs_of_topic_and_group_are_bounded(
    hand: BrokerInHand, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert OFFSET_PAIRS_MAX == 1_000_000
    monkeypatch.setattr("pyromq.broker.offsets.OFFSET_PAIRS_MAX", 1)
    commit(hand, 1)
    commit(hand, 2, queue_id=3)
    hand.run(hand.broker.put_group(GroupConfig(group_name="CG2")))
    with pytest.raises(SystemBusy):
        commit(hand, 1, group="CG2")
    hand.pull(consumer_group="CG2", commit_offset=1)
    assert list(hand.metadata.tables.offsets) == ["TopicTest@CG"]


def pulled(hand: BrokerInHand, group: str, *places: tuple[int, int]) -> None:
    """Tells of pulls on the express lane: queue id, and where the next pull goes on."""
    noted = [(queue_id, QueueOffset(next_offset)) for queue_id, next_offset in places]
    count = len(noted)
    told = ExpressPulled("TopicTest", group, count, 3 * count, 600 * count, noted, [])
    hand.broker.express_pulled(caller(), told)


def test_pulls_on_the_lane_are_told_together_and_their_pairs_are_bounded(
    hand: BrokerInHand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pyromq.broker.offsets.OFFSET_PAIRS_MAX", 1)
    pulled(hand, "CG", (3, 5), (0, 2), (3, 4))
    pulled(hand, "CG2", (0, 7))
    pulled(hand, "CG", (1, 9))
    assert hand.metadata.tables.pull_offsets == {"TopicTest@CG": {3: 4, 0: 2, 1: 9}}
    counters = hand.broker.counters
    assert (counters.found_count, counters.transferred_count) == (5, 15)
    assert counters.transferred_size == 3_000


def test_a_journal_that_failed_refuses_commits_but_lets_pulls_go_on(
    hand: BrokerInHand, monkeypatch: pytest.MonkeyPatch
) -> None:
    hand.send()

    def broken(*_what: object) -> int:
        raise StoreFailed("disk full")

    monkeypatch.setattr(hand.metadata, "commit_offset", broken)
    with pytest.raises(ServiceUnavailable, match="disk full"):
        commit(hand, 1)
    assert hand.pull(commit_offset=1).message_count == 1


# --- queues ---------------------------------------------------------------------------------------


def test_queues_tell_where_they_begin_and_end(hand: BrokerInHand) -> None:
    hand.send()
    hand.send()
    assert hand.broker.max_offset("TopicTest", 0) == 2
    assert hand.broker.min_offset("TopicTest", 0) == 0
    assert hand.broker.max_offset("Nope", 0) == 0


def test_the_end_follows_the_commit() -> None:
    hand = BrokerInHand(sync_flush=True)
    hand.create_topic("TopicTest")
    hand.ask(hand.broker.send(caller(), send_request()))
    hand.end_turn()
    assert hand.broker.max_offset("TopicTest", 0) == 0
    hand.flush()
    assert hand.broker.max_offset("TopicTest", 0) == 1


def test_offsets_are_found_by_time(hand: BrokerInHand) -> None:
    for _ in range(3):
        hand.send()
        hand.advance(1_000)

    def at(when_ms: int, *, is_upper: bool) -> int:
        return hand.broker.offset_by_time("TopicTest", 0, when_ms, is_upper=is_upper)

    assert at(START_MS + 500, is_upper=False) == 1
    assert at(START_MS + 500, is_upper=True) == 0
    assert at(START_MS + 9_000, is_upper=False) == 3
    assert at(START_MS + 9_000, is_upper=True) == 2


def test_the_earliest_store_time_is_that_of_the_first_message(hand: BrokerInHand) -> None:
    hand.advance(1_234)
    hand.send()
    hand.advance(1_000)
    hand.send()
    assert hand.broker.earliest_store_time("TopicTest", 0) == START_MS + 1_234
    assert hand.broker.earliest_store_time("TopicTest", 1) == -1


# --- all of them ----------------------------------------------------------------------------------


def test_all_offsets_are_told_in_the_form_of_consumer_offset_json(hand: BrokerInHand) -> None:
    hand.send()
    commit(hand, 1)
    commit(hand, 9, queue_id=3)
    hand.pull(consumer_group="Other")
    text = hand.broker.all_consumer_offsets()
    assert b'"offsetTable":{"TopicTest@CG":{0:1,3:9}}' in text
    assert b'"pullOffsetTable":{"TopicTest@Other":{0:1}}' in text
    assert b'"groupTopicMap":{"CG":["TopicTest"]}' in text
    tree = dialect.read(text)
    assert isinstance(tree, dict)
    assert list(tree) == ["dataVersion", "groupTopicMap", "offsetTable", "pullOffsetTable"]


def test_a_broker_without_offsets_tells_empty_tables() -> None:
    text = BrokerInHand().broker.all_consumer_offsets()
    assert b'"groupTopicMap":{},"offsetTable":{},"pullOffsetTable":{}' in text
