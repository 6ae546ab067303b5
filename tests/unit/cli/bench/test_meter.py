"""Rows and sums of a run."""

from __future__ import annotations

from pyromq.cli.bench.meter import ERROR_KINDS_MAX, OTHER_ERRORS, Meter


def test_each_row_has_what_happened_since_the_one_before() -> None:
    meter = Meter(100.0)
    meter.succeeded(10, count=3, size_bytes=300)
    meter.succeeded(30, count=1, size_bytes=100)
    meter.has_failed("SendFailed", "no", count=2)
    first = meter.end_interval(101.0)
    assert (first.end_s, first.seconds, first.messages, first.failed) == (1.0, 1.0, 4, 2)
    assert (first.size_bytes, first.p50_us, first.p99_us, first.max_us) == (400, 10, 30, 30)
    assert (first.rate, first.mean_us) == (4.0, 20.0)
    quiet = meter.has_news
    meter.succeeded(50)
    assert (quiet, meter.has_news) == (False, True)
    second = meter.end_interval(101.5)
    assert (second.end_s, second.seconds, second.messages, second.failed) == (1.5, 0.5, 1, 0)
    assert (second.rate, second.p50_us, second.max_us) == (2.0, 50, 50)
    assert list(meter.intervals) == [first, second]
    assert (meter.messages, meter.failed, meter.size_bytes) == (5, 2, 400)
    assert (meter.latency.count, meter.latency.max_us) == (3, 50)


def test_errors_are_counted_by_kind_with_the_first_of_each() -> None:
    meter = Meter(0.0)
    meter.has_failed("A", "first")
    meter.has_failed("A", "second", count=2)
    assert (meter.errors, meter.examples) == ({"A": 3}, {"A": "first"})


def test_kinds_of_errors_are_bounded() -> None:
    meter = Meter(0.0)
    for number in range(ERROR_KINDS_MAX + 30):
        meter.has_failed(f"kind {number}", "text")
    meter.has_failed("kind 0", "text")
    assert len(meter.errors) == ERROR_KINDS_MAX + 1
    assert (meter.errors[OTHER_ERRORS], meter.errors["kind 0"]) == (30, 2)
