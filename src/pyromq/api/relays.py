"""Questions of tools to a consumer, which the broker carries there and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import msgspec


class RunningInfoRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What is this consumer doing?"""

    consumer_group: str
    client_id: str
    is_stack_wanted: bool = False
    """With the stacks of its threads."""


class DirectConsumption(msgspec.Struct, frozen=True, kw_only=True):
    """This one message, consumed by this consumer, now."""

    consumer_group: str
    client_id: str
    message_id: str
    """offsetMsgId."""
    topic: str = ""
    """As the tool names it; the message has its own."""


class ClientAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What a client answered. The broker hands it on as it is."""

    code: int = 0
    remark: str | None = None
    ext: Mapping[str, str] = {}
    body: bytes = b""


class RelaysApi(Protocol):
    """Questions of tools to a consumer."""

    async def consumer_running_info(self, request: RunningInfoRequest) -> ClientAnswer:
        """RequestFailed if no such consumer is connected or it leaves, AnswerTimedOut if it says
        nothing, SystemBusy if too much is being asked."""
        ...

    async def consume_directly(self, request: DirectConsumption) -> ClientAnswer:
        """As above; also RequestFailed if there is no such message."""
        ...


__all__ = ["ClientAnswer", "DirectConsumption", "RelaysApi", "RunningInfoRequest"]
