"""Topics on a broker: codes 17, 21, 202, 215, 300, 351.

Sources: CreateTopicRequestHeader, GetAllTopicConfig{Request,Response}Header,
GetTopicStatsInfoRequestHeader, DeleteTopicRequestHeader, QueryTopicConsumeByWhoRequestHeader,
GetTopicConfigRequestHeader of org.apache.rocketmq.remoting.protocol.header 5.5.0. What the broker
does not look at, or replaces by a default, is optional here though Apache marks it as required.
"""

from __future__ import annotations

from msgspec import Struct

from pyromq.wire.remoting.fields import I32


class CreateTopicHeader(Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """Creates a topic or replaces its settings."""

    topic: str
    read_queue_nums: I32
    write_queue_nums: I32
    perm: I32
    default_topic: str = "TBW102"
    """Sent by all clients, read by none."""
    topic_filter_type: str = "SINGLE_TAG"
    topic_sys_flag: I32 | None = None
    order: bool = False
    attributes: str | None = None
    """`+key=value,-key`: see TopicAttributes."""
    force: bool | None = None


class AllTopicConfigHeader(Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """All topics of a broker; clients before 5.4 send no field at all."""

    topic_seq: I32 | None = None
    """Index of the first topic wanted, for answers in parts."""
    data_version: str | None = None
    max_topic_num: I32 | None = None


class AllTopicConfigResponse(Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """How many there are, whatever part the body holds."""

    total_topic_num: I32 | None = None


class TopicStatsHeader(Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """Offsets of a topic's queues."""

    topic: str


class DeleteTopicHeader(Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """Deletes a topic from a broker."""

    topic: str


class TopicConsumersHeader(Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """Which groups consume a topic."""

    topic: str


class TopicConfigHeader(Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """Settings of one topic."""

    topic: str


__all__ = [
    "AllTopicConfigHeader",
    "AllTopicConfigResponse",
    "CreateTopicHeader",
    "DeleteTopicHeader",
    "TopicConfigHeader",
    "TopicConsumersHeader",
    "TopicStatsHeader",
]
