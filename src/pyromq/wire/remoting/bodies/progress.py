"""How far groups are, and how fast: the answers to codes 208, 303, 308, 315, 317, 321, 345.

Sources: org.apache.rocketmq.remoting.protocol.admin.{ConsumeStats,OffsetWrapper,ConsumeStatsList},
…protocol.body.{QueryConsumeTimeSpanBody,QueueTimeSpan,QueryCorrectionOffsetBody,BrokerStatsData,
QueryConsumeQueueResponseBody,ConsumeQueueData,QuerySubscriptionResponseBody,
CheckClientRequestBody} 5.5.0.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from msgspec import Struct, field

from pyromq.domain.group import Subscription
from pyromq.domain.route import MessageQueue
from pyromq.errors import RequestFailed
from pyromq.wire import dialect
from pyromq.wire.remoting.bodies.form import decode_answer, decode_body


class OffsetWrapper(Struct, frozen=True, rename="camel", kw_only=True):
    """One queue: its end, and what the group has consumed and pulled of it."""

    broker_offset: int = 0
    consumer_offset: int = 0
    pull_offset: int = 0
    last_timestamp: int = 0
    """Store time in ms of the last message consumed, 0 if there is none."""


class ConsumeStats(Struct, frozen=True, rename="camel", kw_only=True):
    """All queues of a group's topics."""

    offset_table: dict[MessageQueue, OffsetWrapper] = field(default_factory=dict)
    consume_tps: float = 0.0


class ConsumeStatsList(Struct, frozen=True, rename="camel", kw_only=True):
    """All groups of a broker, each as a table of one entry."""

    consume_stats_list: list[dict[str, list[ConsumeStats]]] = field(default_factory=list)
    broker_addr: str | None = None
    total_diff: int = 0
    total_inflight_diff: int = 0


class QueueTimeSpan(Struct, frozen=True, rename="camel", kw_only=True):
    """Store times in ms around a group's place in a queue, and the same for people."""

    message_queue: MessageQueue
    min_time_stamp: int
    max_time_stamp: int
    consume_time_stamp: int
    delay_time: int
    min_time_stamp_str: str
    max_time_stamp_str: str
    consume_time_stamp_str: str


class BrokerStatsItem(Struct, frozen=True, rename="camel", kw_only=True):
    """What was counted within a span of time."""

    sum: int = 0
    tps: float = 0.0
    avgpt: float = 0.0


class BrokerStatsData(Struct, frozen=True, rename="camel", kw_only=True):
    """What was counted within the last minute, hour and day."""

    stats_minute: BrokerStatsItem
    stats_hour: BrokerStatsItem
    stats_day: BrokerStatsItem


class ConsumeQueueData(Struct, frozen=True, rename="camel", kw_only=True):
    """One entry of a consume queue. What comes of the queue's extension is left out."""

    physic_offset: int
    physic_size: int
    tags_code: int
    eval: bool = False


class QueueContent(Struct, frozen=True, rename="camel", kw_only=True):
    """A part of a consume queue (QueryConsumeQueueResponseBody)."""

    max_queue_index: int
    min_queue_index: int
    queue_data: list[ConsumeQueueData]
    subscription_data: Subscription | None = None
    filter_data: str | None = None


class _TimeSpans(Struct, frozen=True, rename="camel"):
    consume_time_span_set: list[QueueTimeSpan]


class _CorrectionOffsets(Struct, frozen=True, rename="camel"):
    correction_offsets: Mapping[int, int]


class _GroupSubscription(Struct, frozen=True, rename="camel", kw_only=True):
    group: str
    topic: str | None
    subscription_data: Subscription | None


class _CheckedClient(Struct, frozen=True, rename="camel", kw_only=True):
    """Of its members only the subscription matters."""

    subscription_data: Subscription | None = None


class _ConsumeStatsText(Struct, frozen=True, rename="camel"):
    """As read: the queues are still JSON text."""

    offset_table: dict[str, OffsetWrapper] = field(default_factory=dict)
    consume_tps: float = 0.0


class _ConsumeStatsListText(Struct, frozen=True, rename="camel"):
    consume_stats_list: list[dict[str, list[_ConsumeStatsText]]] = field(default_factory=list)
    broker_addr: str | None = None
    total_diff: int = 0
    total_inflight_diff: int = 0


def encode_consume_stats(stats: ConsumeStats) -> bytes:
    return _stats_text(stats, {}).encode()


def decode_consume_stats(body: bytes) -> ConsumeStats:
    return _stats(decode_answer("ConsumeStats", body, _ConsumeStatsText))


