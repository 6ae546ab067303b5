"""Unique keys: Java's layout, so that tools can read address, process and time back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

from pyromq.domain.unique_key import UniqueKeys

ADDRESS = bytes([10, 0, 0, 7])


def at(zone: timezone, *when: int) -> int:
    return int(datetime(*when, tzinfo=zone).timestamp() * 1000)  # type: ignore[misc, arg-type]


def test_a_key_is_address_process_loader_time_and_counter_in_hex() -> None:
    keys = UniqueKeys(ADDRESS, 0x1234, 0xCAFEBABE, UTC)
    moment = at(UTC, 2024, 3, 1, 0, 0, 1) + 2
    assert keys.next(moment) == "0A0000071234CAFEBABE000003EA0000"
    assert keys.next(moment) == "0A0000071234CAFEBABE000003EA0001"


def test_an_ipv6_address_makes_a_longer_key() -> None:
    keys = UniqueKeys(bytes(16), 1, 1, UTC)
    assert len(keys.next(0)) == 2 * (16 + 2 + 4 + 4 + 2)


def test_time_counts_from_the_begin_of_the_local_month() -> None:
    zone = timezone(timedelta(hours=8))
    keys = UniqueKeys(ADDRESS, 1, 1, zone)
    assert keys.next(at(zone, 2024, 3, 1, 0, 0, 0))[20:28] == "00000000"
    assert keys.next(at(zone, 2024, 2, 29, 23, 59, 59))[20:28] != "00000000"


def test_a_new_month_and_a_new_year_begin_at_zero_again() -> None:
    keys = UniqueKeys(ADDRESS, 1, 1, UTC)
    assert keys.next(at(UTC, 2023, 12, 31, 23, 59, 59))[20:28] == f"{31 * 86_400_000 - 1000:08X}"
    assert keys.next(at(UTC, 2024, 1, 1, 0, 0, 0))[20:28] == "00000000"
    assert keys.next(at(UTC, 2024, 2, 1, 0, 0, 5))[20:28] == f"{5000:08X}"


def test_the_counter_wraps_after_65536_keys() -> None:
    keys = UniqueKeys(ADDRESS, 1, 1, UTC)
    made = [keys.next(0) for _ in range(65_537)]
    assert len(set(made[:-1])) == 65_536
    assert made[-1] == made[0]
