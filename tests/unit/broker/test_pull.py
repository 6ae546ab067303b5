"""Pulling: what is given, how the status becomes a code, and in which order it is refused."""

from __future__ import annotations

from typing import Any

import pytest

from pyromq.api import ExpressParked, PullStatus
from pyromq.broker.pull import PARSED_FILTERS_MAX
from pyromq.codes import ResponseCode
from pyromq.domain.group import GroupConfig, Subscription
from pyromq.domain.subscription import tag_hash
from pyromq.domain.topic import TopicConfig
from pyromq.errors import (
    GroupNotFound,
    InvalidParameter,
    NoPermission,
    RequestFailed,
    RequestRefused,
    SubscriptionNotFound,
    SubscriptionNotLatest,
    SubscriptionParseFailed,
    TopicNotFound,
)
from pyromq.units import QueueOffset
from tests.support.brokers import BrokerInHand, caller, heartbeat, properties, pull_request

WHOLE: dict[str, Any] = {"message_count_max": 99, "body_size_max": 1 << 20, "tag_hashes": None}
FAQ = "\nSee https://rocketmq.apache.org/docs/bestPractice/06FAQ for further details."


@pytest.fixture
def hand() -> BrokerInHand:
    hand = BrokerInHand()
    hand.create_topic("TopicTest", 4)
    return hand


def fill(hand: BrokerInHand, *tags: str, queue_id: int = 0) -> None:
    for tag in tags:
        hand.send(body=tag.encode(), queue_id=queue_id, properties=properties(TAGS=tag))


def refused(hand: BrokerInHand, **what: Any) -> RequestRefused:
    with pytest.raises(RequestRefused) as error:
        hand.pull(**what)
    return error.value


# --- what is given --------------------------------------------------------------------------------


def test_messages_are_given_as_they_are_stored(hand: BrokerInHand) -> None:
    fill(hand, "A", "B", "C")
    result = hand.pull(queue_offset=1)
    assert result.status == PullStatus.FOUND
    assert int(result.status) == ResponseCode.SUCCESS
    assert result.remark == "FOUND"
    assert result.message_count == 2
    assert (result.next_begin_offset, result.min_offset, result.max_offset) == (3, 0, 3)
    assert result.body == hand.engine.read("TopicTest", 0, QueueOffset(1), **WHOLE).body


def test_a_pull_gets_no_more_messages_than_it_asks_for(hand: BrokerInHand) -> None:
    fill(hand, *"ABCDE")
    result = hand.pull(message_count_max=2)
    assert (result.message_count, result.next_begin_offset) == (2, 2)


def test_a_pull_gets_no_more_messages_than_the_broker_gives(hand: BrokerInHand) -> None:
    fill(hand, *["A"] * 40)
    assert hand.pull(message_count_max=1024).message_count == 32


@pytest.mark.parametrize("count", [0, -1])
def test_whoever_asks_for_none_gets_one(hand: BrokerInHand, count: int) -> None:
    fill(hand, "A", "B")
    assert hand.pull(message_count_max=count).message_count == 1


def test_bytes_are_bounded_too_but_one_message_is_always_given(hand: BrokerInHand) -> None:
    fill(hand, *["A"] * 5)
    size = len(hand.pull(message_count_max=1).body)
    assert hand.pull(body_size_max=2 * size).message_count == 2
    assert hand.pull(body_size_max=1).message_count == 1
    assert hand.pull(body_size_max=0).message_count == 5, "no bound"
    assert hand.pull(body_size_max=None).message_count == 5


def test_the_brokers_own_bound_of_bytes_holds() -> None:
    hand = BrokerInHand(store={"max_transfer_bytes_on_message_in_memory": 1_000})
    fill(hand, *["A"] * 20)
    assert hand.pull(body_size_max=1 << 20).message_count < 10


def test_only_wanted_tags_are_given(hand: BrokerInHand) -> None:
    fill(hand, "A", "B", "A", "C")
    result = hand.pull(subscription="B || C")
    assert (result.message_count, result.next_begin_offset) == (2, 4)


