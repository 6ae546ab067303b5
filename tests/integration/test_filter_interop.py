"""Our SQL filter against Apache's own evaluator, live: recorded cases, and others each day.

RECORD_OUTCOMES=1 records anew, FILTER_SEED=N repeats a day.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.filter_texts import (
    Case,
    case_lines,
    our_outcome,
    random_cases,
    record,
    recorded,
    soup_cases,
)
from tests.support.foreign import java

pytestmark = [pytest.mark.foreign, pytest.mark.differential]


def _apaches(cases: list[Case], file: Path) -> list[Any]:
    file.write_text(case_lines(cases))
    (row,) = java("filter", "--cases", file, namesrv="127.0.0.1:9876")
    outcomes = row["outcomes"]
    assert isinstance(outcomes, list)
    return outcomes


def test_apaches_evaluator_still_answers_as_recorded_and_as_ours(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    record_property("peer", "rocketmq-filter 5.5.0")
    seed = int(os.environ.get("FILTER_SEED", int(time.time() / 86400)))
    parts = {
        "written": [case for case, _ in recorded("written")],
        "random": random_cases(20261127, 1500),
    }
    fresh = random_cases(seed, 3000) + soup_cases(seed, 3000)
    outcomes = _apaches([*parts["written"], *parts["random"], *fresh], tmp_path / "cases")
    for name, cases in parts.items():
        part, outcomes = outcomes[: len(cases)], outcomes[len(cases) :]
        if os.environ.get("RECORD_OUTCOMES") == "1":
            record(name, cases, part)
        assert recorded(name) == list(zip(cases, part, strict=True))
    wrong = [
        (case[0], apaches, ours)
        for case, apaches in zip(fresh, outcomes, strict=True)
        if type(ours := our_outcome(case)) is not type(apaches) or ours != apaches
    ]
    assert wrong == [], f"FILTER_SEED={seed}"
