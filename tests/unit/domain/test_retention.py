"""When old files go, and how much of a disk stays free: plain values in, plain values out."""

from __future__ import annotations

from typing import Any

import pytest

from pyromq.domain.retention import (
    Cause,
    RetentionRules,
    Round,
    disk_reserve,
    due_round,
    may_go,
    retention_rules,
    used_percent,
)
from pyromq.units import GIB, HOUR_MS, MIB

NOW = 1_700_000_000_000


def rules(**changed: Any) -> RetentionRules:
    """Apache's defaults."""
    values: dict[str, Any] = {
        "delete_hours": frozenset({4}),
        "reserved_hours": 72,
        "used_percent_max": 75,
        "forcibly_percent": 85,
        "warning_percent": 90,
        "is_forcible": True,
    }
    return retention_rules(**(values | changed))


def due(hour: int, percent: int | None, *, is_requested: bool = False, **changed: Any) -> Round:
    found = due_round(rules(**changed), hour, percent, is_requested=is_requested)
    assert found is not None
    return found


def test_nothing_is_due_at_other_hours_on_a_disk_with_room() -> None:
    assert due_round(rules(), 3, 75, is_requested=False) is None
    assert due_round(rules(), 5, 10, is_requested=False) is None
    assert due_round(rules(), 5, None, is_requested=False) is None


def test_at_its_hour_a_round_is_due_for_files_that_are_old() -> None:
    assert due(4, 10) == Round(frozenset({Cause.HOUR}), False)
    assert due(4, None) == Round(frozenset({Cause.HOUR}), False)
    assert due(16, 10, delete_hours=frozenset({4, 16})).causes == {Cause.HOUR}


@pytest.mark.parametrize(
    ("percent", "is_forced"), [(76, False), (85, False), (86, True), (91, True), (100, True)]
)
def test_a_disk_that_fills_up_makes_a_round_due_at_any_hour(percent: int, is_forced: bool) -> None:
    assert due(12, percent) == Round(frozenset({Cause.SPACE}), is_forced)
    assert due(12, percent, is_forcible=False) == Round(frozenset({Cause.SPACE}), False)


def test_a_request_makes_a_round_due_and_does_not_force_it() -> None:
    assert due(12, 10, is_requested=True) == Round(frozenset({Cause.MANUAL}), False)
    assert due(4, 80, is_requested=True).causes == {Cause.HOUR, Cause.SPACE, Cause.MANUAL}


def test_a_file_goes_when_its_last_message_is_old_enough() -> None:
    old = NOW - 72 * HOUR_MS
    assert may_go(rules(), due(4, 10), old, NOW)
    assert not may_go(rules(), due(4, 10), old + 1, NOW)
    assert not may_go(rules(), due(12, 80), old + 1, NOW)
    assert not may_go(rules(), due(12, 10, is_requested=True), old + 1, NOW)
    assert may_go(rules(reserved_hours=0), due(4, 10), NOW, NOW)


def test_a_forced_round_takes_files_of_any_age() -> None:
    assert may_go(rules(), due(12, 86), NOW, NOW)
    assert may_go(rules(), due(12, 86), None, NOW)


def test_a_file_of_unknown_age_is_not_old() -> None:
    assert not may_go(rules(), due(4, 10), None, NOW)


def test_ratios_are_kept_within_the_bounds_apache_gives_them() -> None:
    high = rules(used_percent_max=99, forcibly_percent=99, warning_percent=99)
    assert (high.used_percent_max, high.forcibly_percent, high.warning_percent) == (95, 85, 90)
    low = rules(used_percent_max=0, forcibly_percent=0, warning_percent=0)
    assert (low.used_percent_max, low.forcibly_percent, low.warning_percent) == (10, 30, 35)


def test_usage_counts_in_whole_percent_rounded_up() -> None:
    assert used_percent(0, 100) == 0
    assert used_percent(1, 1_000_000) == 1
    assert used_percent(75, 25) == 75
    assert used_percent(750_001, 249_999) == 76
    assert used_percent(0, 0) == 0


def reserve(disk_size: int, configured: int | None = None, **changed: int) -> int:
    values = {"segment_size": GIB, "warning_percent": 90, **changed}
    return disk_reserve(configured, disk_size=disk_size, **values)


def test_of_a_large_disk_two_segments_are_kept_and_one_gib_at_least() -> None:
    assert reserve(1000 * GIB) == 2 * GIB
    assert reserve(1000 * GIB, segment_size=MIB) == GIB
    # 92 % of this disk are used, and messages are taken.
    assert reserve(100 * GIB) < 8 * GIB


def test_of_a_small_disk_no_more_is_kept_than_apache_leaves() -> None:
    assert reserve(10 * GIB) == GIB
    assert reserve(48 * MIB) == 48 * MIB // 10
    assert reserve(10 * GIB, warning_percent=80) == 2 * GIB
    assert reserve(10 * GIB, warning_percent=99) == GIB


def test_what_is_configured_counts_whatever_the_disk() -> None:
    assert reserve(48 * MIB, 0) == 0
    assert reserve(48 * MIB, 5 * GIB) == 5 * GIB
