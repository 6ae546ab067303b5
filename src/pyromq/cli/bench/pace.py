"""When the next request is due, and how many messages it carries: rate, count and duration.

With a rate, requests are due at fixed times whether or not earlier ones are answered, and their
latency counts from then. Else a server that stands still for a second would have one slow answer
instead of a second's worth of them ("coordinated omission").
"""

from __future__ import annotations

from typing import NamedTuple


class Ticket(NamedTuple):
    """One request."""

    due_s: float
    """Time from which its latency counts, on the clock of `take`."""
    first: int
    """Number of its first message, from 0."""
    message_count: int


class Pace:
    """Hands out tickets until the work is done or the time is over."""

    def __init__(
        self,
        began_s: float,
        *,
        batch_size: int = 1,
        rate: float | None = None,
        count: int | None = None,
        duration_s: float | None = None,
    ) -> None:
        """`rate`: messages per second. None: as fast as answers come, without end."""
        self._began_s = began_s
        self._batch_size = batch_size
        self._rate = rate
        self._count = count
        self._end_s = None if duration_s is None else began_s + duration_s
        self._taken = 0
        self.is_stopped = False

    def take(self, now_s: float) -> Ticket | None:
        """The next request, due perhaps in the future; None when there are no more."""
        due_s = now_s if self._rate is None else self._began_s + self._taken / self._rate
        if self.is_stopped or (self._end_s is not None and max(due_s, now_s) >= self._end_s):
            return None
        size = self._batch_size
        if self._count is not None:
            size = min(size, self._count - self._taken)
            if size <= 0:
                return None
        ticket = Ticket(due_s, self._taken, size)
        self._taken += size
        return ticket

    def stop(self) -> None:
        """No more tickets."""
        self.is_stopped = True


__all__ = ["Pace", "Ticket"]
