"""Latencies, counted by size: any quantile afterwards, in memory that does not grow.

Values are microseconds. Up to 127 each has a bucket; above, each doubling has 64 buckets, so a
quantile is at most 1.6 % too large and never too small.
"""

from __future__ import annotations

import math
from typing import Final, Self

_BITS: Final = 7
_HALF: Final = 1 << (_BITS - 1)
VALUE_MAX: Final = (1 << 36) - 1
"""19 hours; what took longer is counted as this."""
_BUCKET_COUNT: Final = (36 - _BITS) * _HALF + 2 * _HALF


class LatencyHistogram:
    """Counts of latencies in microseconds."""

    __slots__ = ("_buckets", "count", "max_us", "total_us")

    def __init__(self) -> None:
        self._buckets = [0] * _BUCKET_COUNT
        self.count = 0
        self.total_us = 0
        self.max_us = 0

    def record(self, latency_us: int) -> None:
        """Counts one; below zero (clocks of two machines) is zero."""
        value = 0 if latency_us < 0 else min(latency_us, VALUE_MAX)
        shift = value.bit_length() - _BITS
        self._buckets[value if shift <= 0 else shift * _HALF + (value >> shift)] += 1
        self.count += 1
        self.total_us += value
        if value > self.max_us:
            self.max_us = value

    def add(self, other: Self) -> None:
        """Counts all of another's."""
        for index, count in enumerate(other._buckets):
            if count:
                self._buckets[index] += count
        self.count += other.count
        self.total_us += other.total_us
        self.max_us = max(self.max_us, other.max_us)

    @property
    def mean_us(self) -> float:
        return self.total_us / self.count if self.count else 0.0

    def quantile_us(self, quantile: float) -> int:
        """The latency that this part (0 to 1) of all did not exceed; 0 without any."""
        rank = max(1, math.ceil(quantile * self.count))
        seen = 0
        for index, count in enumerate(self._buckets):
            seen += count
            if seen >= rank:
                return min(_upper_end(index), self.max_us)
        return 0


def _upper_end(index: int) -> int:
    """The largest value that is counted in a bucket."""
    if index < 2 * _HALF:
        return index
    shift = index // _HALF - 1
    return ((index - shift * _HALF + 1) << shift) - 1


__all__ = ["VALUE_MAX", "LatencyHistogram"]
