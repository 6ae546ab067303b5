"""Replies to requests: code 326, broker to client. Codes 324 and 325 have the headers of a send.

Source: ReplyMessageRequestHeader of org.apache.rocketmq.remoting.protocol.header 5.5.0.
"""

from __future__ import annotations

from msgspec import Struct

from pyromq.wire.remoting.fields import I32, I64


class PushReplyHeader(Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """A reply message; the command's body is its body."""

    producer_group: str
    topic: str
    default_topic: str
    default_topic_queue_nums: I32
    queue_id: I32
    sys_flag: I32
    born_timestamp: I64
    flag: I32
    properties: str | None = None
    """name \\x01 value \\x02 …; CORRELATION_ID says which request it answers."""
    reconsume_times: I32 | None = None
    unit_mode: bool = False
    born_host: str
    """`ip:port` of who replied."""
    store_host: str
    """`ip:port` of the broker."""
    store_timestamp: I64


__all__ = ["PushReplyHeader"]
