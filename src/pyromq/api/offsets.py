"""Where queues begin and end, and where groups are in them."""

from __future__ import annotations

from typing import Protocol

from pyromq.api.caller import Caller
from pyromq.units import QueueOffset


class OffsetsApi(Protocol):
    """Where queues begin and end, and where groups are in them."""

    def consumer_offset(
        self, group: str, topic: str, queue_id: int, *, is_zero_if_not_found: bool | None
    ) -> QueueOffset:
        """The committed offset, or the first-offset rule's answer; QueryNotFound (22) if neither.

        `is_zero_if_not_found` is the client's setZeroIfNotFound, None if it sent none.
        """
        ...

    async def commit_offset(
        self, caller: Caller, group: str, topic: str, queue_id: int, offset: QueueOffset
    ) -> bool:
        """False if it was ignored: the offset was reset, and the group's client learns of it when
        it pulls next."""
        ...

    def max_offset(self, topic: str, queue_id: int) -> QueueOffset: ...

    def min_offset(self, topic: str, queue_id: int) -> QueueOffset: ...

    def offset_by_time(
        self, topic: str, queue_id: int, timestamp_ms: int, *, is_upper: bool
    ) -> QueueOffset: ...

    def earliest_store_time(self, topic: str, queue_id: int) -> int:
        """ms, −1 if the queue is empty."""
        ...

    def all_consumer_offsets(self) -> bytes:
        """consumerOffset.json as it would be written now."""
        ...

    def all_delay_offsets(self) -> bytes:
        """delayOffset.json as it would be written now."""
        ...


__all__ = ["OffsetsApi"]
