"""Subscriptions as operators and clients ask for them, and a look into a queue by their filter.

Sources: queryTopicsByConsumer, querySubscriptionByConsumer and queryConsumeQueue of
processor.AdminBrokerProcessor, checkClientConfig of processor.ClientManageProcessor of
org.apache.rocketmq.broker 5.5.0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from pyromq.api import QueueEntries
from pyromq.broker.clients import Clients
from pyromq.broker.offsets import unreadable
from pyromq.broker.remarks import shown
from pyromq.broker.topics import Topics
from pyromq.config import Settings, StoreConfig
from pyromq.domain.group import Subscription
from pyromq.domain.subscription import is_tag_type, parse_subscription
from pyromq.domain.topic import SCHEDULE_TOPIC
from pyromq.errors import RequestFailed, StoreFailed
from pyromq.store.engine import Engine, ReadStatus
from pyromq.store.metadata import Metadata
from pyromq.units import MIB, QueueOffset

ENTRIES_MAX: Final = 1_024
"""Entries of a queue in one answer; a tool asks for 10."""
ENTRIES_SIZE_MAX: Final = 16 * MIB
"""Bytes of their records: an entry's tag and size are read from its message."""
_READ_SIZE: Final = 1 * MIB


class Subscriptions:
    """What groups want of topics."""

    def __init__(
        self,
        metadata: Metadata,
        engine: Engine,
        topics: Topics,
        clients: Clients,
        store_settings: Settings[StoreConfig],
    ) -> None:
        self._metadata = metadata
        self._engine = engine
        self._topic_table = topics.table
        self._consumers = clients.consumers
        self._delays_ms = store_settings.current.delay_levels_ms

    def topics_of(self, group: str) -> Sequence[str]:
        """Topics in which the group has an offset."""
        return self._metadata.tables.topics_of_group(group)

    def find(self, group: str, topic: str) -> Subscription | None:
        """What a connected group wants of the topic."""
        online = self._consumers.get(group)
        subscribed = None if online is None else online.subscriptions.get(topic)
        return None if subscribed is None else subscribed.subscription

    def check(self, subscription: Subscription) -> None:
        """Refuses what this broker cannot filter by, before the client pulls with it."""
        if not is_tag_type(subscription.expression_type):
            parse_subscription(
                subscription.topic, subscription.sub_string, subscription.expression_type
            )
            raise RequestFailed(
                "The broker does not support consumer to filter message by "
                f"{shown(subscription.expression_type)}"
            )

    def queue_entries(
        self, topic: str, queue_id: int, index: QueueOffset, count: int, group: str | None
    ) -> QueueEntries:
        """Entries of a queue from `index` on, at most `count` and ENTRIES_MAX."""
        config = self._topic_table.get(topic)
        if config is None or not 0 <= queue_id < max(
            config.read_queue_nums, config.write_queue_nums
        ):
            raise RequestFailed(f"{queue_id}@{shown(topic)} is not exist!")
        try:
            begin, end = self._engine.queue_range(topic, queue_id)
            records = None
            if begin <= index <= end:
                records = self._records(topic, queue_id, index, min(count, ENTRIES_MAX))
        except StoreFailed as error:
            raise unreadable(error) from error
        is_delayed = topic == SCHEDULE_TOPIC and queue_id < len(self._delays_ms)
        return QueueEntries(
            min_offset=begin,
            max_offset=end,
            records=records,
            delay_ms=self._delays_ms[queue_id] if is_delayed else None,
            subscription=None if group is None else self.find(group, topic),
        )

    def _records(
        self, topic: str, queue_id: int, index: QueueOffset, count: int
    ) -> Sequence[bytes]:
        """Each read gives one record at least, so this ends."""
        records: list[bytes] = []
        size = 0
        while len(records) < count and size < ENTRIES_SIZE_MAX:
            read = self._engine.read(
                topic,
                queue_id,
                index,
                message_count_max=count - len(records),
                body_size_max=_READ_SIZE,
                tag_hashes=None,
            )
            if read.status is not ReadStatus.FOUND:
                break
            size += len(read.body)
            index = read.next_offset
            records += _split(read.body)
        return records


def _split(body: bytes) -> list[bytes]:
    """Records as stored, one after another; each begins with its size."""
    records = []
    at = 0
    while at < len(body):
        size = int.from_bytes(body[at : at + 4])
        assert size > 0, "a stored record has a size"
        records.append(body[at : at + size])
        at += size
    return records


__all__ = ["ENTRIES_MAX", "ENTRIES_SIZE_MAX", "Subscriptions"]
