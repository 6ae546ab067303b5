"""Clients: joining and leaving groups by heartbeats, and who is told."""

from __future__ import annotations

from typing import Any

import pytest

from pyromq.api import Heartbeat
from pyromq.broker.clients import (
    CLIENT_ID_LENGTH_MAX,
    HEARTBEAT_GROUPS_MAX,
    SUBSCRIPTIONS_MAX,
)
from pyromq.broker.members import subscription_size
from pyromq.domain.group import ConsumerData, GroupConfig, Subscription
from pyromq.domain.subscription import parse_subscription
from pyromq.errors import ConsumerNotOnline, InvalidParameter, RequestFailed, SystemBusy
from tests.support.brokers import BrokerInHand, caller, heartbeat
from tests.support.clock import START_MS

EVERY_10_S = 10_000


@pytest.fixture
def hand() -> BrokerInHand:
    hand = BrokerInHand()
    hand.create_topic("TopicTest")
    return hand


def join(hand: BrokerInHand, connection_id: int, beat: Heartbeat | None = None) -> None:
    hand.run(hand.broker.heartbeat(caller(connection_id), beat or heartbeat(f"c{connection_id}")))


def ids(hand: BrokerInHand, group: str = "CG") -> list[str]:
    return sorted(hand.broker.consumer_ids(group))


# --- joining --------------------------------------------------------------------------------------


def test_a_heartbeat_makes_a_client_a_member_of_its_groups(hand: BrokerInHand) -> None:
    join(hand, 1, heartbeat("c1", producers=["PG"]))
    assert ids(hand) == ["c1"]
    connections = hand.broker.consumer_connections("CG")
    assert [one.client_id for one in connections.connections] == ["c1"]
    assert connections.connections[0].client_addr == "10.0.0.1:40001"
    assert connections.connections[0].language == "JAVA"
    assert connections.connections[0].version == 513
    assert connections.consume_type == "CONSUME_PASSIVELY"
    assert connections.message_model == "CLUSTERING"
    assert list(connections.subscriptions) == ["TopicTest"]
    [producer] = hand.broker.producer_connections("PG")
    assert (producer.client_id, producer.last_update_timestamp_ms) == ("c1", START_MS)
    assert list(hand.broker.all_producers()) == ["PG"]


def test_the_first_heartbeat_creates_group_and_retry_topic(hand: BrokerInHand) -> None:
    join(hand, 1)
    assert hand.broker.group("CG") == GroupConfig(group_name="CG")
    assert "CG" in hand.broker.groups()[1]
    retry = hand.broker.topic("%RETRY%CG")
    assert (retry.read_queue_nums, retry.write_queue_nums, retry.perm) == (1, 1, 6)
    assert "%RETRY%CG" in hand.changed_topics


def test_the_retry_topic_has_as_many_queues_as_the_group_says(hand: BrokerInHand) -> None:
    hand.run(hand.broker.put_group(GroupConfig(group_name="CG", retry_queue_nums=3)))
    join(hand, 1, heartbeat("c1", unit_mode=True))
    retry = hand.broker.topic("%RETRY%CG")
    assert (retry.write_queue_nums, retry.topic_sys_flag) == (3, 2)


def test_a_group_without_retries_has_no_retry_topic(hand: BrokerInHand) -> None:
    hand.run(hand.broker.put_group(GroupConfig(group_name="CG", retry_queue_nums=0)))
    join(hand, 1)
    assert "%RETRY%CG" not in hand.broker.topics()[1]


def test_the_retry_topic_of_an_order_topic_is_one_too(hand: BrokerInHand) -> None:
    join(hand, 1)
    assert hand.broker.topic("%RETRY%CG").order is False
    hand.create_topic("Order", order=True)
    join(hand, 1, heartbeat("c1", topics={"Order": "*"}, version=2))
    assert hand.broker.topic("%RETRY%CG").order is True


def test_the_answer_waits_for_what_was_created() -> None:
    hand = BrokerInHand(sync_flush=True)
    first = hand.ask(hand.broker.heartbeat(caller(), heartbeat("c1")))
    hand.end_turn()
    assert first.is_waiting
    hand.flush()
    assert first.result.supports_v2
    second = hand.ask(hand.broker.heartbeat(caller(), heartbeat("c1")))
    assert not second.is_waiting, "nothing new: no wait"


@pytest.mark.parametrize("group", ["", "a b", "x" * 121])
def test_a_group_that_cannot_be_is_passed_over_silently(hand: BrokerInHand, group: str) -> None:
    join(hand, 1, heartbeat("c1", group=group, producers=["PG"]))
    with pytest.raises(RequestFailed):
        hand.broker.consumer_ids(group)
    assert len(hand.broker.producer_connections("PG")) == 1


