"""Properties of the store."""

from __future__ import annotations

from pathlib import Path

import pytest

from pyromq.config import StoreConfig
from pyromq.config.store import delay_levels
from pyromq.errors import ConfigInvalid
from pyromq.units import GIB, HOUR_MS, MIB


def test_defaults_keep_what_was_acknowledged() -> None:
    config = StoreConfig()
    assert config.is_sync_flush
    assert config.mapped_file_size_commit_log_bytes == GIB
    assert config.consume_queue_file_size == 6_000_000
    assert config.max_message_size_bytes == 4 * MIB
    assert config.root == Path("pyromq-data")
    assert len(config.delay_levels_ms) == 18
    assert config.delay_levels_ms[0] == 1_000
    assert config.delay_levels_ms[-1] == 2 * HOUR_MS


@pytest.mark.parametrize(("size", "expected"), [(20, 20), (21, 40), (6_000_001, 6_000_020)])
def test_a_queue_file_has_whole_entries(size: int, expected: int) -> None:
    assert (
        StoreConfig(mapped_file_size_consume_queue_bytes=size).consume_queue_file_size == expected
    )


def test_delays_are_numbers_with_units() -> None:
    assert delay_levels("1s 2m 3h 1d") == (1_000, 120_000, 3 * HOUR_MS, 24 * HOUR_MS)
    assert delay_levels("  5s   6s ") == (5_000, 6_000)


@pytest.mark.parametrize("text", ["", "1", "s", "1s,2s", "-1s", "1.5s", "1S", "1s " * 65])
def test_other_delays_are_refused(text: str) -> None:
    assert delay_levels(text) is None
    with pytest.raises(ConfigInvalid, match=r"^messageDelayLevel="):
        StoreConfig(message_delay_level=text).validate(lambda _name: "test")


def test_a_commit_log_elsewhere_is_refused_instead_of_starting_an_empty_one() -> None:
    StoreConfig(store_path_root_dir="/d", store_path_commit_log="/d/commitlog").validate(
        lambda _name: "test"
    )
    with pytest.raises(ConfigInvalid, match=r"^storePathCommitLog="):
        StoreConfig(store_path_root_dir="/d", store_path_commit_log="/e").validate(
            lambda _name: "test"
        )


@pytest.mark.parametrize("path", ["", "a\0b"])
def test_a_root_that_is_no_path_is_refused(path: str) -> None:
    with pytest.raises(ConfigInvalid, match=r"^storePathRootDir="):
        StoreConfig(store_path_root_dir=path).validate(lambda _name: "test")


@pytest.mark.parametrize("size", [0, -1, 4095, 2**31])
def test_a_segment_size_out_of_bounds_is_refused(size: int) -> None:
    with pytest.raises(ConfigInvalid, match=r"^mappedFileSizeCommitLog="):
        StoreConfig(mapped_file_size_commit_log_bytes=size).validate(lambda _name: "test")
