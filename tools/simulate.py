"""A long campaign of the engine on a simulated disk; its outcome becomes a line of the ledger.

RUNS cut points (default 200,000), beginning with seed SEED (default: the time of day).
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
TEST = "every_cut_of_the_power_or_the_process_keeps_the_promise"


def main() -> int:
    seed = os.environ.get("SEED") or str(int(time.time()))
    environment = {**os.environ, "SEED": seed, "RUNS": os.environ.get("RUNS") or "200000"}
    command = ["cargo", "test", "--release", "-p", "rmqlog", "--lib", TEST, "--", "--nocapture"]
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
        ledger.write(f"{date}\t{commit.stdout.strip()}\tsim\t{seed}\t{cuts}\t{violations}\n")
    return 1 if done.returncode else 0


if __name__ == "__main__":
    sys.exit(main())
