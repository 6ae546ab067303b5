"""How full queues are, how far groups have come in them, and how fast both move."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

from pyromq.domain.group import Subscription
from pyromq.units import QueueOffset


class QueueStats(msgspec.Struct, frozen=True, kw_only=True):
    """Extent of one queue (TopicOffset on the wire)."""

    queue_id: int
    min_offset: QueueOffset
    max_offset: QueueOffset
    last_update_timestamp_ms: int


class TopicStats(msgspec.Struct, frozen=True, kw_only=True):
    """All queues of a topic, the empty ones too."""

    queues: Sequence[QueueStats]
    put_rate: float
    """Messages stored per second, over the last minute."""


class QueueProgress(msgspec.Struct, frozen=True, kw_only=True):
    """How far a group is in one queue (OffsetWrapper on the wire)."""

    topic: str
    queue_id: int
    broker_offset: QueueOffset
    consumer_offset: QueueOffset
    pull_offset: QueueOffset
    last_timestamp_ms: int
    """Store time of the last message consumed, 0 if there is none."""


class GroupProgress(msgspec.Struct, frozen=True, kw_only=True):
    """How far a group is in some topics."""

    queues: Sequence[QueueProgress]
    consume_rate: float
    """Messages given to the group per second, over the last minute, of these topics."""


class BrokerProgress(msgspec.Struct, frozen=True, kw_only=True):
    """How far all groups are."""

    groups: Mapping[str, Sequence[GroupProgress]]
    """By group, one for each topic."""
    total_lag: int
    """Messages not consumed yet."""
    total_in_flight: int
    """Messages given to consumers that have not committed them yet."""


class QueueTimes(msgspec.Struct, frozen=True, kw_only=True):
    """Store times (ms) around a group's place in one queue; −1 where there is no message."""

    queue_id: int
    first_ms: int
    last_ms: int
    consumed_ms: int
    """Of the last message consumed; the first one's if nothing was."""
    delay_ms: int
    """How long the next message to consume has been waiting, 0 if there is none."""


class StatsReading(msgspec.Struct, frozen=True, kw_only=True):
    """What was counted under a name within a span of time."""

    sum: int
    per_second: float
    average: float
    """Of one request."""


class StatsReadings(msgspec.Struct, frozen=True, kw_only=True):
    """What was counted under a name."""

    minute: StatsReading
    hour: StatsReading
    day: StatsReading


class QueueEntries(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a queue."""

    min_offset: QueueOffset
    max_offset: QueueOffset
    records: Sequence[bytes] | None
    """As stored, in order; None if the queue does not hold the index asked for."""
    delay_ms: int | None
    """Only of queues of delayed messages: how long a message waits there after it was stored."""
    subscription: Subscription | None
    """What the group that was named wants of the topic, if it is connected."""


class ProgressApi(Protocol):
    """How full queues are, how far groups have come in them, and how fast both move."""

    def topic_stats(self, topic: str) -> TopicStats:
        """TopicNotFound if there is no such topic."""
        ...

    def consume_stats(
        self, group: str, *, topic: str = "", topics: Sequence[str] = ()
    ) -> GroupProgress:
        """Of the listed topics; else of the one, or of all it has offsets in, as far as it still
        subscribes to them. Unknown topics are left out; RequestFailed if it is too much for one
        answer."""
        ...

    def all_consume_stats(self, *, is_order_only: bool) -> BrokerProgress:
        """RequestFailed if it is too much for one answer."""
        ...

    def consume_times(self, group: str, topic: str) -> Sequence[QueueTimes]:
        """TopicNotFound if there is no such topic."""
        ...

    def correction_offsets(
        self, topic: str, compared_group: str, left_out: Sequence[str]
    ) -> Mapping[int, int]:
        """By queue: where a group would have to go on to skip nothing others have not consumed."""
        ...

    def stats_of(self, name: str, key: str) -> StatsReadings:
        """RequestFailed if nothing is counted under that name."""
        ...

    def queue_entries(
        self, topic: str, queue_id: int, index: QueueOffset, count: int, group: str | None
    ) -> QueueEntries:
        """From `index` on, at most `count` and fewer if they are large. RequestFailed if there is
        no such queue."""
        ...

    def topics_of_group(self, group: str) -> Sequence[str]:
        """In which it has an offset."""
        ...

    def subscription(self, group: str, topic: str) -> Subscription | None:
        """What a connected group wants of a topic."""
        ...

    def check_subscription(self, subscription: Subscription) -> None:
        """Whether this broker can filter so. Raises RequestFailed or SubscriptionParseFailed."""
        ...


__all__ = [
    "BrokerProgress",
    "GroupProgress",
    "ProgressApi",
    "QueueEntries",
    "QueueProgress",
    "QueueStats",
    "QueueTimes",
    "StatsReading",
    "StatsReadings",
    "TopicStats",
]
