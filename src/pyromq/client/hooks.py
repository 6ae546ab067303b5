"""What a program may look at while messages are sent and consumed: traces, metrics, logs.

Hooks are called in the loop thread and must not wait. What they raise is logged and changes
nothing. Source: hook.{SendMessageHook,ConsumeMessageHook} of org.apache.rocketmq.client 5.5.0.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TypeVar

from msgspec import Struct

from pyromq.client.message import Message, ReceivedMessage, SendResult
from pyromq.domain.route import MessageQueue

_log = logging.getLogger("pyromq.client")


class SendEvent(Struct):
    """One try to send; of a batch one for all its messages."""

    group: str
    client_id: str
    messages: Sequence[Message]
    message_ids: Sequence[str]
    queue: MessageQueue
    broker_address: str
    begin_ms: int
    """Wall-clock time."""
    took_ms: int = 0
    """0 before the send."""
    result: SendResult | None = None
    """None before the send, after a failed one and after a one-way one."""
    error: BaseException | None = None


class ConsumeEvent(Struct):
    """One call of a listener."""

    group: str
    client_id: str
    messages: Sequence[ReceivedMessage]
    queue: MessageQueue
    begin_ms: int
    took_ms: int = 0
    is_success: bool = False
    error: BaseException | None = None
    request_id: str = ""
    """Joins the two calls of one consumption in traces."""


class SendHook:
    """Does nothing: override what is wanted."""

    def before_send(self, event: SendEvent) -> None:
        """Called before each try."""

    def after_send(self, event: SendEvent) -> None:
        """Called after each try, failed or not."""


class ConsumeHook:
    """Does nothing: override what is wanted."""

    def before_consume(self, event: ConsumeEvent) -> None:
        """Called before the listener."""

    def after_consume(self, event: ConsumeEvent) -> None:
        """Called after it."""


E = TypeVar("E")


def call_hooks(calls: Sequence[Callable[[E], None]], event: E) -> None:
    """All of them, whatever one of them raises."""
    for call in calls:
        try:
            call(event)
        except Exception:  # noqa: BLE001 - a stranger's code, and no reason to lose a message
            _log.exception("a hook failed: %r", call)


__all__ = ["ConsumeEvent", "ConsumeHook", "SendEvent", "SendHook", "call_hooks"]
