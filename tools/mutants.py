"""Plants one bug at a time and runs the test that must notice it; the bugs: `mutant_list.py`.

    python -m tools.mutants            every bug; a line for tests/ledger.tsv
    python -m tools.mutants NAME ...   these only; no line

Each test first runs without a bug and must pass, or nothing can be said: such bugs are `broken`, as
is one whose test neither passed nor failed. Exit code 1 unless every bug is caught.

The engine is built once, with all its bugs, beside the everyday builds. A bug of the Python part is
planted in a copy of `src`.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from tests.support.ledger import enter
from tools.mutant_list import PYTHON_BUGS, RUST_BUGS, PythonBug, RustBug

ROOT: Final = Path(__file__).resolve().parent.parent
NATIVE: Final = ROOT / "native"
CRATE: Final = NATIVE / "crates" / "rmqlog"
SWITCH: Final = "RMQLOG_MUTANT"
TIMEOUT_S: Final = 120
"""No test here takes so long, with or without a bug."""
SIMULATION: Final = {"RUNS": "2000", "SEED": "1"}
"""What the simulation runs, unless the caller's environment says otherwise: as in `make test`."""


class Outcome(NamedTuple):
    """How one test ended."""

    word: str
    """`passed` or `failed`, or `broken` if it did neither."""
    seconds: float
    output: str


def planted() -> set[str]:
    """Names of the bugs in the engine's source."""
    text = "".join(path.read_text() for path in (CRATE / "src").rglob("*.rs"))
    return set(re.findall(r'mutant!\("(\w+)"\)', text))


