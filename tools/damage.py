"""A long campaign of damaged stores; its outcome becomes a line of the ledger.

ROUNDS damages (default 5,000), beginning with seed SEED (default: the time of day). It ends at the
first that shows wrong bytes, hides a good record or gives a place twice.
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


def main() -> int:
    seed = os.environ.get("SEED") or str(int(time.time()))
    rounds = os.environ.get("ROUNDS") or "5000"
    environment = {**os.environ, "RMQLOG_DAMAGE_SEED": seed, "RMQLOG_DAMAGE_ROUNDS": rounds}
    test = ["--test", "damage_campaign", "--", "--nocapture"]
    done = subprocess.run(
        ["cargo", "test", "--release", "-p", "rmqlog", *test],
        cwd=ROOT / "native",
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    print(done.stdout, end="")
    failed = re.search(r"panicked at .*\n(seed (\d+),.*)", done.stdout)
    if not done.returncode:
        count, failures = int(rounds), 0
    elif failed:
        count, failures = int(failed[2]) - int(seed) + 1, 1
    else:
        print("the campaign did not come to its end")
        return 1
    git = ["git", "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(git, cwd=ROOT, capture_output=True, text=True, check=True)
    date = time.strftime("%Y-%m-%d", time.gmtime())
    with LEDGER.open("a") as ledger:
        ledger.write(f"{date}\t{commit.stdout.strip()}\tdamage\t{seed}\t{count}\t{failures}\n")
    return 1 if done.returncode else 0


if __name__ == "__main__":
    sys.exit(main())
