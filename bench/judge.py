"""Medians, ratios and aims: from the numbers of some rounds to what a table says of them.

Messages per broker CPU second are what is compared. Messages per second count only as long as the
generator could have done more: beyond `CEILING_SHARE` of its own ceiling it is measured, not the
server.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bench.loads import Numbers

CEILING_SHARE = 0.7
OURS, APACHE, REGULAR = "pyromq", "Apache", "pyromq, express lane off"

# Least ratio to Apache: of messages per CPU second, and where it is given of messages per second.
AIMS: Mapping[tuple[str, str, str], tuple[float, float | None]] = {
    ("pipelined", "ASYNC_FLUSH", "binary"): (20, 10),
    ("pipelined", "ASYNC_FLUSH", "json"): (12, 10),
    ("pipelined", "SYNC_FLUSH", "json"): (15, 8),
    ("pipelined", "SYNC_FLUSH", "binary"): (15, 8),
    ("many", "ASYNC_FLUSH", "json"): (5, None),
    ("many", "ASYNC_FLUSH", "binary"): (5, None),
    ("many", "SYNC_FLUSH", "json"): (4, 3),
    ("many", "SYNC_FLUSH", "binary"): (4, 3),
    ("single", "ASYNC_FLUSH", "json"): (8, None),
    ("single", "ASYNC_FLUSH", "binary"): (8, None),
    ("batches", "ASYNC_FLUSH", "json"): (6, None),
    ("batches", "ASYNC_FLUSH", "binary"): (6, None),
    ("pulls", "ASYNC_FLUSH", "json"): (3, None),
    ("pulls", "ASYNC_FLUSH", "binary"): (3, None),
    ("4 KiB", "ASYNC_FLUSH", "json"): (4, None),
    ("64 KiB", "ASYNC_FLUSH", "json"): (2, None),
    ("flow", "ASYNC_FLUSH", "json"): (6, None),
    ("topics 10000", "ASYNC_FLUSH", "json"): (5, None),
}
REGULAR_AIM = 4.0


@dataclass(frozen=True)
class Comparison:
    """One line of a table: the rounds of each side under one load."""

    work: str
    text: str
    flush: str
    header: str
    sides: Mapping[str, Sequence[Numbers]]
    remarks: Mapping[str, str] = field(default_factory=dict)
    """By side: why it has no numbers."""
    ceiling: Numbers | None = None
    """The generator against a server that does nothing."""
    aim_key: str = ""
    """Where it is not the work's name."""

    def median(self, side: str, *path: str) -> float | None:
        """None without numbers of that side."""
        rounds = self.sides.get(side, ())
        return statistics.median(_at(one, path) for one in rounds) if rounds else None

    def ratio(self, side: str, *path: str) -> float | None:
        """How many times Apache's; more is more."""
        ours, theirs = self.median(side, *path), self.median(APACHE, *path)
        return ours / theirs if ours is not None and theirs else None

    def aims(self, side: str) -> tuple[float | None, float | None]:
        """Least ratios of messages per CPU second and per second; None: no aim."""
        if side == REGULAR:
            return REGULAR_AIM, None
        return AIMS.get((self.aim_key or self.work, self.flush, self.header), (None, None))

    def ceiling_share(self, side: str) -> float | None:
        """How much of what the generator can do this side takes."""
        ours = self.median(side, "messages_per_second")
        if self.ceiling is None or ours is None:
            return None
        return ours / float(self.ceiling["messages_per_second"])

    def is_bound_by_generator(self, side: str) -> bool:
        """Of this side and Apache's, whichever."""
        shares = [self.ceiling_share(one) for one in (side, APACHE)]
        return any(share is not None and share > CEILING_SHARE for share in shares)


def _at(numbers: Numbers, path: Sequence[str]) -> float:
    value: Any = numbers
    for name in path:
        value = value[name]
    return float(value)


def verdict(ratio: float | None, aim: float | None) -> str:
    """`23.1×`, with the aim and whether it is met."""
    if ratio is None:
        return "–"
    text = f"{ratio:.1f}×"
    if aim is None:
        return text
    return f"**{text}** (≥ {aim:g})" if ratio >= aim else f"{text} (aim {aim:g}: missed)"


__all__ = [
    "APACHE",
    "CEILING_SHARE",
    "OURS",
    "REGULAR",
    "Comparison",
    "verdict",
]
