"""Bodies of routes and name server tables: codes 105, 106, 206, 217, 219, 224, 304, 311–313, 901.

Sources: org.apache.rocketmq.remoting.protocol.route.TopicRouteData, …protocol.body.{ClusterInfo,
TopicList,KVTable,GetBrokerMemberGroupResponseBody} 5.5.0.
"""

from __future__ import annotations

from msgspec import Struct, field

from pyromq.domain.route import BrokerMemberGroup, ClusterInfo, TopicRoute
from pyromq.wire import dialect
from pyromq.wire.remoting.bodies.form import decode_answer, decode_body


class TopicList(Struct, frozen=True, rename="camel", kw_only=True):
    """Topic names, and for system topics an address to ask."""

    topic_list: list[str] = field(default_factory=list)
    broker_addr: str | None = None


class _KvTable(Struct, frozen=True):
    table: dict[str, str] = field(default_factory=dict)


class _MemberGroupBody(Struct, frozen=True, rename="camel"):
    broker_member_group: BrokerMemberGroup | None = None


def encode_topic_route(route: TopicRoute, *, standard: bool) -> bytes:
    """`standard`: for clients from version 4.9.4 on, or that ask for it."""
    return dialect.encode(route, standard=standard)


def decode_topic_route(body: bytes) -> TopicRoute:
    """Both forms."""
    return decode_body("TopicRouteData", body, TopicRoute)


def encode_cluster_info(info: ClusterInfo) -> bytes:
    return dialect.encode(info)


def decode_cluster_info(body: bytes) -> ClusterInfo:
    return decode_answer("ClusterInfo", body, ClusterInfo)


def encode_topic_list(topics: TopicList) -> bytes:
    return dialect.encode(topics)


def decode_topic_list(body: bytes) -> TopicList:
    return decode_answer("TopicList", body, TopicList)


def encode_kv_table(table: dict[str, str]) -> bytes:
    return dialect.encode(_KvTable(table))


def decode_kv_table(body: bytes) -> dict[str, str]:
    return decode_answer("KVTable", body, _KvTable).table


def encode_broker_member_group(group: BrokerMemberGroup | None) -> bytes:
    return dialect.encode(_MemberGroupBody(group))


def decode_broker_member_group(body: bytes) -> BrokerMemberGroup | None:
    """None if no broker of that name is known."""
    return decode_answer("BrokerMemberGroup", body, _MemberGroupBody).broker_member_group


__all__ = [
    "TopicList",
    "decode_broker_member_group",
    "decode_cluster_info",
    "decode_kv_table",
    "decode_topic_list",
    "decode_topic_route",
    "encode_broker_member_group",
    "encode_cluster_info",
    "encode_kv_table",
    "encode_topic_list",
    "encode_topic_route",
]
