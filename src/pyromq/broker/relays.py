"""Relays: what a tool asks a consumer goes through the broker that the consumer is connected to.

The broker waits for the client's answer and hands it on unread. Sources: callConsumer,
getConsumerRunningInfo and consumeMessageDirectly of processor.AdminBrokerProcessor and
client.net.Broker2Client of org.apache.rocketmq.broker 5.5.0.
"""

from __future__ import annotations

from typing import Final

from pyromq.api import ClientAnswer, DirectConsumption, DirectMessage, RunningInfoRequest
from pyromq.broker.clients import Clients
from pyromq.broker.groups import Groups
from pyromq.broker.peers import AllPeers
from pyromq.broker.query import Queries
from pyromq.broker.remarks import shown
from pyromq.broker.topics import Topics
from pyromq.codes import VERSION_3_1_8_SNAPSHOT
from pyromq.config import BrokerConfig, Settings
from pyromq.domain.message import log_offset_of
from pyromq.errors import AnswerTimedOut, ConsumerNotOnline, RequestFailed, SystemBusy
from pyromq.units import MIB, SECOND_MS

ANSWER_TIMEOUT_MS: Final = 10 * SECOND_MS
"""How long a client may think about a question."""
HELD_SIZE_MAX: Final = 64 * MIB
"""Messages whose consumers have not answered yet, in bytes; more are refused as busy. A tool hands
out one at a time."""


class Relays:
    """Asks consumers in the name of others."""

    def __init__(
        self,
        topics: Topics,
        groups: Groups,
        clients: Clients,
        queries: Queries,
        settings: Settings[BrokerConfig],
        peers: AllPeers,
    ) -> None:
        self._topics = topics
        self._groups = groups
        self._clients = clients
        self._queries = queries
        self._settings = settings
        self._peers = peers
        self._held_size = 0

    async def running_info(self, request: RunningInfoRequest) -> ClientAnswer:
        """What the consumer says of itself."""
        group, client_id = request.consumer_group, request.client_id
        connection_id = self._consumer(group, client_id)
        try:
            door = self._peers.of(connection_id)
            return await door.ask_running_info(connection_id, request, timeout_ms=ANSWER_TIMEOUT_MS)
        except (AnswerTimedOut, ConsumerNotOnline, RequestFailed) as error:
            raise _unanswered(group, client_id, error) from error

    async def consume_directly(self, request: DirectConsumption) -> ClientAnswer:
        """How the consumer got on with the message. Nothing is stored and no offset moves."""
        group, client_id = request.consumer_group, request.client_id
        record = self._queries.at(log_offset_of(request.message_id))
        connection_id = self._consumer(group, client_id)
        size = len(record) + len(request.topic)
        if self._held_size + size > HELD_SIZE_MAX:
            raise SystemBusy(
                f"messages of {self._held_size} bytes wait for their consumers, "
                f"at most {HELD_SIZE_MAX} do"
            )
        topic, config = self._topics.table.get(request.topic), self._groups.table.get(group)
        message = DirectMessage(
            consumer_group=group,
            client_id=client_id,
            message_id=request.message_id,
            topic=request.topic,
            broker_name=self._settings.current.broker_name,
            topic_sys_flag=None if topic is None else topic.topic_sys_flag,
            group_sys_flag=None if config is None else config.group_sys_flag,
            record=record,
        )
        self._held_size += size
        try:
            door = self._peers.of(connection_id)
            return await door.consume_directly(connection_id, message, timeout_ms=ANSWER_TIMEOUT_MS)
        except (AnswerTimedOut, ConsumerNotOnline, RequestFailed) as error:
            raise _unanswered(group, client_id, error) from error
        finally:
            self._held_size -= size

    def _consumer(self, group: str, client_id: str) -> int:
        """The connection of a group's client, if it can be asked."""
        found = self._clients.find_consumer(group, client_id)
        if found is None:
            raise RequestFailed(f"The Consumer <{shown(group)}> <{shown(client_id)}> not online")
        connection_id, version = found
        if version < VERSION_3_1_8_SNAPSHOT:
            raise RequestFailed(
                f"The Consumer <{shown(client_id)}> Version <{version}> too low to finish, "
                "please upgrade it to V3_1_8_SNAPSHOT"
            )
        return connection_id


def _unanswered(
    group: str, client_id: str, error: AnswerTimedOut | ConsumerNotOnline | RequestFailed
) -> AnswerTimedOut | RequestFailed:
    who = f"consumer <{shown(group)}> <{shown(client_id)}>"
    if isinstance(error, AnswerTimedOut):
        return AnswerTimedOut(f"{who} Timeout: {error}")
    return RequestFailed(f"invoke {who} Exception: {error}")


__all__ = ["ANSWER_TIMEOUT_MS", "HELD_SIZE_MAX", "Relays"]
