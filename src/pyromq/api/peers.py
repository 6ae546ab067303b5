"""What a broker may tell and ask connected clients by itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import msgspec

from pyromq.api.messages import SendRequest
from pyromq.api.relays import ClientAnswer, RunningInfoRequest
from pyromq.api.resets import PushedReset
from pyromq.domain.route import MessageQueue


class DirectMessage(msgspec.Struct, frozen=True, kw_only=True):
    """A stored message for a consumer that shall consume it now."""

    consumer_group: str
    client_id: str
    message_id: str
    topic: str
    broker_name: str
    topic_sys_flag: int | None
    group_sys_flag: int | None
    record: bytes
    """The message as stored."""


class PushedReply(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A reply message on its way to the client that waits for it."""

    request: SendRequest
    """As its sender sent it."""
    properties: str
    """The sender's, and what the broker adds."""
    born_host: str
    """`ip:port` of its sender."""
    store_host: str
    """`ip:port` of the broker."""
    store_timestamp_ms: int


class Peers(Protocol):
    """What a broker may tell and ask connected clients by itself; each door supplies one.

    Telling (a plain method) is one-way, and a connection that is gone is ignored. Asking (an
    `async` method) raises ConsumerNotOnline if it is gone, AnswerTimedOut if no answer comes in
    time, RequestFailed if it goes without one, SystemBusy if too many are being asked.
    """

    def is_connected(self, connection_id: int) -> bool:
        """Whether the connection is one of this door's."""
        ...

    def notify_consumer_ids_changed(self, connection_id: int, group: str) -> None:
        """Code 40, one-way; a connection that is gone is ignored."""
        ...

    def push_reset(self, connection_id: int, reset: PushedReset) -> None:
        """Code 220, one-way."""
        ...

    async def ask_consumer_status(
        self, connection_id: int, group: str, topic: str, *, timeout_ms: int
    ) -> Mapping[MessageQueue, int]:
        """Code 221: the offsets that the client has in mind."""
        ...

    async def ask_running_info(
        self, connection_id: int, request: RunningInfoRequest, *, timeout_ms: int
    ) -> ClientAnswer:
        """Code 307."""
        ...

    async def consume_directly(
        self, connection_id: int, message: DirectMessage, *, timeout_ms: int
    ) -> ClientAnswer:
        """Code 309."""
        ...

    async def push_reply(
        self, connection_id: int, reply: PushedReply, *, timeout_ms: int
    ) -> ClientAnswer:
        """Code 326."""
        ...


__all__ = ["DirectMessage", "Peers", "PushedReply"]
