"""Differential runs: the same client program against Apache's server and ours, equal outcomes.

An outcome is what the client saw, as JSON: counts, orders, codes, properties; nothing that differs
from run to run (times, ids, ports). Apache's outcomes are recorded under tests/differential/:

    pytest -m differential --peer apache      compares a live Apache server with the recording
    RECORD_OUTCOMES=1 … --peer apache         records anew
    pytest -m differential                    compares ours with the recording

`make differential` does the first and the last. Where ours is better on purpose, the recording
keeps Apache's outcome and the test says in `ours` what we answer instead, and why.
"""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.support.peers import Kind

FOLDER = Path(__file__).parents[1] / "differential"


class Differential:
    """Compares outcomes met at one kind of server with the recorded ones of Apache's."""

    def __init__(self, kind: Kind) -> None:
        self.kind = kind

    def check(
        self, name: str, outcome: Mapping[str, Any], *, ours: Mapping[str, Any] | None = None
    ) -> None:
        """`ours` names the members in which our server answers otherwise on purpose."""
        found = json.loads(json.dumps(outcome))
        file = FOLDER / f"{name}.json"
        if self.kind == "apache" and os.environ.get("RECORD_OUTCOMES") == "1":
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(found, indent=1, sort_keys=True, ensure_ascii=False) + "\n")
            return
        assert file.exists(), f"no outcome of Apache's server is recorded for {name}"
        expected = json.loads(file.read_text())
        if self.kind == "ours" and ours is not None:
            assert all(expected.get(key) != value for key, value in ours.items()), (
                f"{name}: a member of `ours` equals Apache's, so it is no difference"
            )
            expected = {**expected, **json.loads(json.dumps(ours))}
        if found != expected:
            before, now = (_lines(outcome) for outcome in (expected, found))
            difference = "\n".join(difflib.unified_diff(before, now, "expected", "found", n=1))
            raise AssertionError(f"{name}: this outcome is not the expected one\n{difference}")


def _lines(outcome: object) -> list[str]:
    return json.dumps(outcome, indent=1, sort_keys=True, ensure_ascii=False).splitlines()


__all__ = ["FOLDER", "Differential"]
