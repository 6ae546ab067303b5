"""Request and reply: the answer to a request message goes to the client that waits for it."""

from __future__ import annotations

from typing import Protocol

import msgspec

from pyromq.api.caller import Caller
from pyromq.api.messages import SendRequest
from pyromq.units import QueueOffset


class StoredReply(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Where a reply message is."""

    msg_id: str
    """offsetMsgId; "0" if the reply was pushed but not stored."""
    queue_id: int
    queue_offset: QueueOffset


class ReplyResult(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What became of a reply. It may be stored although it reached nobody."""

    failure: str | None = None
    """Why it was not pushed to the requester, None if it was."""
    stored: StoredReply | None = None


class RepliesApi(Protocol):
    """The way back of a request."""

    async def reply(self, caller: Caller, request: SendRequest) -> ReplyResult:
        """Pushes a reply message to the producer that its properties name, and stores it.

        Refused as a send is; SystemBusy also if too many replies wait for their requesters.
        """
        ...


__all__ = ["RepliesApi", "ReplyResult", "StoredReply"]
