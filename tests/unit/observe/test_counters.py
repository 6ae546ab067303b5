"""Counters: rates from samples, classes of waiting times, and midnight."""

from __future__ import annotations

from datetime import UTC

import pytest

from pyromq.observe.counters import TOTAL_GET, TOTAL_PUT, BrokerCounters
from pyromq.observe.meters import MINUTE

NOON_MS = 1_700_049_600_000
HOUR_MS = 3_600_000


@pytest.fixture
def counters() -> BrokerCounters:
    return BrokerCounters(NOON_MS, 0, UTC)


def test_rates_look_back_ten_sixty_and_six_hundred_seconds(counters: BrokerCounters) -> None:
    for second in range(1, 701):
        counters.put_count += 1 if second <= 690 else 11
        counters.sample(NOON_MS, second * 1_000)
    assert counters.rates("put") == pytest.approx((11.0, 160 / 60, 700 / 600), rel=1e-2)


def test_a_young_process_rates_what_there_is(counters: BrokerCounters) -> None:
    assert counters.rates("put") == (0.0, 0.0, 0.0)
    counters.found_count += 30
    counters.sample(NOON_MS, 2_000)
    assert counters.rates("found") == (15.0, 15.0, 15.0)


def test_samples_taken_late_do_not_raise_the_rate(counters: BrokerCounters) -> None:
    counters.transferred_count += 100
    counters.sample(NOON_MS, 50_000)
    assert counters.rates("transferred")[0] == 2.0


@pytest.mark.parametrize(
    ("elapsed_ms", "index"),
    [(0, 0), (1, 1), (10, 1), (11, 2), (50, 2), (999, 6), (4_999, 10), (10_000, 11), (10_001, 12)],
)
def test_waiting_times_fall_into_apaches_classes(
    counters: BrokerCounters, elapsed_ms: int, index: int
) -> None:
    counters.count_acknowledged(3, elapsed_ms)
    assert counters.put_times[index] == 3
    assert sum(counters.put_times) == 3
    assert counters.put_time_max_ms == elapsed_ms


def test_quantiles_are_bounds_of_classes(counters: BrokerCounters) -> None:
    assert counters.put_time_quantile_ms(0.99) == 0.0
    counters.count_acknowledged(98, 0)
    counters.count_acknowledged(1, 7)
    counters.count_acknowledged(1, 300)
    assert counters.put_time_quantile_ms(0.5) == 0.0
    assert counters.put_time_quantile_ms(0.99) == 10.0
    assert counters.put_time_quantile_ms(0.999) == 300.0
    counters.count_acknowledged(1_000, 20_000)
    assert counters.put_time_quantile_ms(0.99) == 20_000.0


def test_midnight_moves_today_to_yesterday(counters: BrokerCounters) -> None:
    counters.put_count, counters.transferred_count = 10, 4
    counters.sample(NOON_MS + 11 * HOUR_MS, 0)
    assert (counters.yesterday_morning, counters.this_morning) == ((0, 0), (0, 0))
    counters.sample(NOON_MS + 12 * HOUR_MS, 0)
    assert (counters.yesterday_morning, counters.this_morning) == ((0, 0), (10, 4))
    counters.put_count = 25
    counters.sample(NOON_MS + 36 * HOUR_MS, 0)
    assert (counters.yesterday_morning, counters.this_morning) == ((10, 4), (25, 4))


def test_all_messages_have_meters_up_to_the_last_sample(counters: BrokerCounters) -> None:
    counters.put_count, counters.put_size = 10, 1_000
    counters.found_count, counters.transferred_count, counters.transferred_size = 2, 8, 800
    assert TOTAL_PUT not in counters.totals
    counters.sample(NOON_MS, 1_000)
    counters.sample(NOON_MS, 2_000)
    assert counters.totals.messages(TOTAL_PUT, MINUTE, 2_000) == (10, 1.0, 1.0)
    assert counters.totals.messages(TOTAL_GET, MINUTE, 2_000) == (8, 0.8, 4.0)
    assert counters.totals.sizes(TOTAL_GET, MINUTE, 2_000).sum == 800
