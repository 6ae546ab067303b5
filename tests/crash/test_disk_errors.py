"""EIO from the kernel's hand to a running broker: nothing is acknowledged that is not kept.

Long runs: `make eio CYCLES=200 SEED=1`.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.support.disk_error_run import Injection, repeated_syncs, run
from tests.support.disk_error_start import faults_afterwards, prepare, start_with_error
from tests.support.kill_run import MODES
from tests.support.strace import calls_of, why_impossible

_WHY_NOT = why_impossible()

needs_strace = pytest.mark.skipif(_WHY_NOT is not None, reason=f"NO DISK ERRORS HERE: {_WHY_NOT}")


@pytest.mark.crash
@needs_strace
@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("injection", "mode"),
    [
        (Injection("fdatasync", 1), MODES[0]),
        (Injection("fdatasync", 9), MODES[0]),
        (Injection("fdatasync", 2, is_lasting=True), MODES[1]),
        (Injection("pwrite64", 20, is_of_log=True), MODES[0]),
        (Injection("fallocate", 2), MODES[1]),
    ],
    ids=str,
)
async def test_nothing_is_acknowledged_that_is_lost_and_the_broker_says_why_it_only_reads(
    tmp_path: Path, injection: Injection, mode: str
) -> None:
    result = await run(tmp_path / "store", mode, injection, random.Random(1))
    assert result.was_hit
    assert result.faults() == []
    assert result.probe.code == 14
    assert "Input/output error" in result.probe.remark
    assert "/commitlog/" in result.probe.remark
    if injection.name == "fdatasync":
        assert result.is_log_lost


@pytest.mark.crash
@needs_strace
@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("injection", "is_new"),
    [
        (Injection("fdatasync", 1), False),
        (Injection("fdatasync", 2), False),
        (Injection("rename", 1), True),
        (Injection("fsync", 2), True),
    ],
    ids=str,
)
def test_a_start_that_meets_an_error_says_so_and_the_next_one_has_everything(
    tmp_path: Path, injection: Injection, is_new: bool
) -> None:
    root = tmp_path / "store"
    if not is_new:
        prepare(root)
    was_hit, outcome = start_with_error(root, injection)
    assert was_hit
    # Refused at once, or (where the next segment is made meanwhile) read-only.
    assert "cannot be opened" in outcome or "a send gets 14" in outcome
    assert "Input/output error" in outcome
    assert faults_afterwards(root, is_empty=is_new) == []


def test_a_repeated_sync_is_seen() -> None:
    """The check above can fail: as Apache's msync does, which is called again until it succeeds."""
    failed = "7 fdatasync(5</s/commitlog/0>) = -1 EIO (Input/output error) (INJECTED)"
    other = "7 fdatasync(6</s/commitlog/1>) = 0"
    assert repeated_syncs(calls_of([failed, other])) == []
    again = ["8 fdatasync(9</s/commitlog/0> <unfinished ...>", other]
    again.append("8 <... fdatasync resumed>) = 0")
    (repeated,) = repeated_syncs(calls_of([failed, *again]))
    assert repeated.thread == 8
    assert repeated.path == "/s/commitlog/0"
