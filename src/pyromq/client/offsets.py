"""Offsets of queues: what brokers hold of them, and where a group begins that has none yet.

Source: impl.MQAdminImpl, consumer.store.RemoteBrokerOffsetStore and impl.consumer.RebalancePushImpl
(computePullFromWhereWithException) of org.apache.rocketmq.client 5.5.0.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

from pyromq.client.errors import ServerRefused
from pyromq.client.instance import ClientInstance
from pyromq.codes import RequestCode, ResponseCode
from pyromq.domain.route import MessageQueue
from pyromq.domain.topic import RETRY_PREFIX
from pyromq.units import QueueOffset
from pyromq.wire.remoting.fields import decode_header
from pyromq.wire.remoting.headers.offsets import (
    BoundaryType,
    MaxOffsetHeader,
    MinOffsetHeader,
    OffsetResponse,
    QueryConsumerOffsetHeader,
    SearchOffsetHeader,
    UpdateConsumerOffsetHeader,
)

OFFSET_TIMEOUT_MS: Final = 5_000
"""As Apache's for reading and writing a group's offsets."""


class ConsumeFromWhere(Enum):
    """Where a group begins in a queue of which it has no offset yet."""

    LAST_OFFSET = "CONSUME_FROM_LAST_OFFSET"
    """Behind the newest message. Brokers make an exception for queues whose first message is still
    in memory: there it begins with that."""
    FIRST_OFFSET = "CONSUME_FROM_FIRST_OFFSET"
    TIMESTAMP = "CONSUME_FROM_TIMESTAMP"


async def max_offset(instance: ClientInstance, queue: MessageQueue) -> QueueOffset:
    """One past the newest message. Raises as `ClientInstance.call` does, or RouteNotFound."""
    header = MaxOffsetHeader(topic=queue.topic, queue_id=queue.queue_id)
    return await _offset(instance, queue, RequestCode.GET_MAX_OFFSET, header)


async def min_offset(instance: ClientInstance, queue: MessageQueue) -> QueueOffset:
    """The oldest message."""
    header = MinOffsetHeader(topic=queue.topic, queue_id=queue.queue_id)
    return await _offset(instance, queue, RequestCode.GET_MIN_OFFSET, header)


async def offset_by_time(
    instance: ClientInstance,
    queue: MessageQueue,
    timestamp_ms: int,
    boundary: BoundaryType = BoundaryType.LOWER,
) -> QueueOffset:
    """The first message stored at that time (ms) or later."""
    header = SearchOffsetHeader(
        topic=queue.topic,
        queue_id=queue.queue_id,
        timestamp=timestamp_ms,
        boundary_type=boundary,
    )
    return await _offset(instance, queue, RequestCode.SEARCH_OFFSET_BY_TIMESTAMP, header)


async def committed_offset(
    instance: ClientInstance, group: str, queue: MessageQueue
) -> QueueOffset | None:
    """Where the group goes on; None if the broker knows nothing of it."""
    header = QueryConsumerOffsetHeader(
        consumer_group=group, topic=queue.topic, queue_id=queue.queue_id
    )
    try:
        return await _offset(instance, queue, RequestCode.QUERY_CONSUMER_OFFSET, header)
    except ServerRefused as error:
        if error.code == ResponseCode.QUERY_NOT_FOUND:
            return None
        raise


async def commit_offset(
    instance: ClientInstance, group: str, queue: MessageQueue, offset: int
) -> None:
    """The group goes on at that offset; returns when the broker has it."""
    header = UpdateConsumerOffsetHeader(
        consumer_group=group, topic=queue.topic, queue_id=queue.queue_id, commit_offset=offset
    )
    address = await instance.address_of(queue)
    await instance.call(
        address, RequestCode.UPDATE_CONSUMER_OFFSET, header, timeout_ms=OFFSET_TIMEOUT_MS
    )


async def first_offset(
    instance: ClientInstance,
    queue: MessageQueue,
    where: ConsumeFromWhere,
    timestamp_ms: int = 0,
) -> QueueOffset:
    """Where a group begins that has no offset of the queue."""
    is_retry = queue.topic.startswith(RETRY_PREFIX)
    if where is ConsumeFromWhere.FIRST_OFFSET:
        return QueueOffset(0)
    if where is ConsumeFromWhere.LAST_OFFSET:
        # Nothing is given back before the group exists, so all of its retries are news.
        return QueueOffset(0) if is_retry else await max_offset(instance, queue)
    if is_retry:
        return await max_offset(instance, queue)
    return await offset_by_time(instance, queue, timestamp_ms)


async def _offset(
    instance: ClientInstance,
    queue: MessageQueue,
    code: RequestCode,
    header: MaxOffsetHeader | MinOffsetHeader | SearchOffsetHeader | QueryConsumerOffsetHeader,
) -> QueueOffset:
    address = await instance.address_of(queue, needs_master=False)
    answer = await instance.call(address, code, header, timeout_ms=OFFSET_TIMEOUT_MS)
    return QueueOffset(decode_header(OffsetResponse, answer.ext).offset)


__all__ = [
    "ConsumeFromWhere",
    "commit_offset",
    "committed_offset",
    "first_offset",
    "max_offset",
    "min_offset",
    "offset_by_time",
]
