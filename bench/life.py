"""A measurement under way: its servers' lives, its time, its page.

Each work has servers of its own, on an empty directory. What goes wrong in one row is written into
that row, and the next one is measured.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.judge import APACHE, OURS, REGULAR, Comparison
from bench.loads import (
    SCENARIOS,
    STORED_EXTRA,
    WARM_UP_DATA_MAX,
    Load,
    MeasureFailed,
    Numbers,
    rmqload,
)
from bench.machine import Memory, on_core
from bench.options import Options
from bench.report import Page, Section
from bench.servers import APACHE_VERSION, Apache, Pyromq, Server
from tests.support.processes import ServerFailed

# New data of one work. Its directory is removed afterwards: the next one uses the same memory.
WORK_DATA_MAX = 6_000_000_000
OUR_WARM_UP = 1.0
# Of each load, after the warm-up: both sides have seen it when counting begins.
UNCOUNTED_ROUNDS = 1
PEAKS = Section(
    "Peak memory",
    "The most that was ever resident in a broker process over a whole work (VmHWM; mapped files"
    " count), in MiB.",
    ("work", "flush", "server", "peak MiB"),
)
FAILURES = (MeasureFailed, ServerFailed, OSError, subprocess.SubprocessError)


@dataclass
class Measurement:
    options: Options
    root: Path
    page: Page
    ends_at: float
    """By the monotonic clock: nothing begins later."""

    @property
    def core(self) -> int:
        """The generator's."""
        return max(os.sched_getaffinity(0))

    def has_time(self, what: str) -> bool:
        """Says on the page what is left out when there is none."""
        if time.monotonic() < self.ends_at:
            return True
        self.page.remark(f"{what}: left out, the time was over")
        return False

    def attempt(self, what: str, action: Callable[..., object], *arguments: object) -> None:
        """Whatever fails is said on the page, and the measurement goes on."""
        if not self.has_time(what):
            return
        say(f"{time.strftime('%H:%M:%S')} {what}")
        try:
            action(*arguments)
        except FAILURES as failed:
            self.page.remark(f"{what}: {short(failed)}")

    def made(self, flush: str, *, regular: bool = False) -> list[Server]:
        """The servers that were asked for, not started."""
        settings = (*self.options.settings, f"flushDiskType={flush}")
        servers: list[Server] = []
        if "pyromq" in self.options.servers:
            servers.append(Pyromq(self.root, settings, name=OURS))
            if regular:
                off = (*settings, "expressLane=false")
                servers.append(Pyromq(self.root, off, name=REGULAR))
        if "apache" in self.options.servers:
            servers.append(Apache(self.root, settings))
        return servers

    @contextlib.contextmanager
    def serving(
        self,
        work: str,
        flush: str,
        *,
        regular: bool = False,
        seeded: Mapping[str, bytes] | None = None,
    ) -> Iterator[list[Server]]:
        """Started and warmed up; one that does not start is left out, and the page says so.

        `seeded`: files that their stores begin with."""
        servers = self.made(flush, regular=regular)
        live: list[Server] = []
        try:
            for server in servers:
                for name, content in (seeded or {}).items():
                    path = server.data / name
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(content)
                try:
                    server.start()
                    self.warm_up(server)
                    live.append(server)
                except FAILURES as failed:
                    self.page.remark(f"{work}, {flush}: {server.name}: {short(failed)}")
            yield live
            for server in live:
                with contextlib.suppress(OSError):  # it may have died; its row says so
                    peak = Memory.peak_kb(server.broker_pid) / 1024
                    self.page.add(PEAKS, (work, flush, server.name, f"{peak:,.0f}"))
        finally:
            for server in servers:
                server.clear()

    def warm_up(self, server: Server, load: Load = SCENARIOS["pipelined"]) -> None:
        """Into a topic of its own. Apache's compilers need it, ours only fills its caches."""
        seconds = self.options.warm_up if server.name == APACHE else OUR_WARM_UP
        if self.options.warm_up == 0:
            return
        count = WARM_UP_DATA_MAX // load.stored_size
        rmqload(
            server,
            (*load.arguments, "--topic=WarmUp", f"--body={load.body}", f"--seconds={seconds}",
             f"--count={count}", f"--cpu={self.core}"),
        )  # fmt: skip

    def alternating(
        self,
        servers: Sequence[Server],
        run: Callable[[Server], Numbers],
        *,
        uncounted: int = 0,
    ) -> tuple[dict[str, list[Numbers]], dict[str, str]]:
        """The rounds of each side, and by side why it has none. One that failed is left out."""
        found: dict[str, list[Numbers]] = {server.name: [] for server in servers}
        remarks: dict[str, str] = {}
        for place in range(uncounted + self.options.rounds):
            for server in servers:
                if server.name in remarks:
                    continue
                try:
                    numbers = run(server)
                    if place >= uncounted:
                        found[server.name].append(numbers)
                except FAILURES as failed:
                    why = short(failed)
                    is_named = why.startswith(server.name)
                    remarks[server.name] = why if is_named else f"{server.name}: {why}"
                    found.pop(server.name)
        return found, remarks

    def compare(
        self,
        servers: Sequence[Server],
        run: Callable[[Server], Numbers],
        *,
        work: str,
        text: str,
        flush: str,
        header: str,
        ceiling: Numbers | None = None,
        aim_key: str = "",
    ) -> Comparison:
        """Rounds of each side under one load, as a line of the page."""
        found, remarks = self.alternating(servers, run, uncounted=UNCOUNTED_ROUNDS)
        it = Comparison(work, text, flush, header, found, remarks, ceiling, aim_key)
        self.page.compare(it)
        for side in found:
            cpu, speed = (
                it.median(side, "cpu_us_per_message"),
                it.median(side, "messages_per_second"),
            )
            say(f"    {text} {header} {side}: {cpu:.2f} µs CPU, {speed:,.0f}/s")
        for remark in remarks.values():
            say(f"    {text} {header} {remark}")
        return it

    def run_load(self, server: Server, load: Load, header: str, *, runs: int) -> Numbers:
        """One run. `runs`: so many share what the work may write."""
        arguments = [*load.arguments, f"--header={header}", f"--seconds={self.options.run}"]
        arguments.append(f"--cpu={self.core}")
        if load.stores:
            arguments += [f"--body={load.body}", f"--count={self.messages_max(load, runs)}"]
        pinned = on_core(server.broker_pid, self.core) if load.is_on_one_core else None
        with pinned or contextlib.nullcontext():
            return rmqload(server, arguments)

    def messages_max(self, load: Load, runs: int) -> int:
        """Messages of one run, so that all runs of a work together stay under its bound."""
        left = WORK_DATA_MAX - 3 * WARM_UP_DATA_MAX
        return max(left // runs // load.stored_size, 32)


def short(failed: Exception) -> str:
    """One line that fits into a table."""
    return " ".join(str(failed).split())[:240].replace("|", "/")


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


__all__ = [
    "APACHE_VERSION",
    "FAILURES",
    "OUR_WARM_UP",
    "STORED_EXTRA",
    "Measurement",
    "say",
    "short",
]
