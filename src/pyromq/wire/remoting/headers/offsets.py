"""Offsets: codes 14, 15, 29, 30, 31, 32.

Sources: QueryConsumerOffset…, UpdateConsumerOffset…, SearchOffset…, GetMaxOffset…, GetMinOffset…,
GetEarliestMsgStoretime… of org.apache.rocketmq.remoting.protocol.header and
org.apache.rocketmq.common.BoundaryType 5.5.0.
"""

from __future__ import annotations

from enum import Enum

from msgspec import Struct

from pyromq.wire.remoting.fields import I32, I64


class BoundaryType(Enum):
    """Which of the messages around a time a search means."""

    LOWER = "lower"
    UPPER = "upper"

    @classmethod
    def _missing_(cls, value: object) -> BoundaryType:
        """Any case is accepted, and all that is not upper means lower: BoundaryType.getType."""
        if isinstance(value, str) and value.lower() == "upper":
            return cls.UPPER
        return cls.LOWER


class QueryConsumerOffsetHeader(Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """The group's committed offset of one queue."""

    consumer_group: str
    topic: str
    queue_id: I32
    set_zero_if_not_found: bool | None = None


class UpdateConsumerOffsetHeader(Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """Commits an offset; usually one-way."""

    consumer_group: str
    topic: str
    queue_id: I32
    commit_offset: I64


class SearchOffsetHeader(Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """Queue offset by store time."""

    topic: str
    queue_id: I32
    timestamp: I64
    boundary_type: BoundaryType | None = None
    lite_topic: str | None = None


class MaxOffsetHeader(Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """One past the queue's newest message."""

    topic: str
    queue_id: I32
    committed: bool | None = None


class MinOffsetHeader(Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """The queue's oldest message."""

    topic: str
    queue_id: I32


class EarliestStoreTimeHeader(Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """Store time of the queue's oldest message."""

    topic: str
    queue_id: I32


class OffsetResponse(Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """Answer to 14, 29, 30 and 31."""

    offset: I64


class EarliestStoreTimeResponse(Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """Store time in ms, −1 if the queue is empty."""

    timestamp: I64


__all__ = [
    "BoundaryType",
    "EarliestStoreTimeHeader",
    "EarliestStoreTimeResponse",
    "MaxOffsetHeader",
    "MinOffsetHeader",
    "OffsetResponse",
    "QueryConsumerOffsetHeader",
    "SearchOffsetHeader",
    "UpdateConsumerOffsetHeader",
]
