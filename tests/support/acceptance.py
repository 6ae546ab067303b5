"""tests/acceptance.toml: one row per demand, each with the tests that show it is met.

    [[demand]]
    id = "3.2-restart"
    text = "restart after kill -9 loses nothing that was acknowledged"
    tests = ["tests/crash/test_restart.py::test_…"]    # also check:NAME and cargo:MANIFEST
    peer = "rocketmq-client 5.5.0"                      # only where the demand names a real peer

A test id without brackets stands for all its parametrised cases. A test talks to a real peer when
it says so by `record_property("peer", NAME)`.
"""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TypedDict


class Demand(TypedDict, total=False):
    """One row of the table."""

    id: str
    text: str
    tests: list[str]
    peer: str


def demands(path: Path) -> list[Demand]:
    """The table's rows in their order. Raises ValueError for a row without id, text or tests."""
    rows: list[Demand] = tomllib.loads(path.read_text())["demand"]
    seen: set[str] = set()
    for row in rows:
        if not row.get("id") or not row.get("text") or not row.get("tests"):
            raise ValueError(f"{path.name}: a row lacks id, text or tests: {row}")
        if row["id"] in seen:
            raise ValueError(f"{path.name}: id {row['id']} stands twice")
        seen.add(row["id"])
    return rows


def cases_of(test_id: str, known: Collection[str]) -> list[str]:
    """The cases a row's test id stands for: itself, or every `id[…]`."""
    return [name for name in known if name == test_id or name.startswith(test_id + "[")]


def unmet_demands(
    path: Path, outcomes: Mapping[str, str], peers: Mapping[str, Collection[str]]
) -> list[str]:
    """One line per demand that is not shown to be met by this run."""
    unmet = []
    for row in demands(path):
        for test_id in row["tests"]:
            cases = cases_of(test_id, outcomes.keys())
            if not cases:
                unmet.append(f"{row['id']}: no test {test_id}")
            for case in cases:
                if outcomes[case] != "passed":
                    unmet.append(f"{row['id']}: {case} {outcomes[case]}")
                peer = row.get("peer")
                if peer is not None and not any(peer in said for said in peers.get(case, ())):
                    unmet.append(f"{row['id']}: {case} did not talk to {peer}")
    return unmet


__all__ = ["Demand", "cases_of", "demands", "unmet_demands"]
