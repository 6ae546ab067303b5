"""Bodies about clients: codes 34, 38, 203, 204, 328.

Sources: org.apache.rocketmq.remoting.protocol.heartbeat.HeartbeatData,
…protocol.header.GetConsumerListByGroupResponseBody, …protocol.body.{Connection,ConsumerConnection,
ProducerConnection,ProducerTableInfo} 5.5.0.
"""

from __future__ import annotations

from msgspec import Struct, field

from pyromq.domain.group import ConsumerData, Subscription
from pyromq.wire import dialect
from pyromq.wire.remoting.bodies.form import decode_answer, decode_body


class ProducerData(Struct, frozen=True, rename="camel"):
    """One producer group of a client."""

    group_name: str


class Heartbeat(Struct, frozen=True, rename="camel", kw_only=True):
    """Who a client is and which groups it is in (HeartbeatData)."""

    client_id: str = field(name="clientID")
    producer_data_set: list[ProducerData] = field(default_factory=list)
    consumer_data_set: list[ConsumerData] = field(default_factory=list)
    heartbeat_fingerprint: int = 0
    """Hash of the full form in compact heartbeats, else 0."""
    without_sub: bool = False
    """Subscriptions are left out because nothing changed since the last full form."""


class Connection(Struct, frozen=True, rename="camel", kw_only=True):
    """One connected client, as admin tools show it."""

    client_id: str
    client_addr: str
    language: str = "JAVA"
    version: int = 0


class ConsumerConnections(Struct, frozen=True, rename="camel", kw_only=True):
    """A consumer group's clients and what they subscribe (ConsumerConnection)."""

    connection_set: list[Connection] = field(default_factory=list)
    subscription_table: dict[str, Subscription] = field(default_factory=dict)
    consume_type: str | None = None
    message_model: str | None = None
    consume_from_where: str | None = None


class ProducerInfo(Struct, frozen=True, rename="camel", kw_only=True):
    """One connected producer, as code 328 shows it."""

    client_id: str
    remote_ip: str = field(name="remoteIP")
    """`/ip:port`"""
    language: str = "JAVA"
    version: int = 0
    last_update_timestamp: int = 0


class _ProducerTable(Struct, frozen=True):
    data: dict[str, list[ProducerInfo]] = field(default_factory=dict)


class _ProducerConnections(Struct, frozen=True, rename="camel"):
    connection_set: list[Connection] = field(default_factory=list)


class _ConsumerIds(Struct, frozen=True, rename="camel"):
    consumer_id_list: list[str] = field(default_factory=list)


def encode_heartbeat(heartbeat: Heartbeat) -> bytes:
    return dialect.encode(heartbeat)


def decode_heartbeat(body: bytes) -> Heartbeat:
    return decode_body("HeartbeatData", body, Heartbeat)


def encode_consumer_ids(client_ids: list[str]) -> bytes:
    return dialect.encode(_ConsumerIds(client_ids))


def decode_consumer_ids(body: bytes) -> list[str]:
    return decode_answer("consumer list", body, _ConsumerIds).consumer_id_list


def encode_consumer_connections(connections: ConsumerConnections) -> bytes:
    return dialect.encode(connections)


def decode_consumer_connections(body: bytes) -> ConsumerConnections:
    return decode_answer("ConsumerConnection", body, ConsumerConnections)


def encode_producer_connections(connections: list[Connection]) -> bytes:
    return dialect.encode(_ProducerConnections(connections))


def decode_producer_connections(body: bytes) -> list[Connection]:
    return decode_answer("ProducerConnection", body, _ProducerConnections).connection_set


def encode_producer_table(producers: dict[str, list[ProducerInfo]]) -> bytes:
    """Producers by group."""
    return dialect.encode(_ProducerTable(producers))


def decode_producer_table(body: bytes) -> dict[str, list[ProducerInfo]]:
    return decode_answer("ProducerTableInfo", body, _ProducerTable).data


__all__ = [
    "Connection",
    "ConsumerConnections",
    "Heartbeat",
    "ProducerData",
    "ProducerInfo",
    "decode_consumer_connections",
    "decode_consumer_ids",
    "decode_heartbeat",
    "decode_producer_connections",
    "decode_producer_table",
    "encode_consumer_connections",
    "encode_consumer_ids",
    "encode_heartbeat",
    "encode_producer_connections",
    "encode_producer_table",
]
