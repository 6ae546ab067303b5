"""Meters: what happened per name within the last minute, hour and day."""

from __future__ import annotations

import pytest

from pyromq.observe.meters import DAY, HOUR, METERS_MAX, MINUTE, Meters
from pyromq.units import HOUR_MS, MINUTE_MS, SECOND_MS

START_MS = 5_000_000


def pass_time(meters: Meters, from_ms: int, duration_ms: int) -> int:
    """Samples once a second; returns when that is."""
    for now_ms in range(from_ms, from_ms + duration_ms, SECOND_MS):
        meters.sample(now_ms)
    return from_ms + duration_ms


def test_a_rate_shows_at_once_what_was_counted() -> None:
    meters = Meters(START_MS)
    meters.add("t", 30, 600)
    meters.add("t", 20, 400)
    now_ms = START_MS + 10 * SECOND_MS
    reading = meters.messages("t", MINUTE, now_ms)
    assert reading == (50, 5.0, 25.0)
    assert meters.sizes("t", MINUTE, now_ms) == (1_000, 100.0, 500.0)


def test_right_after_the_start_a_rate_is_of_one_interval_not_of_moments() -> None:
    meters = Meters(START_MS)
    meters.add("t", 100, 0)
    assert meters.messages("t", MINUTE, START_MS).per_second == 10.0


def test_the_minute_forgets_what_is_older() -> None:
    meters = Meters(START_MS)
    meters.add("t", 600, 0)
    now_ms = pass_time(meters, START_MS, 30 * SECOND_MS)
    assert meters.messages("t", MINUTE, now_ms) == (600, 20.0, 600.0)
    now_ms = pass_time(meters, now_ms, 30 * SECOND_MS)
    meters.add("t", 60, 0)
    assert meters.messages("t", MINUTE, now_ms).sum == 660
    now_ms = pass_time(meters, now_ms, 31 * SECOND_MS)
    assert meters.messages("t", MINUTE, now_ms).sum == 60
    now_ms = pass_time(meters, now_ms, MINUTE_MS)
    assert meters.messages("t", MINUTE, now_ms) == (0, 0.0, 0.0)
    assert meters.messages("t", HOUR, now_ms).sum == 660
    assert meters.messages("t", DAY, now_ms).sum == 660


def test_the_hour_and_the_day_forget_too() -> None:
    meters = Meters(START_MS)
    meters.add("t", 7, 0)
    for minute in range(1, 81):
        meters.sample(START_MS + minute * MINUTE_MS)
    now_ms = START_MS + 80 * MINUTE_MS
    meters.add("t", 1, 0)
    assert meters.messages("t", HOUR, now_ms).sum == 1
    assert meters.messages("t", DAY, now_ms).sum == 8


def test_a_name_that_came_later_counts_from_nothing() -> None:
    meters = Meters(START_MS)
    now_ms = pass_time(meters, START_MS, 3 * MINUTE_MS)
    meters.add("late", 12, 0)
    assert "late" in meters
    assert meters.messages("late", MINUTE, now_ms).sum == 12


def test_a_name_that_was_never_counted_reads_as_nothing() -> None:
    meters = Meters(START_MS)
    assert "x" not in meters
    assert meters.messages("x", MINUTE, START_MS) == (0, 0.0, 0.0)


def test_what_rests_for_a_whole_day_goes() -> None:
    meters = Meters(START_MS)
    meters.add("rests", 1, 1)
    for hour in range(1, 25):
        meters.add("busy", 1, 1)
        meters.sample(START_MS + hour * HOUR_MS)
    assert "rests" in meters
    meters.sample(START_MS + 25 * HOUR_MS)
    meters.sample(START_MS + 26 * HOUR_MS)
    assert "rests" not in meters
    assert "busy" in meters


def test_what_is_only_read_rests_and_what_counts_once_does_not() -> None:
    meters = Meters(START_MS)
    for name in ("read", "once"):
        meters.add(name, 1, 1)
    for hour in range(1, 30):
        now_ms = START_MS + hour * HOUR_MS
        meters.sample(now_ms)
        meters.messages("read", DAY, now_ms)
        if hour == 20:
            meters.messages("once", DAY, now_ms)
            meters.add("once", 1, 1)
    assert "read" not in meters
    assert "once" in meters


def test_meters_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    assert METERS_MAX == 20_000
    monkeypatch.setattr("pyromq.observe.meters.METERS_MAX", 2)
    meters = Meters(START_MS)
    for name in ("a", "b", "c", "a"):
        meters.add(name, 1, 1)
    assert "c" not in meters
    assert meters.messages("a", MINUTE, START_MS).sum == 2
    assert meters.messages("c", MINUTE, START_MS).sum == 0