def test_system_flags_of_topic_and_group_are_told(hand: BrokerInHand) -> None:
    hand.create_topic("Unit", topic_sys_flag=1)
    hand.run(hand.broker.put_group(GroupConfig(group_name="CG", group_sys_flag=3)))
    result = hand.pull("Unit")
    assert (result.topic_sys_flag, result.group_sys_flag) == (1, 3)


# --- statuses -------------------------------------------------------------------------------------


def test_nothing_wanted_in_what_was_scanned_says_retry_at_once(hand: BrokerInHand) -> None:
    fill(hand, "A", "A")
    result = hand.pull(subscription="B")
    assert (result.status, result.remark) == (PullStatus.RETRY_IMMEDIATELY, "NO_MATCHED_MESSAGE")
    assert result.next_begin_offset == 2


def test_a_pull_that_waited_for_the_device_in_vain_looks_itself_at_once(hand: BrokerInHand) -> None:
    fill(hand, "A", "A", "B")
    parked = ExpressParked(QueueOffset(0), 0, 32, 1 << 20, None)
    ask = hand.broker.pull_parked(caller(), pull_request(subscription="*"), parked)
    assert hand.ask(ask).result.message_count == 3
    parked = ExpressParked(QueueOffset(3), 0, 32, 1 << 20, frozenset({tag_hash("C")}))
    ask = hand.broker.pull_parked(caller(), pull_request(subscription="C"), parked)
    result = hand.ask(ask).result
    assert (result.status, result.next_begin_offset) == (PullStatus.RETRY_IMMEDIATELY, 3)


def test_a_pull_at_the_end_finds_nothing(hand: BrokerInHand) -> None:
    fill(hand, "A")
    result = hand.pull(queue_offset=1)
    assert (result.status, result.remark) == (PullStatus.NOT_FOUND, "OFFSET_OVERFLOW_ONE")
    assert result.next_begin_offset == 1


def test_a_pull_behind_the_end_is_moved_to_the_end(hand: BrokerInHand) -> None:
    fill(hand, "A", "A", "A", "A")
    result = hand.pull(queue_offset=9999)
    assert (result.status, result.remark) == (PullStatus.OFFSET_MOVED, "OFFSET_OVERFLOW_BADLY")
    assert result.next_begin_offset == 4


def test_an_empty_queue_is_not_found_from_its_begin(hand: BrokerInHand) -> None:
    result = hand.pull(queue_id=3)
    assert (result.status, result.next_begin_offset) == (PullStatus.NOT_FOUND, 0)
    assert result.remark == "NO_MESSAGE_IN_QUEUE"


def test_any_other_offset_in_an_empty_queue_is_moved_to_its_begin(hand: BrokerInHand) -> None:
    result = hand.pull(queue_id=3, queue_offset=7)
    assert (result.status, result.next_begin_offset) == (PullStatus.OFFSET_MOVED, 0)


# --- offsets --------------------------------------------------------------------------------------


def test_a_pull_may_commit_what_was_consumed_so_far(hand: BrokerInHand) -> None:
    fill(hand, "A", "B")
    hand.pull(queue_offset=1, commit_offset=1)
    assert hand.metadata.tables.offset("CG", "TopicTest", 0) == 1
    assert hand.metadata.tables.pull_offset("CG", "TopicTest", 0) == 2


def test_a_pull_without_commit_leaves_the_offset_alone(hand: BrokerInHand) -> None:
    fill(hand, "A")
    hand.pull(commit_offset=None)
    hand.pull(commit_offset=-1)
    assert hand.metadata.tables.offset("CG", "TopicTest", 0) == -1


def test_the_same_commit_again_is_not_journalled_again(hand: BrokerInHand) -> None:
    fill(hand, "A")
    hand.pull(commit_offset=0)
    before = hand.metadata.positions().appended
    hand.pull(commit_offset=0)
    assert hand.metadata.positions().appended == before


def test_a_refused_pull_commits_nothing(hand: BrokerInHand) -> None:
    refused(hand, queue_id=9, commit_offset=5)
    assert hand.metadata.tables.offsets == {}


# --- refusals, in Apache's order ------------------------------------------------------------------