def test_groups_are_not_created_where_that_is_switched_off() -> None:
    hand = BrokerInHand(auto_create_subscription_group=False)
    join(hand, 1)
    assert "CG" not in hand.broker.groups()[1]
    assert hand.peers.told == []


def test_producer_groups_without_or_with_an_endless_name_are_passed_over(
    hand: BrokerInHand,
) -> None:
    join(hand, 1, Heartbeat(client_id="c1", producer_groups=["", "x" * 256, "PG"]))
    assert list(hand.broker.all_producers()) == ["PG"]


# --- who is told ----------------------------------------------------------------------------------


def test_all_members_are_told_when_one_joins(hand: BrokerInHand) -> None:
    join(hand, 1)
    assert hand.peers.take() == [(1, "CG")]
    join(hand, 2)
    assert hand.peers.take() == [(1, "CG"), (2, "CG")]


def test_a_heartbeat_that_changes_nothing_is_told_to_nobody(hand: BrokerInHand) -> None:
    join(hand, 1)
    hand.peers.take()
    join(hand, 1)
    join(hand, 1, heartbeat("c1", topics={"TopicTest": "TagB"}, version=2))
    assert hand.peers.take() == [], "another filter text is no change of topics"


def test_topics_that_come_or_go_are_told(hand: BrokerInHand) -> None:
    join(hand, 1)
    hand.peers.take()
    join(hand, 1, heartbeat("c1", topics={"TopicTest": "*", "Other": "*"}))
    assert hand.peers.take() == [(1, "CG")]
    join(hand, 1, heartbeat("c1", topics={"Other": "*"}))
    assert hand.peers.take() == [(1, "CG")]
    assert list(hand.broker.consumer_connections("CG").subscriptions) == ["Other"]


def test_broadcasting_groups_are_told_nothing(hand: BrokerInHand) -> None:
    join(hand, 1, heartbeat("c1", message_model="BROADCASTING"))
    join(hand, 2, heartbeat("c2", message_model="BROADCASTING"))
    hand.broker.connection_lost(2)
    assert hand.peers.told == []


def test_telling_can_be_switched_off_for_a_group_or_the_broker(hand: BrokerInHand) -> None:
    quiet = GroupConfig(group_name="CG", notify_consumer_ids_changed_enable=False)
    hand.run(hand.broker.put_group(quiet))
    join(hand, 1)
    assert hand.peers.take() == []
    join(hand, 1, heartbeat("c1", group="Loud"))
    assert hand.peers.take() == [(1, "Loud")]
    hand.configure(notify_consumer_ids_changed_enable=False)
    join(hand, 2, heartbeat("c2", group="Loud"))
    assert hand.peers.take() == []


# --- subscriptions --------------------------------------------------------------------------------


def filter_text(hand: BrokerInHand) -> str:
    return hand.broker.consumer_connections("CG").subscriptions["TopicTest"].sub_string


def test_the_newest_subscription_of_a_topic_wins(hand: BrokerInHand) -> None:
    join(hand, 1, heartbeat("c1", topics={"TopicTest": "A"}, version=5))
    join(hand, 2, heartbeat("c2", topics={"TopicTest": "B"}, version=4))
    assert filter_text(hand) == "A"
    join(hand, 2, heartbeat("c2", topics={"TopicTest": "B"}, version=5))
    assert filter_text(hand) == "A"
    join(hand, 2, heartbeat("c2", topics={"TopicTest": "B"}, version=6))
    assert filter_text(hand) == "B"


def test_an_ordinary_heartbeat_always_asks_for_full_subscriptions(hand: BrokerInHand) -> None:
    for _ in range(2):
        answer = hand.run(hand.broker.heartbeat(caller(), heartbeat("c1")))
        assert (answer.supports_v2, answer.has_subscription_changed) == (True, True)


def compact(hand: BrokerInHand, fingerprint: int, *, full: bool = False) -> bool:
    """Beats by the compact form; whether the client must send its subscriptions in full."""
    beat = heartbeat(
        "c1",
        topics={"TopicTest": "*"} if full else {},
        fingerprint=fingerprint,
        is_without_subscriptions=not full,
    )
    return hand.run(hand.broker.heartbeat(caller(), beat)).has_subscription_changed


def test_a_compact_heartbeat_keeps_the_subscriptions(hand: BrokerInHand) -> None:
    assert compact(hand, 11, full=True) is False
    assert compact(hand, 11) is False
    assert list(hand.broker.consumer_connections("CG").subscriptions) == ["TopicTest"]


def test_another_fingerprint_asks_for_the_subscriptions(hand: BrokerInHand) -> None:
    compact(hand, 11, full=True)
    assert compact(hand, 12) is True
    assert compact(hand, 12) is False


