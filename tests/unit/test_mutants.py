"""Planted bugs: each is listed with its test, the tests catch them, and no user gets them."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from pyromq import _native
from tools.mutant_list import PYTHON_BUGS, RUST_BUGS, PythonBug, RustBug
from tools.mutants import CRATE, ROOT, SWITCH, Outcome, planted, planted_text, results, verdict

QUICK = [name for name, bug in RUST_BUGS.items() if "::every_cut_" not in bug.test]
"""All bugs of the engine but those for which the simulation runs."""


def rust_source(bug: RustBug) -> str:
    """Where the bug's test stands."""
    if bug.target != "lib":
        return (CRATE / "tests" / f"{bug.target}.rs").read_text()
    return "".join(path.read_text() for path in (CRATE / "src").rglob("*.rs"))


def test_every_planted_bug_is_listed_with_an_existing_test() -> None:
    assert planted() == set(RUST_BUGS)
    assert len(RUST_BUGS) >= 12
    for bug in RUST_BUGS.values():
        name = bug.test.rsplit("::", 1)[-1]
        assert f"fn {name}(" in rust_source(bug), bug.test
    for name, python in PYTHON_BUGS.items():
        path, test = python.test.split("::")
        assert f"def {test}(" in (ROOT / path).read_text(), python.test
        ast.parse(planted_text(python), name)
    assert not RUST_BUGS.keys() & PYTHON_BUGS.keys()


def test_the_table_of_planted_bugs_is_complete() -> None:
    text = (ROOT / "docs/explanation/simulated-disk.md").read_text()
    table = text.partition("| Kind of bug | Planted as |")[2].partition("\n\n")[0]
    assert sorted(re.findall(r"`(\w+)`", table)) == sorted([*RUST_BUGS, *PYTHON_BUGS])


def test_the_engine_that_is_installed_has_no_planted_bugs() -> None:
    assert _native.__file__ is not None
    code = Path(_native.__file__).read_bytes()
    assert b"sync-failed" in code  # so texts of the engine are to be found in it
    for text in (SWITCH, *RUST_BUGS):
        assert text.encode() not in code, text


@pytest.mark.timeout(300)
def test_planted_bugs_are_caught_by_their_tests() -> None:
    """The rest, and the Python part's, is for `make mutants`."""
    names = [*QUICK, "metadata_renamed_before_sync", "previous_generation_ignored"]
    verdicts = list(results(names))
    assert len(verdicts) == len(names)
    assert [text for result, text in verdicts if result != "caught"] == []


@pytest.mark.parametrize(
    ("sound", "with_bug", "result"),
    [
        ("passed", "failed", "caught"),
        ("passed", "passed", "survived"),
        ("passed", "broken", "broken"),
        ("failed", "failed", "broken"),
        ("broken", "failed", "broken"),
    ],
)
def test_only_a_test_that_passes_without_the_bug_and_fails_with_it_catches_it(
    sound: str, with_bug: str, result: str
) -> None:
    bug = PythonBug("it is wrong", "a.py", "right", "wrong", "t.py::test_a")
    told, text = verdict(
        "name", bug, Outcome(sound, 0.1, "told"), lambda: Outcome(with_bug, 0.1, "told")
    )
    assert told == result
    assert result in text
    assert ("told" in text) == (result == "broken")
