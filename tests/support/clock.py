"""A clock that stands still until a test moves it."""

from __future__ import annotations

START_MS = 1_700_000_000_000
"""2023-11-14T22:13:20Z."""


class ManualClock:
    """A `Clock`. Wall clock and monotonic clock move together, unless a test sets one of them."""

    def __init__(self, now_ms: int = START_MS) -> None:
        self.wall_ms = now_ms
        self.steady_ms = 1_000_000

    def now_ms(self) -> int:
        return self.wall_ms

    def monotonic_ms(self) -> int:
        return self.steady_ms

    def advance(self, duration_ms: int) -> None:
        assert duration_ms >= 0
        self.wall_ms += duration_ms
        self.steady_ms += duration_ms


__all__ = ["START_MS", "ManualClock"]