def test_a_broker_that_knows_nothing_of_the_group_asks_too(hand: BrokerInHand) -> None:
    """Apache does not, after a restart, and its clients' pulls are refused until they change."""
    assert compact(hand, 11) is True


# --- leaving --------------------------------------------------------------------------------------


def test_a_client_leaves_by_unregistering(hand: BrokerInHand) -> None:
    join(hand, 1, heartbeat("c1", producers=["PG"]))
    join(hand, 2)
    hand.peers.take()
    hand.broker.unregister_client(caller(1), "c1", "PG", "CG")
    assert ids(hand) == ["c2"]
    assert hand.peers.take() == [(2, "CG")]
    assert hand.broker.all_producers() == {}


def test_the_last_member_takes_the_group_along(hand: BrokerInHand) -> None:
    join(hand, 1)
    hand.broker.unregister_client(caller(1), "c1", None, "CG")
    with pytest.raises(RequestFailed) as nobody:
        hand.broker.consumer_ids("CG")
    assert nobody.value.remark == "no consumer for this group, CG"
    with pytest.raises(ConsumerNotOnline) as offline:
        hand.broker.consumer_connections("CG")
    assert offline.value.remark == "the consumer group[CG] not online"


def test_unregistering_what_is_not_there_does_nothing(hand: BrokerInHand) -> None:
    join(hand, 1)
    hand.peers.take()
    hand.broker.unregister_client(caller(9), "c9", "PG", "CG")
    hand.broker.unregister_client(caller(1), "c1", "NoGroup", "NoGroup")
    hand.broker.unregister_client(caller(1), "c1", None, None)
    assert ids(hand) == ["c1"]
    assert hand.peers.take() == []


def test_a_lost_connection_leaves_all_groups_at_once(hand: BrokerInHand) -> None:
    join(hand, 1, heartbeat("c1", group="G1", producers=["P1", "P2"]))
    join(hand, 1, heartbeat("c1", group="G2"))
    join(hand, 2, heartbeat("c2", group="G2"))
    hand.peers.take()
    hand.broker.connection_lost(1)
    assert hand.peers.take() == [(2, "G2")]
    assert ids(hand, "G2") == ["c2"]
    assert hand.broker.all_producers() == {}
    with pytest.raises(RequestFailed):
        hand.broker.consumer_ids("G1")
    hand.broker.connection_lost(1)


def test_a_silent_client_is_removed_after_two_minutes(hand: BrokerInHand) -> None:
    join(hand, 1, heartbeat("c1", producers=["PG"]))
    join(hand, 2)
    for _ in range(12):
        hand.advance(EVERY_10_S)
        join(hand, 2)
    assert ids(hand) == ["c1", "c2"], "120 s are not more than 120 s"
    hand.peers.take()
    hand.advance(EVERY_10_S)
    assert ids(hand) == ["c2"]
    assert hand.peers.take() == [(2, "CG")]
    assert hand.broker.all_producers() == {}


def test_a_wall_clock_that_jumps_expires_nobody(hand: BrokerInHand) -> None:
    join(hand, 1)
    hand.clock.wall_ms += 10 * 3_600_000
    hand.advance(EVERY_10_S)
    assert ids(hand) == ["c1"]


def test_producers_of_an_unknown_group_are_refused(hand: BrokerInHand) -> None:
    with pytest.raises(RequestFailed) as refused:
        hand.broker.producer_connections("PG")
    assert refused.value.remark == "the producer group[PG] not exist"


def test_groups_of_a_topic_are_those_that_subscribe_and_those_with_offsets(
    hand: BrokerInHand,
) -> None:
    join(hand, 1, heartbeat("c1", group="Online"))
    hand.metadata.commit_offset("Offline", "TopicTest", 0, 5)
    hand.metadata.commit_offset("Online", "TopicTest", 0, 5)
    assert hand.broker.groups_of_topic("TopicTest") == ["Offline", "Online"]
    assert hand.broker.groups_of_topic("Nope") == []


# --- bounds ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [0, CLIENT_ID_LENGTH_MAX + 1])
def test_a_client_id_has_a_length(hand: BrokerInHand, length: int) -> None:
    with pytest.raises(InvalidParameter, match="clientID"):
        join(hand, 1, heartbeat("c" * length))


def test_a_heartbeat_names_a_bounded_number_of_groups(hand: BrokerInHand) -> None:
    many = [ConsumerData(group_name=f"G{number}") for number in range(HEARTBEAT_GROUPS_MAX + 1)]
    with pytest.raises(InvalidParameter, match=f"{HEARTBEAT_GROUPS_MAX + 1} consumer groups"):
        join(hand, 1, Heartbeat(client_id="c", consumers=many))
    names = [f"P{number}" for number in range(HEARTBEAT_GROUPS_MAX + 1)]
    with pytest.raises(InvalidParameter, match="producer groups"):
        join(hand, 1, Heartbeat(client_id="c", producer_groups=names))
    assert "G0" not in hand.broker.groups()[1], "refused whole"


