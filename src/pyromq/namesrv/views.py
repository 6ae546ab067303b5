"""A route as a client should see it: with a replica in the master's place, or of one zone only.

Sources: RouteInfoManager.pickupTopicRouteData and route.ZoneRouteRPCHook of
org.apache.rocketmq.namesrv 5.5.0.
"""

from __future__ import annotations

import msgspec

from pyromq.domain.route import MASTER_ID, BrokerData, TopicRoute
from pyromq.domain.topic import PERM_WRITE

SYNC_BROKER_MEMBER_GROUP_PREFIX = "rmq_sys_SYNC_BROKER_MEMBER_"
"""Brokers read their group by such a topic's route; they must see it as it is."""


def with_acting_masters(topic: str, route: TopicRoute) -> TopicRoute:
    """Puts the oldest replica of a group without master, and without write permission, at id 0."""
    if topic.startswith(SYNC_BROKER_MEMBER_GROUP_PREFIX):
        return route
    read_only = {queues.broker_name for queues in route.queue_datas if not queues.perm & PERM_WRITE}
    brokers = [
        _with_acting_master(broker) if broker.broker_name in read_only else broker
        for broker in route.broker_datas
    ]
    return msgspec.structs.replace(route, broker_datas=brokers)


def _with_acting_master(broker: BrokerData) -> BrokerData:
    if not broker.enable_acting_master or not broker.broker_addrs or broker.master_addr is not None:
        return broker
    smallest = min(broker.broker_addrs)
    addrs = {MASTER_ID: broker.broker_addrs[smallest]}
    addrs.update((key, addr) for key, addr in broker.broker_addrs.items() if key != smallest)
    return msgspec.structs.replace(broker, broker_addrs=addrs)


def within_zone(zone_name: str, route: TopicRoute) -> TopicRoute:
    """Leaves out groups of other zones, but never one without a master: it is read from anyway."""
    dropped = {
        broker.broker_name: broker
        for broker in route.broker_datas
        if broker.master_addr is not None and (broker.zone_name or "").lower() != zone_name.lower()
    }
    dropped_addrs = {addr for broker in dropped.values() for addr in broker.broker_addrs.values()}
    return msgspec.structs.replace(
        route,
        broker_datas=[b for b in route.broker_datas if b.broker_name not in dropped],
        queue_datas=[q for q in route.queue_datas if q.broker_name not in dropped],
        filter_server_table={
            addr: servers
            for addr, servers in route.filter_server_table.items()
            if addr not in dropped_addrs
        },
    )


__all__ = ["SYNC_BROKER_MEMBER_GROUP_PREFIX", "with_acting_masters", "within_zone"]
