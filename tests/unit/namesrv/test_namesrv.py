"""The verbs of a name server: texts and codes as Apache's, settings that count at the next use."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from pyromq.codes import ResponseCode
from pyromq.config import NamesrvConfig, Settings
from pyromq.domain.route import QueueData
from pyromq.domain.version import DataVersion
from pyromq.errors import (
    QueryNotFound,
    RequestFailed,
    RequestRefused,
    ServiceUnavailable,
    TopicNotFound,
)
from pyromq.namesrv.brokers import SILENCE_MS_MAX, MinBrokerIdChange, Registration
from pyromq.namesrv.kv import ORDER_TOPIC_NAMESPACE
from pyromq.namesrv.namesrv import NameServer
from pyromq.store.metadata import Metadata
from pyromq.turn import Turn
from tests.support.brokers import Asked
from tests.support.clock import ManualClock
from tests.unit.namesrv.builders import registration, topics


class RecordedPeers:
    """Notes who was told what."""

    def __init__(self) -> None:
        self.told: list[tuple[str, MinBrokerIdChange]] = []
        self.has_told = asyncio.Event()

    def notify_min_broker_id_changed(self, broker_addr: str, change: MinBrokerIdChange) -> None:
        self.told.append((broker_addr, change))
        self.has_told.set()


class NameServerInHand:
    """A name server with a manual clock and turns that end by hand."""

    def __init__(self, **config: Any) -> None:
        self.clock = ManualClock()
        self.settings = Settings(NamesrvConfig(**config))
        self.peers = RecordedPeers()
        self.turn = Turn(lambda _end: None)
        self.metadata = Metadata.in_memory(clock=self.clock)
        self.server = NameServer(
            self.settings,
            self.metadata,
            self.clock,
            request_end=self.turn.request_end,
            peers=self.peers,
        )
        self.turn.set_stages([self.server.end_turn])

    def set(self, **config: Any) -> None:
        self.settings.replace(replace(self.settings.current, **config))

    def register(self, *names: str, connection_id: int = 1, **more: Any) -> Registration:
        request = registration(*names, **more)
        self.server.register_broker(connection_id, request)
        return request

    def put(self, namespace: str, key: str, value: str) -> None:
        asked = Asked(self.server.put_kv(namespace, key, value))
        self.turn.end()
        assert asked.result is None


@pytest.fixture
def hand() -> NameServerInHand:
    return NameServerInHand()


# Routes.


def test_a_topic_without_route_is_answered_with_code_17_and_the_faq(
    hand: NameServerInHand,
) -> None:
    with pytest.raises(TopicNotFound) as refused:
        hand.server.route("nope")
    assert refused.value.code is ResponseCode.TOPIC_NOT_EXIST
    assert refused.value.remark == (
        "No topic route info in name server for the topic: nope\n"
        "See https://rocketmq.apache.org/docs/bestPractice/06FAQ for further details."
    )


def test_a_route_is_what_brokers_registered(hand: NameServerInHand) -> None:
    hand.register("t", "u")
    assert [q.broker_name for q in hand.server.route("t").queue_datas] == ["a"]
    assert (hand.server.broker_count, hand.server.route_count) == (1, 2)


def test_order_configuration_is_added_only_if_enabled(hand: NameServerInHand) -> None:
    hand.register("t", "u")
    hand.put(ORDER_TOPIC_NAMESPACE, "t", "a:4")
    assert hand.server.route("t").order_topic_conf is None
    hand.set(order_message_enable=True)
    assert hand.server.route("t").order_topic_conf == "a:4"
    assert hand.server.route("u").order_topic_conf is None


def test_an_acting_master_is_shown_only_if_supported(hand: NameServerInHand) -> None:
    hand.register("t", "u", broker_id=1, enable_acting_master=True)
    assert hand.server.route("t").broker_datas[0].broker_addrs == {1: "h:1"}
    hand.set(support_acting_master=True)
    assert hand.server.route("t").broker_datas[0].broker_addrs == {0: "h:1"}


def test_a_client_that_names_its_zone_sees_only_that(hand: NameServerInHand) -> None:
    hand.register("t", "u", zone_name="east")
    hand.register("t", "u", broker_name="b", broker_addr="h:9", zone_name="west")
    assert len(hand.server.route("t").broker_datas) == 2
    assert [b.broker_name for b in hand.server.route("t", "EAST").broker_datas] == ["a"]


def test_a_name_server_may_wait_for_brokers_before_it_answers(hand: NameServerInHand) -> None:
    hand.set(need_wait_for_service=True)
    hand.register("t", "u")
    hand.clock.advance(44_999)
    with pytest.raises(RequestFailed, match=r"^name server not ready$"):
        hand.server.route("t")
    hand.clock.advance(1)
    assert hand.server.route("t").queue_datas


# Brokers.


def test_a_slave_is_answered_with_its_master(hand: NameServerInHand) -> None:
    hand.register("t", "u")
    answer = hand.server.register_broker(2, registration("t", "u", broker_id=1))
    assert (answer.master_addr, answer.ha_server_addr) == ("h:0", "ha:0")


def test_a_registration_is_answered_with_the_order_configuration(hand: NameServerInHand) -> None:
    request = registration("t", "u")
    assert hand.server.register_broker(1, request).order_topic_config is None
    hand.put(ORDER_TOPIC_NAMESPACE, "t", "a:4")
    assert hand.server.register_broker(1, request).order_topic_config == {"t": "a:4"}
    hand.set(return_order_topic_config_to_broker=False)
    assert hand.server.register_broker(1, request).order_topic_config is None


def test_the_data_version_tells_a_broker_whether_to_register(hand: NameServerInHand) -> None:
    version = hand.register("t", "u").data_version
    ask = hand.server.query_data_version
    assert ask("c", "a", "h:0", version) == (False, version)
    assert ask("c", "a", "h:0", version.next(5)) == (True, version)
    assert ask("c", "a", "h:5", version) == (True, None)
    assert ask("other", "a", "h:0", version) == (True, None)
    assert ask("c", "x", "h:0", DataVersion()) == (True, None)


@pytest.mark.parametrize("sign", ["heartbeat", "query"])
def test_a_sign_of_life_keeps_a_broker(hand: NameServerInHand, sign: str) -> None:
    version = hand.register("t", "u").data_version
    hand.clock.advance(SILENCE_MS_MAX)
    if sign == "heartbeat":
        hand.server.broker_heartbeat("c", "a", "h:0")
    else:
        hand.server.query_data_version("c", "a", "h:0", version)
    hand.clock.advance(SILENCE_MS_MAX)
    hand.server.expire_brokers()
    assert hand.server.broker_count == 1
    hand.clock.advance(1)
    hand.server.expire_brokers()
    assert hand.server.broker_count == 0


def test_a_broker_leaves_by_word_or_by_its_connection(hand: NameServerInHand) -> None:
    hand.register("t", "u")
    hand.register("t", "u", broker_name="b", broker_addr="h:9", connection_id=2)
    hand.server.unregister_broker("a", "h:0", 0)
    assert hand.server.cluster_info().cluster_addr_table == {"c": ["b"]}
    hand.server.connection_lost(2)
    assert hand.server.cluster_info().cluster_addr_table == {}


def test_a_group_lists_its_members(hand: NameServerInHand) -> None:
    hand.register("t", "u")
    hand.register("t", "u", broker_id=1)
    group = hand.server.broker_member_group("c", "a")
    assert (group.cluster, group.broker_name) == ("c", "a")
    assert group.broker_addrs == {0: "h:0", 1: "h:1"}
    assert hand.server.broker_member_group("c", "x").broker_addrs == {}


def test_write_permission_is_taken_and_given(hand: NameServerInHand) -> None:
    hand.register("t", "u")
    assert hand.server.wipe_write_perm("a") == 2
    assert hand.server.route("t").queue_datas[0].perm == 4
    assert hand.server.add_write_perm("a") == 2
    assert hand.server.route("t").queue_datas[0].perm == 6


def test_a_changed_smallest_id_is_told_only_if_enabled(hand: NameServerInHand) -> None:
    hand.register("t", "u", broker_id=1, enable_acting_master=True)
    hand.register("t", "u", enable_acting_master=True, connection_id=2)
    assert hand.peers.told == []
    hand.set(notify_min_broker_id_changed=True)
    hand.server.connection_lost(2)
    ((addr, change),) = hand.peers.told
    assert addr == "h:1"
    assert (change.min_broker_id, change.offline_broker_addr) == (1, "h:0")
    hand.register("t", "u", enable_acting_master=True, connection_id=2)
    assert [(addr, change.min_broker_id) for addr, change in hand.peers.told[1:]] == [("h:1", 0)]


async def test_silent_brokers_are_found_while_the_server_runs() -> None:
    hand = NameServerInHand(
        scan_not_active_broker_interval_ms=10, notify_min_broker_id_changed=True
    )
    hand.register("t", "u", enable_acting_master=True, heartbeat_timeout_ms=1_000)
    hand.register("t", "u", broker_id=1, enable_acting_master=True)
    hand.server.start()
    hand.clock.advance(1_001)
    await asyncio.wait_for(hand.peers.has_told.wait(), 5)
    assert hand.server.broker_count == 1
    await hand.server.stop()


async def test_a_shorter_search_interval_does_not_wait_for_the_end_of_a_longer_one() -> None:
    hand = NameServerInHand(
        scan_not_active_broker_interval_ms=86_400_000, notify_min_broker_id_changed=True
    )
    hand.register("t", "u", enable_acting_master=True, heartbeat_timeout_ms=1_000)
    hand.register("t", "u", broker_id=1, enable_acting_master=True)
    hand.server.start()
    await asyncio.sleep(0)  # it waits for a day
    hand.clock.advance(1_001)
    await hand.server.update_configuration({"scanNotActiveBrokerInterval": "10"})
    await asyncio.wait_for(hand.peers.has_told.wait(), 5)
    assert hand.server.broker_count == 1
    await hand.server.stop()
    hand.set(enable_topic_list=False)  # nobody listens any more


# Topics.


def test_topics_are_added_and_deleted_by_hand(hand: NameServerInHand) -> None:
    hand.register("t", "u")
    queues = QueueData(broker_name="a", read_queue_nums=1, write_queue_nums=1, perm=6)
    hand.server.register_topic("new", [queues])
    assert hand.server.route("new").queue_datas == [queues]
    hand.server.register_topic("other", [])
    hand.server.delete_topic("new")
    hand.server.delete_topic("t", "c")
    hand.server.delete_topic("u", "other cluster")
    assert hand.server.all_topics() == ["u"]


def test_lists_of_topics_can_be_switched_off(hand: NameServerInHand) -> None:
    hand.register(topics=topics("t") | topics("s", flags=2) | topics("x", flags=3))
    server = hand.server
    assert server.all_topics() == ["t", "s", "x"]
    assert server.topics_of_cluster("c") == ["s", "t", "x"]
    assert server.unit_topics() == ["x"]
    assert server.unit_sub_topics() == ["s", "x"]
    assert server.unit_sub_ununit_topics() == ["s"]
    assert server.system_topics() == (["c", "a"], "h:0")
    hand.set(enable_all_topic_list=False, enable_topic_list=False)
    for ask in (
        server.all_topics,
        lambda: server.topics_of_cluster("c"),
        server.unit_topics,
        server.unit_sub_topics,
        server.unit_sub_ununit_topics,
    ):
        with pytest.raises(RequestFailed, match=r"^disable$"):
            ask()
    assert server.system_topics() == (["c", "a"], "h:0")


# KV configuration.


def test_a_value_is_stored_and_read(hand: NameServerInHand) -> None:
    hand.put("n", "k", "v")
    assert hand.server.kv("n", "k") == "v"
    assert hand.server.kv_list("n") == {"k": "v"}
    asked = Asked(hand.server.delete_kv("n", "k"))
    hand.turn.end()
    assert asked.result is None
    with pytest.raises(QueryNotFound):
        hand.server.kv("n", "k")


def test_what_is_not_there_is_answered_with_code_22(hand: NameServerInHand) -> None:
    with pytest.raises(RequestRefused) as refused:
        hand.server.kv("X", "Y")
    assert refused.value.code is ResponseCode.QUERY_NOT_FOUND
    assert refused.value.remark == "No config item, Namespace: X Key: Y"
    with pytest.raises(QueryNotFound, match=r"^No config item, Namespace: X$"):
        hand.server.kv_list("X")


async def test_a_stop_refuses_whoever_waits_for_the_journal() -> None:
    hand = NameServerInHand()
    hand.server.start()
    asked = Asked(hand.server.put_kv("n", "k", "v"))
    await hand.server.stop()
    with pytest.raises(ServiceUnavailable):
        asked.result  # noqa: B018
