"""Plays every text of tests/scenarios/ on a broker in memory, with a clock that the text moves.

With REWRITE_SCENARIOS=1 the texts are rewritten with what was said: read the difference.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.scenarios import Stage, steps_of

SCENARIOS = Path(__file__).parent.parent / "scenarios"
FILES = sorted(SCENARIOS.glob("*.txt"))


@pytest.mark.parametrize("file", FILES, ids=[file.stem for file in FILES])
def test_scenario(file: Path) -> None:
    text = file.read_text()
    stage = Stage()
    for step in steps_of(text):
        said = stage.play(step.commands)
        if os.environ.get("REWRITE_SCENARIOS") == "1":
            block = "\n".join([*step.commands, "----"])
            text = text.replace("\n".join([block, *step.expected]), "\n".join([block, *said]), 1)
            continue
        assert said == step.expected, f"{file.name}, line {step.line}"
    if os.environ.get("REWRITE_SCENARIOS") == "1":
        file.write_text(text)


def test_there_are_scenarios() -> None:
    assert len(FILES) >= 6
