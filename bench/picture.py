"""The picture of a comparison: how many times Apache's messages per broker CPU second, as SVG.

One bar per row, on a logarithmic scale, with a tick at the row's aim. No library: it is forty
lines of text, and the file is small and readable.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

from bench.judge import OURS, REGULAR, Comparison

LEFT, WIDTH, BAR, GAP, TOP = 380, 460, 16, 8, 64
COLOURS = {"ASYNC_FLUSH": "#2a6fb0", "SYNC_FLUSH": "#7a4fa3"}


@dataclass(frozen=True)
class Bar:
    label: str
    ratio: float
    aim: float | None
    colour: str


def bars(comparisons: Sequence[Comparison]) -> list[Bar]:
    """Those rows that have both sides."""
    found = []
    for it in comparisons:
        for side in (OURS, REGULAR):
            ratio = it.ratio(side, "messages_per_cpu_second")
            if ratio is not None:
                words = [it.text, it.header, it.flush.removesuffix("_FLUSH").lower()]
                if side == REGULAR:
                    words.append("express lane off")
                label = " · ".join(word for word in words if word)
                found.append(Bar(label, ratio, it.aims(side)[0], COLOURS[it.flush]))
    return found


def picture(title: str, rows: Sequence[Bar]) -> str:
    """An SVG document; without rows it says that nothing was compared."""
    most = max([10.0, *(row.ratio for row in rows), *(row.aim or 1 for row in rows)])
    least = min([1.0, *(row.ratio for row in rows)])
    low, high = math.floor(math.log2(least)), math.ceil(math.log2(most))

    def x(value: float) -> float:
        return LEFT + (math.log2(value) - low) / (high - low) * WIDTH

    height = TOP + len(rows) * (BAR + GAP) + 24
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{LEFT + WIDTH + 90}" height="{height}"'
        ' font-family="sans-serif" font-size="12">',
        '<rect width="100%" height="100%" fill="white"/>',
        f'<text x="12" y="22" font-size="15">{escape(title)}</text>',
        '<text x="12" y="42" fill="#555">How many times Apache RocketMQ 5.5.0’s messages per broker'
        " CPU second; blue ASYNC_FLUSH, violet SYNC_FLUSH; the mark is the aim.</text>",
    ]
    for power in range(low, high + 1):
        at = x(2.0**power)
        lines.append(
            f'<line x1="{at:.1f}" y1="{TOP - 6}" x2="{at:.1f}" y2="{height - 18}" stroke="#ddd"/>'
            f'<text x="{at:.1f}" y="{height - 5}" text-anchor="middle" fill="#555">'
            f"{2.0**power:g}×</text>"
        )
    for place, row in enumerate(rows):
        y = TOP + place * (BAR + GAP)
        begin, end = sorted((x(1.0), x(row.ratio)))
        lines.append(
            f'<text x="{LEFT - 8}" y="{y + 12}" text-anchor="end">{escape(row.label)}</text>'
            f'<rect x="{begin:.1f}" y="{y}" width="{max(end - begin, 1):.1f}" height="{BAR}"'
            f' fill="{row.colour}"/>'
            f'<text x="{x(row.ratio) + 5:.1f}" y="{y + 12}">{row.ratio:.1f}×</text>'
        )
        if row.aim is not None:
            at = x(row.aim)
            lines.append(
                f'<line x1="{at:.1f}" y1="{y - 3}" x2="{at:.1f}" y2="{y + BAR + 3}"'
                ' stroke="#c33" stroke-width="2"/>'
            )
    if not rows:
        lines.append(f'<text x="12" y="{TOP + 12}">Nothing was compared.</text>')
    return "\n".join([*lines, "</svg>"]) + "\n"


__all__ = ["Bar", "bars", "picture"]
