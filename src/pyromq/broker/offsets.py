"""Offsets: where queues begin and end, and how far each group has come in them.

Source: processor.ConsumerManageProcessor, offset.ConsumerOffsetManager and the offset part of
processor.AdminBrokerProcessor of org.apache.rocketmq.broker 5.5.0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from pyromq.api import Caller, QueueProgress, QueueStats
from pyromq.broker.groups import Groups
from pyromq.broker.journal import Journal
from pyromq.broker.remarks import shown
from pyromq.broker.topics import Topics
from pyromq.domain.topic import QUEUE_COUNT_MAX
from pyromq.errors import (
    GroupNotFound,
    InvalidParameter,
    QueryNotFound,
    ServiceUnavailable,
    StoreFailed,
    SystemBusy,
    TopicNotFound,
)
from pyromq.store.engine import Boundary, Engine
from pyromq.store.metadata import Metadata
from pyromq.units import QueueOffset

OFFSET_PAIRS_MAX: Final = 1_000_000
"""Pairs of topic and group with an offset; all of them are in memory and in consumerOffset.json."""


class Offsets:
    """Queue ranges and consumer offsets."""

    def __init__(
        self, metadata: Metadata, journal: Journal, engine: Engine, topics: Topics, groups: Groups
    ) -> None:
        self._metadata = metadata
        self._journal = journal
        self._engine = engine
        self._topics = topics
        self._groups = groups

    def committed(
        self, group: str, topic: str, queue_id: int, *, is_zero_if_not_found: bool | None
    ) -> QueueOffset:
        """The committed offset, or where a group begins that has none.

        A queue whose head was never deleted is begun at 0, so that a group loses nothing of it.
        Apache says so only while message 0 is in memory: there a message that arrives between
        this answer and the client's next question can be missed.
        """
        offset = self._metadata.tables.offset(group, topic, queue_id)
        if offset >= 0:
            return QueueOffset(offset)
        if is_zero_if_not_found is False:
            raise QueryNotFound("Not found, do not set to zero, maybe this group boot first")
        config = self._topics.table.get(topic)
        if (
            config is not None
            and 0 <= queue_id < config.read_queue_nums
            and self.min(topic, queue_id) == 0
        ):
            return QueueOffset(0)
        raise QueryNotFound("Not found, V3_0_6_SNAPSHOT maybe this group consumer boot first")

    async def commit(
        self, caller: Caller, group: str, topic: str, queue_id: int, offset: QueueOffset
    ) -> None:
        """Keeps a group's offset. A lower one than before is obeyed: it is a reset."""
        del caller
        if group not in self._groups.table:
            raise GroupNotFound(f"Group {shown(group)} not exist!")
        if topic not in self._topics.table:
            raise TopicNotFound(f"Topic {shown(topic)} not exist!")
        if not 0 <= queue_id < QUEUE_COUNT_MAX:
            raise InvalidParameter(
                f"queueId[{queue_id}] is illegal, accepted is 0 to {QUEUE_COUNT_MAX - 1}"
            )
        if offset < 0:
            raise InvalidParameter(f"commitOffset[{offset}] is illegal, accepted is 0 and more")
        self._check_room(group, topic)
        await self._journal.kept(
            self._journal.change(self._metadata.commit_offset, group, topic, queue_id, offset)
        )

    def note_pull(
        self,
        group: str,
        topic: str,
        queue_id: int,
        next_offset: QueueOffset,
        commit_offset: QueueOffset | None,
    ) -> None:
        """What a pull tells beside its question; its answer does not wait for it, nor fail by it.

        The caller has checked group, topic and queue.
        """
        metadata = self._metadata
        tables = metadata.tables
        key = f"{topic}@{group}"
        pulled = tables.pull_offsets.get(key)
        if pulled is None:
            if len(tables.pull_offsets) < OFFSET_PAIRS_MAX:
                metadata.commit_pull_offset(group, topic, queue_id, next_offset)
        elif pulled.get(queue_id) != next_offset:
            metadata.commit_pull_offset(group, topic, queue_id, next_offset)
        if commit_offset is None or commit_offset < 0:
            return
        committed = tables.offsets.get(key)
        if committed is None:
            if len(tables.offsets) >= OFFSET_PAIRS_MAX:
                return
        elif committed.get(queue_id) == commit_offset:
            return
        try:
            self._journal.change(metadata.commit_offset, group, topic, queue_id, commit_offset)
        except ServiceUnavailable:
            # A read-only journal still lets consumers read; they see messages again later.
            return

    def max(self, topic: str, queue_id: int) -> QueueOffset:
        try:
            return self._engine.queue_range(topic, queue_id).max_offset
        except StoreFailed as error:
            raise _unreadable(error) from error

    def min(self, topic: str, queue_id: int) -> QueueOffset:
        try:
            return self._engine.queue_range(topic, queue_id).min_offset
        except StoreFailed as error:
            raise _unreadable(error) from error

    def by_time(
        self, topic: str, queue_id: int, timestamp_ms: int, *, is_upper: bool
    ) -> QueueOffset:
        boundary = Boundary.UPPER if is_upper else Boundary.LOWER
        try:
            return self._engine.offset_by_time(topic, queue_id, timestamp_ms, boundary)
        except StoreFailed as error:
            raise _unreadable(error) from error

    def earliest_store_time(self, topic: str, queue_id: int) -> int:
        try:
            queue = self._engine.queue_range(topic, queue_id)
            return self._engine.store_time(topic, queue_id, queue.min_offset)
        except StoreFailed as error:
            raise _unreadable(error) from error

    def stats(self, topic: str) -> list[QueueStats]:
        """Every queue of the topic, those too that never had a message."""
        config = self._topics.table.get(topic)
        if config is None:
            raise TopicNotFound(f"topic[{shown(topic)}] not exist")
        queue_count = max(config.read_queue_nums, config.write_queue_nums)
        try:
            return [self._queue_stats(topic, queue_id) for queue_id in range(queue_count)]
        except StoreFailed as error:
            raise _unreadable(error) from error

    def topics_of_group(self, group: str) -> Sequence[str]:
        """Topics in which the group has an offset."""
        return self._metadata.tables.topics_of_group(group)

    def progress(self, group: str, topic: str) -> list[QueueProgress]:
        """Every queue that can be read of the topic; none if there is no such topic."""
        config = self._topics.table.get(topic)
        if config is None:
            return []
        try:
            return [
                self._queue_progress(group, topic, queue_id)
                for queue_id in range(config.read_queue_nums)
            ]
        except StoreFailed as error:
            raise _unreadable(error) from error

    def all(self) -> bytes:
        """consumerOffset.json; integer keys stand without quotes, as Apache's writer does."""
        tables = self._metadata.tables
        topics_by_group: dict[str, list[str]] = {}
        for key in tables.offsets:
            topic, _, group = key.partition("@")
            topics_by_group.setdefault(group, []).append(topic)
        return b"".join(
            (
                b'{"dataVersion":',
                msgspec.json.encode(tables.offsets_version, order="sorted"),
                b',"groupTopicMap":',
                msgspec.json.encode(topics_by_group),
                b',"offsetTable":',
                _offset_table(tables.offsets),
                b',"pullOffsetTable":',
                _offset_table(tables.pull_offsets),
                b"}",
            )
        )

    def groups_of_topic(self, topic: str) -> Sequence[str]:
        """Groups with an offset in the topic."""
        return self._metadata.tables.groups_of_topic(topic)

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

    def _queue_progress(self, group: str, topic: str, queue_id: int) -> QueueProgress:
        tables = self._metadata.tables
        consumed = max(tables.offset(group, topic, queue_id), 0)
        last_ms = 0
        if consumed > 0:
            last_ms = self._engine.store_time(topic, queue_id, QueueOffset(consumed - 1))
        return QueueProgress(
            topic=topic,
            queue_id=queue_id,
            broker_offset=self._engine.queue_range(topic, queue_id).max_offset,
            consumer_offset=QueueOffset(consumed),
            pull_offset=QueueOffset(max(consumed, tables.pull_offset(group, topic, queue_id))),
            last_timestamp_ms=max(last_ms, 0),
        )

    def _check_room(self, group: str, topic: str) -> None:
        offsets = self._metadata.tables.offsets
        if len(offsets) >= OFFSET_PAIRS_MAX and f"{topic}@{group}" not in offsets:
            raise SystemBusy(
                f"offsets of {OFFSET_PAIRS_MAX} pairs of topic and group are kept, no more fit"
            )


def _offset_table(table: Mapping[str, Mapping[int, int]]) -> bytes:
    return (
        b"{"
        + b",".join(
            msgspec.json.encode(key)
            + b":{"
            + ",".join(f"{queue_id}:{offset}" for queue_id, offset in offsets.items()).encode()
            + b"}"
            for key, offsets in table.items()
        )
        + b"}"
    )


def _unreadable(error: StoreFailed) -> ServiceUnavailable:
    return ServiceUnavailable(f"the store cannot be read: {error}")


__all__ = ["OFFSET_PAIRS_MAX", "Offsets"]
