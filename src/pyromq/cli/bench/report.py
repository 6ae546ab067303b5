"""The page with charts: one file that holds its data, its style and the library that draws.

It opens from a disk, in years, without a network: nothing in it names another file. The library is
uPlot (`assets/`, with its licence).
"""

from __future__ import annotations

import html
import json
from collections.abc import Iterator, Mapping
from importlib.resources import files
from typing import Final

from pyromq.cli.bench.result import Result, summary_lines

_STYLE: Final = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem;
  color: #1b1f24; background: #fff; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.05rem; margin: 2rem 0 .3rem; }
p.summary { margin: .2rem 0; }
table { border-collapse: collapse; } td, th { padding: .15rem 1rem .15rem 0; text-align: left; }
td + td { font-variant-numeric: tabular-nums; }
.u-legend { font-size: 13px; }
"""

_SCRIPT: Final = """
const run = JSON.parse(document.getElementById("run").textContent);
const rows = run.intervals;
const column = (name, by) => rows.map(row => row[name] / by);
function chart(id, unit, series, log) {
  const place = document.getElementById(id);
  // A logarithmic axis has no place for zero: rows without messages are gaps in it.
  const values = series.map(one => log ? one.values.map(v => v > 0 ? v : null) : one.values);
  new uPlot({
    width: place.clientWidth || 900, height: 260,
    scales: { x: { time: false },
      y: log ? { distr: 3 } : { range: (u, low, high) => [0, (high || 1) * 1.05] } },
    axes: [{ label: "seconds" }, { label: unit, size: 80 }],
    series: [{ label: "s", value: (u, v) => v == null ? "-" : v.toFixed(1) },
      ...series.map(one => ({ label: one.label, stroke: one.colour, width: 1.5,
        points: { show: rows.length < 3 } }))],
  }, [column("end_s", 1), ...values], place);
}
chart("rate", "messages per second", [
  { label: "messages per second", colour: "#1f6feb", values: column("messages_per_second", 1) },
], false);
chart("latency", "ms", [
  { label: "p50", colour: "#1a7f37", values: column("p50_us", 1000) },
  { label: "p99", colour: "#bf8700", values: column("p99_us", 1000) },
  { label: "max", colour: "#cf222e", values: column("max_us", 1000) }], true);
chart("failed", "messages", [
  { label: "failed", colour: "#cf222e", values: column("failed", 1) },
], false);
"""


def report_page(result: Result, when: str) -> str:
    """The whole page as text. `when`: date and time of the run, as it shall be read."""
    assets = files(__package__) / "assets"
    library = (assets / "uPlot.iife.min.js").read_text("utf-8")
    library_style = (assets / "uPlot.min.css").read_text("utf-8")
    licence = (assets / "uPlot.LICENSE").read_text("utf-8")
    title = f"pyromq bench {result.kind}: {result.topic}, {when}"
    return "\n".join(
        (
            "<!doctype html>",
            '<html lang="en"><head><meta charset="utf-8">',
            f"<title>{html.escape(title)}</title>",
            f"<style>{library_style}{_STYLE}</style></head><body>",
            f"<h1>{html.escape(title)}</h1>",
            *(f'<p class="summary">{html.escape(line)}</p>' for line in summary_lines(result)),
            '<h2>Messages per second</h2><div id="rate"></div>',
            f'<h2>Latency, {html.escape(result.latency_is)}</h2><div id="latency"></div>',
            '<h2>Failed messages</h2><div id="failed"></div>',
            "<h2>What was asked for</h2><table>",
            *_table({"name servers": result.namesrv, **result.options}),
            "</table>",
            f'<script type="application/json" id="run">{_embedded(result)}</script>',
            f"<script>/* uPlot. {licence} */\n{library}</script>",
            f"<script>{_SCRIPT}</script>",
            "</body></html>",
            "",
        )
    )


def _table(values: Mapping[str, object]) -> Iterator[str]:
    for name, value in values.items():
        shown = html.escape(f"{value:,}" if isinstance(value, int | float) else str(value))
        yield f"<tr><td>{html.escape(name)}</td><td>{shown}</td></tr>"


def _embedded(result: Result) -> str:
    """JSON that cannot end the element it stands in."""
    return json.dumps(result.json(), ensure_ascii=True).replace("<", "\\u003c")


__all__ = ["report_page"]
