"""The routing table: register, leave, go silent; permissions; lists."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from pyromq.config import NamesrvConfig, Settings
from pyromq.domain.route import QueueData, TopicQueueMapping, TopicRoute
from pyromq.domain.version import DataVersion
from pyromq.errors import InvalidParameter, RequestFailed
from pyromq.namesrv.brokers import FILTER_SERVER_COUNT_MAX, SILENCE_MS_MAX, MinBrokerIdChange
from pyromq.namesrv.routes import UNIT_FLAG, UNIT_SUB_FLAG, RouteTable
from tests.unit.namesrv.builders import registration, topics


def table(**config: Any) -> RouteTable:
    return RouteTable(Settings(NamesrvConfig(**config)))


def queues_of(routes: RouteTable, topic: str) -> dict[str, int]:
    """Broker name → permission, for a topic that has a route."""
    route = routes.route(topic)
    assert route is not None
    return {queues.broker_name: queues.perm for queues in route.queue_datas}


# Registering.


def test_a_registered_brokers_topics_have_routes() -> None:
    routes = table()
    routes.register(registration("t", "u"), 1, 0)
    route = routes.route("t")
    assert route is not None
    assert route.queue_datas == [
        QueueData(broker_name="a", read_queue_nums=8, write_queue_nums=8, perm=6, topic_sys_flag=0)
    ]
    (broker,) = route.broker_datas
    assert (broker.cluster, broker.broker_name, broker.broker_addrs) == ("c", "a", {0: "h:0"})
    assert routes.route("nope") is None
    assert (routes.route_count, routes.broker_count) == (2, 1)


def test_a_route_lists_every_group_that_holds_the_topic() -> None:
    routes = table()
    routes.register(registration("t", "u", broker_name="b", broker_addr="h:9"), 1, 0)
    routes.register(registration("t", "v"), 2, 0)
    assert queues_of(routes, "t") == {"a": 6, "b": 6}
    assert queues_of(routes, "u") == {"b": 6}


def test_a_slave_learns_where_its_master_is() -> None:
    routes = table()
    assert routes.register(registration("t", "u"), 1, 0)[:2] == (None, None)
    accepted = routes.register(registration("t", "u", broker_id=1), 2, 0)
    assert (accepted.master_addr, accepted.ha_server_addr) == ("h:0", "ha:0")


def test_a_slave_without_master_learns_nothing() -> None:
    routes = table()
    assert routes.register(registration("t", "u", broker_id=1), 2, 0)[:2] == (None, None)


def test_a_slaves_topics_do_not_count() -> None:
    routes = table()
    routes.register(registration("t", "u"), 1, 0)
    routes.register(registration("only-here", "u", broker_id=1), 2, 0)
    assert routes.route("only-here") is None
    route = routes.route("t")
    assert route is not None
    assert route.broker_datas[0].broker_addrs == {0: "h:0", 1: "h:1"}


def test_an_unknown_broker_with_one_topic_is_refused_and_leaves_no_trace() -> None:
    routes = table()
    with pytest.raises(RequestFailed, match=r"^register broker failed$"):
        routes.register(registration("t"), 1, 0)
    assert (routes.route_count, routes.broker_count) == (0, 0)
    assert routes.cluster_info().cluster_addr_table == {}


def test_a_known_broker_may_send_one_topic_and_keeps_its_others() -> None:
    routes = table()
    routes.register(registration("t", "u"), 1, 0)
    routes.register(registration("v", version=2), 1, 0)
    assert set(routes.topics()) == {"t", "u", "v"}


def test_a_broker_without_topics_is_taken() -> None:
    routes = table()
    routes.register(registration(), 1, 0)
    assert routes.member_addrs("a") == {0: "h:0"}
    assert routes.topics() == []


def test_an_address_has_one_id_in_its_group() -> None:
    """A slave that became the master comes with id 0 from its old address."""
    routes = table()
    routes.register(registration("t", "u", broker_id=1), 1, 0)
    routes.register(registration("t", "u", broker_addr="h:1"), 1, 0)
    assert routes.member_addrs("a") == {0: "h:1"}


def test_an_id_taken_over_by_another_address_points_there() -> None:
    routes = table()
    routes.register(registration("t", "u"), 1, 0)
    routes.register(registration("t", "u", broker_addr="h:7"), 2, 0)
    assert routes.member_addrs("a") == {0: "h:7"}
    routes.connection_lost(1)
    assert routes.member_addrs("a") == {0: "h:7"}
    assert queues_of(routes, "t") == {"a": 6}


def test_the_loser_of_a_failover_is_ignored_and_forgotten() -> None:
    routes = table()
    newer = DataVersion(1, 5, 0)
    routes.register(registration("t", "u", data_version=newer), 1, 0)
    accepted = routes.register(registration("t", "u", broker_addr="h:7"), 2, 0)
    assert accepted == (None, None, None)
    assert routes.member_addrs("a") == {0: "h:0"}
    assert routes.data_version("c", "a", "h:7") is None


def test_routes_follow_the_data_version() -> None:
    routes = table()
    routes.register(registration("t", "u"), 1, 0)
    same_version = registration(topics=topics("t", "u", perm=4))
    routes.register(same_version, 1, 0)
    assert queues_of(routes, "t") == {"a": 6}
    routes.register(msgspec.structs.replace(same_version, data_version=DataVersion(2)), 1, 0)
    assert queues_of(routes, "t") == {"a": 4}


def test_a_topic_missing_in_the_routes_comes_back_under_the_same_version() -> None:
    routes = table()
    routes.register(registration("t", "u"), 1, 0)
    routes.delete_topic("t", None)
    routes.register(registration("t", "u"), 1, 0)
    assert queues_of(routes, "t") == {"a": 6}


def test_a_topic_that_a_broker_no_longer_has_stays_unless_configured() -> None:
    kept = table()
    kept.register(registration("t", "u", "v"), 1, 0)
    kept.register(registration("t", "u", version=2), 1, 0)
    assert kept.route("v") is not None
    dropped = table(delete_topic_with_broker_registration=True)
    dropped.register(registration("t", "u", "v"), 1, 0)
    dropped.register(registration("t", "u", version=2), 1, 0)
    assert dropped.route("v") is None
    assert dropped.route("t") is not None


def test_a_change_of_one_topic_never_deletes_the_others() -> None:
    routes = table(delete_topic_with_broker_registration=True)
    routes.register(registration("t", "u"), 1, 0)
    routes.register(registration("v", version=2), 1, 0)
    assert set(routes.topics()) == {"t", "u", "v"}


def test_a_broker_that_changes_its_cluster_is_listed_in_the_new_one() -> None:
    routes = table()
    routes.register(registration("t", "u"), 1, 0)
    routes.register(registration("t", "u", cluster_name="d"), 1, 0)
    assert routes.cluster_info().cluster_addr_table == {"d": ["a"]}


def test_filter_servers_are_part_of_the_route() -> None:
    routes = table()
    routes.register(registration("t", "u", filter_servers=["f:1"]), 1, 0)
    assert routes.route("t").filter_server_table == {"h:0": ["f:1"]}  # type: ignore[union-attr]
    routes.register(registration("t", "u"), 1, 0)
    assert routes.route("t").filter_server_table == {}  # type: ignore[union-attr]


def test_mappings_of_static_topics_are_handed_on() -> None:
    routes = table()
    mapping = TopicQueueMapping(topic="t", total_queues=2, bname="a", curr_id_map={0: 0, 1: 1})
    routes.register(registration("t", "u", mappings={"t": mapping}), 1, 0)
    assert route_of(routes, "t").topic_queue_mapping_by_broker == {"a": mapping}
    assert route_of(routes, "u").topic_queue_mapping_by_broker is None


def test_mappings_for_other_brokers_or_topics_are_not_kept() -> None:
    routes = table()
    foreign = TopicQueueMapping(topic="t", bname="x")
    unknown = TopicQueueMapping(topic="nope", bname="a")
    routes.register(registration("t", "u", mappings={"t": foreign, "nope": unknown}), 1, 0)
    assert route_of(routes, "t").topic_queue_mapping_by_broker is None


def route_of(routes: RouteTable, topic: str) -> TopicRoute:
    route = routes.route(topic)
    assert route is not None
    return route


# Bounds.


@pytest.mark.parametrize(
    "wrong",
    [
        {"broker_name": ""},
        {"cluster_name": ""},
        {"broker_addr": ""},
        {"broker_name": "a" * 256},
        {"zone_name": "z" * 256},
        {"ha_server_addr": "z" * 256},
        {"filter_servers": ["f:1"] * (FILTER_SERVER_COUNT_MAX + 1)},
        {"filter_servers": ["f" * 256]},
    ],
)
def test_a_registration_with_texts_out_of_bounds_is_refused(wrong: dict[str, Any]) -> None:
    routes = table()
    with pytest.raises(InvalidParameter):
        routes.register(registration("t", "u", **wrong), 1, 0)
    assert routes.broker_count == 0


def test_routes_are_counted_against_their_bound() -> None:
    routes = table(route_count_max=3)
    routes.register(registration("t", "u", "v"), 1, 0)
    with pytest.raises(RequestFailed, match="1 more would exceed 3"):
        routes.register(registration("t", "u", "v", "w", version=2), 1, 0)
    assert routes.route("w") is None
    routes.register(registration("t", "u", "v", version=3), 1, 0)
    queues = QueueData(broker_name="a", read_queue_nums=1, write_queue_nums=1, perm=6)
    routes.register_topic("v", [queues])
    with pytest.raises(RequestFailed, match="would exceed 3"):
        routes.register_topic("w", [queues])


def test_brokers_are_counted_against_their_bound() -> None:
    routes = table(broker_count_max=1)
    routes.register(registration("t", "u"), 1, 0)
    with pytest.raises(RequestFailed, match="no more are taken"):
        routes.register(registration("t", "u", broker_id=1), 2, 0)
    routes.register(registration("t", "u", version=2), 1, 0)


# Leaving.


def test_a_broker_that_unregisters_takes_its_routes_with_it() -> None:
    routes = table()
    routes.register(registration("t", "u"), 1, 0)
    routes.register(registration("t", "v", broker_name="b", broker_addr="h:9"), 2, 0)
    routes.unregister("a", "h:0", 0)
    assert queues_of(routes, "t") == {"b": 6}
    assert routes.route("u") is None
    assert routes.cluster_info().cluster_addr_table == {"c": ["b"]}


def test_the_routes_of_a_group_stay_while_a_slave_is_left() -> None:
    routes = table()
    routes.register(registration("t", "u"), 1, 0)
    routes.register(registration("t", "u", broker_id=1), 2, 0)
    routes.unregister("a", "h:0", 0)
    assert queues_of(routes, "t") == {"a": 6}
    assert routes.member_addrs("a") == {1: "h:1"}


def test_whoever_is_not_registered_may_leave_without_harm() -> None:
    routes = table()
    routes.register(registration("t", "u"), 1, 0)
    assert routes.unregister("a", "h:5", 0) is None
    assert routes.unregister("x", "h:0", 0) is None
    assert queues_of(routes, "t") == {"a": 6}


def test_a_closed_connection_takes_every_broker_that_registered_by_it() -> None:
    routes = table()
    routes.register(registration("t", "u"), 1, 0)
    routes.register(registration("t", "u", broker_name="b", broker_addr="h:9"), 1, 0)
    routes.register(registration("t", "u", broker_name="d", broker_addr="h:8"), 2, 0)
    routes.connection_lost(1)
    assert queues_of(routes, "t") == {"d": 6}
    routes.connection_lost(1)
    routes.connection_lost(77)
    assert queues_of(routes, "t") == {"d": 6}


def test_an_old_connection_that_closes_late_does_not_matter() -> None:
    routes = table()
    routes.register(registration("t", "u"), 1, 0)
    routes.register(registration("t", "u"), 2, 0)
    routes.connection_lost(1)
    assert queues_of(routes, "t") == {"a": 6}
    routes.connection_lost(2)
    assert routes.route("t") is None


def test_a_silent_broker_is_dropped_after_two_minutes() -> None:
    routes = table()
    routes.register(registration("t", "u"), 1, 1_000)
    assert routes.expire(1_000 + SILENCE_MS_MAX) == ([], [])
    assert routes.expire(1_001 + SILENCE_MS_MAX) == ([("a", "h:0")], [])
    assert routes.route("t") is None


def test_a_broker_may_ask_for_a_shorter_wait() -> None:
    routes = table()
    routes.register(registration("t", "u", heartbeat_timeout_ms=10_000), 1, 0)
    assert routes.expire(10_000)[0] == []
    assert routes.expire(10_001)[0] == [("a", "h:0")]


def test_a_sign_of_life_keeps_a_broker() -> None:
    routes = table()
    routes.register(registration("t", "u"), 1, 0)
    routes.refresh("c", "a", "h:0", 100_000)
    assert routes.expire(200_000)[0] == []
    routes.refresh("other", "a", "h:0", 200_000)
    routes.refresh("c", "a", "h:5", 200_000)
    assert routes.expire(220_001)[0] == [("a", "h:0")]


def test_a_broker_that_was_dropped_registers_as_new() -> None:
    routes = table()
    routes.register(registration("t", "u"), 1, 0)
    routes.expire(SILENCE_MS_MAX + 1)
    routes.register(registration("t", "u"), 1, SILENCE_MS_MAX + 2)
    assert queues_of(routes, "t") == {"a": 6}


# Acting masters and the smallest id.


def slave(*names: str, broker_id: int = 1, **more: Any) -> Any:
    return registration(*names, broker_id=broker_id, enable_acting_master=True, **more)


def test_a_group_without_master_can_only_be_read() -> None:
    routes = table()
    routes.register(registration("t", "u", enable_acting_master=True), 1, 0)
    routes.register(slave("t", "u"), 2, 0)
    routes.unregister("a", "h:0", 0)
    assert queues_of(routes, "t") == {"a": 4}
    routes.register(registration("t", "u", enable_acting_master=True), 3, 0)
    assert queues_of(routes, "t") == {"a": 6}


def test_without_acting_masters_permissions_stay() -> None:
    routes = table()
    routes.register(registration("t", "u"), 1, 0)
    routes.register(registration("t", "u", broker_id=1), 2, 0)
    routes.unregister("a", "h:0", 0)
    assert queues_of(routes, "t") == {"a": 6}


def test_the_smallest_slave_registers_its_topics_for_reading_only() -> None:
    routes = table()
    routes.register(slave("t", "u"), 1, 0)
    routes.register(slave("v", "w", broker_id=2), 2, 0)
    assert queues_of(routes, "t") == {"a": 4}
    assert routes.route("v") is None


def test_a_slave_too_old_for_acting_masters_brings_no_topics() -> None:
    routes = table()
    routes.register(registration("t", "u", broker_id=1), 1, 0)
    assert routes.route("t") is None


def test_a_new_smallest_id_is_told_to_the_others() -> None:
    routes = table()
    assert routes.register(slave("t", "u"), 1, 0).change is None
    assert routes.register(slave("t", "u", broker_id=2), 2, 0).change is None
    accepted = routes.register(registration("t", "u", enable_acting_master=True), 3, 0)
    assert accepted.change == MinBrokerIdChange(
        min_broker_id=0,
        min_broker_addr="h:0",
        offline_broker_addr=None,
        ha_broker_addr="ha:0",
        notify=("h:1", "h:2"),
    )


def test_a_smallest_id_that_left_is_told_to_the_rest() -> None:
    routes = table()
    routes.register(registration("t", "u", enable_acting_master=True), 1, 0)
    routes.register(slave("t", "u"), 2, 0)
    routes.register(slave("t", "u", broker_id=2), 3, 0)
    assert routes.connection_lost(3) == []
    routes.register(slave("t", "u", broker_id=2), 3, 0)
    assert routes.connection_lost(1) == [
        MinBrokerIdChange(
            min_broker_id=1,
            min_broker_addr="h:1",
            offline_broker_addr="h:0",
            ha_broker_addr=None,
            notify=("h:1", "h:2"),
        )
    ]


def test_a_group_that_knows_no_acting_master_is_not_told() -> None:
    routes = table()
    routes.register(registration("t", "u"), 1, 0)
    routes.register(registration("t", "u", broker_id=1), 2, 0)
    assert routes.unregister("a", "h:0", 0) is None


# Changes by hand.


def test_wiping_takes_the_write_bit_and_adding_gives_read_and_write() -> None:
    routes = table()
    routes.register(registration(topics=topics("t", "u", perm=7)), 1, 0)
    routes.register(registration("t", "v", broker_name="b", broker_addr="h:9"), 2, 0)
    assert routes.wipe_write_perm("a") == 2
    assert queues_of(routes, "t") == {"a": 5, "b": 6}
    assert routes.add_write_perm("a") == 2
    assert queues_of(routes, "t") == {"a": 6, "b": 6}
    assert routes.wipe_write_perm("nope") == 0


def test_a_wiped_permission_survives_registrations_that_change_nothing() -> None:
    routes = table()
    routes.register(registration("t", "u"), 1, 0)
    routes.wipe_write_perm("a")
    routes.register(registration("t", "u"), 1, 30_000)
    assert queues_of(routes, "t") == {"a": 4}


def test_a_topic_is_deleted_everywhere_or_in_one_cluster() -> None:
    routes = table()
    routes.register(registration("t", "u"), 1, 0)
    routes.register(
        registration("t", "u", broker_name="b", broker_addr="h:9", cluster_name="d"), 2, 0
    )
    routes.delete_topic("t", "d")
    assert queues_of(routes, "t") == {"a": 6}
    routes.delete_topic("u", "")
    assert routes.route("u") is None
    routes.delete_topic("nope", None)


def test_one_topic_is_registered_for_known_brokers_only() -> None:
    routes = table()
    routes.register(registration("t", "u"), 1, 0)
    queues = QueueData(broker_name="a", read_queue_nums=4, write_queue_nums=2, perm=4)
    assert routes.register_topic("new", [queues])
    assert route_of(routes, "new").queue_datas == [queues]
    stranger = msgspec.structs.replace(queues, broker_name="x")
    assert not routes.register_topic("t", [msgspec.structs.replace(queues, perm=0), stranger])
    assert queues_of(routes, "t") == {"a": 6}
    assert not routes.register_topic("t", [])


# Lists.


def test_lists_of_topics() -> None:
    routes = table()
    routes.register(registration("t", "u"), 1, 0)
    routes.register(
        registration("t", "v", broker_name="b", broker_addr="h:9", cluster_name="d"), 2, 0
    )
    assert routes.topics() == ["t", "u", "v"]
    assert routes.topics_of_cluster("c") == ["t", "u"]
    assert routes.topics_of_cluster("d") == ["t", "v"]
    assert routes.topics_of_cluster("nope") == []
    assert routes.system_topics() == (["c", "a", "d", "b"], "h:0")
    assert table().system_topics() == ([], None)


def test_topics_are_found_by_their_unit_flags() -> None:
    routes = table()
    both = topics("both", flags=3)
    routes.register(
        registration(
            topics=topics("none") | topics("unit", flags=1) | topics("sub", flags=2) | both
        ),
        1,
        0,
    )
    assert routes.topics_with_flags(UNIT_FLAG, 0) == ["unit", "both"]
    assert routes.topics_with_flags(UNIT_SUB_FLAG, 0) == ["sub", "both"]
    assert routes.topics_with_flags(UNIT_SUB_FLAG, UNIT_FLAG) == ["sub"]


def test_the_members_of_a_group_are_listed_by_id() -> None:
    routes = table()
    routes.register(registration("t", "u", broker_id=2), 1, 0)
    routes.register(registration("t", "u"), 2, 0)
    assert list(routes.member_addrs("a").items()) == [(0, "h:0"), (2, "h:2")]
    assert routes.member_addrs("nope") == {}


def test_an_answer_does_not_change_with_the_table() -> None:
    routes = table()
    routes.register(registration("t", "u"), 1, 0)
    route, info = route_of(routes, "t"), routes.cluster_info()
    routes.register(registration("t", "u", broker_id=1), 2, 0)
    assert route.broker_datas[0].broker_addrs == {0: "h:0"}
    assert info.broker_addr_table["a"].broker_addrs == {0: "h:0"}
