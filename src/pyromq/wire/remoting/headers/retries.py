"""Giving messages back: code 36.

Source: ConsumerSendMsgBackRequestHeader of org.apache.rocketmq.remoting.protocol.header 5.5.0.
"""

from __future__ import annotations

from msgspec import Struct

from pyromq.wire.remoting.fields import I32, I64


class SendBackHeader(Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """A message that a consumer could not consume."""

    offset: I64
    """Its log offset."""
    group: str
    delay_level: I32
    """0: the broker chooses; below 0: it shall be a dead letter."""
    origin_msg_id: str | None = None
    """The client's id of it, for traces; the broker finds it by `offset`."""
    origin_topic: str | None = None
    unit_mode: bool = False
    max_reconsume_times: I32 | None = None


__all__ = ["SendBackHeader"]
