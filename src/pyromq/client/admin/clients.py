"""Connected clients: who they are, what they do, and one message consumed on demand."""

from __future__ import annotations

import msgspec
from msgspec import Struct, field

from pyromq.client.admin.servers import AnswerRefused, NotThere, Servers, address_of
from pyromq.codes import RequestCode, ResponseCode
from pyromq.domain.group import Subscription
from pyromq.domain.route import MessageQueue, TopicRoute
from pyromq.errors import RequestFailed
from pyromq.wire import dialect
from pyromq.wire.remoting.bodies.clients import (
    Connection,
    ConsumerConnections,
    ProducerInfo,
    decode_consumer_connections,
    decode_producer_connections,
    decode_producer_table,
)
from pyromq.wire.remoting.bodies.form import decode_answer
from pyromq.wire.remoting.headers.clients import ConsumerConnectionHeader, ProducerConnectionHeader
from pyromq.wire.remoting.headers.relays import ConsumeDirectlyHeader, RunningInfoHeader

_RELAY_TIMEOUT_MS = 15_000
"""A broker waits up to ten seconds for the client it asks."""


class ProcessQueue(Struct, frozen=True, rename="camel", kw_only=True):
    """What a consumer holds of one queue (ProcessQueueInfo)."""

    commit_offset: int = 0
    cached_msg_count: int = 0
    cached_msg_size_in_mi_b: int = 0
    locked: bool = False
    droped: bool = False
    last_pull_timestamp: int = 0
    last_consume_timestamp: int = 0


class ConsumeStatus(Struct, frozen=True, kw_only=True):
    """Rates and times of one topic in a consumer."""

    pull_rt: float = field(name="pullRT", default=0.0)
    pull_tps: float = field(name="pullTPS", default=0.0)
    consume_rt: float = field(name="consumeRT", default=0.0)
    consume_ok_tps: float = field(name="consumeOKTPS", default=0.0)
    consume_failed_tps: float = field(name="consumeFailedTPS", default=0.0)
    consume_failed_msgs: int = field(name="consumeFailedMsgs", default=0)


class RunningInfo(Struct, frozen=True, rename="camel", kw_only=True):
    """What a consumer tells about itself (ConsumerRunningInfo)."""

    properties: dict[str, str] = field(default_factory=dict)
    subscription_set: list[Subscription] = field(default_factory=list)
    mq_table: dict[str, ProcessQueue] = field(default_factory=dict)
    """By queue, as JSON text: see `queues`."""
    status_table: dict[str, ConsumeStatus] = field(default_factory=dict)
    jstack: str | None = None

    def queues(self) -> dict[MessageQueue, ProcessQueue]:
        """Raises RequestFailed for a key that is no queue."""
        try:
            return {
                dialect.decode(key.encode(), MessageQueue): held
                for key, held in self.mq_table.items()
            }
        except (dialect.DialectError, msgspec.ValidationError) as error:
            raise RequestFailed(f"ConsumerRunningInfo body: queue key: {error}") from error


class DirectConsumption(Struct, frozen=True, rename="camel", kw_only=True):
    """How consuming one message went (ConsumeMessageDirectlyResult)."""

    order: bool = False
    auto_commit: bool = True
    consume_result: str | None = None
    remark: str | None = None
    spent_time_mills: int = 0


class Clients:
    """Questions about the clients that brokers know."""

    def __init__(self, servers: Servers) -> None:
        self._servers = servers

    async def consumers(self, group: str, address: str | None = None) -> ConsumerConnections:
        """The group's clients, from one broker or from the first that knows any.

        Raises AnswerRefused (CONSUMER_NOT_ONLINE) if there is none, NotThere if there never was.
        """
        header = ConsumerConnectionHeader(consumer_group=group)
        code = RequestCode.GET_CONSUMER_CONNECTION_LIST
        if address is not None:
            answer = await self._servers.ask(address, code, header)
            return decode_consumer_connections(answer.body)
        refused: AnswerRefused | None = None
        for broker in await self._brokers_of_group(group):
            try:
                answer = await self._servers.ask(broker, code, header)
            except AnswerRefused as error:
                if error.code != ResponseCode.CONSUMER_NOT_ONLINE:
                    raise
                refused = error
                continue
            return decode_consumer_connections(answer.body)
        if refused is None:
            raise NotThere(f"no broker has group {group}")
        raise refused

    async def producers(self, group: str, topic: str) -> list[Connection]:
        """The group's producers, from a broker of the topic."""
        header = ProducerConnectionHeader(producer_group=group)
        for broker in await self._brokers_of(topic):
            answer = await self._servers.ask(
                broker, RequestCode.GET_PRODUCER_CONNECTION_LIST, header
            )
            return decode_producer_connections(answer.body)
        raise NotThere(f"no broker has topic {topic}")

    async def all_producers(self, address: str) -> dict[str, list[ProducerInfo]]:
        """All producers of one broker, by group."""
        answer = await self._servers.ask(address, RequestCode.GET_ALL_PRODUCER_INFO)
        return decode_producer_table(answer.body)

    async def running_info(
        self, group: str, client_id: str, *, with_stack: bool = False
    ) -> RunningInfo:
        """What one client of the group is doing: the broker asks it."""
        header = RunningInfoHeader(
            consumer_group=group, client_id=client_id, jstack_enable=with_stack
        )
        answer = await self._relayed(RequestCode.GET_CONSUMER_RUNNING_INFO, group, header)
        return decode_answer("ConsumerRunningInfo", answer, RunningInfo)

    async def consume_directly(
        self, group: str, client_id: str, offset_message_id: str
    ) -> DirectConsumption:
        """Has one client of the group consume one message now; no offset moves."""
        header = ConsumeDirectlyHeader(
            consumer_group=group, client_id=client_id, msg_id=offset_message_id
        )
        answer = await self._relayed(RequestCode.CONSUME_MESSAGE_DIRECTLY, group, header)
        return decode_answer("ConsumeMessageDirectlyResult", answer, DirectConsumption)

    async def _relayed(self, code: RequestCode, group: str, header: Struct) -> bytes:
        for broker in await self._brokers_of_group(group):
            answer = await self._servers.ask(broker, code, header, timeout_ms=_RELAY_TIMEOUT_MS)
            return bytes(answer.body)
        raise NotThere(f"no broker has group {group}")

    async def _brokers_of(self, topic: str) -> list[str]:
        return _addresses(await self._servers.route(topic))

    async def _brokers_of_group(self, group: str) -> list[str]:
        return _addresses(await self._servers.route_of_group(group))


def _addresses(route: TopicRoute) -> list[str]:
    return [address for data in route.broker_datas if (address := address_of(data)) is not None]


__all__ = ["Clients", "ConsumeStatus", "DirectConsumption", "ProcessQueue", "RunningInfo"]
