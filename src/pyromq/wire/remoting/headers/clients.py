"""Clients and their groups: codes 34, 35, 38, 40, 203, 204.

Sources: UnregisterClientRequestHeader, GetConsumerListByGroupRequestHeader,
NotifyConsumerIdsChangedRequestHeader, Get{Consumer,Producer}ConnectionListRequestHeader of
org.apache.rocketmq.remoting.protocol.header 5.5.0; ClientManageProcessor for the heartbeat answer.
"""

from __future__ import annotations

from msgspec import Struct, field


class HeartbeatHeader(Struct, frozen=True, kw_only=True, gc=False):
    """Code 34 has no fields of its own; its body is the heartbeat."""


class HeartbeatResponse(Struct, frozen=True, kw_only=True, gc=False):
    """What the broker tells about compact heartbeats."""

    is_support_heart_beat_v2: bool = field(name="IS_SUPPORT_HEART_BEAT_V2", default=True)
    is_sub_change: bool = field(name="IS_SUB_CHANGE", default=True)
    """Whether the client should send the full form (again)."""


class UnregisterClientHeader(Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """A client leaves one producer or consumer group, or both."""

    client_id: str = field(name="clientID")
    producer_group: str | None = None
    consumer_group: str | None = None


class ConsumerListHeader(Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """Client ids of a consumer group."""

    consumer_group: str


class ConsumerIdsChangedHeader(Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """Broker to client, one-way: members of the group changed, rebalance."""

    consumer_group: str


class ConsumerConnectionHeader(Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """Connections of a consumer group."""

    consumer_group: str


class ProducerConnectionHeader(Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """Connections of a producer group."""

    producer_group: str


__all__ = [
    "ConsumerConnectionHeader",
    "ConsumerIdsChangedHeader",
    "ConsumerListHeader",
    "HeartbeatHeader",
    "HeartbeatResponse",
    "ProducerConnectionHeader",
    "UnregisterClientHeader",
]