def encode_consume_stats_list(stats: ConsumeStatsList) -> bytes:
    names: dict[str, str] = {}
    tables = ",".join(
        "{"
        + ",".join(
            f"{_json(group)}:[{','.join(_stats_text(one, names) for one in parts)}]"
            for group, parts in table.items()
        )
        + "}"
        for table in stats.consume_stats_list
    )
    address = "" if stats.broker_addr is None else f'"brokerAddr":{_json(stats.broker_addr)},'
    return (
        f'{{{address}"consumeStatsList":[{tables}],"totalDiff":{stats.total_diff},'
        f'"totalInflightDiff":{stats.total_inflight_diff}}}'
    ).encode()


def decode_consume_stats_list(body: bytes) -> ConsumeStatsList:
    text = decode_answer("ConsumeStatsList", body, _ConsumeStatsListText)
    return ConsumeStatsList(
        consume_stats_list=[
            {group: [_stats(one) for one in stats] for group, stats in table.items()}
            for table in text.consume_stats_list
        ],
        broker_addr=text.broker_addr,
        total_diff=text.total_diff,
        total_inflight_diff=text.total_inflight_diff,
    )


def encode_time_spans(spans: list[QueueTimeSpan]) -> bytes:
    return dialect.encode(_TimeSpans(spans))


def encode_correction_offsets(offsets: Mapping[int, int]) -> bytes:
    return dialect.encode(_CorrectionOffsets(offsets))


def encode_broker_stats(stats: BrokerStatsData) -> bytes:
    return dialect.encode(stats)


def decode_broker_stats(body: bytes) -> BrokerStatsData:
    return decode_answer("BrokerStatsData", body, BrokerStatsData)


def encode_queue_content(content: QueueContent) -> bytes:
    return dialect.encode(content)


def decode_queue_content(body: bytes) -> QueueContent:
    return decode_answer("QueryConsumeQueueResponseBody", body, QueueContent)


def encode_group_subscription(
    group: str, topic: str | None, subscription: Subscription | None
) -> bytes:
    """The answer to 345."""
    return dialect.encode(
        _GroupSubscription(group=group, topic=topic, subscription_data=subscription)
    )


def decode_checked_subscription(body: bytes) -> Subscription | None:
    """What the client of a request 46 wants to filter by; None if it does not say."""
    if not body:
        return None
    return decode_body("CheckClientRequestBody", body, _CheckedClient).subscription_data


def _stats_text(stats: ConsumeStats, names: dict[str, str]) -> str:
    """What the dialect's writer gives, ten times as fast: an answer may hold 65,536 queues.

    `names` keeps the JSON of names that come again and again.
    """
    entries = []
    for queue, offsets in stats.offset_table.items():
        for name in (queue.broker_name, queue.topic):
            if name not in names:
                names[name] = _json(name)
        entries.append(
            f'{{"brokerName":{names[queue.broker_name]},"queueId":{queue.queue_id},'
            f'"topic":{names[queue.topic]}}}:{{"brokerOffset":{offsets.broker_offset},'
            f'"consumerOffset":{offsets.consumer_offset},'
            f'"lastTimestamp":{offsets.last_timestamp},"pullOffset":{offsets.pull_offset}}}'
        )
    return f'{{"consumeTps":{_json(stats.consume_tps)},"offsetTable":{{{",".join(entries)}}}}}'


def _json(value: str | float) -> str:
    return dialect.encode(value).decode()


def _stats(text: _ConsumeStatsText) -> ConsumeStats:
    try:
        table = {
            dialect.decode(key.encode(), MessageQueue): offsets
            for key, offsets in text.offset_table.items()
        }
    except (dialect.DialectError, msgspec.ValidationError) as error:
        raise RequestFailed(f"ConsumeStats body: queue key: {error}") from error
    return ConsumeStats(offset_table=table, consume_tps=text.consume_tps)


__all__ = [
    "BrokerStatsData",
    "BrokerStatsItem",
    "ConsumeQueueData",
    "ConsumeStats",
    "ConsumeStatsList",
    "OffsetWrapper",
    "QueueContent",
    "QueueTimeSpan",
    "decode_broker_stats",
    "decode_checked_subscription",
    "decode_consume_stats",
    "decode_consume_stats_list",
    "decode_queue_content",
    "encode_broker_stats",
    "encode_consume_stats",
    "encode_consume_stats_list",
    "encode_correction_offsets",
    "encode_group_subscription",
    "encode_queue_content",
    "encode_time_spans",
]
