"""Which client of a group may consume a queue in order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from pyromq.domain.route import MessageQueue


class LockRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A client of a group wants to have, or gives back, these queues."""

    group: str
    client_id: str
    queues: Sequence[MessageQueue]


class LocksApi(Protocol):
    """Which client of a group may consume a queue in order."""

    def lock_queues(self, request: LockRequest) -> Sequence[MessageQueue]:
        """Those of the queues that the client may consume now; it asks again every 20 s."""
        ...

    def unlock_queues(self, request: LockRequest) -> None:
        """Gives back what the client holds of them; what others hold is left alone."""
        ...


__all__ = ["LockRequest", "LocksApi"]
