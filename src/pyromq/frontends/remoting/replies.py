"""Rows of replies to requests: codes 324, 325.

Source: ReplyMessageProcessor of org.apache.rocketmq.broker 5.5.0.
"""

from __future__ import annotations

from typing import Protocol

from pyromq.api import Caller, MessagesApi, RepliesApi
from pyromq.codes import RequestCode, ResponseCode
from pyromq.errors import RequestRefused
from pyromq.frontends.remoting.messages import (
    refused_send,
    send_marks,
    send_request,
)
from pyromq.frontends.remoting.table import Answer, PlainVerb, WaitingVerb
from pyromq.wire.remoting.frame import Command
from pyromq.wire.remoting.headers.send import SendHeader, SendHeaderV2


class ReplyBroker(MessagesApi, RepliesApi, Protocol):
    """A broker that takes replies as it takes messages."""


class ReplyRows:
    """The rows, bound to one broker."""

    def __init__(self, broker: ReplyBroker) -> None:
        self._broker = broker

    def rows(self) -> list[tuple[RequestCode, PlainVerb | WaitingVerb]]:
        return [
            (RequestCode.SEND_REPLY_MESSAGE, self.reply),
            (RequestCode.SEND_REPLY_MESSAGE_V2, self.reply),
        ]

    async def reply(
        self, caller: Caller, header: SendHeader | SendHeaderV2, command: Command
    ) -> Answer:
        """What was stored is told also if the push failed."""
        try:
            result = await self._broker.reply(caller, send_request(header, command))
        except RequestRefused as error:
            return refused_send(self._broker, error)
        ext = send_marks(self._broker)
        if (stored := result.stored) is not None:
            ext["msgId"] = stored.msg_id
            ext["queueId"] = str(stored.queue_id)
            ext["queueOffset"] = str(stored.queue_offset)
        if result.failure is not None:
            return Answer(ext, code=ResponseCode.SYSTEM_ERROR, remark=result.failure)
        return Answer(ext)


__all__ = ["ReplyBroker", "ReplyRows"]
