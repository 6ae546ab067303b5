"""Runs the parts of `make test` and counts them: the last line is `N passed, N failed`.

A part is a list of commands. pytest writes JUnit XML, from which the counts and the acceptance
table are read; a skipped test is printed loudly and, where CI is set, fails the run.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.support.acceptance import unmet_demands  # noqa: E402 — the path is set just above

BIN = Path(sys.executable).parent
REPORTS = ROOT / ".pytest_cache" / "reports"


@dataclass
class Tally:
    """What happened so far."""

    passed: int = 0
    failed: int = 0
    skipped: list[str] = field(default_factory=list)
    outcomes: dict[str, str] = field(default_factory=dict)
    """Test id → passed, failed or skipped; ids as acceptance.toml writes them."""
    peers: dict[str, set[str]] = field(default_factory=dict)
    """Test id → the real foreign programs it says it talked to."""


def run(command: Sequence[str], cwd: Path = ROOT) -> tuple[int, str]:
    """Runs one command, shows its output as it comes, and returns exit code and output."""
    print(f"$ {' '.join(Path(part).name if i == 0 else part for i, part in enumerate(command))}")
    with subprocess.Popen(
        command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line)
            print(line, end="", flush=True)
    return process.returncode, "".join(lines)


def check(tally: Tally, name: str, command: Sequence[str], cwd: Path = ROOT) -> None:
    """One command that either holds or does not: style, types, a contract."""
    code, _ = run(command, cwd)
    outcome = "passed" if code == 0 else "failed"
    tally.outcomes[f"check:{name}"] = outcome
    if code == 0:
        tally.passed += 1
    else:
        tally.failed += 1
        print(f"FAILED check:{name} (exit code {code})")


def cargo_test(tally: Tally, manifest: str) -> None:
    code, output = run(["cargo", "test", "--quiet", "--workspace", "--manifest-path", manifest])
    counts = re.findall(r"test result: \w+\. (\d+) passed; (\d+) failed", output)
    passed = sum(int(count) for count, _ in counts)
    failed = sum(int(count) for _, count in counts)
    if failed == 0 and (code != 0 or passed == 0):
        failed = 1
    tally.passed += passed
    tally.failed += failed
    tally.outcomes[f"cargo:{manifest}"] = "failed" if failed else "passed"


def id_of(classname: str, name: str) -> str:
    """The test id of a JUnit case: `a/b.py::name`, or `a/b.py::TestClass::name`.

    The report's file is no help: a test made by a library lies in the library's file.
    """
    module, _, last = classname.rpartition(".")
    if last.startswith("Test"):
        return f"{module.replace('.', '/')}.py::{last}::{name}"
    return f"{classname.replace('.', '/')}.py::{name}"


def pytest(tally: Tally, name: str, *arguments: str) -> None:
    REPORTS.mkdir(parents=True, exist_ok=True)
    report = REPORTS / f"{name}.xml"
    report.unlink(missing_ok=True)
    command = [str(BIN / "pytest"), "-q", "-o", "junit_family=xunit1", f"--junitxml={report}"]
    code, _ = run([*command, *arguments])
    if not report.exists():
        tally.failed += 1
        print(f"FAILED pytest {name}: it ended (exit code {code}) without a report")
        return
    ran = 0
    for case in ET.parse(report).getroot().iter("testcase"):
        ran += 1
        test_id = id_of(case.get("classname", ""), case.get("name", ""))
        if case.find("failure") is not None or case.find("error") is not None:
            outcome = "failed"
            tally.failed += 1
        elif (skip := case.find("skipped")) is not None:
            outcome = "skipped"
            tally.skipped.append(f"{test_id}: {skip.get('message')}")
        else:
            outcome = "passed"
            tally.passed += 1
        tally.outcomes[test_id] = outcome
        tally.peers[test_id] = {
            str(prop.get("value")) for prop in case.iter("property") if prop.get("name") == "peer"
        }
    if code not in (0, 1) or ran == 0:
        tally.failed += 1
        print(f"FAILED pytest {name}: exit code {code}, {ran} tests")


def style(tally: Tally) -> None:
    check(tally, "ruff", [str(BIN / "ruff"), "check", "."])
    check(tally, "format", [str(BIN / "ruff"), "format", "--check", "."])
    check(tally, "imports", [str(BIN / "lint-imports")])
    native = ROOT / "native"
    clippy = ["cargo", "clippy", "--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"]
    check(tally, "clippy", clippy, native)
    points = [*clippy[:5], "--features", "pyromq-native/failpoints", *clippy[5:]]
    check(tally, "clippy-failpoints", points, native)
    check(tally, "clippy-load", clippy, ROOT / "bench" / "load")
    check(tally, "rustfmt", ["cargo", "fmt", "--check"], native)
    check(tally, "rustfmt-load", ["cargo", "fmt", "--check"], ROOT / "bench" / "load")


def types(tally: Tally) -> None:
    check(tally, "mypy", [str(BIN / "mypy")])
    allow = ROOT / "tests" / "stubtest_allowlist.txt"
    check(
        tally,
        "stubtest",
        [str(BIN / "stubtest"), "pyromq._native", "--allowlist", str(allow)],
    )


def unit(tally: Tally) -> None:
    cargo_test(tally, "native/Cargo.toml")
    cargo_test(tally, "bench/load/Cargo.toml")
    pytest(tally, "unit", "-m", "not foreign and not crash and not fuzz and not packaging")


def foreign(tally: Tally) -> None:
    pytest(tally, "foreign", "-m", "foreign", "-s", "--timeout", "300")


def crash(tally: Tally) -> None:
    pytest(tally, "crash", "-m", "crash")


def fuzz(tally: Tally) -> None:
    pytest(tally, "fuzz", "-m", "fuzz")


def wheel(tally: Tally) -> None:
    pytest(tally, "wheel", "-m", "packaging", "--timeout", "300")


PARTS = {
    "style": style,
    "types": types,
    "unit": unit,
    "foreign": foreign,
    "crash": crash,
    "fuzz": fuzz,
    "wheel": wheel,
}


def main() -> int:
    wanted = sys.argv[1:] or ["all"]
    is_all = wanted == ["all"]
    tally = Tally()
    for name in PARTS if is_all else wanted:
        began = time.monotonic()
        print(f"\n=== {name}", flush=True)
        PARTS[name](tally)
        print(f"=== {name}: {time.monotonic() - began:.0f} s", flush=True)
    if is_all:
        for row in unmet_demands(ROOT / "tests" / "acceptance.toml", tally.outcomes, tally.peers):
            tally.failed += 1
            print(f"FAILED acceptance: {row}")
    for line in tally.skipped:
        print(f"SKIPPED {line}")
    if tally.skipped and os.environ.get("CI"):
        print(f"FAILED {len(tally.skipped)} tests were skipped, and CI runs all of them")
        tally.failed += len(tally.skipped)
    skipped = f", {len(tally.skipped)} skipped" if tally.skipped else ""
    print(f"{tally.passed} passed, {tally.failed} failed{skipped}")
    return 1 if tally.failed else 0


if __name__ == "__main__":
    sys.exit(main())
