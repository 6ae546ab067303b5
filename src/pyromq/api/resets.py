"""Moving a group's offsets from outside, and asking its clients how far they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import msgspec

from pyromq.api.caller import Caller
from pyromq.domain.route import MessageQueue
from pyromq.units import QueueOffset


class ResetRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Where a group shall go on in a topic."""

    group: str
    topic: str
    timestamp_ms: int
    """At the first message stored at that time or later; negative: behind the last message."""
    queue_id: int = -1
    """One queue; negative: all that can be read."""
    queue_offset: int | None = None
    """There, whatever the time says; only with a queue. None and −1: by time."""
    is_forced: bool = True
    """Otherwise only back, where the reset is left to the clients."""


class PushedReset(msgspec.Struct, frozen=True, kw_only=True):
    """What the clients of a group are told of a reset that is left to them."""

    group: str
    topic: str
    timestamp_ms: int
    broker_name: str
    offsets: Mapping[int, QueueOffset]
    """By queue."""
    is_for_cpp: bool = False
    """In the form that clients in C++ read."""


class ResetsApi(Protocol):
    """Moving a group's offsets from outside, and asking its clients how far they are."""

    async def reset_offsets(
        self, caller: Caller, request: ResetRequest
    ) -> Mapping[int, QueueOffset]:
        """The new offset of each queue. Answered when it is durable."""
        ...

    async def clone_offsets(
        self, source_group: str, target_group: str, topic: str, *, is_offline: bool
    ) -> None:
        """Gives a group the offsets of another one; an empty topic means all.

        Unless `is_offline`, topics that the source group is connected for no longer are left out.
        """
        ...

    async def consumer_status(
        self, group: str, topic: str, client_id: str
    ) -> Mapping[str, Mapping[MessageQueue, int]]:
        """By client: the offsets it has in mind. An empty client id means all of the group.

        Who does not answer is missing. RequestFailed if nobody is connected, a client is too old to
        be asked, or clients or queues are too many for one answer.
        """
        ...


__all__ = ["PushedReset", "ResetRequest", "ResetsApi"]
