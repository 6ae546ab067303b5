"""Time as an argument: parts that need the time are handed a `Clock`, so every test can replay."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Two kinds of time that must not be mixed."""

    def now_ms(self) -> int:
        """Wall-clock time in ms since 1970. Only for stamping; it may jump in both directions."""
        ...

    def monotonic_ms(self) -> int:
        """Milliseconds that never go back. For every deadline, lease and timeout."""
        ...


class SystemClock:
    """The machine's clocks."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic_ms(self) -> int:
        return time.monotonic_ns() // 1_000_000


__all__ = ["Clock", "SystemClock"]
