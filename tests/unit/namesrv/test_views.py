"""Routes as clients should see them."""

from __future__ import annotations

from pyromq.domain.route import BrokerData, QueueData, TopicRoute
from pyromq.namesrv.views import (
    SYNC_BROKER_MEMBER_GROUP_PREFIX,
    with_acting_masters,
    within_zone,
)


def broker(name: str, *ids: int, zone: str | None = None, acting: bool = True) -> BrokerData:
    return BrokerData(
        cluster="c",
        broker_name=name,
        broker_addrs={broker_id: f"{name}:{broker_id}" for broker_id in ids},
        zone_name=zone,
        enable_acting_master=acting,
    )


def queues(name: str, perm: int = 6) -> QueueData:
    return QueueData(broker_name=name, read_queue_nums=1, write_queue_nums=1, perm=perm)


def route(*brokers: BrokerData, perm: int = 6) -> TopicRoute:
    return TopicRoute(
        queue_datas=[queues(item.broker_name, perm) for item in brokers],
        broker_datas=list(brokers),
        filter_server_table={f"{item.broker_name}:0": ["f"] for item in brokers},
    )


def addrs(seen: TopicRoute) -> dict[str, dict[int, str]]:
    return {item.broker_name: item.broker_addrs for item in seen.broker_datas}


def test_the_smallest_replica_stands_for_a_lost_master() -> None:
    seen = with_acting_masters("t", route(broker("a", 1, 2), perm=4))
    assert addrs(seen) == {"a": {0: "a:1", 2: "a:2"}}


def test_a_group_with_its_master_is_seen_as_it_is() -> None:
    seen = with_acting_masters("t", route(broker("a", 0, 1), perm=4))
    assert addrs(seen) == {"a": {0: "a:0", 1: "a:1"}}


def test_nobody_stands_for_a_master_where_writing_is_still_allowed() -> None:
    seen = with_acting_masters("t", route(broker("a", 1, 2), perm=6))
    assert addrs(seen) == {"a": {1: "a:1", 2: "a:2"}}


def test_nobody_stands_for_a_master_in_a_group_that_does_not_know_of_it() -> None:
    seen = with_acting_masters("t", route(broker("a", 1, acting=False), perm=4))
    assert addrs(seen) == {"a": {1: "a:1"}}


def test_brokers_that_look_for_their_group_see_it_as_it_is() -> None:
    topic = SYNC_BROKER_MEMBER_GROUP_PREFIX + "a"
    seen = with_acting_masters(topic, route(broker("a", 1), perm=4))
    assert addrs(seen) == {"a": {1: "a:1"}}


def test_a_zone_sees_its_own_groups_without_regard_to_case() -> None:
    whole = route(broker("a", 0, zone="East"), broker("b", 0, zone="west"), broker("d", 0))
    seen = within_zone("east", whole)
    assert addrs(seen) == {"a": {0: "a:0"}}
    assert [item.broker_name for item in seen.queue_datas] == ["a"]
    assert seen.filter_server_table == {"a:0": ["f"]}


def test_a_group_that_lost_its_master_is_seen_from_every_zone() -> None:
    seen = within_zone("east", route(broker("a", 1, zone="west")))
    assert addrs(seen) == {"a": {1: "a:1"}}
    assert [item.broker_name for item in seen.queue_datas] == ["a"]
