"""The parts of a measurement: ready, load and memory, restart; and the generator's ceiling.

Rounds alternate between the servers, so that a change of the machine's mood hits both.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Sequence

from bench.loads import (
    RMQLOAD,
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
from bench.report import (
    MemorySeen,
    Restart,
    Row,
    ceiling_section,
    load_section,
    memory_section,
    ready_section,
    restart_section,
)
from bench.servers import START_SECONDS, NullServer, Server
from tests.support.processes import ServerProcess


class Measurement:
    """Runs the parts and keeps what they gave, as sections of the page."""

    def __init__(self, options: Options, servers: Sequence[Server]) -> None:
        self.options = options
        self.servers = servers
        self.sections: list[str] = []
        self.stored_messages = 0

    def run(self) -> None:
        if self.options.has_ceiling:
            self.ceiling()
        parts = {
            "ready": self.ready,
            "memory": self.load_and_memory,
            "load": self.load_and_memory,
            "restart": self.restart,
        }
        for part in dict.fromkeys(parts[name] for name in parts if name in self.options.parts):
            part()

    def ready(self) -> None:
        seconds: dict[str, list[float]] = {server.name: [] for server in self.servers}
        for _ in range(self.options.starts):
            for server in self.servers:
                seconds[server.name].append(server.start())
                server.stop()
                server.clear()
        self.sections.append(ready_section(self.options.starts, seconds))

    def load_and_memory(self) -> None:
        memory: list[MemorySeen] = []
        try:
            for server in self.servers:
                server.start()
            time.sleep(self.options.settle)
            memory += self._memory("idle")
            if "load" in self.options.parts:
                self._load()
                time.sleep(self.options.settle)
                memory += self._memory("after the load")
        finally:
            for server in self.servers:
                server.clear()
        if "memory" in self.options.parts:
            self.sections.append(memory_section(memory))

    def _memory(self, when: str) -> list[MemorySeen]:
        return [
            MemorySeen(when, server.name, process, Memory.of(pid))
            for server in self.servers
            for process, pid in server.pids.items()
        ]

    def _load(self) -> None:
        options = self.options
        for server in self.servers:
            self._warm_up(server)
        found: dict[tuple[str, str, str], list[Numbers]] = {}
        for number in range(options.rounds + 1):
            for name in options.scenarios:
                for header in options.headers:
                    for server in self.servers:
                        numbers = self._one(server, SCENARIOS[name], header)
                        _say(f"round {number} {server.name} {name} {header}: {numbers}")
                        if number > 0:
                            found.setdefault((name, header, server.name), []).append(numbers)
        rows = [
            Row(SCENARIOS[name].name, header, server, tuple(rounds))
            for (name, header, server), rounds in found.items()
        ]
        self.sections.append(load_section(options.rounds, options.body, rows))

    def _warm_up(self, server: Server) -> None:
        options = self.options
        count = WARM_UP_DATA_MAX // (options.body + STORED_EXTRA)
        limits = (f"--seconds={options.warm_up}", f"--count={count}")
        arguments = (*SCENARIOS["pipelined"].arguments, f"--body={options.body}", *limits)
        self.stored_messages += int(rmqload(server, arguments)["messages"])

    def _one(self, server: Server, load: Load, header: str) -> Numbers:
        options = self.options
        core = max(os.sched_getaffinity(0))
        arguments = [*load.arguments, f"--header={header}", f"--seconds={options.seconds}"]
        arguments.append(f"--cpu={core}")
        if load.stores:
            arguments += [f"--body={options.body}", f"--count={options.messages_max()}"]
        pinned = on_core(server.broker_pid, core) if load.is_on_one_core else None
        with pinned or contextlib.nullcontext():
            numbers = rmqload(server, arguments)
        if load.stores:
            self.stored_messages += int(numbers["confirmed"])
        return numbers

    def restart(self) -> None:
        rows = []
        for server in self.servers:
            try:
                rows.append(self._restart(server))
            finally:
                server.clear()
        self.sections.append(restart_section(self.options.restart_log_mib, rows))

    def _restart(self, server: Server) -> Restart:
        options = self.options
        count = (options.restart_log_mib << 20) // (options.body + STORED_EXTRA)
        server.start()
        fill = SCENARIOS["batches"].arguments
        sent = rmqload(server, (*fill, f"--body={options.body}", f"--count={count}"))
        server.kill()
        seconds = server.start()
        read = rmqload(server, (*SCENARIOS["pulls"].arguments, "--check-crc"))
        if read["messages"] != sent["messages"]:
            raise MeasureFailed(
                f"{server.name}: {sent['messages']} messages were confirmed,"
                f" {read['messages']} are there after kill -9"
            )
        return Restart(server.name, int(sent["messages"]), seconds)

    def ceiling(self) -> None:
        """What the generator can do against a server that does nothing."""
        core = min(os.sched_getaffinity(0))
        rows = []
        command = [str(RMQLOAD), "null-server", "--seconds=60", f"--cpu={core}"]
        with ServerProcess("null-server", command) as process:
            address = process.await_line("READY ", START_SECONDS).split()[1]
            server = NullServer(address, process.pid)
            for name in self.options.scenarios:
                for header in self.options.headers:
                    load = SCENARIOS[name]
                    arguments = [*load.arguments, f"--header={header}", "--seconds=1"]
                    if load.stores:
                        arguments += [f"--body={self.options.body}", "--no-stored-check"]
                    other = core if load.is_on_one_core else max(os.sched_getaffinity(0))
                    numbers = rmqload(server, (*arguments, f"--cpu={other}"))
                    rows.append(Row(load.name, header, "none", (numbers,)))
        self.sections.append(ceiling_section(rows))


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
