"""A disk that fills up under load, kill -9, room again: every rule holds for all clients saw.

Long runs: `make disk-full RUNS=20 SEED=1`.
"""

from __future__ import annotations

import os
import random
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.disk_full_run import FullResult, Moment, Plan, run
from tests.support.history import History, Outcome
from tests.support.processes import Answer
from tests.support.small_disk import TMPFS, CannotMount

PLAN = Plan("SYNC_FLUSH", TMPFS, 36, 1 << 20, has_reserve=True, killed=Moment.FULL)


@pytest.mark.crash
@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    "plan",
    [PLAN, replace(PLAN, mode="ASYNC_FLUSH", has_reserve=False, killed=Moment.RESUMED)],
    ids=str,
)
async def test_no_rule_is_broken_by_a_full_disk_and_a_kill(tmp_path: Path, plan: Plan) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")  # noqa: T201 — shown when the test fails
    try:
        result = await run(tmp_path, plan, random.Random(seed))
    except CannotMount as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"NO FULL DISKS HERE: {error}")
    print(f"{plan}: {result}")  # noqa: T201
    assert result.faults() == []
    outcomes = {sent.outcome for sent in result.history.sent}
    assert {Outcome.OK, Outcome.REFUSED} <= outcomes or not plan.has_reserve
    assert result.history.fault_count >= 2, "a full disk and a kill"


def test_what_a_full_disk_must_not_bring_is_a_fault() -> None:
    """The judgement can fail, by each of its parts; lost messages are the checker's own test."""
    good = FullResult(PLAN, History(), Answer(14, "the disk is full"), resumed_seconds=0.5)
    assert good.faults() == []
    for bad in (
        replace(good, refusal=Answer(0)),
        replace(good, refusal=Answer(1, "the disk is full")),
        replace(good, refusal=Answer(14, "No space left on device")),
        replace(good, resumed_seconds=2.5),
        replace(good, resumed_seconds=None),
        replace(good, unexpected=["a pull from the full disk got 1"]),
    ):
        assert len(bad.faults()) == 1, bad
