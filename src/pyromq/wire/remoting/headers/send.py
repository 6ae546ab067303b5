"""Sending: codes 10, 310, 320 (and 324, 325: a reply) and their answer.

Sources: SendMessageRequestHeader, SendMessageRequestHeaderV2, SendMessageResponseHeader of
org.apache.rocketmq.remoting.protocol.header 5.5.0.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct, field

from pyromq.wire.remoting.fields import I32, I64


class SendHeader(Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """One message (or, with `batch`, several) for a topic; the command's body is its body."""

    producer_group: str
    topic: str
    default_topic: str
    """Whose settings an automatically created topic takes."""
    default_topic_queue_nums: I32
    queue_id: I32
    """−1: the broker chooses."""
    sys_flag: I32
    born_timestamp: I64
    flag: I32
    properties: str | None = None
    """name \\x01 value \\x02 …"""
    reconsume_times: I32 | None = None
    unit_mode: bool | None = None
    batch: bool | None = None
    max_reconsume_times: I32 | None = None


class SendHeaderV2(Struct, frozen=True, kw_only=True, gc=False):
    """The same under one-letter names: what all current clients send."""

    producer_group: str = field(name="a")
    topic: str = field(name="b")
    default_topic: str = field(name="c")
    default_topic_queue_nums: I32 = field(name="d")
    queue_id: I32 = field(name="e")
    sys_flag: I32 = field(name="f")
    born_timestamp: I64 = field(name="g")
    flag: I32 = field(name="h")
    properties: str | None = field(name="i", default=None)
    reconsume_times: I32 | None = field(name="j", default=None)
    unit_mode: bool | None = field(name="k", default=None)
    max_reconsume_times: I32 | None = field(name="l", default=None)
    batch: bool | None = field(name="m", default=None)
    broker_name: str | None = field(name="n", default=None)


class SendResponse(Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """Where the message is now."""

    msg_id: str
    """offsetMsgId; of a batch all of them, joined with commas."""
    queue_id: I32
    queue_offset: I64
    """Of the first message of a batch."""
    transaction_id: str | None = None
    """The message's UNIQ_KEY."""
    batch_uniq_id: str | None = None
    recall_handle: str | None = None


EXT_MSG_REGION: Final = "MSG_REGION"
"""Further fields of a send response, outside its header class."""
EXT_TRACE_ON: Final = "TRACE_ON"

__all__ = ["EXT_MSG_REGION", "EXT_TRACE_ON", "SendHeader", "SendHeaderV2", "SendResponse"]
