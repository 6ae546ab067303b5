"""Avoiding slow brokers: the steps of MQFaultStrategy 5.5.0."""

from __future__ import annotations

import pytest

from pyromq.client.faults import FaultTable, avoidance_ms


@pytest.mark.parametrize(
    ("latency_ms", "pause_ms"),
    [
        (0, 0), (549, 0), (550, 2_000), (1_799, 2_000), (1_800, 5_000), (3_000, 6_000),
        (5_000, 10_000), (14_999, 10_000), (15_000, 30_000),
    ],
)  # fmt: skip
def test_the_slower_the_longer(latency_ms: int, pause_ms: int) -> None:
    assert avoidance_ms(latency_ms) == pause_ms


def test_a_failure_counts_as_ten_seconds_and_ends() -> None:
    table = FaultTable()
    assert table.is_available("a", 0)
    table.note("a", 1, 1_000, has_failed=True)
    assert not table.is_available("a", 10_999)
    assert table.is_available("b", 1_000)
    assert table.is_available("a", 11_000)


def test_a_quick_answer_does_not_shorten_a_pause() -> None:
    table = FaultTable()
    table.note("a", 1, 0, has_failed=True)
    table.note("a", 600, 1_000, has_failed=False)
    table.note("a", 1, 1_000, has_failed=False)
    assert not table.is_available("a", 9_999)
    assert table.is_available("a", 10_000)
