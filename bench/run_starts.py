"""How long until a server serves, from nothing and after kill -9, and the memory it takes."""

from __future__ import annotations

import dataclasses
import time

from bench.judge import APACHE
from bench.life import FAILURES, Measurement, short
from bench.loads import SCENARIOS, MeasureFailed, rmqload
from bench.machine import Memory
from bench.report import Section
from bench.servers import Server
from bench.works import ASYNC

APACHE_STARTS_MAX = 3
SETTLE_SECONDS = 2.0
READY = Section(
    "From the command to serving",
    "On an empty directory, in seconds. Apache: name server, then broker, until both answer. Aim:"
    " 0.5.",
    ("server", "median", "least–most", "starts"),
)
MEMORY = Section(
    "Memory",
    "From smaps_rollup, after two seconds of rest. Private counts store files where they are"
    " mapped; anonymous does not. The load: two runs each of sends (4 × 128) and pulls. Aims:"
    " idle ≤ 60 MiB, loaded ≤ 150 MiB.",
    ("when", "server", "process", "private MiB", "of it anonymous", "proportional (Pss) MiB"),
)
RESTART = Section(
    "Restart after kill -9",
    "With a log of that size, consume queue and index, in page cache; seconds until it serves"
    " again, name server included. Every confirmed message was pulled and its CRC checked"
    " afterwards. Aim with 1 GiB: 1.5.",
    ("server", "log MiB", "messages", "seconds"),
)


def ready(measurement: Measurement) -> None:
    for server in measurement.made(ASYNC):
        starts = measurement.options.starts
        count = min(starts, APACHE_STARTS_MAX) if server.name == APACHE else starts
        seconds = []
        try:
            for _ in range(count):
                seconds.append(server.start())
                server.clear()
        except FAILURES as failed:
            measurement.page.remark(f"ready: {server.name}: {short(failed)}")
        finally:
            server.clear()
        if seconds:
            measurement.page.add(READY, ready_cells(server.name, seconds))


def ready_cells(name: str, seconds: list[float]) -> list[str]:
    middle = sorted(seconds)[len(seconds) // 2]
    return [name, f"{middle:.2f}", f"{min(seconds):.2f}–{max(seconds):.2f}", str(len(seconds))]


def memory(measurement: Measurement) -> None:
    servers = measurement.made(ASYNC)
    try:
        for server in servers:
            server.start()
        _look(measurement, servers, "idle")
        for server in servers:
            for name in ("pipelined", "pulls") * 2:
                measurement.run_load(server, SCENARIOS[name], "json", runs=4)
        _look(measurement, servers, "loaded")
    finally:
        for server in servers:
            server.clear()


def _look(measurement: Measurement, servers: list[Server], when: str) -> None:
    time.sleep(SETTLE_SECONDS)
    for server in servers:
        for process, pid in server.pids.items():
            measurement.page.add(MEMORY, memory_cells(when, server.name, process, Memory.of(pid)))


def memory_cells(when: str, server: str, process: str, seen: Memory) -> list[str]:
    sizes = (f"{kb / 1024:,.1f}" for kb in dataclasses.astuple(seen))
    return [when, server, process, *sizes]


def restart(measurement: Measurement) -> None:
    for server in measurement.made(ASYNC):
        measurement.attempt(f"restart, {server.name}", _restart, measurement, server)


def _restart(measurement: Measurement, server: Server) -> None:
    load = SCENARIOS["batches"]
    log_mib = measurement.options.restart_log_mib
    count = (log_mib << 20) // load.stored_size
    try:
        server.start()
        sent = rmqload(server, (*load.arguments, f"--count={count}"))
        server.kill()
        seconds = server.start()
        read = rmqload(server, (*SCENARIOS["pulls"].arguments, "--check-crc"))
    finally:
        server.clear()
    if read["messages"] != sent["messages"]:
        raise MeasureFailed(
            f"{server.name}: {sent['messages']} messages were confirmed,"
            f" {read['messages']} are there after kill -9"
        )
    cells = (server.name, f"{log_mib:,}", f"{int(sent['messages']):,}", f"{seconds:.2f}")
    measurement.page.add(RESTART, cells)
