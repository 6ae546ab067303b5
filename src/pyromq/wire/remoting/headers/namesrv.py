"""Name server: codes 100–105, 205, 216, 217, 219, 224, 322, 327, 901, 904, 905.

Sources: org.apache.rocketmq.remoting.protocol.header.namesrv.* and
{GetTopicsByCluster,GetBrokerMemberGroup,NotifyMinBrokerIdChange}RequestHeader 5.5.0. The codes 106,
206, 304 and 311–313 have no header.
"""

from __future__ import annotations

from msgspec import Struct, field

from pyromq.wire.remoting.fields import I32, I64


class PutKvConfigHeader(Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """Stores a value."""

    namespace: str
    key: str
    value: str


class GetKvConfigHeader(Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """Asks for a value."""

    namespace: str
    key: str


class GetKvConfigResponse(Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    value: str | None = None


class DeleteKvConfigHeader(Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """Removes a value."""

    namespace: str
    key: str


class KvListHeader(Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """All keys and values of a namespace."""

    namespace: str


class RegisterBrokerHeader(Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """A broker announces itself; the body holds its topics."""

    broker_name: str
    broker_addr: str
    cluster_name: str
    broker_id: I64
    ha_server_addr: str = ""
    heartbeat_timeout_millis: I64 | None = None
    """How long the name server waits for the next sign; only with acting masters."""
    enable_acting_master: bool | None = None
    compressed: bool = False
    body_crc32: I32 = field(name="bodyCrc32", default=0)
    """CRC-32 of the body without its highest bit; 0 is not checked."""


class RegisterBrokerResponse(Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """For slaves: where their master is."""

    ha_server_addr: str | None = None
    master_addr: str | None = None


class UnregisterBrokerHeader(Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """A broker leaves."""

    broker_name: str
    broker_addr: str
    cluster_name: str
    broker_id: I64


class RouteInfoHeader(Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """Which brokers hold a topic."""

    topic: str
    accept_standard_json_only: bool | None = None


class QueryDataVersionHeader(Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """Whether the name server knows this state of the broker's topics; the body is it."""

    broker_name: str
    broker_addr: str
    cluster_name: str
    broker_id: I64


class QueryDataVersionResponse(Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    changed: bool


class WipeWritePermHeader(Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """Takes the write bit from every route of a broker."""

    broker_name: str


class WipeWritePermResponse(Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    wipe_topic_count: I32


class AddWritePermHeader(Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """Gives it back."""

    broker_name: str


class AddWritePermResponse(Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    add_topic_count: I32


class DeleteTopicFromNamesrvHeader(Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """Forgets a topic's routes, or only those in one cluster."""

    topic: str
    cluster_name: str | None = None


class RegisterTopicHeader(Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """Adds routes of one topic; the body holds its queues."""

    topic: str


class TopicsByClusterHeader(Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    cluster: str


class BrokerMemberGroupHeader(Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """The brokers that share one broker name."""

    cluster_name: str
    broker_name: str


class BrokerHeartbeatHeader(Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """A sign of life between registrations; one-way."""

    cluster_name: str
    broker_addr: str
    broker_name: str
    broker_id: I64 | None = None
    epoch: I32 | None = None
    max_offset: I64 | None = None
    confirm_offset: I64 | None = None
    heartbeat_timeout_millis: I64 | None = field(name="heartbeatTimeoutMills", default=None)
    election_priority: I32 | None = None


class MinBrokerIdChangedHeader(Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """Name server to brokers, one-way: the group's smallest id is another broker now."""

    min_broker_id: I64 | None = None
    broker_name: str | None = None
    min_broker_addr: str | None = None
    offline_broker_addr: str | None = None
    ha_broker_addr: str | None = None


__all__ = [
    "AddWritePermHeader",
    "AddWritePermResponse",
    "BrokerHeartbeatHeader",
    "BrokerMemberGroupHeader",
    "DeleteKvConfigHeader",
    "DeleteTopicFromNamesrvHeader",
    "GetKvConfigHeader",
    "GetKvConfigResponse",
    "KvListHeader",
    "MinBrokerIdChangedHeader",
    "PutKvConfigHeader",
    "QueryDataVersionHeader",
    "QueryDataVersionResponse",
    "RegisterBrokerHeader",
    "RegisterBrokerResponse",
    "RegisterTopicHeader",
    "RouteInfoHeader",
    "TopicsByClusterHeader",
    "UnregisterBrokerHeader",
    "WipeWritePermHeader",
    "WipeWritePermResponse",
]
