"""Rows about progress: codes 46, 202, 208, 303, 308, 315, 317, 321, 343, 345.

Source: AdminBrokerProcessor and ClientManageProcessor of org.apache.rocketmq.broker 5.5.0.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final, Protocol

from pyromq.api import Caller, GroupProgress, ProgressApi, StatsReading
from pyromq.codes import RequestCode
from pyromq.domain.route import MessageQueue
from pyromq.domain.subscription import tag_hash
from pyromq.frontends.remoting.lists import listed
from pyromq.frontends.remoting.table import DONE, Answer, PlainVerb, WaitingVerb
from pyromq.units import QueueOffset
from pyromq.wire.record import decode_record, parse_properties
from pyromq.wire.remoting.bodies.progress import (
    BrokerStatsData,
    BrokerStatsItem,
    ConsumeQueueData,
    ConsumeStats,
    ConsumeStatsList,
    OffsetWrapper,
    QueueContent,
    QueueTimeSpan,
    decode_checked_subscription,
    encode_broker_stats,
    encode_consume_stats,
    encode_consume_stats_list,
    encode_correction_offsets,
    encode_group_subscription,
    encode_queue_content,
    encode_time_spans,
)
from pyromq.wire.remoting.bodies.routes import TopicList, encode_topic_list
from pyromq.wire.remoting.bodies.topics import TopicOffset, TopicStats, encode_topic_stats
from pyromq.wire.remoting.frame import Command
from pyromq.wire.remoting.headers.groups import ConsumeStatsHeader
from pyromq.wire.remoting.headers.progress import (
    AllConsumeStatsHeader,
    ConsumeTimesHeader,
    CorrectionOffsetsHeader,
    GroupTopicsHeader,
    QueueEntriesHeader,
    StatsHeader,
    SubscriptionHeader,
)
from pyromq.wire.remoting.headers.topics import TopicStatsHeader

_NOT_SET: Final = "not set any response code"
"""Apache's code 321 succeeds with the remark its answers are born with."""
_NO_FILTER: Final = "null"
"""What Apache tells of the filter of a group that filters by tags."""


class ProgressBroker(ProgressApi, Protocol):
    """A broker's progress, its name and its address."""

    @property
    def broker_name(self) -> str: ...

    @property
    def broker_address(self) -> str: ...


