"""A process dies exactly at each of its persistence steps, and keeps its promise all the same.

The steps are listed where they are (`rmqlog/src/failpoint_steps.rs`, `failpoint_files.py`); the
ways to reach them in `failpoint_legs.py`. A seed chooses which third of the steps a run tries, and
at which of their places; all of them, later times and errors: `make failpoints ROUNDS=300`.
PYROMQ_SEED=1, 2, 3 and so on are the thirds in turn, all places after nine.
`make test` takes one of the nine.
"""

from __future__ import annotations

import asyncio
import os
import random
from pathlib import Path

import pytest

from tests.support.failpoint_build import (
    FAILPOINT_TRACES,
    engine_steps,
    installed_module,
    native_module,
)
from tests.support.failpoint_files import STEPS
from tests.support.failpoint_legs import CHAINS, RARE, WITHOUT_DELAYS
from tests.support.failpoint_run import PLACES, Leg, Shot, kill_at, part_of, run_chain
from tests.support.kill_run import MODES

pytestmark = [pytest.mark.crash, pytest.mark.timeout(600)]

SEED = int(os.environ.get("PYROMQ_SEED", "0")) or random.randrange(1, 10)
PARTS = 3
DEATHS = [("fresh", "removal"), ("run", "recovery")]
ERRORS = [
    Shot(Leg("run.log.sync"), "before", 5, "EIO"),
    Shot(Leg("run.log.write"), "within", 5, "EIO"),
    Shot(Leg("run.log.create"), "after", 2, "EIO"),
    Shot(Leg("run.log.allocate"), "before", 2, "ENOSPC"),
    Shot(Leg("run.journal.sync"), "before", 5, "EIO"),
    Shot(Leg("run.journal.write"), "within", 5, "ENOSPC"),
    Shot(Leg("run.projection.rename"), "before", 2, "EIO"),
    Shot(Leg("run.queue.sync"), "before", 1, "EIO"),
    Shot(Leg("run.index.write"), "within", 2, "ENOSPC"),
    Shot(Leg("run.checkpoint.sync"), "before", 1, "EIO"),
    Shot(Leg("run.log.sync"), "after", 3, "delay-200"),
    Shot(Leg("start.log.sync"), "before", 1, "EIO"),
    Shot(Leg("start.journal.sync"), "before", 1, "EIO"),
]


@pytest.mark.parametrize("names", DEATHS, ids="+".join)
async def test_a_process_that_dies_at_any_persistence_step_keeps_its_promise(
    tmp_path: Path, names: tuple[str, ...]
) -> None:
    """Two chains at a time: a process mostly waits."""
    native_module()
    part, place = SEED % PARTS, PLACES[SEED // PARTS % len(PLACES)]
    print(f"PYROMQ_SEED={SEED}, {place}")  # noqa: T201 — shown when the test fails
    modes = dict(zip(names, MODES, strict=True))
    results = await asyncio.gather(
        *(
            run_chain(
                tmp_path / name,
                modes[name],
                [kill_at(leg, place) for leg in part_of(CHAINS[name], part, PARTS)],
                random.Random(SEED),
                has_delays=name not in WITHOUT_DELAYS,
            )
            for name in names
        )
    )
    for name, result in zip(names, results, strict=True):
        print(f"{name}, {modes[name]}: {result}", *result.not_reached, sep="\n")  # noqa: T201
    assert [v for result in results for v in result.violations] == []
    assert [point for result in results for point in result.not_reached] == []
    assert set[str]().union(*(result.unlisted for result in results)) == set()


async def test_a_broker_that_is_refused_a_step_keeps_its_promise(tmp_path: Path) -> None:
    result = await run_chain(
        tmp_path / "store", MODES[0], ERRORS, random.Random(1), has_delays=False
    )
    assert result.violations == []
    assert result.not_reached == []


def test_the_steps_in_the_source_are_the_steps_tried() -> None:
    tried = {name for test in DEATHS for name in test}
    assert tried == set(CHAINS)
    assert not engine_steps() & STEPS
    have_legs = {leg.step for legs in CHAINS.values() for leg in legs}
    assert engine_steps() | STEPS == have_legs | RARE
    assert not have_legs & RARE
    for legs in CHAINS.values():
        parts = [part_of(legs, part, PARTS) for part in range(PARTS)]
        assert {leg.step for leg in legs} == {leg.step for part in parts for leg in part}


async def test_a_point_that_no_process_comes_by_is_noticed(tmp_path: Path) -> None:
    shots = [Shot(Leg("stop.holes.write"), "before")]
    result = await run_chain(
        tmp_path / "store", MODES[1], shots, random.Random(1), has_delays=False
    )
    assert result.not_reached == ["stop.holes.write.before=1:kill"]


def test_the_everyday_build_has_no_failpoints() -> None:
    """And the search finds them where they are."""
    for trace in FAILPOINT_TRACES:
        assert trace in native_module().read_bytes()
        assert trace not in installed_module().read_bytes()
