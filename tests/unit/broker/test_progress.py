"""Progress: extents of queues, lag of groups, times and rates."""

from __future__ import annotations

import pytest

from pyromq.api import GroupProgress
from pyromq.domain.group import GroupConfig
from pyromq.domain.offsets import NEVER
from pyromq.errors import RequestFailed, ServiceUnavailable, StoreFailed, TopicNotFound
from pyromq.store.engine import QueueRange
from pyromq.units import QueueOffset
from tests.support.brokers import BrokerInHand, caller, heartbeat
from tests.support.clock import START_MS


@pytest.fixture
def hand() -> BrokerInHand:
    hand = BrokerInHand()
    hand.create_topic("TopicTest", 4)
    hand.run(hand.broker.put_group(GroupConfig(group_name="CG")))
    return hand


def commit(
    hand: BrokerInHand,
    offset: int,
    queue_id: int = 0,
    group: str = "CG",
    topic: str = "TopicTest",
) -> None:
    hand.run(hand.broker.commit_offset(caller(), group, topic, queue_id, QueueOffset(offset)))


def rows(progress: GroupProgress) -> list[tuple[str, int, int, int, int]]:
    """(topic, queue, end, consumed, pulled) of each queue."""
    return [
        (one.topic, one.queue_id, one.broker_offset, one.consumer_offset, one.pull_offset)
        for one in progress.queues
    ]


# --- queues ---------------------------------------------------------------------------------------


def test_topic_stats_list_empty_queues_too(hand: BrokerInHand) -> None:
    hand.send(queue_id=2)
    hand.send(queue_id=2)
    queues = hand.broker.topic_stats("TopicTest").queues
    assert [(queue.queue_id, queue.min_offset, queue.max_offset) for queue in queues] == [
        (0, 0, 0),
        (1, 0, 0),
        (2, 0, 2),
        (3, 0, 0),
    ]
    assert [queue.last_update_timestamp_ms for queue in queues] == [0, 0, START_MS, 0]


def test_topic_stats_tell_how_fast_messages_come(hand: BrokerInHand) -> None:
    assert hand.broker.topic_stats("TopicTest").put_rate == 0.0
    for _ in range(30):
        hand.send()
    hand.clock.advance(15_000)
    assert hand.broker.topic_stats("TopicTest").put_rate == 2.0
    for _ in range(80):
        hand.advance(1_000)
    assert hand.broker.topic_stats("TopicTest").put_rate == 0.0


def test_stats_of_an_unknown_topic_are_refused(hand: BrokerInHand) -> None:
    with pytest.raises(TopicNotFound) as refused:
        hand.broker.topic_stats("Nope")
    assert refused.value.remark == "topic[Nope] not exist"


# --- groups ---------------------------------------------------------------------------------------


def test_progress_tells_how_far_a_group_is_in_each_queue(hand: BrokerInHand) -> None:
    for _ in range(3):
        hand.send()
    hand.pull(message_count_max=2)
    commit(hand, 1)
    progress = hand.broker.consume_stats("CG", topic="TopicTest")
    assert rows(progress) == [
        ("TopicTest", 0, 3, 1, 2),
        ("TopicTest", 1, 0, 0, 0),
        ("TopicTest", 2, 0, 0, 0),
        ("TopicTest", 3, 0, 0, 0),
    ]
    [first, *others] = progress.queues
    assert first.last_timestamp_ms == START_MS
    assert {one.last_timestamp_ms for one in others} == {0}


def test_the_time_is_that_of_the_last_message_consumed(hand: BrokerInHand) -> None:
    for _ in range(3):
        hand.send()
        hand.advance(1_000)
    commit(hand, 2)
    [first, *_] = hand.broker.consume_stats("CG", topic="TopicTest").queues
    assert first.last_timestamp_ms == START_MS + 1_000


def test_without_a_topic_all_with_offsets_are_told(hand: BrokerInHand) -> None:
    hand.create_topic("Other", 1)
    assert rows(hand.broker.consume_stats("CG")) == []
    commit(hand, 0, topic="Other")
    commit(hand, 0)
    assert {row[0] for row in rows(hand.broker.consume_stats("CG"))} == {"TopicTest", "Other"}
    assert rows(hand.broker.consume_stats("CG", topic="Nope")) == []


def test_a_connected_group_tells_only_what_it_subscribes_to(hand: BrokerInHand) -> None:
    hand.create_topic("Other", 1)
    commit(hand, 0, topic="Other")
    commit(hand, 0)
    hand.run(hand.broker.heartbeat(caller(), heartbeat("c", topics={"Other": "*"})))
    assert {row[0] for row in rows(hand.broker.consume_stats("CG"))} == {"Other"}
    assert rows(hand.broker.consume_stats("CG", topic="TopicTest")) == []


