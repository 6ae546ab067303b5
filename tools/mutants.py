"""Plants one bug at a time into the engine and runs the test that must notice it.

The bugs stand in the source as `cfg!(mutant = "name")`: without the flag the compiler removes
them. They are built into a target directory of their own, so that the everyday builds stay.

    mutants.py            every mutant; exit code 1 if one is not caught
    mutants.py NAME ...   these only
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CRATE = ROOT / "native" / "crates" / "rmqlog"
CUTS = "every_cut_of_the_power_or_the_process_keeps_the_promise"
FULL = "a_full_disk_takes_the_turn_back_and_the_next_one_gets_its_offsets"

MUTANTS = {
    "acknowledge_before_sync": ("lib", CUTS),
    "clean_too_early": ("lib", CUTS),
    "commit_before_flushed": ("lib", CUTS),
    "commit_before_write": ("lib", CUTS),
    "forget_failed_sync": ("lib", CUTS),
    "inherited_not_synced": ("lib", CUTS),
    "leftovers_stay": ("test faults", FULL),
    "marker_before_queues": ("lib", CUTS),
    "offsets_not_taken_back": ("test faults", FULL),
    "oldest_queue_file_goes_first": ("lib", CUTS),
    "rebuild_skips_a_record": ("lib", CUTS),
    "removed_index_stays_open": ("lib", CUTS),
    "retry_failed_sync": ("test faults", "a_failed_sync_is_never_tried_again"),
    "skip_log_sync": ("lib", CUTS),
    "skip_segment_dir_sync": ("lib", CUTS),
    "start_marker_not_durable": ("lib", CUTS),
    "start_syncs_nothing": ("lib", CUTS),
    "store_time_goes_back": ("lib", CUTS),
    "torn_tail_stays": ("lib", CUTS),
}
"""Name → where the test is, and the test that must fail."""


def planted() -> set[str]:
    """Names of the mutants in the source."""
    text = "".join(path.read_text() for path in (CRATE / "src").rglob("*.rs"))
    return set(re.findall(r'mutant = "(\w+)"', text))


def rust_tests() -> set[str]:
    """Names of all Rust tests of the crate."""
    text = "".join(path.read_text() for path in CRATE.rglob("*.rs"))
    return set(re.findall(r"#\[test\]\s+fn (\w+)\(", text))


def outcome(flags: str, place: str, test: str) -> str:
    """`caught`, `survived`, or `broken` where nothing could be said: no build, or no such test."""
    command = ["cargo", "test", "--quiet", "--package", "rmqlog", *f"--{place}".split(), test]
    environment = {
        **os.environ,
        "RUSTFLAGS": flags,
        "CARGO_TARGET_DIR": str(ROOT / "native" / "target" / "mutants"),
        "CARGO_PROFILE_TEST_OPT_LEVEL": "1",
        "RUNS": os.environ.get("RUNS", "20000"),
        "RUST_BACKTRACE": "0",
    }
    done = subprocess.run(
        command, cwd=ROOT / "native", env=environment, capture_output=True, text=True, check=False
    )
    counts = re.findall(r"test result: \w+\. (\d+) passed; (\d+) failed", done.stdout)
    if len(counts) != 1 or sum(map(int, counts[0])) != 1:
        sys.stdout.write(done.stdout + done.stderr)
        return "broken"
    return "caught" if counts[0][1] == "1" else "survived"


def main(names: list[str]) -> int:
    if planted() != set(MUTANTS):
        print(f"listed and planted differ: {sorted(planted() ^ set(MUTANTS))}")
        return 1
    caught = 0
    wanted = names or sorted(MUTANTS)
    for name in wanted:
        place, test = MUTANTS[name]
        result = outcome(f'--cfg mutant="{name}"', place, test)
        caught += result == "caught"
        print(f"{name:30} {result:9} {test}", flush=True)
    print(f"{caught} of {len(wanted)} mutants caught")
    return 0 if caught == len(wanted) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
