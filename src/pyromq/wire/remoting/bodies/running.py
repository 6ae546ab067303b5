"""What a consumer tells of itself: answers to 307 and 309.

Sources: org.apache.rocketmq.remoting.protocol.body.{ConsumerRunningInfo,ProcessQueueInfo,
ConsumeMessageDirectlyResult} 5.5.0.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct, field

from pyromq.domain.group import Subscription
from pyromq.domain.route import MessageQueue
from pyromq.wire import dialect


class QueueInHand(Struct, frozen=True, rename="camel", kw_only=True):
    """What a consumer holds of one queue (ProcessQueueInfo). Times in ms, 0 for never."""

    commit_offset: int = 0
    cached_msg_min_offset: int = 0
    cached_msg_max_offset: int = 0
    cached_msg_count: int = 0
    cached_msg_size_in_mib: int = field(name="cachedMsgSizeInMiB", default=0)
    locked: bool = False
    droped: bool = False
    last_pull_timestamp: int = 0
    last_consume_timestamp: int = 0


class _RunningInfo(Struct, frozen=True, rename="camel", kw_only=True):
    properties: Mapping[str, str]
    subscription_set: list[Subscription]
    mq_table: Mapping[MessageQueue, QueueInHand]


class DirectResult(Struct, frozen=True, rename="camel", kw_only=True):
    """How consuming one message went: CR_SUCCESS, CR_LATER or CR_THROW_EXCEPTION."""

    order: bool = False
    auto_commit: bool = True
    consume_result: str
    remark: str | None = None
    spent_time_mills: int = 0


def encode_running_info(
    properties: Mapping[str, str],
    subscriptions: list[Subscription],
    queues: Mapping[MessageQueue, QueueInHand],
) -> bytes:
    return dialect.encode(
        _RunningInfo(properties=properties, subscription_set=subscriptions, mq_table=queues)
    )


def encode_direct_result(result: DirectResult) -> bytes:
    return dialect.encode(result)


__all__ = ["DirectResult", "QueueInHand", "encode_direct_result", "encode_running_info"]
