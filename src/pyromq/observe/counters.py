"""What a broker counts: plain integers beside the verbs, read when somebody asks.

No lock: the loop thread adds, the same thread reads. Rates come from samples taken once a second;
what is counted per topic and per group has meters (meters.py). Source of the names and windows:
StoreStatsService of org.apache.rocketmq.store 5.5.0 and BrokerStats of org.apache.rocketmq.broker.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Callable
from datetime import datetime, tzinfo
from typing import Final, NamedTuple

from pyromq.observe.meters import Meters

SAMPLE_INTERVAL_MS: Final = 1_000
RATE_WINDOWS: Final = (10, 60, 600)
"""Samples (so about seconds) that the three numbers of a rate look back."""

TOTAL_PUT: Final = "put"
TOTAL_GET: Final = "get"

PUT_TIME_BOUNDS_MS: Final = (0, 10, 50, 100, 200, 500, 1_000, 2_000, 3_000, 4_000, 5_000, 10_000)
PUT_TIME_LABELS: Final = (
    "<=0ms",
    "0~10ms",
    "10~50ms",
    "50~100ms",
    "100~200ms",
    "200~500ms",
    "500ms~1s",
    "1~2s",
    "2~3s",
    "3~4s",
    "4~5s",
    "5~10s",
    "10s~",
)


class Sample(NamedTuple):
    """The counters that have rates, at one moment."""

    at_ms: int
    put: int
    found: int
    miss: int
    transferred: int


class BrokerCounters:
    """Everything counted since the process started."""

    __slots__ = (
        "_days",
        "_metered",
        "_samples",
        "_today",
        "_zone",
        "catch_up",
        "found_count",
        "group_gets",
        "lower_commit_count",
        "miss_count",
        "put_count",
        "put_failed_count",
        "put_size",
        "put_time_max_ms",
        "put_times",
        "send_backs",
        "topic_puts",
        "totals",
        "transferred_count",
        "transferred_size",
    )

    def __init__(self, now_ms: int, monotonic_ms: int, zone: tzinfo) -> None:
        self.catch_up: Callable[[], None] = _nothing
        """Adds what is counted elsewhere by now; called before counters are read."""
        self.put_count = 0
        """Messages stored and acknowledged."""
        self.put_size = 0
        """Bytes of their records."""
        self.put_failed_count = 0
        self.put_time_max_ms = 0
        self.put_times = [0] * len(PUT_TIME_LABELS)
        """Messages by the time from the end of their turn to their acknowledgement."""
        self.found_count = 0
        """Reads that found messages."""
        self.miss_count = 0
        self.transferred_count = 0
        """Messages given to consumers."""
        self.transferred_size = 0
        self.lower_commit_count = 0
        """Offset commits of clients that moved their group back."""
        self.topic_puts = Meters(monotonic_ms)
        """Messages stored, by topic."""
        self.group_gets = Meters(monotonic_ms)
        """Messages given to consumers, by `topic@group`."""
        self.send_backs = Meters(monotonic_ms)
        """Messages that consumers gave back, by `topic@group` of their first place."""
        self.totals = Meters(monotonic_ms)
        """All messages, under TOTAL_PUT and TOTAL_GET; up to the last sample."""
        self._metered = (0, 0, 0, 0, 0)
        self._samples: deque[Sample] = deque(maxlen=RATE_WINDOWS[-1] + 1)
        self._samples.append(Sample(monotonic_ms, 0, 0, 0, 0))
        self._zone = zone
        self._today = self._day(now_ms)
        self._days = ((0, 0), (0, 0))
        """(put, transferred) at the begin of yesterday and of today."""

    def count_acknowledged(self, count: int, elapsed_ms: int) -> None:
        """`count` sends were released together after waiting so long."""
        self.put_times[bisect_left(PUT_TIME_BOUNDS_MS, elapsed_ms)] += count
        if elapsed_ms > self.put_time_max_ms:
            self.put_time_max_ms = elapsed_ms

    def count_puts(self, topic: str, count: int, size: int) -> None:
        """Single messages with records of so many bytes together were stored and acknowledged."""
        self.put_count += count
        self.put_size += size
        self.topic_puts.add(topic, count, size, count)

    def sample(self, now_ms: int, monotonic_ms: int) -> None:
        """Called once a second: keeps what rates need, and notices midnight."""
        self.catch_up()
        self._add_totals()
        for meters in (self.topic_puts, self.group_gets, self.send_backs, self.totals):
            meters.sample(monotonic_ms)
        self._samples.append(
            Sample(
                monotonic_ms,
                self.put_count,
                self.found_count,
                self.miss_count,
                self.transferred_count,
            )
        )
        day = self._day(now_ms)
        if day != self._today:
            self._today = day
            self._days = (self._days[1], (self.put_count, self.transferred_count))

    def _add_totals(self) -> None:
        puts, put_size, gets, get_size, found = self._metered
        self._metered = (
            self.put_count,
            self.put_size,
            self.transferred_count,
            self.transferred_size,
            self.found_count,
        )
        if self.put_count > puts:
            count = self.put_count - puts
            self.totals.add(TOTAL_PUT, count, self.put_size - put_size, count)
        if self.found_count > found:
            self.totals.add(
                TOTAL_GET,
                self.transferred_count - gets,
                self.transferred_size - get_size,
                self.found_count - found,
            )

    def rates(self, name: str) -> tuple[float, ...]:
        """Per second over the last 10, 60 and 600 samples, or over what there is of them.

        `name` is a field of Sample.
        """
        last = self._samples[-1]
        result = []
        for window in RATE_WINDOWS:
            first = self._samples[max(len(self._samples) - 1 - window, 0)]
            elapsed_ms = last.at_ms - first.at_ms
            grown = getattr(last, name) - getattr(first, name)
            result.append(grown * 1000 / elapsed_ms if elapsed_ms > 0 else 0.0)
        return tuple(result)

    def put_time_quantile_ms(self, quantile: float) -> float:
        """Upper bound of the class of waits that the quantile falls into."""
        total = sum(self.put_times)
        seen = 0
        for bound, count in zip(
            (*PUT_TIME_BOUNDS_MS, self.put_time_max_ms), self.put_times, strict=True
        ):
            seen += count
            if total and seen >= quantile * total:
                return float(min(bound, self.put_time_max_ms))
        return 0.0

    @property
    def yesterday_morning(self) -> tuple[int, int]:
        """(put, transferred) when yesterday began."""
        return self._days[0]

    @property
    def this_morning(self) -> tuple[int, int]:
        """(put, transferred) when today began."""
        return self._days[1]

    def _day(self, now_ms: int) -> int:
        return datetime.fromtimestamp(now_ms / 1000, self._zone).toordinal()


def _nothing() -> None:
    """All is counted here."""


__all__ = [
    "PUT_TIME_LABELS",
    "SAMPLE_INTERVAL_MS",
    "TOTAL_GET",
    "TOTAL_PUT",
    "BrokerCounters",
]
