"""Latencies by size: quantiles are never too small, and at most a little too large."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from pyromq.cli.bench.histogram import VALUE_MAX, LatencyHistogram

latencies = st.lists(st.integers(0, 10**9), min_size=1, max_size=200)


def histogram_of(values: list[int]) -> LatencyHistogram:
    histogram = LatencyHistogram()
    for value in values:
        histogram.record(value)
    return histogram


@given(latencies, st.floats(0, 1))
def test_a_quantile_is_at_most_a_sixty_fourth_too_large(values: list[int], part: float) -> None:
    exact = sorted(values)[max(1, math.ceil(part * len(values))) - 1]
    found = histogram_of(values).quantile_us(part)
    assert exact <= found <= exact + exact // 64


@given(latencies, latencies)
def test_two_together_are_as_one(one: list[int], other: list[int]) -> None:
    together = histogram_of(one)
    together.add(histogram_of(other))
    at_once = histogram_of(one + other)
    parts = [0.1, 0.5, 0.9, 0.99, 1.0]
    assert [together.quantile_us(part) for part in parts] == [
        at_once.quantile_us(part) for part in parts
    ]
    assert (together.count, together.max_us) == (len(one) + len(other), max(one + other))
    assert together.mean_us == sum(one + other) / (len(one) + len(other))


def test_values_out_of_range_are_counted_at_its_ends() -> None:
    histogram = histogram_of([-5, VALUE_MAX * 10])
    assert (histogram.quantile_us(0.5), histogram.max_us) == (0, VALUE_MAX)
    assert histogram.quantile_us(1) == VALUE_MAX


def test_without_values_all_is_zero() -> None:
    histogram = LatencyHistogram()
    assert (histogram.quantile_us(0.99), histogram.mean_us, histogram.max_us) == (0, 0, 0)
