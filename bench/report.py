"""Medians of the rounds, and the Markdown page with how they were measured."""

from __future__ import annotations

import dataclasses
import datetime
import platform
import statistics
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.loads import STORED_EXTRA, Numbers, refusals
from bench.machine import Memory, machine
from bench.options import Options

LOAD_HEAD = (
    "scenario",
    "header",
    "server",
    "messages/s",
    "µs CPU per message (least–most)",
    "messages per CPU second",
    "p50 µs",
    "p99 µs",
    "p99.9 µs",
    "generator's µs CPU",
    "refused as busy",
)
MEMORY_HEAD = (
    "when",
    "server",
    "process",
    "private MiB",
    "of it anonymous",
    "proportional (Pss) MiB",
)


@dataclass(frozen=True)
class Row:
    """A line of a load table: the medians of some rounds."""

    scenario: str
    header: str
    server: str
    rounds: tuple[Numbers, ...]

    def median(self, *path: str) -> float:
        return statistics.median(_at(numbers, path) for numbers in self.rounds)

    def cells(self) -> list[str]:
        cpu = [float(numbers["cpu_us_per_message"]) for numbers in self.rounds]
        return [
            self.scenario,
            self.header,
            self.server,
            f"{self.median('messages_per_second'):,.0f}",
            f"{statistics.median(cpu):.2f} ({min(cpu):.2f}–{max(cpu):.2f})",
            f"{self.median('messages_per_cpu_second'):,.0f}",
            *(f"{self.median('latency_us', name):,.0f}" for name in ("p50", "p99", "p999")),
            f"{self.median('client_cpu_us_per_message'):.2f}",
            f"{statistics.median(map(refusals, self.rounds)):,.0f}",
        ]


def _at(numbers: Numbers, path: Sequence[str]) -> float:
    value: Any = numbers
    for name in path:
        value = value[name]
    return float(value)


@dataclass(frozen=True)
class MemorySeen:
    when: str
    server: str
    process: str
    memory: Memory

    def cells(self) -> list[str]:
        sizes = (f"{kb / 1024:.1f}" for kb in dataclasses.astuple(self.memory))
        return [self.when, self.server, self.process, *sizes]


@dataclass(frozen=True)
class Restart:
    server: str
    messages: int
    seconds: float

    def cells(self) -> list[str]:
        return [self.server, f"{self.messages:,}", f"{self.seconds:.2f}"]


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def ready_section(starts: int, seconds: Mapping[str, Sequence[float]]) -> str:
    rows = [
        [name, f"{statistics.median(values):.2f}", f"{min(values):.2f}–{max(values):.2f}"]
        for name, values in seconds.items()
    ]
    return (
        f"## From the command to serving\nMedian of {counted(starts, 'start')} on an empty"
        " directory, in seconds. Apache: name server, then broker, until both answer.\n\n"
        + table(("server", "seconds", "least–most"), rows)
    )


def load_section(rounds: int, body: int, rows: Sequence[Row]) -> str:
    return (
        f"## Load\nMedians of {counted(rounds, 'round')} after one that is not counted;"
        f" {body}-byte bodies with KEYS, TAGS and UNIQ_KEY, 8 queues.\n\n"
        + table(LOAD_HEAD, [row.cells() for row in rows])
    )


def ceiling_section(rows: Sequence[Row]) -> str:
    return (
        "## The generator's own ceiling\nThe same loads for a second against a server that"
        " answers at once and stores nothing.\n\n" + table(LOAD_HEAD, [row.cells() for row in rows])
    )


def memory_section(rows: Sequence[MemorySeen]) -> str:
    return (
        "## Memory\nFrom smaps_rollup. Private counts store files where they are mapped;"
        " anonymous does not.\n\n" + table(MEMORY_HEAD, [row.cells() for row in rows])
    )


def restart_section(log_mib: int, rows: Sequence[Restart]) -> str:
    return (
        f"## Restart after kill -9\nAbout {log_mib} MiB of log, consume queue"
        " and index, in page cache; seconds until it serves again, name server included."
        " Every confirmed message was pulled and its CRC checked afterwards.\n\n"
        + table(("server", "messages", "seconds"), [row.cells() for row in rows])
    )


def commit() -> str:
    def git(*arguments: str) -> str:
        here = Path(__file__).parent
        done = subprocess.run(
            ["git", *arguments], cwd=here, capture_output=True, text=True, timeout=20, check=False
        )
        return done.stdout.strip() if done.returncode == 0 else ""

    changed = " with changes" if git("status", "--porcelain", "--", "../src", "../native") else ""
    return (git("rev-parse", "--short", "HEAD") or "none yet") + changed


def page(
    options: Options,
    *,
    versions: Sequence[str],
    sections: Sequence[str],
    stored_messages: int,
    file_system: str,
) -> str:
    now = datetime.datetime.now(datetime.UTC)
    flags = ", ".join(options.settings)
    data = stored_messages * (options.body + STORED_EXTRA) / 1e6
    lines = [
        f"# {options.label}, {now:%Y-%m-%d}\n",
        f"- Machine: {machine()}; Python {platform.python_version()}.",
        f"- Servers: {'; '.join(versions)}. Commit: {commit()}.",
        f"- Settings of all servers: {flags}. Data in a temporary directory on {file_system}.",
    ]
    if "load" in options.parts:
        lines += [
            "- Load: closed loop by bench/load over loopback, one thread kept on the last core; the"
            " server may use all cores, except where the row says one core: then both share it."
            f" A run ends after {options.seconds:g} s or {options.messages_max():,} messages."
            f" Each server was warmed up for up to {options.warm_up:g} s. Answers, offsets and"
            " pulled records were checked.",
            "- CPU: user and system time of the whole broker process (all threads) over the run,"
            " by its CPU clock. Apache's name server, idle meanwhile, is not counted.",
            f"- Messages stored in the load part: {stored_messages:,}, about {data:,.0f} MB.",
        ]
    return "\n".join([*lines, "", *sections])
