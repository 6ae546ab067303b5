"""A long campaign of the engine on a simulated disk; its outcome becomes a line of the ledger.

RUNS cut points (default 200,000), beginning with seed SEED (default: the time of day). MODE=slow is
the disk on which the writer's thread writes.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LEDGER = ROOT / "tests" / "ledger.tsv"
TESTS = {
    "sim": "every_cut_of_the_power_or_the_process_keeps_the_promise",
    "sim-slow": "every_cut_keeps_the_promise_while_the_writer_writes_on_a_slow_disk",
}
"""By the ledger's kind of campaign."""


def main() -> int:
    mode = os.environ.get("MODE") or "normal"
    if mode not in ("normal", "slow"):
        print(f"MODE={mode}: say normal or slow", file=sys.stderr)
        return 2
    kind = "sim-slow" if mode == "slow" else "sim"
    seed = os.environ.get("SEED") or str(int(time.time()))
    environment = {**os.environ, "SEED": seed, "RUNS": os.environ.get("RUNS") or "200000"}
    command = [
        "cargo",
        "test",
        "--release",
        "-p",
        "rmqlog",
        "--lib",
        TESTS[kind],
        "--",
        "--nocapture",
    ]
    git = ["git", "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(git, cwd=ROOT, capture_output=True, text=True, check=True)
    done = subprocess.run(
        command,
        cwd=ROOT / "native",
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    print(done.stdout, end="")
    found = re.search(r"(\d+) cut points, (\d+) violations", done.stdout)
    if found is None:
        print("the campaign did not come to its end")
        return 1
    cuts, violations = found.groups()
    date = time.strftime("%Y-%m-%d", time.gmtime())
    with LEDGER.open("a") as ledger:
        ledger.write(f"{date}\t{commit.stdout.strip()}\t{kind}\t{seed}\t{cuts}\t{violations}\n")
    return 1 if done.returncode else 0


if __name__ == "__main__":
    sys.exit(main())
