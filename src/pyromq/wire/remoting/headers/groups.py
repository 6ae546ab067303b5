"""Consumer groups on a broker: codes 201, 207, 208, 352 (200 and 225 have bodies only).

Sources: GetAllSubscriptionGroup{Request,Response}Header, DeleteSubscriptionGroupRequestHeader,
GetConsumeStatsRequestHeader, GetSubscriptionGroupConfigRequestHeader of
org.apache.rocketmq.remoting.protocol.header 5.5.0.
"""

from __future__ import annotations

from msgspec import Struct

from pyromq.wire.remoting.fields import I32


class AllGroupConfigHeader(Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """All groups of a broker; clients before 5.4 send no field at all."""

    group_seq: I32 | None = None
    data_version: str | None = None
    max_group_num: I32 | None = None


class AllGroupConfigResponse(Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """How many there are, whatever part the body holds."""

    total_group_num: I32


class DeleteGroupHeader(Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """Deletes a group, and with `clean_offset` its offsets."""

    group_name: str
    clean_offset: bool = False


class ConsumeStatsHeader(Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """How far a group is, in one topic, in some (`;` between them), or in all it knows."""

    consumer_group: str
    topic: str | None = None
    topic_list: str | None = None


class GroupConfigHeader(Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """Settings of one group."""

    group: str


__all__ = [
    "AllGroupConfigHeader",
    "AllGroupConfigResponse",
    "ConsumeStatsHeader",
    "DeleteGroupHeader",
    "GroupConfigHeader",
]
