"""The page: what was measured, on what, how; written anew after each row, so nothing is lost."""

from __future__ import annotations

import datetime
import platform
import statistics
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.judge import APACHE, CEILING_SHARE, OURS, REGULAR, Comparison, verdict
from bench.loads import refusals
from bench.machine import machine

SPEED_HEAD = (
    "load", "flush", "header", "side", "µs CPU per message (least–most)", "Apache's",
    "per CPU second", "messages/s", "Apache's", "per second", "generator's ceiling/s",
)  # fmt: skip
LATENCY_HEAD = (
    "load", "flush", "header", "side", "p50 µs", "Apache's", "p99 µs", "Apache's", "p99.9 µs",
    "Apache's", "refused as busy",
)  # fmt: skip


@dataclass
class Section:
    """A table with its heading and how to read it."""

    title: str
    text: str
    head: Sequence[str]
    rows: list[Sequence[str]] = field(default_factory=list)

    def __str__(self) -> str:
        return f"## {self.title}\n{self.text}\n\n" + table(self.head, self.rows)


@dataclass
class Page:
    """Everything found so far. `write` is called whenever something is added."""

    title: str
    heading: Sequence[str]
    write_text: Callable[[str], object]
    comparisons: list[Comparison] = field(default_factory=list)
    sections: dict[str, Section] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)

    def compare(self, comparison: Comparison) -> None:
        self.comparisons.append(comparison)
        self.write()

    def add(self, section: Section, *rows: Sequence[str]) -> None:
        """Rows of a table; the first ones bring the table."""
        self.sections.setdefault(section.title, section).rows.extend(rows)
        self.write()

    def remark(self, text: str) -> None:
        """What is missing or strange, at the top of the page."""
        self.remarks.append(text)
        self.write()

    def write(self) -> None:
        self.write_text(self.text())

    def text(self) -> str:
        lines = [f"# {self.title}\n", *(f"- {line}" for line in self.heading)]
        lines += [f"- **Not as wanted:** {remark}" for remark in self.remarks]
        parts = ["\n".join(lines) + "\n"]
        if self.comparisons:
            parts += [speed_section(self.comparisons), latency_section(self.comparisons)]
        return "\n".join([*parts, *map(str, self.sections.values())])


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def number(value: float | None, digits: int = 0) -> str:
    return "–" if value is None else f"{value:,.{digits}f}"


def ours_of(comparison: Comparison) -> list[str]:
    """The sides that are compared with Apache's, or Apache's alone."""
    named = {*comparison.sides, *comparison.remarks}
    return [side for side in (OURS, REGULAR) if side in named] or [APACHE]


def cpu_cell(it: Comparison, side: str) -> str:
    """Median and spread of the rounds."""
    cpu = [float(one["cpu_us_per_message"]) for one in it.sides.get(side, ())]
    if not cpu:
        return "–"
    digits = 2 if max(cpu) < 100 else 0
    middle = number(statistics.median(cpu), digits)
    return f"{middle} ({min(cpu):.{digits}f}–{max(cpu):.{digits}f})"


def speed_cells(it: Comparison, side: str) -> list[str]:
    cpu_aim, speed_aim = it.aims(side)
    speed = it.ratio(side, "messages_per_second")
    is_bound = it.is_bound_by_generator(side)
    seconds = verdict(speed, None if is_bound else speed_aim)
    share = it.ceiling_share(side)
    ceiling = None if it.ceiling is None else float(it.ceiling["messages_per_second"])
    return [
        it.text,
        it.flush,
        it.header,
        it.remarks.get(side, side),
        cpu_cell(it, side),
        it.remarks.get(APACHE) or cpu_cell(it, APACHE),
        verdict(it.ratio(side, "messages_per_cpu_second"), cpu_aim),
        number(it.median(side, "messages_per_second")),
        number(it.median(APACHE, "messages_per_second")),
        f"({seconds}: the generator's limit)" if is_bound and speed is not None else seconds,
        number(ceiling) + ("" if share is None else f" ({share:.0%})"),
    ]


def latency_cells(it: Comparison, side: str) -> list[str]:
    cells = [it.text, it.flush, it.header, it.remarks.get(side, side)]
    for quantile in ("p50", "p99", "p999"):
        for one in (side, APACHE):
            value = it.median(one, "latency_us", quantile)
            cells.append(number(value, 1 if value is not None and value < 100 else 0))
    busy = [
        sum(map(refusals, it.sides[one])) for one in (side, APACHE) if it.sides.get(one)
    ]  # fmt: skip
    return [*cells, " / ".join(f"{count:,}" for count in busy)]


def speed_section(comparisons: Sequence[Comparison]) -> str:
    rows = [speed_cells(it, side) for it in comparisons for side in ours_of(it)]
    return (
        "## Throughput and CPU\nMedians of the rounds. The ratio of messages per broker CPU"
        f" second is what is compared; where a side takes more than {CEILING_SHARE:.0%} of what"
        " the generator can do against a server that does nothing, messages per second are the"
        " generator's and only CPU counts. Bold: the aim is met.\n\n" + table(SPEED_HEAD, rows)
    )


def latency_section(comparisons: Sequence[Comparison]) -> str:
    rows = [latency_cells(it, side) for it in comparisons for side in ours_of(it)]
    return (
        "## Latency\nFrom queueing a request for sending to having its answer parsed, of the same"
        " runs: medians of the rounds' quantiles. The loop is closed, so read p99.9 together with"
        " the throughput. Refused: over all rounds, ours / Apache's.\n\n"
        + table(LATENCY_HEAD, rows)
    )


def commit() -> str:
    """Short name of the commit, and whether what serves differs from it."""

    def git(*arguments: str) -> str:
        here = Path(__file__).parent
        done = subprocess.run(
            ["git", *arguments], cwd=here, capture_output=True, text=True, timeout=20, check=False
        )
        return done.stdout.strip() if done.returncode == 0 else ""

    changed = " with changes" if git("status", "--porcelain", "--", "../src", "../native") else ""
    return (git("rev-parse", "--short", "HEAD") or "none yet") + changed


def heading(
    *,
    versions: Sequence[str],
    settings: Sequence[str],
    rounds: int,
    run_seconds: float,
    warm_up: float,
    file_system: str,
    command: str,
) -> list[str]:
    """How it was measured, as lines of the page."""
    given = f" Settings of all servers: {', '.join(settings)}." if settings else ""
    return [
        f"Machine: {machine()}; Python {platform.python_version()}.",
        f"Servers: {'; '.join(versions)}. Commit: {commit()}.",
        f"Command: `{command}`.{given} Data in a temporary directory on {file_system}.",
        "Load: by bench/load over loopback, one thread kept on the last core; the servers may use"
        " all cores, except where the row says one core: then both share it. Each work has"
        f" servers of its own, warmed up for up to {warm_up:g} s under load, and one uncounted and"
        f" {rounds} counted rounds that alternate between the sides; a run ends after"
        f" {run_seconds:g} s or when its share of the work's data is written. 128-byte bodies with"
        " KEYS, TAGS and UNIQ_KEY (so indexed) and 8 queues, unless the row says otherwise. All"
        " answers, the queues' offsets, and pulled records were checked.",
        "CPU: user and system time of the whole broker process (all threads), by its own CPU clock."
        " Apache's name server, idle meanwhile, is not counted.",
    ]


def today() -> str:
    return f"{datetime.datetime.now(datetime.UTC).date():%Y-%m-%d}"
