"""Messages that a consumer could not consume."""

from __future__ import annotations

from typing import Protocol

import msgspec

from pyromq.api.caller import Caller
from pyromq.units import LogOffset


class SendBackRequest(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A consumer of `group` gives a message back that it could not consume."""

    group: str
    log_offset: LogOffset
    """Where the message is stored."""
    delay_level: int
    """0: by how often it came already; below 0: not again, it is a dead letter."""
    max_reconsume_times: int | None = None
    """After so many times it is a dead letter; None: as the group's settings say."""
    unit_mode: bool = False


class RetriesApi(Protocol):
    """Messages that a consumer could not consume."""

    async def send_back(self, caller: Caller, request: SendBackRequest) -> None:
        """Stores the message again, for later and for that group, or as a dead letter of it.

        Returns when the commit covers what was stored.
        """
        ...


__all__ = ["RetriesApi", "SendBackRequest"]
