"""Progress of groups: codes 303, 308, 315, 317, 321, 343, 345 (208: groups.py, 202: topics.py).

Sources: QueryConsumeTimeSpanRequestHeader, QueryCorrectionOffsetHeader,
ViewBrokerStatsDataRequestHeader, GetConsumeStatsInBrokerHeader, QueryConsumeQueueRequestHeader,
QueryTopicsByConsumerRequestHeader, QuerySubscriptionByConsumerRequestHeader of
org.apache.rocketmq.remoting.protocol.header 5.5.0.
"""

from __future__ import annotations

from msgspec import Struct

from pyromq.wire.remoting.fields import I32, I64


class ConsumeTimesHeader(Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """Store times around a group's place in each queue of a topic."""

    topic: str
    group: str


class CorrectionOffsetsHeader(Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """The least offsets of a topic's groups."""

    topic: str
    compare_group: str
    filter_groups: str | None = None
    """Groups that do not count, separated by `,`."""


class StatsHeader(Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """What was counted under a name and a key."""

    stats_name: str
    stats_key: str


class AllConsumeStatsHeader(Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """How far all groups are."""

    is_order: bool


class QueueEntriesHeader(Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """Entries of a consume queue."""

    topic: str
    queue_id: I32 = 0
    index: I64 = 0
    count: I32 = 0
    consumer_group: str | None = None


class GroupTopicsHeader(Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """Topics of a group."""

    group: str


class SubscriptionHeader(Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """What a group wants of a topic."""

    group: str
    topic: str | None = None


__all__ = [
    "AllConsumeStatsHeader",
    "ConsumeTimesHeader",
    "CorrectionOffsetsHeader",
    "GroupTopicsHeader",
    "QueueEntriesHeader",
    "StatsHeader",
    "SubscriptionHeader",
]