def test_a_group_subscribes_to_a_bounded_number_of_topics(hand: BrokerInHand) -> None:
    beat = heartbeat("c1")
    topics = [Subscription(topic=f"T{number}") for number in range(SUBSCRIPTIONS_MAX + 1)]
    beat.consumers[0].subscription_data_set[:] = topics
    with pytest.raises(InvalidParameter, match=f"subscribes to {SUBSCRIPTIONS_MAX + 1} topics"):
        join(hand, 1, beat)


def test_a_subscription_to_an_endless_name_is_refused(hand: BrokerInHand) -> None:
    with pytest.raises(InvalidParameter, match="no topic has more than 255 characters"):
        join(hand, 1, heartbeat("c1", topics={"x" * 256: "*"}))


def test_a_group_has_a_bounded_number_of_members(
    hand: BrokerInHand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pyromq.broker.clients.GROUP_MEMBERS_MAX", 2)
    join(hand, 1)
    join(hand, 2)
    with pytest.raises(SystemBusy, match="takes no more clients: it has 2 of 2"):
        join(hand, 3)
    join(hand, 2)
    hand.broker.connection_lost(1)
    join(hand, 3)
    assert ids(hand) == ["c2", "c3"]


@pytest.mark.parametrize("member", ["consume_type", "message_model", "consume_from_where"])
def test_a_way_of_consuming_has_a_short_name(hand: BrokerInHand, member: str) -> None:
    endless: dict[str, Any] = {member: "x" * 10_000}
    with pytest.raises(InvalidParameter, match=r"group\[CG\] consumes by \[x+… \(10000"):
        join(hand, 1, heartbeat("c1", **endless))


def test_subscriptions_are_bounded_in_all(
    hand: BrokerInHand, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = subscription_size(parse_subscription("TopicTest", "*"))
    monkeypatch.setattr("pyromq.broker.clients.SUBSCRIBED_SIZE_MAX", 3 * one)
    join(hand, 1, heartbeat("c1", group="First", topics={"A": "*", "B": "*"}))
    with pytest.raises(SystemBusy, match=r"group\[Second\] subscribes to 2 topics"):
        join(hand, 2, heartbeat("c2", group="Second", topics={"A": "*", "B": "*"}))
    with pytest.raises(RequestFailed):
        hand.broker.consumer_ids("Second")
    with pytest.raises(SystemBusy):
        join(hand, 2, heartbeat("c2", group="Second", topics={"A": "x" * 10_000}))
    join(hand, 2, heartbeat("c2", group="Second", topics={"A": "*"}))
    join(hand, 1, heartbeat("c1", group="First", topics={"A": "*"}, version=2))
    join(hand, 2, heartbeat("c2", group="Second", topics={"A": "*", "B": "*"}, version=2))
    hand.broker.connection_lost(1)
    hand.broker.connection_lost(2)
    assert hand.broker._clients._subscribed_size == 0


def test_memberships_are_bounded_in_all(
    hand: BrokerInHand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pyromq.broker.clients.MEMBERS_MAX", 1)
    join(hand, 1)
    with pytest.raises(SystemBusy):
        join(hand, 2, heartbeat("c2", group="Another"))
    with pytest.raises(SystemBusy):
        join(hand, 2, Heartbeat(client_id="c2", producer_groups=["PG"]))
    with pytest.raises(RequestFailed):
        hand.broker.consumer_ids("Another")
    assert hand.broker.all_producers() == {}


def test_nothing_is_left_of_clients_that_came_and_went(hand: BrokerInHand) -> None:
    for number in range(100):
        join(hand, number, heartbeat(f"c{number}", producers=["PG"]))
        hand.broker.connection_lost(number)
    clients = hand.broker._clients
    assert not clients._producer_connections
    assert clients.consumers == {}
    assert clients._producers == {}
    assert clients._groups_of_connection == {}
    assert clients._member_count == 0


def test_a_producer_that_calls_itself_otherwise_is_not_known_by_its_old_name() -> None:
    hand = BrokerInHand()
    for name in ("old", "new"):
        hand.run(hand.broker.heartbeat(caller(1), heartbeat(name, topics={}, producers=["PG"])))
    assert hand.broker._clients.find_producer("old") is None
    assert hand.broker._clients.find_producer("new") == 1
    hand.broker.connection_lost(1)
    assert hand.broker._clients.find_producer("new") is None
