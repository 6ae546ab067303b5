"""How far groups are: the answer to code 208.

Source: org.apache.rocketmq.remoting.protocol.admin.{ConsumeStats,OffsetWrapper} 5.5.0.
"""

from __future__ import annotations

from msgspec import Struct, field

from pyromq.domain.route import MessageQueue
from pyromq.wire import dialect


class OffsetWrapper(Struct, frozen=True, rename="camel", kw_only=True):
    """One queue: its end, and what the group has consumed and pulled of it."""

    broker_offset: int = 0
    consumer_offset: int = 0
    pull_offset: int = 0
    last_timestamp: int = 0
    """Store time in ms of the last message consumed, 0 if there is none."""


class ConsumeStats(Struct, frozen=True, rename="camel", kw_only=True):
    """All queues of a group's topics."""

    offset_table: dict[MessageQueue, OffsetWrapper] = field(default_factory=dict)
    consume_tps: float = 0.0


def encode_consume_stats(stats: ConsumeStats) -> bytes:
    return dialect.encode(stats)


__all__ = ["ConsumeStats", "OffsetWrapper", "encode_consume_stats"]
