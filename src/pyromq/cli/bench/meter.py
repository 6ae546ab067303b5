"""What happened: by interval for the live table and the charts, and altogether for the summary."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass
from typing import Final

from pyromq.cli.bench.histogram import LatencyHistogram

INTERVALS_MAX: Final = 100_000
"""Rows kept for the report: a day at one per second. The oldest go first."""
ERROR_KINDS_MAX: Final = 20
"""Kinds of errors told apart; more are counted together."""
OTHER_ERRORS: Final = "other errors"


@dataclass(frozen=True, slots=True)
class Interval:
    """One row: what happened since the row before."""

    end_s: float
    """Since the beginning of the run."""
    seconds: float
    messages: int
    failed: int
    """Messages of requests that failed."""
    size_bytes: int
    """Of the messages' bodies."""
    mean_us: float
    p50_us: int
    p99_us: int
    max_us: int

    @property
    def rate(self) -> float:
        """Messages per second."""
        return self.messages / self.seconds if self.seconds > 0 else 0.0


class Meter:
    """Counts one run. Times are those of one steady clock, in seconds."""

    def __init__(self, began_s: float) -> None:
        self.began_s = began_s
        self.intervals: deque[Interval] = deque(maxlen=INTERVALS_MAX)
        self.latency = LatencyHistogram()
        """Of the whole run; complete after the last `end_interval`."""
        self.messages = 0
        self.failed = 0
        self.size_bytes = 0
        self.errors: Counter[str] = Counter()
        """Failed messages by what went wrong."""
        self.examples: dict[str, str] = {}
        """For each kind the first error's text."""
        self._open = LatencyHistogram()
        self._open_since_s = began_s
        self._before = (0, 0, 0)

    def succeeded(self, latency_us: int, *, count: int = 1, size_bytes: int = 0) -> None:
        """One request of `count` messages was answered."""
        self._open.record(latency_us)
        self.messages += count
        self.size_bytes += size_bytes

    def has_failed(self, kind: str, text: str, *, count: int = 1) -> None:
        """One request of `count` messages was refused or not answered; `text` says why."""
        self.failed += count
        if kind not in self.errors and len(self.errors) >= ERROR_KINDS_MAX:
            kind = OTHER_ERRORS
        self.errors[kind] += count
        self.examples.setdefault(kind, text)

    @property
    def has_news(self) -> bool:
        """Whether anything happened since the last row."""
        return (self.messages, self.failed, self.size_bytes) != self._before

    def end_interval(self, now_s: float) -> Interval:
        """Closes the row; the next one begins now."""
        messages, failed, size_bytes = self._before
        latency = self._open
        interval = Interval(
            end_s=now_s - self.began_s,
            seconds=now_s - self._open_since_s,
            messages=self.messages - messages,
            failed=self.failed - failed,
            size_bytes=self.size_bytes - size_bytes,
            mean_us=latency.mean_us,
            p50_us=latency.quantile_us(0.5),
            p99_us=latency.quantile_us(0.99),
            max_us=latency.max_us,
        )
        self.intervals.append(interval)
        self.latency.add(latency)
        self._open = LatencyHistogram()
        self._open_since_s = now_s
        self._before = (self.messages, self.failed, self.size_bytes)
        return interval


__all__ = ["ERROR_KINDS_MAX", "INTERVALS_MAX", "OTHER_ERRORS", "Interval", "Meter"]