def test_listed_topics_are_told_subscribed_or_not_and_each_once(hand: BrokerInHand) -> None:
    hand.create_topic("Other", 1)
    hand.run(hand.broker.heartbeat(caller(), heartbeat("c", topics={"Other": "*"})))
    listed = ["TopicTest", "Other", "Nope", "Other"]
    progress = rows(hand.broker.consume_stats("CG", topic="Other", topics=listed))
    assert [row[0] for row in progress] == ["TopicTest"] * 4 + ["Other"]


def test_messages_to_be_consumed_again_count_before_the_first_commit(hand: BrokerInHand) -> None:
    hand.run(hand.broker.heartbeat(caller(), heartbeat("c")))
    commit(hand, 0)
    hand.broker.connection_lost(1)
    assert {row[0] for row in rows(hand.broker.consume_stats("CG"))} == {"TopicTest"}
    hand.send("%RETRY%CG")
    assert ("%RETRY%CG", 0, 1, 0, 0) in rows(hand.broker.consume_stats("CG"))


def test_an_offset_behind_a_lost_message_has_no_time(hand: BrokerInHand) -> None:
    commit(hand, 99)
    [first, *_] = hand.broker.consume_stats("CG", topic="TopicTest").queues
    assert first.last_timestamp_ms == 0


def test_progress_tells_how_fast_a_group_consumes(hand: BrokerInHand) -> None:
    for _ in range(20):
        hand.send()
    hand.pull(message_count_max=5)
    hand.pull(message_count_max=15, queue_offset=QueueOffset(5))
    hand.pull(consumer_group="Other")
    hand.clock.advance(10_000)
    assert hand.broker.consume_stats("CG", topic="TopicTest").consume_rate == 2.0
    hand.create_topic("T2", 1)
    hand.send("T2")
    hand.pull("T2")
    both = hand.broker.consume_stats("CG", topics=["TopicTest", "T2"])
    assert both.consume_rate == pytest.approx(2.1)


