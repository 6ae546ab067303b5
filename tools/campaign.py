"""Long runs of faults on real processes; each run is a line of the ledger, tests/ledger.tsv.

    python -m tools.campaign kill --cycles 300 --seed 1

The seed fixes the choices (moments, sizes, queues), not what the machine makes of them.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import random
import sys
import tempfile
import time
from pathlib import Path

from tests.support import disk_error_run, disk_full_run, ledger
from tests.support.disk_error_run import acknowledged_count, any_injection
from tests.support.failpoint_legs import CHAINS, WITHOUT_DELAYS
from tests.support.failpoint_run import PLACES, any_shot, kill_at, run_chain
from tests.support.kill_run import KILLS_PER_RUN, MODES, run
from tests.support.small_disk import CannotMount
from tests.support.strace import why_impossible


def kill(cycles: int, seed: int) -> int:
    """SIGKILL in both flush modes in turn; the number of runs that broke a rule."""
    chance = random.Random(seed)
    done, failures, number, began = 0, 0, 0, time.monotonic()
    while done < cycles:
        kills = min(KILLS_PER_RUN, cycles - done)
        mode = MODES[number % len(MODES)]
        with tempfile.TemporaryDirectory(prefix="pyromq-kill-") as directory:
            result = asyncio.run(run(Path(directory) / "store", mode, kills, chance))
        done += kills
        number += 1
        failures += bool(result.violations)
        print(f"{mode}: {result}; {time.monotonic() - began:.0f} s", flush=True)
        for violation in result.violations[:20]:
            print(f"  {violation.rule}: {violation.text}", flush=True)
    ledger.enter("kill", seed, done, failures)
    return failures


def eio(cycles: int, seed: int) -> int:
    """EIO at so many points that were really hit; the number of points with a fault of ours."""
    reason = why_impossible()
    if reason is not None:
        raise SystemExit(f"NO EIO CAMPAIGN HERE: {reason}")
    chance = random.Random(seed)
    hit, failures, began = 0, 0, time.monotonic()
    for number in itertools.count():
        if hit == cycles:
            break
        injection, mode = any_injection(chance), MODES[number % len(MODES)]
        with tempfile.TemporaryDirectory(prefix="pyromq-eio-") as directory:
            root = Path(directory) / "store"
            result = asyncio.run(disk_error_run.run(root, mode, injection, chance))
        if not result.was_hit:
            continue
        hit += 1
        faults = result.faults()
        failures += bool(faults)
        print(
            f"{hit} {mode} {injection}: {acknowledged_count(result.history)} acknowledged, "
            f"then {result.probe.code} {result.probe.remark}; {time.monotonic() - began:.0f} s",
            flush=True,
        )
        for fault in faults[:20]:
            print(f"  {fault}", flush=True)
    ledger.enter("eio", seed, hit, failures)
    return failures


def disk_full(cycles: int, seed: int) -> int:
    """So many small disks filled up; the number of runs with a fault of ours."""
    chance = random.Random(seed)
    failures, began = 0, time.monotonic()
    for number in range(cycles):
        plan = disk_full_run.any_plan(number, chance)
        with tempfile.TemporaryDirectory(prefix="pyromq-full-") as directory:
            try:
                result = asyncio.run(disk_full_run.run(Path(directory), plan, chance))
            except CannotMount as error:
                raise SystemExit(f"NO CAMPAIGN OF FULL DISKS HERE: {error}") from error
        faults = result.faults()
        failures += bool(faults)
        print(f"{number + 1} {plan}: {result}; {time.monotonic() - began:.0f} s", flush=True)
        for fault in faults[:20]:
            print(f"  {fault}", flush=True)
    ledger.enter("disk-full", seed, cycles, failures)
    return failures


def failpoints(cycles: int, seed: int) -> int:
    """So many lives of a process with one point armed; the number of chains that broke a rule."""
    chance = random.Random(seed)
    chains = list(CHAINS.items())
    done, hit, failures, began = 0, 0, 0, time.monotonic()
    number = chance.randrange(len(chains) * len(MODES))  # a short run is not always the same part
    while done < cycles:
        name, legs = chains[number % len(chains)]
        mode = MODES[number // len(chains) % len(MODES)]
        # A disk that fails or is slow lets nobody deliver delayed messages in time.
        only_kills = chance.random() < 0.5
        shots = [
            kill_at(leg, chance.choice(PLACES)) if only_kills else any_shot(leg, chance)
            for leg in legs[: cycles - done]
        ]
        with tempfile.TemporaryDirectory(prefix="pyromq-failpoints-") as directory:
            root, has_delays = Path(directory) / "store", only_kills and name not in WITHOUT_DELAYS
            result = asyncio.run(run_chain(root, mode, shots, chance, has_delays=has_delays))
        done += len(shots)
        hit += result.hit_count
        number += 1
        failures += bool(result.violations or result.unlisted)
        print(f"{name}, {mode}: {result}; {time.monotonic() - began:.0f} s", flush=True)
        for violation in result.violations[:20]:
            print(f"  {violation.rule}: {violation.text}", flush=True)
        for step in sorted(result.unlisted):
            print(f"  no point is listed for {step}", flush=True)
    print(f"{hit} of {done} points were reached the wanted number of times")
    ledger.enter("failpoints", seed, hit, failures)
    return failures


CAMPAIGNS = {"kill": kill, "eio": eio, "disk-full": disk_full, "failpoints": failpoints}


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("kind", choices=CAMPAIGNS)
    options.add_argument("--cycles", type=int, default=300)
    options.add_argument("--seed", type=int, default=None)
    chosen = options.parse_args()
    seed = random.randrange(1 << 32) if chosen.seed is None else chosen.seed
    print(f"seed {seed}", flush=True)
    failures = CAMPAIGNS[chosen.kind](chosen.cycles, seed)
    print(f"{chosen.kind}: {chosen.cycles} cycles, {failures} failures")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
