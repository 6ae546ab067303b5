"""The works that are loads of the generator: the table in works.py, both sides, and its ceiling."""

from __future__ import annotations

import contextlib
import functools
import os
import statistics
from collections.abc import Iterator

from bench.life import UNCOUNTED_ROUNDS, Measurement
from bench.loads import RMQLOAD, Load, Numbers, bare_echo, rmqload
from bench.report import Section, number
from bench.servers import START_SECONDS, NullServer
from bench.works import LOAD_WORKS, LoadWork
from tests.support.processes import ServerProcess

ECHO = Section(
    "One in flight beside a bare echo",
    "p50 in µs of one request at a time, client and server on one core, ASYNC_FLUSH. The echo is"
    " 560 bytes there and 300 back through loopback with nothing done to them (median of three"
    " runs); the null server is the generator's own, which reads the frame and answers at once.",
    ("header", "echo", "null server", "pyromq", "of the echo's (aim ≤ 1.3×)", "Apache"),
)


def run(measurement: Measurement, name: str) -> None:
    for work in LOAD_WORKS:
        if work.name == name:
            measurement.attempt(f"{name}, {work.flush}", _run, measurement, work)


def _run(measurement: Measurement, work: LoadWork) -> None:
    lines = sum(len(row.headers) for row in work.rows)
    with measurement.serving(work.name, work.flush, regular=work.has_regular) as servers:
        rounds = UNCOUNTED_ROUNDS + measurement.options.rounds
        runs = max(lines * rounds * len(servers), 1)
        if not servers:
            return
        for row in work.rows:
            if not row.load.stores:  # something to read first
                for server in servers:
                    rmqload(server, ("send", "--connections=4", "--depth=16", "--batch=32",
                                     "--count=400000", "--seconds=20"))  # fmt: skip
            for header in row.headers:
                if not measurement.has_time(f"{row.load.name}, {work.flush}, {header}"):
                    return
                ceiling = _ceiling(measurement, row.load, header)
                it = measurement.compare(
                    servers,
                    functools.partial(
                        measurement.run_load, load=row.load, header=header, runs=runs
                    ),
                    work=work.name,
                    text=row.load.name,
                    flush=work.flush,
                    header=header,
                    ceiling=ceiling,
                    aim_key=_aim_key(row.load),
                )
                if work.name == "single" and work.flush == "ASYNC_FLUSH":
                    echoes = [bare_echo(measurement.core) for _ in range(3)]
                    echo = statistics.median(float(each["latency_us"]["p50"]) for each in echoes)
                    ours = it.median("pyromq", "latency_us", "p50")
                    cells = (
                        header,
                        number(echo, 1),
                        number(float(ceiling["latency_us"]["p50"]), 1),
                        number(ours, 1),
                        "–" if ours is None else f"{ours / echo:.2f}×",
                        number(it.median("Apache", "latency_us", "p50"), 1),
                    )
                    measurement.page.add(ECHO, cells)


def _aim_key(load: Load) -> str:
    return {4096: "4 KiB", 65_536: "64 KiB"}.get(load.body, "")


@contextlib.contextmanager
def null_server(core: int, body: int = 128) -> Iterator[NullServer]:
    """The generator's own server: answers at once and stores nothing."""
    command = [str(RMQLOAD), "null-server", "--seconds=60", f"--cpu={core}", f"--body={body}",
               "--connections=2000"]  # fmt: skip
    with ServerProcess("null-server", command) as process:
        address = process.await_line("READY ", START_SECONDS).split()[1]
        yield NullServer(address, process.pid)


def _ceiling(measurement: Measurement, load: Load, header: str) -> Numbers:
    core = measurement.core if load.is_on_one_core else min(os.sched_getaffinity(0))
    with null_server(core) as server:
        arguments = [*load.arguments, f"--header={header}", "--seconds=0.7"]
        arguments.append(f"--cpu={measurement.core}")
        if load.stores:
            arguments += [f"--body={load.body}", "--no-stored-check"]
        return rmqload(server, arguments)
