"""Our `standalone --brokers N`: one generator per broker, all at once."""

from __future__ import annotations

import os
import statistics
from dataclasses import dataclass

from bench.life import Measurement
from bench.loads import SCENARIOS, Numbers, Run, rmqload
from bench.machine import Memory
from bench.report import Section, number
from bench.servers import Pyromq, children
from bench.works import ASYNC

COUNTS = (1, 2)
BROKERS = Section(
    "Several brokers",
    "`pyromq standalone --brokers N`, sends with binary headers, 4 × 128 to each broker by a"
    " generator of its own, all at once and on whatever cores there are: on two cores, two"
    " generators take from two brokers what one core would have been. Medians of the rounds."
    " Memory: private, of all processes.",
    ("brokers", "messages/s together", "µs CPU per message", "generators' µs CPU", "private MiB"),
)


@dataclass(frozen=True)
class OneBroker:
    """A target of the generator."""

    name: str
    address: str
    broker_pid: int


def run(measurement: Measurement) -> None:
    if "pyromq" not in measurement.options.servers:
        return
    for count in COUNTS:
        measurement.attempt(f"brokers {count}", _run, measurement, count)


def _run(measurement: Measurement, count: int) -> None:
    settings = (*measurement.options.settings, f"flushDiskType={ASYNC}")
    server = Pyromq(measurement.root, settings, brokers=count)
    load = SCENARIOS["pipelined"]
    most = measurement.messages_max(load, measurement.options.rounds * max(COUNTS))
    try:
        server.start()
        pids = [server.broker_pid] if count == 1 else brokers_of(server)
        targets = [
            OneBroker(f"broker {place}", address, pid)
            for place, (address, pid) in enumerate(zip(server.addresses, pids, strict=True), 1)
        ]
        arguments = (*load.arguments, "--header=binary", f"--count={most}",
                     f"--seconds={measurement.options.run}")  # fmt: skip
        for target in targets:
            rmqload(target, (*arguments, "--topic=WarmUp"))
        rounds = []
        for _ in range(measurement.options.rounds):
            runs = [Run(target, arguments) for target in targets]
            try:
                rounds.append(together([each.numbers() for each in runs]))
            finally:
                for each in runs:
                    each.kill()
        private = sum(Memory.of(pid).private_kb for pid in server.pids.values()) / 1024
    finally:
        server.clear()
    speed, cpu, client = (statistics.median(each) for each in zip(*rounds, strict=True))
    measurement.page.add(
        BROKERS, (str(count), number(speed), number(cpu, 2), number(client, 2), number(private))
    )


def brokers_of(server: Pyromq) -> list[int]:
    """Processes of the brokers in the order of their names, which stand in their command lines."""

    def name(pid: int) -> str:
        with open(f"/proc/{pid}/cmdline", "rb") as file:  # noqa: PTH123 — not a path of ours
            words = os.fsdecode(file.read()).split("\0")
        return words[words.index("--supervised") + 1]

    return sorted(children(server.broker_pid), key=name)


def together(runs: list[Numbers]) -> tuple[float, float, float]:
    """Messages per second of all, and µs of CPU per message of the brokers and the generators."""
    messages = sum(float(one["messages"]) for one in runs)
    return (
        sum(float(one["messages_per_second"]) for one in runs),
        sum(float(one["server_cpu_seconds"]) for one in runs) * 1e6 / messages,
        sum(float(one["client_cpu_us_per_message"]) * float(one["messages"]) for one in runs)
        / messages,
    )
