"""The messages of one queue that a consumer holds, and how far the queue is consumed.

Messages end in any order; the group's offset is that of the lowest one that has not ended, so a
crash repeats what came after it and loses nothing. Source: impl.consumer.ProcessQueue of
org.apache.rocketmq.client 5.5.0.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

from pyromq.client.message import ReceivedMessage


class Window:
    """From the first message that has not ended to the next offset to be pulled."""

    def __init__(self, next_offset: int) -> None:
        self.next_offset = next_offset
        # Ordered by offset. A plain dict would pass over all who have ended, each time.
        self._held: OrderedDict[int, ReceivedMessage] = OrderedDict()
        self.size_bytes = 0

    def put(self, messages: Iterable[ReceivedMessage], next_offset: int) -> list[ReceivedMessage]:
        """Takes what was pulled; returns what is new of it."""
        taken: list[ReceivedMessage] = []
        for message in messages:
            if message.queue_offset >= self.next_offset:
                self._held[message.queue_offset] = message
                self.size_bytes += message.size_bytes
                taken.append(message)
        self.next_offset = max(self.next_offset, next_offset)
        return taken

    def end(self, message: ReceivedMessage) -> None:
        """The message is consumed, given back, or given up."""
        held = self._held.pop(message.queue_offset, None)
        if held is not None:
            self.size_bytes -= held.size_bytes

    @property
    def count(self) -> int:
        return len(self._held)

    @property
    def commit_offset(self) -> int:
        """Where the group would go on."""
        return next(iter(self._held), self.next_offset)

    @property
    def ends(self) -> tuple[int, int]:
        """Offsets of the first and the last message held; 0 and 0 if there is none."""
        return (next(iter(self._held)), next(reversed(self._held))) if self._held else (0, 0)

    @property
    def span(self) -> int:
        """Places from the first message that has not ended to the last one held."""
        first, last = self.ends
        return last - first


__all__ = ["Window"]
