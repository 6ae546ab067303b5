"""Sends whose answers are made and wait for their promise to be kept.

A verb that has only this one thing left to do needs no coroutine for it. Sends that one client made
to one topic, one after another, wait together: they are let go by one call, mostly all at once.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable

from pyromq.api import SendReceiver
from pyromq.errors import FlushTimedOut, RequestRefused

CountPuts = Callable[[str, int, int], None]
"""Counts acknowledged messages: topic, how many, bytes of their records."""


class HeldSends:
    """A run of sends in the order of the log; a waiter of a commit gate."""

    __slots__ = ("_count_puts", "answers", "ends", "receiver", "sizes", "topic")

    def __init__(self, topic: str, receiver: SendReceiver, count_puts: CountPuts) -> None:
        self.topic = topic
        self.receiver = receiver
        self._count_puts = count_puts
        self.ends: list[int] = []
        """Log positions that they wait for; these three lists are of one length."""
        self.sizes: list[int] = []
        """Bytes of their records."""
        self.answers: list[bytes] = []

    def split(self, position: int) -> HeldSends:
        """Takes those up to the position out of the run."""
        count = bisect_right(self.ends, position)
        taken = HeldSends(self.topic, self.receiver, self._count_puts)
        taken.ends, self.ends = self.ends[:count], self.ends[count:]
        taken.sizes, self.sizes = self.sizes[:count], self.sizes[count:]
        taken.answers, self.answers = self.answers[:count], self.answers[count:]
        return taken

    def set(self, value: None) -> None:
        """Their promise is kept."""
        del value
        self._count()
        self.receiver.kept(len(self.answers), b"".join(self.answers))

    def fail(self, error: RequestRefused) -> None:
        """It cannot be kept, or not in time."""
        if isinstance(error, FlushTimedOut):
            self._count()
        self.receiver.lost(self.answers, error)

    def _count(self) -> None:
        self._count_puts(self.topic, len(self.sizes), sum(self.sizes))


__all__ = ["CountPuts", "HeldSends"]
