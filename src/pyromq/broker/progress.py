"""Progress: how full queues are, how far groups have come in them, and how fast both move.

All of it is computed when somebody asks: positions and offsets are exact at that moment.

Source: getTopicStatsInfo, getConsumeStats, fetchAllConsumeStatsInBroker, queryConsumeTimeSpan and
queryCorrectionOffset of processor.AdminBrokerProcessor of org.apache.rocketmq.broker 5.5.0.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final

from pyromq.api import (
    BrokerProgress,
    GroupProgress,
    QueueProgress,
    QueueStats,
    QueueTimes,
    TopicStats,
)
from pyromq.broker.clients import Clients
from pyromq.broker.offsets import unreadable
from pyromq.broker.remarks import shown
from pyromq.broker.topics import Topics
from pyromq.clock import Clock
from pyromq.domain.offsets import correction_offsets, total_lag
from pyromq.domain.topic import TopicConfig, retry_topic
from pyromq.errors import RequestFailed, StoreFailed, TopicNotFound
from pyromq.observe.counters import BrokerCounters
from pyromq.observe.meters import MINUTE
from pyromq.store.engine import Engine
from pyromq.store.metadata import Metadata
from pyromq.store.tables import offset_key, split_key
from pyromq.units import QueueOffset

QUEUES_SHOWN_MAX: Final = 65_536
"""Queues in one answer: as many as fit a frame. Who wants more asks topic by topic."""


class Progress:
    """Tells operators where everything is."""

    def __init__(
        self,
        metadata: Metadata,
        engine: Engine,
        topics: Topics,
        clients: Clients,
        clock: Clock,
        counters: BrokerCounters,
    ) -> None:
        self._metadata = metadata
        self._engine = engine
        self._topic_table = topics.table
        self._consumers = clients.consumers
        self._clock = clock
        self._counters = counters

    # --- queues ---------------------------------------------------------------------------------

    def topic_stats(self, topic: str) -> TopicStats:
        """Every queue of the topic, those too that never had a message."""
        config = self._topic(topic)
        queue_count = max(config.read_queue_nums, config.write_queue_nums)
        try:
            queues = [self._queue_stats(topic, queue_id) for queue_id in range(queue_count)]
        except StoreFailed as error:
            raise unreadable(error) from error
        now_ms = self._clock.monotonic_ms()
        self._counters.catch_up()
        put = self._counters.topic_puts.messages(topic, MINUTE, now_ms)
        return TopicStats(queues=queues, put_rate=put.per_second)

    def _queue_stats(self, topic: str, queue_id: int) -> QueueStats:
        queue = self._engine.queue_range(topic, queue_id)
        updated_ms = 0
        if queue.max_offset > 0:
            last = QueueOffset(queue.max_offset - 1)
            updated_ms = self._engine.store_time(topic, queue_id, last)
        return QueueStats(
            queue_id=queue_id,
            min_offset=queue.min_offset,
            max_offset=queue.max_offset,
            last_update_timestamp_ms=updated_ms,
        )

    # --- groups ---------------------------------------------------------------------------------

    def consume_stats(
        self, group: str, *, topic: str = "", topics: Sequence[str] = ()
    ) -> GroupProgress:
        """While the group is connected, topics that it does not subscribe to are left out, unless
        they are listed."""
        if topics:
            names: Iterable[str] = dict.fromkeys(topics)
        else:
            names = self._subscribed(group, [topic] if topic else self._topics_of(group))
        configs = [config for name in names if (config := self._topic_table.get(name)) is not None]
        _check_size(sum(config.read_queue_nums for config in configs))
        parts = [
            self._progress(group, config.topic_name, config.read_queue_nums) for config in configs
        ]
        return GroupProgress(
            queues=[queue for part in parts for queue in part.queues],
            consume_rate=sum((part.consume_rate for part in parts), 0.0),
        )

    def all_consume_stats(self, *, is_order_only: bool) -> BrokerProgress:
        """All groups that have settings, those too that have no offset."""
        topics_by_group: dict[str, list[TopicConfig]] = {
            group: [] for group in self._metadata.tables.groups
        }
        queue_count = 0
        for topic, group in map(split_key, self._metadata.tables.offsets):
            config = self._topic_table.get(topic)
            if (
                config is not None
                and group in topics_by_group
                and (config.order or not is_order_only)
                and self._subscribed(group, [topic])
            ):
                topics_by_group[group].append(config)
                queue_count += config.write_queue_nums
                _check_size(queue_count)  # at once: there may be a million pairs
        groups = {
            group: [
                self._progress(group, config.topic_name, config.write_queue_nums)
                for config in configs
            ]
            for group, configs in topics_by_group.items()
        }
        queues = [queue for parts in groups.values() for part in parts for queue in part.queues]
        return BrokerProgress(
            groups=groups,
            total_lag=total_lag((one.consumer_offset, one.broker_offset) for one in queues),
            total_in_flight=total_lag((one.consumer_offset, one.pull_offset) for one in queues),
        )

    def _topics_of(self, group: str) -> Sequence[str]:
        """Those with an offset, and the group's retry topic as soon as it holds a message: what
        waits there is to be consumed too, also before the first commit."""
        names = self._metadata.tables.topics_of_group(group)
        retries = retry_topic(group)
        if retries not in names and retries in self._topic_table:
            try:
                if self._engine.queue_range(retries, 0).max_offset > 0:
                    names.append(retries)
            except StoreFailed as error:
                raise unreadable(error) from error
        return names

    def _subscribed(self, group: str, topics: Sequence[str]) -> Sequence[str]:
        """Without those that the connected group does not subscribe to."""
        online = self._consumers.get(group)
        if online is None or not online.subscriptions:
            return topics
        return [name for name in topics if name in online.subscriptions]

    def _progress(self, group: str, topic: str, queue_count: int) -> GroupProgress:
        key = offset_key(topic, group)
        consumed = self._metadata.tables.offsets.get(key, {})
        pulled = self._metadata.tables.pull_offsets.get(key, {})
        try:
            queues = [
                self._queue_progress(
                    topic, queue_id, max(consumed.get(queue_id, 0), 0), pulled.get(queue_id, 0)
                )
                for queue_id in range(queue_count)
            ]
        except StoreFailed as error:
            raise unreadable(error) from error
        got = self._counters.group_gets.messages(key, MINUTE, self._clock.monotonic_ms())
        return GroupProgress(queues=queues, consume_rate=got.per_second)

    def _queue_progress(
        self, topic: str, queue_id: int, consumed: int, pulled: int
    ) -> QueueProgress:
        last_ms = 0
        if consumed > 0:
            last_ms = self._engine.store_time(topic, queue_id, QueueOffset(consumed - 1))
        return QueueProgress(
            topic=topic,
            queue_id=queue_id,
            broker_offset=self._engine.queue_range(topic, queue_id).max_offset,
            consumer_offset=QueueOffset(consumed),
            pull_offset=QueueOffset(max(consumed, pulled)),
            last_timestamp_ms=max(last_ms, 0),
        )

    # --- times and comparisons ------------------------------------------------------------------

    def consume_times(self, group: str, topic: str) -> Sequence[QueueTimes]:
        """Each queue that can be written."""
        config = self._topic(topic)
        try:
            return [
                self._queue_times(group, topic, queue_id)
                for queue_id in range(config.write_queue_nums)
            ]
        except StoreFailed as error:
            raise unreadable(error) from error

    def _queue_times(self, group: str, topic: str, queue_id: int) -> QueueTimes:
        begin, end = self._engine.queue_range(topic, queue_id)
        first_ms = self._store_time(topic, queue_id, begin)
        consumed = self._metadata.tables.offset(group, topic, queue_id)
        # Apache looks for the next message at −1 if nothing was consumed, and tells the time
        # since 1970.
        next_ms = self._store_time(topic, queue_id, max(consumed, begin))
        return QueueTimes(
            queue_id=queue_id,
            first_ms=first_ms,
            last_ms=self._store_time(topic, queue_id, end - 1),
            consumed_ms=(
                self._store_time(topic, queue_id, consumed - 1) if consumed > 0 else first_ms
            ),
            delay_ms=max(self._clock.now_ms() - next_ms, 0) if next_ms >= 0 else 0,
        )

    def _store_time(self, topic: str, queue_id: int, offset: int) -> int:
        return -1 if offset < 0 else self._engine.store_time(topic, queue_id, QueueOffset(offset))

    def correction_offsets(
        self, topic: str, compared_group: str, left_out: Collection[str]
    ) -> Mapping[int, int]:
        """Unlike Apache's it deletes nothing: there the groups left out lose their offsets."""
        tables = self._metadata.tables
        offsets_by_group = {
            group: tables.offsets[offset_key(topic, group)]
            for group in tables.groups_of_topic(topic)
        }
        queue_ids = {queue_id for offsets in offsets_by_group.values() for queue_id in offsets}
        try:
            begins = {
                queue_id: int(self._engine.queue_range(topic, queue_id).min_offset)
                for queue_id in queue_ids
            }
        except StoreFailed as error:
            raise unreadable(error) from error
        return correction_offsets(
            offsets_by_group,
            offsets_by_group.get(compared_group, {}),
            begins,
            left_out=left_out,
        )

    def _topic(self, topic: str) -> TopicConfig:
        config = self._topic_table.get(topic)
        if config is None:
            raise TopicNotFound(f"topic[{shown(topic)}] not exist")
        return config


def _check_size(queue_count: int) -> None:
    if queue_count > QUEUES_SHOWN_MAX:
        raise RequestFailed(
            f"more than {QUEUES_SHOWN_MAX} queues do not fit one answer: "
            "ask group by group, or for fewer topics"
        )


__all__ = ["QUEUES_SHOWN_MAX", "Progress"]