def test_what_does_not_fit_one_answer_is_refused(
    hand: BrokerInHand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pyromq.broker.progress.QUEUES_SHOWN_MAX", 3)
    with pytest.raises(RequestFailed, match="more than 3 queues do not fit one answer"):
        hand.broker.consume_stats("CG", topic="TopicTest")
    commit(hand, 0)
    with pytest.raises(RequestFailed, match="more than 3 queues do not fit"):
        hand.broker.all_consume_stats(is_order_only=False)


def test_a_store_that_cannot_be_read_is_unavailable(
    hand: BrokerInHand, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit(hand, 1)

    def broken(*_what: object) -> QueueRange:
        raise StoreFailed("bad block")

    monkeypatch.setattr(hand.engine, "queue_range", broken)
    broker = hand.broker
    for ask in (
        lambda: broker.topic_stats("TopicTest"),
        lambda: broker.consume_stats("CG", topic="TopicTest"),
        lambda: broker.all_consume_stats(is_order_only=False),
        lambda: broker.consume_times("CG", "TopicTest"),
        lambda: broker.correction_offsets("TopicTest", "CG", ()),
        lambda: broker.queue_entries("TopicTest", 0, QueueOffset(0), 1, None),
    ):
        with pytest.raises(ServiceUnavailable, match="bad block"):
            ask()


# --- all groups -----------------------------------------------------------------------------------


def test_all_groups_are_told_also_those_without_offsets(hand: BrokerInHand) -> None:
    hand.create_topic("Ordered", 1, order=True)
    for _ in range(10):
        hand.send()
    hand.send("Ordered")
    hand.pull(message_count_max=6)
    commit(hand, 4)
    commit(hand, 0, topic="Ordered")
    everything = hand.broker.all_consume_stats(is_order_only=False)
    assert everything.groups["TOOLS_CONSUMER"] == []
    assert [one.queues[0].topic for one in everything.groups["CG"]] == ["TopicTest", "Ordered"]
    assert everything.total_lag == 6 + 1
    assert everything.total_in_flight == 2
    ordered = hand.broker.all_consume_stats(is_order_only=True)
    assert [one.queues[0].topic for one in ordered.groups["CG"]] == ["Ordered"]
    assert ordered.total_lag == 1


def test_of_all_groups_only_what_they_subscribe_to_counts(hand: BrokerInHand) -> None:
    hand.create_topic("Other", 1)
    commit(hand, 0)
    commit(hand, 0, topic="Other")
    hand.run(hand.broker.heartbeat(caller(), heartbeat("c", topics={"Other": "*"})))
    everything = hand.broker.all_consume_stats(is_order_only=False)
    assert [one.queues[0].topic for one in everything.groups["CG"]] == ["Other"]


# --- times ----------------------------------------------------------------------------------------


def test_consume_times_are_store_times_around_the_group(hand: BrokerInHand) -> None:
    for _ in range(4):
        hand.send()
        hand.advance(1_000)
    commit(hand, 2)
    [first, second, *_] = hand.broker.consume_times("CG", "TopicTest")
    assert first.first_ms == START_MS
    assert first.last_ms == START_MS + 3_000
    assert first.consumed_ms == START_MS + 1_000
    assert first.delay_ms == 2_000
    assert (second.first_ms, second.last_ms, second.consumed_ms) == (-1, -1, -1)
    assert second.delay_ms == 0


def test_a_group_that_consumed_nothing_waits_since_the_first_message(hand: BrokerInHand) -> None:
    hand.send()
    hand.advance(5_000)
    [first, *_] = hand.broker.consume_times("Nobody", "TopicTest")
    assert (first.consumed_ms, first.delay_ms) == (START_MS, 5_000)


def test_a_group_at_the_end_has_nothing_to_wait_for(hand: BrokerInHand) -> None:
    hand.send()
    hand.advance(5_000)
    commit(hand, 1)
    assert hand.broker.consume_times("CG", "TopicTest")[0].delay_ms == 0
    commit(hand, 99)
    assert hand.broker.consume_times("CG", "TopicTest")[0].delay_ms == 0


def test_times_of_an_unknown_topic_are_refused(hand: BrokerInHand) -> None:
    with pytest.raises(TopicNotFound, match=r"topic\[Nope\] not exist"):
        hand.broker.consume_times("CG", "Nope")


# --- corrections ----------------------------------------------------------------------------------


def test_corrections_compare_the_groups_of_a_topic_and_change_nothing(hand: BrokerInHand) -> None:
    for group, offset in (("CG", 5), ("A", 7), ("B", 3)):
        hand.run(hand.broker.put_group(GroupConfig(group_name=group)))
        commit(hand, offset, group=group)
    broker = hand.broker
    assert broker.correction_offsets("TopicTest", "CG", ()) == {0: 3}
    assert broker.correction_offsets("TopicTest", "CG", ("B",)) == {0: 5}
    assert broker.correction_offsets("TopicTest", "B", ("B", "CG")) == {0: NEVER}
    assert broker.correction_offsets("Nope", "CG", ()) == {}
    assert broker.correction_offsets("TopicTest", "Nobody", ()) == {0: 3}
    assert hand.metadata.tables.offset("B", "TopicTest", 0) == 3


# --- what was counted -----------------------------------------------------------------------------


def test_stats_are_kept_by_the_names_that_tools_ask_for(hand: BrokerInHand) -> None:
    for _ in range(12):
        hand.send()
    hand.pull(message_count_max=8)
    hand.advance(1_000)
    put = hand.broker.stats_of("TOPIC_PUT_NUMS", "TopicTest")
    assert (put.minute.sum, put.minute.average) == (12, 1.0)
    assert put.minute.per_second == 1.2
    assert put.hour.sum == put.day.sum == 12
    assert hand.broker.stats_of("GROUP_GET_NUMS", "TopicTest@CG").minute.sum == 8
    assert hand.broker.stats_of("GROUP_GET_NUMS", "TopicTest@CG").minute.average == 8.0
    assert hand.broker.stats_of("GROUP_GET_SIZE", "TopicTest@CG").minute.sum > 8 * 91
    assert hand.broker.stats_of("TOPIC_PUT_SIZE", "TopicTest").minute.sum > 12 * 91
    assert hand.broker.stats_of("BROKER_PUT_NUMS", "DefaultCluster").minute.sum == 12
    assert hand.broker.stats_of("BROKER_GET_NUMS", "DefaultCluster").minute.sum == 8
    for _ in range(80):
        hand.advance(1_000)
    later = hand.broker.stats_of("TOPIC_PUT_NUMS", "TopicTest")
    assert (later.minute.sum, later.hour.sum, later.day.sum) == (0, 12, 12)


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("TOPIC_PUT_NUMS", "Nope"),
        ("GROUP_GET_NUMS", "TopicTest@Nobody"),
        ("BROKER_PUT_NUMS", "OtherCluster"),
        ("NO_SUCH_NAME", "TopicTest"),
        ("", ""),
    ],
)
def test_what_was_never_counted_is_refused(hand: BrokerInHand, name: str, key: str) -> None:
    hand.send()
    with pytest.raises(RequestFailed) as refused:
        hand.broker.stats_of(name, key)
    assert refused.value.remark == f"The stats <{name}> <{key}> not exist"
