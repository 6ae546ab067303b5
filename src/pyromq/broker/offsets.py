"""Offsets: where queues begin and end, and where each group has committed to go on.

Source: processor.ConsumerManageProcessor, offset.ConsumerOffsetManager and the offset part of
processor.AdminBrokerProcessor of org.apache.rocketmq.broker 5.5.0.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from pyromq.api import Caller, PullRequest
from pyromq.broker.groups import Groups
from pyromq.broker.journal import Journal
from pyromq.broker.remarks import shown
from pyromq.broker.reset_marks import ResetMarks
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
from pyromq.observe.counters import BrokerCounters
from pyromq.observe.limited_log import LimitedLog
from pyromq.store.engine import Boundary, Engine, QueueRange
from pyromq.store.metadata import Metadata
from pyromq.store.tables import offset_key
from pyromq.units import SECOND_MS, QueueOffset

OFFSET_PAIRS_MAX: Final = 1_000_000
"""Pairs of topic and group with an offset; all of them are in memory and in consumerOffset.json."""
UNUSUAL_COMMITS_SHOWN: Final = 10
"""Lines about commits that go back or too far, per LOG_PERIOD_MS."""
LOG_PERIOD_MS: Final = 10 * SECOND_MS

_log = logging.getLogger(__name__)


class Offsets:
    """Queue ranges and consumer offsets."""

    def __init__(
        self,
        metadata: Metadata,
        journal: Journal,
        engine: Engine,
        topics: Topics,
        groups: Groups,
        marks: ResetMarks,
        counters: BrokerCounters,
    ) -> None:
        self._metadata = metadata
        self._journal = journal
        self._engine = engine
        self._topics = topics
        self._groups = groups
        self._marks = marks
        self._counters = counters
        self._unusual = LimitedLog(_log, "unusual commits", UNUSUAL_COMMITS_SHOWN)

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
    ) -> bool:
        """Keeps a group's offset; False if it was ignored because of a reset.

        As in Apache a lower one than before is obeyed, since that is how offsets are reset, and so
        is one behind the queue's end: the next pull corrects it. Both are logged.
        """
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
        self.check_room(group, [topic])
        if self._marks.is_commit_void(group, topic, queue_id):
            return False
        old = self._metadata.tables.offset(group, topic, queue_id)
        try:
            end = self._engine.queue_range(topic, queue_id).max_offset
        except StoreFailed:
            end = offset  # only a log line depends on it
        self._tell_unusual(caller, group, topic, queue_id, offset, old, end)
        await self._journal.kept(
            self._journal.change(self._metadata.commit_offset, group, topic, queue_id, offset)
        )
        return True

    def note_pulled(self, group: str, topic: str, queue_id: int, next_offset: QueueOffset) -> None:
        """How far a pull has come. In memory only."""
        tables = self._metadata.tables
        pulled = tables.pull_offsets.get(f"{topic}@{group}")
        if pulled is None:
            if len(tables.pull_offsets) < OFFSET_PAIRS_MAX:
                self._metadata.commit_pull_offset(group, topic, queue_id, next_offset)
        elif pulled.get(queue_id) != next_offset:
            self._metadata.commit_pull_offset(group, topic, queue_id, next_offset)

    def note_all_pulled(
        self, group: str, topic: str, places: Sequence[tuple[int, QueueOffset]]
    ) -> None:
        """The same of several pulls, by queue id; the last one of a queue counts."""
        known = self._metadata.tables.pull_offsets
        if len(known) < OFFSET_PAIRS_MAX or f"{topic}@{group}" in known:
            self._metadata.commit_pull_offsets(group, topic, places)

    def note_commit(
        self,
        caller: Caller,
        group: str,
        topic: str,
        queue_id: int,
        offset: QueueOffset,
        end: QueueOffset,
    ) -> None:
        """What a pull commits beside its question; its answer does not wait for it, nor fail by it.

        The pull has checked group, topic and queue. `end` is the queue's.
        """
        if offset < 0:
            return
        offsets = self._metadata.tables.offsets
        committed = offsets.get(f"{topic}@{group}")
        if committed is None:
            if len(offsets) >= OFFSET_PAIRS_MAX:
                return
            old = None
        else:
            old = committed.get(queue_id)
            if old == offset:
                return
        self._tell_unusual(caller, group, topic, queue_id, offset, -1 if old is None else old, end)
        try:
            self._journal.change(self._metadata.commit_offset, group, topic, queue_id, offset)
        except ServiceUnavailable:
            # A read-only journal still lets consumers read; they see messages again later.
            return

    @property
    def has_resets(self) -> bool:
        """Some group has not adopted yet where it was set to."""
        return bool(self._metadata.tables.resets)

    def moved_by_reset(self, caller: Caller, request: PullRequest) -> QueueOffset | None:
        """Where the puller has to go on if the queue was reset and he does not know yet."""
        if not self._metadata.tables.resets:
            return None
        return self._marks.tell(
            caller.connection_id,
            request.consumer_group,
            request.topic,
            request.queue_id,
            request.queue_offset,
        )

    def range(self, topic: str, queue_id: int) -> QueueRange:
        """Where the queue begins and ends."""
        try:
            return self._engine.queue_range(topic, queue_id)
        except StoreFailed as error:
            raise unreadable(error) from error

    def max(self, topic: str, queue_id: int) -> QueueOffset:
        return self.range(topic, queue_id).max_offset

    def min(self, topic: str, queue_id: int) -> QueueOffset:
        return self.range(topic, queue_id).min_offset

    def by_time(
        self, topic: str, queue_id: int, timestamp_ms: int, *, is_upper: bool
    ) -> QueueOffset:
        boundary = Boundary.UPPER if is_upper else Boundary.LOWER
        try:
            return self._engine.offset_by_time(topic, queue_id, timestamp_ms, boundary)
        except StoreFailed as error:
            raise unreadable(error) from error

    def earliest_store_time(self, topic: str, queue_id: int) -> int:
        try:
            queue = self._engine.queue_range(topic, queue_id)
            return self._engine.store_time(topic, queue_id, queue.min_offset)
        except StoreFailed as error:
            raise unreadable(error) from error

    def topics_of_group(self, group: str) -> Sequence[str]:
        """Topics in which the group has an offset."""
        return self._metadata.tables.topics_of_group(group)

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

    def has_any(self, group: str, topic: str) -> bool:
        return offset_key(topic, group) in self._metadata.tables.offsets

    def check_room(self, group: str, topics: Sequence[str]) -> None:
        """Raises SystemBusy if there is no room for offsets of the group in these topics."""
        offsets = self._metadata.tables.offsets
        if len(offsets) + len(topics) > OFFSET_PAIRS_MAX:
            new_count = sum(f"{topic}@{group}" not in offsets for topic in topics)
            if len(offsets) + new_count > OFFSET_PAIRS_MAX:
                raise SystemBusy(
                    f"offsets of {OFFSET_PAIRS_MAX} pairs of topic and group are kept, no more fit"
                )

    def set_pulled(self, group: str, topic: str, offsets: Mapping[int, QueueOffset]) -> None:
        """After a reset: what was pulled before does not count any more."""
        if offset_key(topic, group) in self._metadata.tables.pull_offsets:
            for queue_id, offset in offsets.items():
                self._metadata.commit_pull_offset(group, topic, queue_id, offset)

    def begin_log_period(self) -> None:
        self._unusual.begin_period()

    def _tell_unusual(
        self,
        caller: Caller,
        group: str,
        topic: str,
        queue_id: int,
        offset: int,
        old: int,
        end: int,
    ) -> None:
        if offset < old:
            self._counters.lower_commit_count += 1
            self._unusual.warn(
                "group %s goes back in topic %s, queue %d, from %d to %d: committed by %s",
                group,
                topic,
                queue_id,
                old,
                offset,
                caller.address,
            )
        if offset > end:
            self._unusual.warn(
                "group %s is at %d in topic %s, queue %d, which ends at %d: committed by %s",
                group,
                offset,
                topic,
                queue_id,
                end,
                caller.address,
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


def unreadable(error: StoreFailed) -> ServiceUnavailable:
    return ServiceUnavailable(f"the store cannot be read: {error}")


__all__ = ["LOG_PERIOD_MS", "OFFSET_PAIRS_MAX", "UNUSUAL_COMMITS_SHOWN", "Offsets", "unreadable"]