def _run(command: list[str], directory: Path, environment: dict[str, str]) -> tuple[float, str]:
    """How many seconds it took, and all it said; it is ended when it takes too long."""
    began = time.monotonic()
    with tempfile.TemporaryFile("w+") as output:
        try:
            subprocess.run(
                command,
                cwd=directory,
                env={**os.environ, **environment},
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            output.write(f"\n{command[0]} did not end within {TIMEOUT_S} s\n")
        output.seek(0)
        return time.monotonic() - began, output.read()


def _judged(ran: tuple[float, str], passed: int, failed: int) -> Outcome:
    """A test that passed or failed is an answer, anything else is not."""
    word = {(True, False): "passed", (False, True): "failed"}.get((passed > 0, failed > 0))
    return Outcome(word or "broken", *ran)


class RustTests:
    """The test programs of the engine, with all bugs in them and none switched on."""

    def __init__(self) -> None:
        self._programs = dict(self._built())

    def _built(self) -> Iterator[tuple[str, str]]:
        command = ["cargo", "test", "--package", "rmqlog", "--features", "mutants", "--no-run"]
        command += ["--message-format", "json"]
        done = subprocess.run(command, cwd=NATIVE, stdout=subprocess.PIPE, text=True, check=True)
        for line in done.stdout.splitlines():
            message = json.loads(line)
            if message.get("executable") and message["profile"]["test"]:
                kind = message["target"]["kind"]
                yield "lib" if "lib" in kind else message["target"]["name"], message["executable"]

    def run(self, target: str, test: str, bug: str) -> Outcome:
        """`bug` is the name of one, or empty."""
        command = [self._programs[target], "--exact", test]
        environment = {name: os.environ.get(name, SIMULATION[name]) for name in SIMULATION}
        ran = _run(command, CRATE, {**environment, SWITCH: bug, "RUST_BACKTRACE": "0"})
        counts = re.findall(r"test result: \w+\. (\d+) passed; (\d+) failed", ran[1])
        passed, failed = map(int, counts[0]) if len(counts) == 1 else (0, 0)
        return _judged(ran, passed, failed)


@contextmanager
def _with_bug(bug: PythonBug | None) -> Iterator[Path]:
    """A copy of `src` in which the bug is planted, if there is one."""
    with tempfile.TemporaryDirectory(prefix="pyromq-mutant-") as name:
        copy = Path(name) / "src"
        shutil.copytree(ROOT / "src", copy, ignore=shutil.ignore_patterns("__pycache__"))
        if bug is not None:
            path = copy / "pyromq" / bug.file
            path.write_text(planted_text(bug))
        yield copy


def planted_text(bug: PythonBug) -> str:
    """The file with the bug. Raises ValueError unless the right text stands there once."""
    text = (ROOT / "src" / "pyromq" / bug.file).read_text()
    if text.count(bug.right) != 1:
        raise ValueError(f"{bug.file}: {text.count(bug.right)} times: {bug.right}")
    return text.replace(bug.right, bug.wrong)


def run_python(test: str, bug: PythonBug | None) -> Outcome:
    """Runs the test on a copy of the source."""
    with _with_bug(bug) as source:
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", test]
        ran = _run(command, ROOT, {"PYTHONPATH": str(source), "PYTHONDONTWRITEBYTECODE": "1"})
    last = ran[1].strip().rsplit("\n", 1)[-1]
    counts = {word: int(count) for count, word in re.findall(r"(\d+) (\w+)", last)}
    if "error" in counts or "errors" in counts:
        return _judged(ran, 0, 0)
    # Of a parametrised test one failure is enough.
    failed = counts.get("failed", 0)
    return _judged(ran, 0 if failed else counts.get("passed", 0), failed)


def _row(name: str, bug: RustBug | PythonBug, result: str, outcome: Outcome) -> str:
    seconds = f"{outcome.seconds:5.1f} s"
    return f"{name:29} {result:9} {seconds}  {bug.bug}\n{'':29} by {bug.test}"


def verdict(
    name: str, bug: RustBug | PythonBug, sound: Outcome, run: Callable[[], Outcome]
) -> tuple[str, str]:
    """Whether the bug is caught, and what to print about it."""
    if sound.word != "passed":
        return "broken", f"{_row(name, bug, 'broken', sound)}\nwithout the bug:\n{sound.output}"
    outcome = run()
    result = {"failed": "caught", "passed": "survived"}.get(outcome.word, "broken")
    row = _row(name, bug, result, outcome)
    return result, row + (f"\n{outcome.output}" if result == "broken" else "")


def results(names: Iterable[str]) -> Iterator[tuple[str, str]]:
    """The verdict on each bug, in order: `caught`, `survived` or `broken`, and what to print."""
    rust = {name: RUST_BUGS[name] for name in names if name in RUST_BUGS}
    python = {name: PYTHON_BUGS[name] for name in names if name in PYTHON_BUGS}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        if rust:
            tests = RustTests()
            places = {(bug.target, bug.test) for bug in rust.values()}
            sound = {place: pool.submit(tests.run, *place, "") for place in places}
        sound_python = {
            test: pool.submit(run_python, test, None)
            for test in {bug.test for bug in python.values()}
        }

        def try_rust(name: str, bug: RustBug) -> tuple[str, str]:
            baseline = sound[bug.target, bug.test].result()
            return verdict(name, bug, baseline, lambda: tests.run(bug.target, bug.test, name))

        def try_python(name: str, bug: PythonBug) -> tuple[str, str]:
            baseline = sound_python[bug.test].result()
            return verdict(name, bug, baseline, lambda: run_python(bug.test, bug))

        verdicts = [pool.submit(try_rust, name, bug) for name, bug in rust.items()]
        verdicts += [pool.submit(try_python, name, bug) for name, bug in python.items()]
        for pending in verdicts:
            yield pending.result()


def main(names: list[str]) -> int:
    known = {**RUST_BUGS, **PYTHON_BUGS}
    if unknown := [name for name in names if name not in known]:
        print(f"no such bug: {', '.join(unknown)}")
        return 1
    if planted() != set(RUST_BUGS):
        print(f"listed and planted differ: {sorted(planted() ^ set(RUST_BUGS))}")
        return 1
    wanted = names or list(known)
    caught = 0
    for result, text in results(wanted):
        caught += result == "caught"
        print(text, flush=True)
    print(f"{caught} of {len(wanted)} planted bugs caught")
    if not names:
        seed = int(os.environ.get("SEED", SIMULATION["SEED"]))
        enter("mutants", seed, len(wanted), len(wanted) - caught)
    return 0 if caught == len(wanted) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
