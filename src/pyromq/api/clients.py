"""Who is connected."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

from pyromq.api.caller import Caller
from pyromq.domain.group import ConsumerData, Subscription


class Heartbeat(msgspec.Struct, frozen=True, kw_only=True):
    """Who a client is and what it wants, every 30 s."""

    client_id: str
    producer_groups: Sequence[str] = ()
    consumers: Sequence[ConsumerData] = ()
    fingerprint: int = 0
    """Compact heartbeats (V2): hash over the full form, 0 if the client does not use them."""
    is_without_subscriptions: bool = False


class HeartbeatAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Sent back as ext fields IS_SUPPORT_HEART_BEAT_V2 and IS_SUB_CHANGE."""

    supports_v2: bool = True
    has_subscription_changed: bool = True


class ClientConnection(msgspec.Struct, frozen=True, kw_only=True):
    """One connected client of a group."""

    client_id: str
    client_addr: str
    language: str
    version: int
    last_update_timestamp_ms: int = 0


class ConsumerConnections(msgspec.Struct, frozen=True, kw_only=True):
    """Everything known of a consumer group's clients."""

    connections: Sequence[ClientConnection]
    subscriptions: Mapping[str, Subscription]
    consume_type: str
    message_model: str
    consume_from_where: str


class ClientsApi(Protocol):
    """Who is connected."""

    async def heartbeat(self, caller: Caller, heartbeat: Heartbeat) -> HeartbeatAnswer: ...

    def unregister_client(
        self,
        caller: Caller,
        client_id: str,
        producer_group: str | None,
        consumer_group: str | None,
    ) -> None: ...

    def connection_lost(self, connection_id: int) -> None:
        """The door closed a connection: its clients leave their groups, its parked polls end."""
        ...

    def consumer_ids(self, group: str) -> Sequence[str]: ...

    def consumer_connections(self, group: str) -> ConsumerConnections: ...

    def producer_connections(self, group: str) -> Sequence[ClientConnection]: ...

    def all_producers(self) -> Mapping[str, Sequence[ClientConnection]]: ...


__all__ = ["ClientConnection", "ClientsApi", "ConsumerConnections", "Heartbeat", "HeartbeatAnswer"]