def test_a_broker_that_may_not_be_read_refuses(hand: BrokerInHand) -> None:
    hand.configure(broker_permission=2)
    error = refused(hand)
    assert isinstance(error, NoPermission)
    assert error.remark == "the broker[127.0.0.1] pulling message is forbidden"


def test_lite_pulls_can_be_switched_off(hand: BrokerInHand) -> None:
    assert hand.pull(is_lite=True).status == PullStatus.NOT_FOUND
    hand.configure(lite_pull_message_enable=False)
    error = refused(hand, is_lite=True)
    assert isinstance(error, NoPermission)
    assert error.remark == "the broker[127.0.0.1] for lite pull consumer is forbidden"


def test_a_group_comes_into_being_by_pulling(hand: BrokerInHand) -> None:
    hand.pull(consumer_group="Fresh")
    assert "Fresh" in hand.broker.groups()[1]


@pytest.mark.parametrize("group", ["", "a b", "x" * 121])
def test_a_group_that_cannot_be_is_not_found(hand: BrokerInHand, group: str) -> None:
    error = refused(hand, consumer_group=group)
    assert isinstance(error, GroupNotFound)
    assert error.remark.startswith(f"subscription group [{group}] does not exist, ")


def test_a_group_must_exist_where_groups_are_not_created(hand: BrokerInHand) -> None:
    hand.configure(auto_create_subscription_group=False)
    assert isinstance(refused(hand, consumer_group="Fresh"), GroupNotFound)
    assert hand.pull(consumer_group="CID_RMQ_SYS_X").status == PullStatus.NOT_FOUND


def test_a_group_that_may_not_consume_is_refused(hand: BrokerInHand) -> None:
    hand.run(hand.broker.put_group(GroupConfig(group_name="CG", consume_enable=False)))
    error = refused(hand)
    assert isinstance(error, NoPermission)
    assert error.remark == "subscription group no permission, CG"


def test_an_unknown_topic_is_refused(hand: BrokerInHand) -> None:
    error = refused(hand, topic="nonono")
    assert isinstance(error, TopicNotFound)
    assert error.remark == "topic[nonono] not exist, apply first please! " + FAQ


def test_a_topic_that_may_not_be_read_is_refused(hand: BrokerInHand) -> None:
    hand.create_topic("Deaf", perm=2)
    error = refused(hand, topic="Deaf")
    assert isinstance(error, NoPermission)
    assert error.remark == "the topic[Deaf] pulling message is forbidden"


@pytest.mark.parametrize("queue_id", [-1, 4, 2**31 - 1])
def test_a_queue_out_of_range_is_refused(hand: BrokerInHand, queue_id: int) -> None:
    error = refused(hand, queue_id=queue_id)
    assert isinstance(error, InvalidParameter)
    assert error.remark == (
        f"queueId[{queue_id}] is illegal, topic:[TopicTest] topicConfig.readQueueNums:[4] "
        "consumer:[/10.0.0.1:40001]"
    )


def test_a_filter_that_cannot_be_read_is_refused(hand: BrokerInHand) -> None:
    error = refused(hand, subscription="||")
    assert isinstance(error, SubscriptionParseFailed)
    assert error.remark.startswith("parse the consumer's subscription failed")


@pytest.mark.parametrize("kind", ["SQL92", "CLASS", "x" * 500])
def test_filters_by_property_are_refused_by_name(hand: BrokerInHand, kind: str) -> None:
    error = refused(hand, subscription="a > 1", expression_type=kind)
    assert isinstance(error, RequestFailed)
    assert error.remark.startswith(
        f"The broker does not support consumer to filter message by {kind[:100]}"
    )
    assert len(error.remark) < 300


def test_an_empty_type_is_the_tag_type(hand: BrokerInHand) -> None:
    fill(hand, "A", "B")
    assert hand.pull(subscription="A", expression_type="").message_count == 1


def test_of_several_faults_the_one_apache_names_is_named(hand: BrokerInHand) -> None:
    faults: dict[str, Any] = {"topic": "nonono", "queue_id": 99, "subscription": "||"}
    assert isinstance(refused(hand, consumer_group="a b", **faults), GroupNotFound)
    assert isinstance(refused(hand, **faults), TopicNotFound)
    assert isinstance(refused(hand, queue_id=99, subscription="||"), InvalidParameter)


