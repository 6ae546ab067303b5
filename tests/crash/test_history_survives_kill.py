"""SIGKILL under load, and every rule of the promise holds for all that clients did and saw.

Long runs: `make kill CYCLES=300 SEED=1`.
"""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from tests.support.kill_run import MODES, run, server
from tests.support.pyromq_server import PyromqServer

KILL_COUNT = 5

pytestmark = [pytest.mark.crash, pytest.mark.timeout(120)]


@pytest.mark.parametrize("mode", MODES)
async def test_no_rule_is_broken_by_kills_at_random_moments(tmp_path: Path, mode: str) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")  # noqa: T201 — shown when the test fails
    result = await run(tmp_path / "store", mode, KILL_COUNT, random.Random(seed))
    print(f"{mode}: {result}")  # noqa: T201
    assert result.violations == []
    history = result.history
    assert history.fault_count == KILL_COUNT
    assert len(history.given_back) > 0, "some messages were dead letters"
    files = sorted((tmp_path / "store" / "commitlog").iterdir())
    assert len(files) > 2, "the log rolled"


async def test_a_store_that_went_back_in_time_is_noticed(tmp_path: Path) -> None:
    """The rules can see a loss: before the last start an older copy takes the store's place."""
    root, copy = tmp_path / "store", tmp_path / "copy"

    def start_from_the_past(root: Path, mode: str) -> PyromqServer:
        if copy.exists():
            shutil.rmtree(root)
            shutil.copytree(copy, root)
        elif root.exists():
            shutil.copytree(root, copy)
        return server(root, mode)

    result = await run(root, "SYNC_FLUSH", 2, random.Random(1), start_from_the_past, 1.0)
    broken = {violation.rule for violation in result.violations}
    assert {"K1", "K3", "K6"} <= broken
