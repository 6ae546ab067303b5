"""Questions to a consumer by way of its broker: codes 307 and 309.

Sources: GetConsumerRunningInfoRequestHeader and ConsumeMessageDirectlyResultRequestHeader of
org.apache.rocketmq.remoting.protocol.header 5.5.0. The broker sends its client the same header.
"""

from __future__ import annotations

from msgspec import Struct

from pyromq.wire.remoting.fields import I32


class RunningInfoHeader(Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """What a consumer is doing; its answer's body is a ConsumerRunningInfo."""

    consumer_group: str
    client_id: str
    jstack_enable: bool = False


class ConsumeDirectlyHeader(Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """A consumer shall consume one message now; its answer's body tells how that went."""

    consumer_group: str
    client_id: str | None = None
    msg_id: str | None = None
    """offsetMsgId."""
    broker_name: str | None = None
    """To the client: where the message is from. This and what follows, the broker fills in."""
    topic: str | None = None
    topic_sys_flag: I32 | None = None
    group_sys_flag: I32 | None = None


__all__ = ["ConsumeDirectlyHeader", "RunningInfoHeader"]
