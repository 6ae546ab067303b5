"""Which offsets the clients of a group have in mind: each is asked, all at the same time.

Apache asks one after the other, so that each dead client holds up the answer for 5 s. Here who does
not answer, or nothing readable, is missing in the answer and costs the others nothing.

Source: getConsumeStatus of client.net.Broker2Client of org.apache.rocketmq.broker 5.5.0.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from pyromq.broker.clients import Clients
from pyromq.broker.peers import AllPeers
from pyromq.broker.remarks import shown
from pyromq.codes import VERSION_3_0_7_SNAPSHOT
from pyromq.domain.route import MessageQueue
from pyromq.errors import PyromqError, RequestFailed
from pyromq.units import SECOND_MS
from pyromq.waiting import together

ANSWER_TIMEOUT_MS: Final = 5 * SECOND_MS
ASKED_MAX: Final = 1_000
"""Clients asked by one request; a larger group can be asked client by client."""
QUEUES_MAX: Final = 65_536
"""Queues that the clients asked by one request may tell of together: as many as fit a frame."""


class ConsumerStatus:
    """Asks a group's clients."""

    def __init__(self, clients: Clients, peers: AllPeers) -> None:
        self._consumers = clients.consumers
        self._peers = peers

    async def of(
        self, group: str, topic: str, client_id: str
    ) -> Mapping[str, Mapping[MessageQueue, int]]:
        """Offsets by client; of the named client only, if one is named."""
        online = self._consumers.get(group)
        if online is None or not online.members:
            raise RequestFailed(f"No Any Consumer online in the consumer group: [{shown(group)}]")
        is_for_all = not client_id.strip()
        asked: dict[str, int] = {}
        for connection_id, member in online.members.items():
            if member.version < VERSION_3_0_7_SNAPSHOT:
                raise RequestFailed(
                    f"the client does not support this feature. version={member.version}"
                )
            if is_for_all or member.client_id == client_id:
                asked[member.client_id] = connection_id
        if len(asked) > ASKED_MAX:
            raise RequestFailed(
                f"group[{shown(group)}] has {len(asked)} clients, at most {ASKED_MAX} are asked "
                "together; name one by clientAddr"
            )
        queue_count = 0

        async def ask(connection_id: int) -> Mapping[MessageQueue, int]:
            """What is too much is forgotten at once: the other answers may take seconds."""
            nonlocal queue_count
            answer = await self._ask(connection_id, group, topic)
            queue_count += len(answer)
            return answer if queue_count <= QUEUES_MAX else {}

        answers = await together([ask(connection_id) for connection_id in asked.values()])
        if queue_count > QUEUES_MAX:
            raise RequestFailed(
                f"the clients of group[{shown(group)}] tell of more than {QUEUES_MAX} queues; "
                "name one by clientAddr"
            )
        return {
            name: answer
            for name, answer in zip(asked, answers, strict=True)
            if not isinstance(answer, PyromqError)
        }

    async def _ask(self, connection_id: int, group: str, topic: str) -> Mapping[MessageQueue, int]:
        return await self._peers.of(connection_id).ask_consumer_status(
            connection_id, group, topic, timeout_ms=ANSWER_TIMEOUT_MS
        )


__all__ = ["ANSWER_TIMEOUT_MS", "ASKED_MAX", "QUEUES_MAX", "ConsumerStatus"]