# --- the subscription of the heartbeat ------------------------------------------------------------


def test_without_a_filter_of_its_own_a_pull_needs_a_known_group(hand: BrokerInHand) -> None:
    error = refused(hand, subscription=None)
    assert isinstance(error, SubscriptionNotFound)
    assert error.remark == "the consumer's group info not exist" + FAQ


def test_the_group_must_be_subscribed_to_the_topic(hand: BrokerInHand) -> None:
    hand.run(hand.broker.heartbeat(caller(), heartbeat("c", topics={"Other": "*"})))
    error = refused(hand, subscription=None)
    assert isinstance(error, SubscriptionNotFound)
    assert error.remark == "the consumer's subscription not exist" + FAQ


def test_the_heartbeats_filter_counts(hand: BrokerInHand) -> None:
    fill(hand, "A", "B")
    hand.run(hand.broker.heartbeat(caller(), heartbeat("c", topics={"TopicTest": "B"})))
    assert hand.pull(subscription=None).message_count == 1


def test_a_client_with_a_newer_subscription_must_beat_first(hand: BrokerInHand) -> None:
    hand.run(hand.broker.heartbeat(caller(), heartbeat("c", version=5)))
    assert hand.pull(subscription=None, subscription_version=5).status == PullStatus.NOT_FOUND
    error = refused(hand, subscription=None, subscription_version=6)
    assert isinstance(error, SubscriptionNotLatest)
    assert error.remark == "the consumer's subscription not latest"


def test_a_group_that_subscribed_by_property_is_refused(hand: BrokerInHand) -> None:
    beat = heartbeat("c")
    sql = Subscription(topic="TopicTest", sub_string="a > 1", expression_type="SQL92")
    beat.consumers[0].subscription_data_set[:] = [sql]
    hand.run(hand.broker.heartbeat(caller(), beat))
    assert isinstance(refused(hand, subscription=None), RequestFailed)


def test_a_group_may_be_kept_from_broadcasting(hand: BrokerInHand) -> None:
    config = GroupConfig(group_name="CG", consume_broadcast_enable=False)
    hand.run(hand.broker.put_group(config))
    beat = heartbeat("c", message_model="BROADCASTING")
    hand.run(hand.broker.heartbeat(caller(), beat))
    error = refused(hand, subscription=None)
    assert isinstance(error, NoPermission)
    assert error.remark == "the consumer group[CG] can not consume by broadcast way"


def test_a_group_may_be_kept_from_one_topic(hand: BrokerInHand) -> None:
    hand.run(hand.broker.heartbeat(caller(), heartbeat("c")))
    hand.metadata.put_forbidden("CG", "TopicTest", 1 << 2)
    error = refused(hand, subscription=None)
    assert isinstance(error, NoPermission)
    assert error.remark == "the consumer group[CG] is forbidden for topic[TopicTest]"
    hand.metadata.put_forbidden("CG", "TopicTest", 1 << 1)
    assert hand.pull(subscription=None).status == PullStatus.NOT_FOUND


def test_filter_texts_kept_in_memory_are_bounded(hand: BrokerInHand) -> None:
    pulls = hand.broker._pulls
    for number in range(PARSED_FILTERS_MAX + 5):
        pulls._filters[f"T{number}"] = None
    hand.pull(subscription="A || B")
    assert len(pulls._filters) == 1


def test_reads_are_counted(hand: BrokerInHand) -> None:
    fill(hand, "A", "B")
    hand.pull()
    hand.pull(queue_offset=2)
    counters = hand.broker.counters
    assert (counters.found_count, counters.miss_count, counters.transferred_count) == (1, 1, 2)


def test_a_topic_may_shrink_below_a_queue_that_is_read(hand: BrokerInHand) -> None:
    fill(hand, "A", queue_id=3)
    config = TopicConfig(topic_name="TopicTest", read_queue_nums=2, write_queue_nums=2)
    hand.run(hand.broker.put_topic(config))
    assert isinstance(refused(hand, queue_id=3), InvalidParameter)
