"""Rows about connected clients: codes 34, 35, 38, 203, 204, 328.

Source: ClientManageProcessor, ConsumerManageProcessor and AdminBrokerProcessor of
org.apache.rocketmq.broker 5.5.0.
"""

from __future__ import annotations

from collections.abc import Sequence

from pyromq.api import Caller, ClientConnection, ClientsApi, Heartbeat
from pyromq.codes import RequestCode
from pyromq.frontends.remoting.table import DONE, Answer, PlainVerb, WaitingVerb
from pyromq.wire.remoting.bodies.clients import (
    Connection,
    ConsumerConnections,
    ProducerInfo,
    decode_heartbeat,
    encode_consumer_connections,
    encode_consumer_ids,
    encode_producer_connections,
    encode_producer_table,
)
from pyromq.wire.remoting.frame import Command
from pyromq.wire.remoting.headers import encode_ext
from pyromq.wire.remoting.headers.clients import (
    ConsumerConnectionHeader,
    ConsumerListHeader,
    HeartbeatHeader,
    HeartbeatResponse,
    ProducerConnectionHeader,
    UnregisterClientHeader,
)


class ClientRows:
    """The rows, bound to one broker."""

    def __init__(self, broker: ClientsApi) -> None:
        self._broker = broker

    def rows(self) -> list[tuple[RequestCode, PlainVerb | WaitingVerb]]:
        return [
            (RequestCode.HEART_BEAT, self.heartbeat),
            (RequestCode.UNREGISTER_CLIENT, self.unregister),
            (RequestCode.GET_CONSUMER_LIST_BY_GROUP, self.consumer_ids),
            (RequestCode.GET_CONSUMER_CONNECTION_LIST, self.consumer_connections),
            (RequestCode.GET_PRODUCER_CONNECTION_LIST, self.producer_connections),
            (RequestCode.GET_ALL_PRODUCER_INFO, self.all_producers),
        ]

    async def heartbeat(self, caller: Caller, header: HeartbeatHeader, command: Command) -> Answer:
        del header
        body = decode_heartbeat(command.body)
        answer = await self._broker.heartbeat(
            caller,
            Heartbeat(
                client_id=body.client_id,
                producer_groups=[producer.group_name for producer in body.producer_data_set],
                consumers=body.consumer_data_set,
                fingerprint=body.heartbeat_fingerprint,
                is_without_subscriptions=body.without_sub,
            ),
        )
        return Answer(
            encode_ext(
                HeartbeatResponse(
                    is_support_heart_beat_v2=answer.supports_v2,
                    is_sub_change=answer.has_subscription_changed,
                )
            )
        )

    def unregister(
        self, caller: Caller, header: UnregisterClientHeader, command: Command
    ) -> Answer:
        del command
        self._broker.unregister_client(
            caller, header.client_id, header.producer_group, header.consumer_group
        )
        return DONE

    def consumer_ids(self, caller: Caller, header: ConsumerListHeader, command: Command) -> Answer:
        del caller, command
        client_ids = self._broker.consumer_ids(header.consumer_group)
        return Answer(body=encode_consumer_ids(list(client_ids)))

    def consumer_connections(
        self, caller: Caller, header: ConsumerConnectionHeader, command: Command
    ) -> Answer:
        del caller, command
        group = self._broker.consumer_connections(header.consumer_group)
        return Answer(
            body=encode_consumer_connections(
                ConsumerConnections(
                    connection_set=_connections(group.connections),
                    subscription_table=dict(group.subscriptions),
                    consume_type=group.consume_type,
                    message_model=group.message_model,
                    consume_from_where=group.consume_from_where,
                )
            )
        )

    def producer_connections(
        self, caller: Caller, header: ProducerConnectionHeader, command: Command
    ) -> Answer:
        del caller, command
        connections = self._broker.producer_connections(header.producer_group)
        return Answer(body=encode_producer_connections(_connections(connections)))

    def all_producers(self, caller: Caller, header: None, command: Command) -> Answer:
        del caller, header, command
        table = {
            group: [_producer_info(connection) for connection in connections]
            for group, connections in self._broker.all_producers().items()
        }
        return Answer(body=encode_producer_table(table))


def _producer_info(connection: ClientConnection) -> ProducerInfo:
    return ProducerInfo(
        client_id=connection.client_id,
        remote_ip=f"/{connection.client_addr}",
        language=connection.language,
        version=connection.version,
        last_update_timestamp=connection.last_update_timestamp_ms,
    )


def _connections(connections: Sequence[ClientConnection]) -> list[Connection]:
    return [
        Connection(
            client_id=connection.client_id,
            client_addr=connection.client_addr,
            language=connection.language,
            version=connection.version,
        )
        for connection in connections
    ]


__all__ = ["ClientRows"]
