"""One pull of one queue: the request with its long poll, and what its answer means.

The broker holds a pull up to 15 s until there is a message. Tags are compared here once more, as
the broker only compares their hashes. Source: impl.consumer.PullAPIWrapper and impl.MQClientAPIImpl
(processPullResponse) of org.apache.rocketmq.client 5.5.0.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

from msgspec import Struct

from pyromq.client.errors import RouteNotFound, ServerRefused
from pyromq.client.instance import ClientInstance
from pyromq.client.message import ReceivedMessage, received
from pyromq.codes import RequestCode, ResponseCode
from pyromq.domain.group import Subscription
from pyromq.domain.route import MASTER_ID, MessageQueue
from pyromq.domain.subscription import is_tag_type
from pyromq.units import QueueOffset
from pyromq.wire.remoting.fields import decode_header
from pyromq.wire.remoting.headers.pull import PullFlag, PullHeader, PullResponse
from pyromq.wire.remoting.native import encode_ext

PULL_COUNT_MAX: Final = 32
SUSPEND_MS: Final = 15_000
PULL_TIMEOUT_MS: Final = 30_000


class PullStatus(Enum):
    """What the broker says of a queue at an offset."""

    FOUND = ResponseCode.SUCCESS
    NO_NEW_MESSAGE = ResponseCode.PULL_NOT_FOUND
    NO_MATCHED_MESSAGE = ResponseCode.PULL_RETRY_IMMEDIATELY
    OFFSET_ILLEGAL = ResponseCode.PULL_OFFSET_MOVED
    """The offset is outside the queue; `next_offset` is where it goes on."""


class Pulled(Struct, frozen=True):
    """An answer."""

    status: PullStatus
    next_offset: QueueOffset
    min_offset: QueueOffset
    max_offset: QueueOffset
    messages: list[ReceivedMessage]


_STATUSES: Final = {int(status.value): status for status in PullStatus}


class Puller:
    """Pulls for one group; remembers which replica a broker recommends for which queue."""

    def __init__(
        self,
        instance: ClientInstance,
        group: str,
        *,
        count_max: int = PULL_COUNT_MAX,
        suspend_ms: int = SUSPEND_MS,
    ) -> None:
        self._instance = instance
        self._group = group
        self._count_max = count_max
        self._suspend_ms = suspend_ms
        self._replica_ids: dict[MessageQueue, int] = {}

    async def pull(
        self,
        queue: MessageQueue,
        offset: int,
        subscription: Subscription,
        *,
        commit_offset: int = 0,
    ) -> Pulled:
        """Messages from `offset` on, or after up to `suspend_ms` the answer that there are none.

        A `commit_offset` above 0 becomes the group's offset on the way. Raises ServerRefused,
        PeerUnreachable, AnswerOverdue, RouteNotFound, MessageIllegal, CompressionMissing.
        """
        replica_id, address = await self._replica(queue)
        flags = PullFlag.SUSPEND | PullFlag.SUBSCRIPTION
        if commit_offset > 0 and replica_id == MASTER_ID:
            flags |= PullFlag.COMMIT_OFFSET
        header = PullHeader(
            consumer_group=self._group,
            topic=queue.topic,
            queue_id=queue.queue_id,
            queue_offset=offset,
            max_msg_nums=self._count_max,
            sys_flag=int(flags),
            commit_offset=commit_offset,
            suspend_timeout_millis=self._suspend_ms,
            sub_version=subscription.sub_version,
            subscription=subscription.sub_string,
            expression_type=subscription.expression_type,
        )
        answer = await self._instance.remoting.invoke(
            address, RequestCode.PULL_MESSAGE, encode_ext(header), timeout_ms=PULL_TIMEOUT_MS
        )
        status = _STATUSES.get(answer.code)
        if status is None:
            raise ServerRefused(address, RequestCode.PULL_MESSAGE, answer.code, answer.remark)
        found = decode_header(PullResponse, answer.ext)
        self._replica_ids[queue] = found.suggest_which_broker_id
        messages: list[ReceivedMessage] = []
        if status is PullStatus.FOUND:
            messages = [
                message
                for message in received(queue, answer.body)
                if matches(message, subscription)
            ]
        return Pulled(
            status,
            QueueOffset(found.next_begin_offset),
            QueueOffset(found.min_offset),
            QueueOffset(found.max_offset),
            messages,
        )

    async def _replica(self, queue: MessageQueue) -> tuple[int, str]:
        routes = self._instance.routes
        wanted = self._replica_ids.get(queue, MASTER_ID)
        replica = routes.any_replica(queue.broker_name, wanted)
        if replica is None:
            await routes.readable_queues(queue.topic)
            replica = routes.any_replica(queue.broker_name, wanted)
        if replica is None:
            routes.want_refresh()
            raise RouteNotFound(f"topic {queue.topic}: broker {queue.broker_name} is not there")
        return replica


def matches(message: ReceivedMessage, subscription: Subscription) -> bool:
    """Whether the tag is one of the wanted ones; other filters are the broker's alone."""
    if not subscription.tags_set or not is_tag_type(subscription.expression_type):
        return True
    return message.tag in subscription.tags_set


__all__ = [
    "PULL_COUNT_MAX",
    "PULL_TIMEOUT_MS",
    "SUSPEND_MS",
    "PullStatus",
    "Pulled",
    "Puller",
    "matches",
]
