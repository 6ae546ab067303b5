"""Resets and status of consumers: codes 220, 221, 222, 223, 314.

Sources: ResetOffsetRequestHeader, GetConsumerStatusRequestHeader, CloneGroupOffsetRequestHeader of
org.apache.rocketmq.remoting.protocol.header 5.5.0.
"""

from __future__ import annotations

from msgspec import Struct

from pyromq.wire.remoting.fields import I32, I64


class ResetOffsetHeader(Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """To a broker: reset a group's offsets. To a client: they were reset, the body says where."""

    group: str
    topic: str
    queue_id: I32 = -1
    offset: I64 | None = None
    timestamp: I64
    is_force: bool = False


class ConsumerStatusHeader(Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """Which offsets the clients of a group, or the client itself, have in mind."""

    topic: str
    group: str
    client_addr: str | None = None
    """A client id."""


class CloneOffsetsHeader(Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """Gives a group the offsets of another one."""

    src_group: str
    dest_group: str
    topic: str | None = None
    offline: bool = False


__all__ = ["CloneOffsetsHeader", "ConsumerStatusHeader", "ResetOffsetHeader"]
