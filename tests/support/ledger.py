"""The ledger of long runs, tests/ledger.tsv: how often which fault was tried, and how it ended."""

from __future__ import annotations

import datetime
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
LEDGER = ROOT / "tests" / "ledger.tsv"
HEADER = "date\tcommit\tkind\tseed\truns\tfailures\n"


def enter(kind: str, seed: int, runs: int, failures: int, path: Path = LEDGER) -> None:
    """Appends one line; a missing file begins with its header."""
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        check=False,
        cwd=ROOT,
        capture_output=True,
        text=True,
    ).stdout.strip()
    date = datetime.datetime.now(datetime.UTC).date().isoformat()
    if not path.exists():
        path.write_text(HEADER)
    with path.open("a") as ledger:
        ledger.write(f"{date}\t{commit or 'unknown'}\t{kind}\t{seed}\t{runs}\t{failures}\n")


__all__ = ["HEADER", "LEDGER", "enter"]
