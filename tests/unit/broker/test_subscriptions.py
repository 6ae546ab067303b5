"""Subscriptions as they are asked for, and looks into queues."""

from __future__ import annotations

import pytest

from pyromq.domain.group import GroupConfig, Subscription
from pyromq.domain.subscription import parse_subscription
from pyromq.domain.topic import SCHEDULE_TOPIC
from pyromq.errors import RequestFailed, SubscriptionParseFailed
from pyromq.units import QueueOffset
from tests.support.brokers import BrokerInHand, caller, heartbeat, properties
from tests.support.records import records_of


@pytest.fixture
def hand() -> BrokerInHand:
    hand = BrokerInHand()
    hand.create_topic("TopicTest", 2)
    hand.run(hand.broker.put_group(GroupConfig(group_name="CG")))
    return hand


# --- subscriptions --------------------------------------------------------------------------------


def test_what_a_connected_group_wants_of_a_topic_is_told(hand: BrokerInHand) -> None:
    assert hand.broker.subscription("CG", "TopicTest") is None
    hand.run(hand.broker.heartbeat(caller(), heartbeat("c", topics={"TopicTest": "A || B"})))
    found = hand.broker.subscription("CG", "TopicTest")
    assert found is not None
    assert (found.sub_string, found.tags_set) == ("A || B", ["A", "B"])
    assert hand.broker.subscription("CG", "Nope") is None
    assert hand.broker.subscription("Nobody", "TopicTest") is None


def test_topics_of_a_group_are_those_it_has_an_offset_in(hand: BrokerInHand) -> None:
    assert list(hand.broker.topics_of_group("CG")) == []
    hand.run(hand.broker.commit_offset(caller(), "CG", "TopicTest", 1, QueueOffset(0)))
    assert list(hand.broker.topics_of_group("CG")) == ["TopicTest"]


def test_filters_by_tag_are_taken(hand: BrokerInHand) -> None:
    hand.broker.check_subscription(parse_subscription("TopicTest", "A || B"))
    hand.broker.check_subscription(Subscription(topic="TopicTest", expression_type=""))


def test_filters_by_properties_are_refused_in_apaches_words(hand: BrokerInHand) -> None:
    wanted = parse_subscription("TopicTest", "a > 5", "SQL92")
    with pytest.raises(RequestFailed) as refused:
        hand.broker.check_subscription(wanted)
    assert refused.value.remark == (
        "The broker does not support consumer to filter message by SQL92"
    )


def test_what_cannot_even_be_a_filter_is_refused_as_such(hand: BrokerInHand) -> None:
    with pytest.raises(SubscriptionParseFailed):
        hand.broker.check_subscription(
            Subscription(topic="TopicTest", sub_string="", expression_type="SQL92")
        )
    with pytest.raises(RequestFailed) as refused:
        hand.broker.check_subscription(
            Subscription(topic="TopicTest", sub_string="x", expression_type="y" * 9_999)
        )
    assert len(refused.value.remark) < 300


# --- queues ---------------------------------------------------------------------------------------


def entries(
    hand: BrokerInHand, index: int, count: int, topic: str = "TopicTest", queue_id: int = 0
) -> list[str] | None:
    """Bodies of the records in a part of a queue."""
    found = hand.broker.queue_entries(topic, queue_id, QueueOffset(index), count, None)
    if found.records is None:
        return None
    return [one.body.decode() for record in found.records for one in records_of(record)]


def test_a_part_of_a_queue_is_shown(hand: BrokerInHand) -> None:
    for number in range(5):
        hand.send(body=str(number).encode())
    assert entries(hand, 1, 3) == ["1", "2", "3"]
    assert entries(hand, 3, 99) == ["3", "4"]
    assert entries(hand, 0, 0) == []
    assert entries(hand, 0, -1) == []
    assert entries(hand, 5, 1) == []
    found = hand.broker.queue_entries("TopicTest", 0, QueueOffset(0), 1, None)
    assert (found.min_offset, found.max_offset, found.delay_ms) == (0, 5, None)


@pytest.mark.parametrize("index", [-1, 6, 2**63 - 1, -(2**63)])
def test_an_index_outside_the_queue_shows_nothing(hand: BrokerInHand, index: int) -> None:
    for _ in range(5):
        hand.send()
    assert entries(hand, index, 1) is None


@pytest.mark.parametrize(("topic", "queue_id"), [("Nope", 0), ("TopicTest", 2), ("TopicTest", -1)])
def test_a_queue_that_does_not_exist_is_refused(
    hand: BrokerInHand, topic: str, queue_id: int
) -> None:
    with pytest.raises(RequestFailed) as refused:
        entries(hand, 0, 1, topic, queue_id)
    assert refused.value.remark == f"{queue_id}@{topic} is not exist!"


def test_what_is_shown_is_bounded_in_number_and_size(
    hand: BrokerInHand, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(40):
        hand.send(body=bytes(1_000))
    monkeypatch.setattr("pyromq.broker.subscriptions.ENTRIES_MAX", 35)
    assert len(entries(hand, 0, 2**31 - 1) or ()) == 35
    monkeypatch.setattr("pyromq.broker.subscriptions._READ_SIZE", 2_500)
    monkeypatch.setattr("pyromq.broker.subscriptions.ENTRIES_SIZE_MAX", 10_000)
    assert len(entries(hand, 0, 35) or ()) in range(8, 12)


def test_the_subscription_of_a_named_group_is_shown_too(hand: BrokerInHand) -> None:
    hand.run(hand.broker.heartbeat(caller(), heartbeat("c")))
    for group, is_known in (("CG", True), ("Nobody", False)):
        found = hand.broker.queue_entries("TopicTest", 0, QueueOffset(0), 1, group)
        assert (found.subscription is not None) == is_known


def test_delayed_messages_tell_how_long_they_wait(hand: BrokerInHand) -> None:
    hand.send(properties=properties(UNIQ_KEY="ID", DELAY="3"))
    found = hand.broker.queue_entries(SCHEDULE_TOPIC, 2, QueueOffset(0), 1, None)
    assert found.records is not None
    assert len(found.records) == 1
    assert found.delay_ms == 10_000
