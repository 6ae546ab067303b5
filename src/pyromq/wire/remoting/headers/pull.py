"""Pulling: codes 11 and 361, and viewing one message by its log offset (33).

Sources: PullMessageRequestHeader, PullMessageResponseHeader, ViewMessageRequestHeader of
org.apache.rocketmq.remoting.protocol.header and common.sysflag.PullSysFlag 5.5.0.
"""

from __future__ import annotations

from enum import IntFlag

from msgspec import Struct, field

from pyromq.wire.remoting.fields import I32, I64


class PullFlag(IntFlag):
    """Bits of a pull's `sys_flag`."""

    COMMIT_OFFSET = 1
    """`commit_offset` is to be stored as the group's offset."""
    SUSPEND = 2
    """The broker may hold the request until messages arrive."""
    SUBSCRIPTION = 4
    """The filter is in `subscription`, not in the group's heartbeat."""
    CLASS_FILTER = 8
    LITE_PULL = 16


class PullHeader(Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """Messages of one queue from `queue_offset` on."""

    consumer_group: str
    topic: str
    queue_id: I32
    queue_offset: I64
    max_msg_nums: I32
    sys_flag: I32
    commit_offset: I64 = 0
    """Like the next two required on paper; Apache never looks, and misses them only when used."""
    suspend_timeout_millis: I64 = 0
    sub_version: I64 = 0
    subscription: str | None = None
    expression_type: str | None = None
    max_msg_bytes: I32 | None = None
    request_source: I32 | None = None
    lite_topic: str | None = None
    proxy_forward_client_id: str | None = field(name="proxyFrowardClientId", default=None)


class PullResponse(Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """Where to pull next, and from whom; the command's body is the messages."""

    suggest_which_broker_id: I64
    next_begin_offset: I64
    min_offset: I64
    max_offset: I64
    offset_delta: I64 | None = None
    topic_sys_flag: I32 | None = None
    group_sys_flag: I32 | None = None
    forbidden_type: I32 | None = None


class ViewMessageHeader(Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """The message whose record begins at log offset `offset`."""

    offset: I64
    topic: str | None = None


__all__ = ["PullFlag", "PullHeader", "PullResponse", "ViewMessageHeader"]