class ProgressRows:
    """The rows, bound to one broker."""

    def __init__(self, broker: ProgressBroker) -> None:
        self._broker = broker

    def rows(self) -> list[tuple[RequestCode, PlainVerb | WaitingVerb]]:
        return [
            (RequestCode.CHECK_CLIENT_CONFIG, self.check_client),
            (RequestCode.GET_TOPIC_STATS_INFO, self.topic_stats),
            (RequestCode.GET_CONSUME_STATS, self.consume_stats),
            (RequestCode.QUERY_CONSUME_TIME_SPAN, self.consume_times),
            (RequestCode.QUERY_CORRECTION_OFFSET, self.correction_offsets),
            (RequestCode.VIEW_BROKER_STATS_DATA, self.stats),
            (RequestCode.GET_BROKER_CONSUME_STATS, self.all_consume_stats),
            (RequestCode.QUERY_CONSUME_QUEUE, self.queue_entries),
            (RequestCode.QUERY_TOPICS_BY_CONSUMER, self.topics_of_group),
            (RequestCode.QUERY_SUBSCRIPTION_BY_CONSUMER, self.subscription),
        ]

    # ── queues and groups ───────────────────────────────────────────────────────────────────────

    def topic_stats(self, caller: Caller, header: TopicStatsHeader, command: Command) -> Answer:
        del caller, command
        stats = self._broker.topic_stats(header.topic)
        table = {
            self._queue(header.topic, queue.queue_id): TopicOffset(
                min_offset=queue.min_offset,
                max_offset=queue.max_offset,
                last_update_timestamp=queue.last_update_timestamp_ms,
            )
            for queue in stats.queues
        }
        return Answer(
            body=encode_topic_stats(TopicStats(offset_table=table, topic_put_tps=stats.put_rate))
        )

    def consume_stats(self, caller: Caller, header: ConsumeStatsHeader, command: Command) -> Answer:
        del caller, command
        progress = self._broker.consume_stats(
            header.consumer_group,
            topic=(header.topic or "").strip(),
            topics=[topic for topic in (header.topic_list or "").split(";") if topic],
        )
        return Answer(body=encode_consume_stats(self._consume_stats(progress)))

    def all_consume_stats(
        self, caller: Caller, header: AllConsumeStatsHeader, command: Command
    ) -> Answer:
        del caller, command
        progress = self._broker.all_consume_stats(is_order_only=header.is_order)
        return listed(
            encode_consume_stats_list(
                ConsumeStatsList(
                    consume_stats_list=[
                        {group: [self._consume_stats(part) for part in parts]}
                        for group, parts in progress.groups.items()
                    ],
                    broker_addr=self._broker.broker_address,
                    total_diff=progress.total_lag,
                    total_inflight_diff=progress.total_in_flight,
                )
            )
        )

    def consume_times(self, caller: Caller, header: ConsumeTimesHeader, command: Command) -> Answer:
        del caller, command
        spans = [
            QueueTimeSpan(
                message_queue=self._queue(header.topic, queue.queue_id),
                min_time_stamp=queue.first_ms,
                max_time_stamp=queue.last_ms,
                consume_time_stamp=queue.consumed_ms,
                delay_time=queue.delay_ms,
                min_time_stamp_str=_local_time(queue.first_ms),
                max_time_stamp_str=_local_time(queue.last_ms),
                consume_time_stamp_str=_local_time(queue.consumed_ms),
            )
            for queue in self._broker.consume_times(header.group, header.topic)
        ]
        return Answer(body=encode_time_spans(spans))

    def correction_offsets(
        self, caller: Caller, header: CorrectionOffsetsHeader, command: Command
    ) -> Answer:
        del caller, command
        offsets = self._broker.correction_offsets(
            header.topic, header.compare_group, (header.filter_groups or "").split(",")
        )
        return Answer(body=encode_correction_offsets(offsets))

    def queue_entries(self, caller: Caller, header: QueueEntriesHeader, command: Command) -> Answer:
        del caller, command
        group = header.consumer_group
        entries = self._broker.queue_entries(
            header.topic, header.queue_id, QueueOffset(header.index), header.count, group
        )
        if entries.records is None:
            return Answer(
                remark=f"Index {header.index} of {header.queue_id}@{header.topic} is not exist!"
            )
        filter_data = None
        if group is not None:
            is_online = entries.subscription is not None
            filter_data = _NO_FILTER if is_online else f"{group}@{header.topic} is not online!"
        content = QueueContent(
            max_queue_index=entries.max_offset,
            min_queue_index=entries.min_offset,
            queue_data=[_entry(record, entries.delay_ms) for record in entries.records],
            subscription_data=entries.subscription,
            filter_data=filter_data,
        )
        return Answer(body=encode_queue_content(content), remark=_NOT_SET)

    # ── what was counted ────────────────────────────────────────────────────────────────────────

    def stats(self, caller: Caller, header: StatsHeader, command: Command) -> Answer:
        del caller, command
        stats = self._broker.stats_of(header.stats_name, header.stats_key)
        data = BrokerStatsData(
            stats_minute=_item(stats.minute),
            stats_hour=_item(stats.hour),
            stats_day=_item(stats.day),
        )
        return Answer(body=encode_broker_stats(data))

    # ── subscriptions ───────────────────────────────────────────────────────────────────────────

    def topics_of_group(
        self, caller: Caller, header: GroupTopicsHeader, command: Command
    ) -> Answer:
        del caller, command
        topics = list(self._broker.topics_of_group(header.group))
        address = self._broker.broker_address
        return Answer(body=encode_topic_list(TopicList(topic_list=topics, broker_addr=address)))

    def subscription(self, caller: Caller, header: SubscriptionHeader, command: Command) -> Answer:
        del caller, command
        found = self._broker.subscription(header.group, header.topic or "")
        return Answer(body=encode_group_subscription(header.group, header.topic, found))

    def check_client(self, caller: Caller, header: None, command: Command) -> Answer:
        del caller, header
        subscription = decode_checked_subscription(command.body)
        if subscription is not None:
            self._broker.check_subscription(subscription)
        return DONE

    # ── forms ───────────────────────────────────────────────────────────────────────────────────

    def _queue(self, topic: str, queue_id: int) -> MessageQueue:
        return MessageQueue(broker_name=self._broker.broker_name, queue_id=queue_id, topic=topic)

    def _consume_stats(self, progress: GroupProgress) -> ConsumeStats:
        return ConsumeStats(
            offset_table={
                self._queue(queue.topic, queue.queue_id): OffsetWrapper(
                    broker_offset=queue.broker_offset,
                    consumer_offset=queue.consumer_offset,
                    pull_offset=queue.pull_offset,
                    last_timestamp=queue.last_timestamp_ms,
                )
                for queue in progress.queues
            },
            consume_tps=progress.consume_rate,
        )


def _entry(record: bytes, delay_ms: int | None) -> ConsumeQueueData:
    """A queue's entry holds the hash of its message's tag, or the time a delayed one is due."""
    stored = decode_record(record)
    if delay_ms is None:
        tag = parse_properties(stored.properties.decode("utf-8", "replace")).get("TAGS")
        code = tag_hash(tag) if tag else 0
    else:
        code = stored.store_timestamp_ms + delay_ms
    return ConsumeQueueData(
        physic_offset=stored.log_offset, physic_size=len(record), tags_code=code
    )


def _item(reading: StatsReading) -> BrokerStatsItem:
    return BrokerStatsItem(sum=reading.sum, tps=reading.per_second, avgpt=reading.average)


def _local_time(time_ms: int) -> str:
    """`2026-01-31#10:00:00:123` (UtilAll.YYYY_MM_DD_HH_MM_SS_SSS)."""
    seconds, ms = divmod(time_ms, 1000)
    return f"{datetime.fromtimestamp(seconds).astimezone():%Y-%m-%d#%H:%M:%S}:{ms:03}"


__all__ = ["ProgressBroker", "ProgressRows"]
