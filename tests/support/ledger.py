"""The ledger: one line per campaign in `tests/ledger.tsv`, so that totals can be told.

A campaign is asked for by a make target; the short runs of `make test` write nothing. The target
sets PYROMQ_LEDGER to the file.
"""

from __future__ import annotations

import datetime
import os
import subprocess
from pathlib import Path

HEADER = "date\tcommit\tkind\tseed\truns\tfailures\n"
ROOT = Path(__file__).parents[2]


def note_run(kind: str, seed: int, runs: int, failures: int) -> None:
    """Appends a line; nothing where no campaign was asked for."""
    name = os.environ.get("PYROMQ_LEDGER")
    if not name:
        return
    git = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=10"]
    commit = subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    file = Path(name)
    with file.open("a") as ledger:
        if file.stat().st_size == 0:
            ledger.write(HEADER)
        ledger.write(f"{today}\t{commit}\t{kind}\t{seed}\t{runs}\t{int(failures)}\n")


__all__ = ["HEADER", "note_run"]
