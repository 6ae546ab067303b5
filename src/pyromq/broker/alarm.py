"""An alarm: one function, called when its time has come, and nothing at all until then.

For work whose next time is known, where a chore that asks again and again would wake the process
for nothing. As with chores a test advances a clock and calls `run_due` instead of sleeping.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from pyromq.clock import Clock


class Alarm:
    """At most one time is set; setting another replaces it."""

    def __init__(self, clock: Clock, ring: Callable[[], None]) -> None:
        self._clock = clock
        self._ring = ring
        self._due_ms: int | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._handle: asyncio.TimerHandle | None = None

    @property
    def due_ms(self) -> int | None:
        """Monotonic ms at which it rings, None if it does not."""
        return self._due_ms

    def set(self, due_ms: int | None) -> None:
        """Rings at that monotonic time; at the next turn of the loop if it is past."""
        if due_ms != self._due_ms:
            self._due_ms = due_ms
            self._arm()

    def start(self) -> None:
        """Lets the running loop ring it, until `stop`."""
        assert self._loop is None, "started once"
        self._loop = asyncio.get_running_loop()
        self._arm()

    def stop(self) -> None:
        self._loop = None
        self._arm()

    def run_due(self) -> None:
        """Rings now if its time has come by the clock; it is not set any more then."""
        if self._due_ms is not None and self._clock.monotonic_ms() >= self._due_ms:
            self._due_ms = None
            self._ring()

    def _arm(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        if self._loop is not None and self._due_ms is not None:
            wait_ms = max(self._due_ms - self._clock.monotonic_ms(), 0)
            self._handle = self._loop.call_later(wait_ms / 1000, self._woken)

    def _woken(self) -> None:
        """The loop's timers are as coarse as the clock: one that is early is set again."""
        self._handle = None
        self.run_due()
        if self._handle is None and self._due_ms is not None:
            self._arm()


__all__ = ["Alarm"]
