"""Apache's own benchmark programs (rocketmq-example 5.5.0) against both servers, unmodified.

They run until they are killed and print a line of figures every second once ten are over; by then
their compilers have warmed up, and so have the broker's. What is counted lies behind the first
line: messages by the queues' offsets, CPU by the broker's clock, and the last line printed.
"""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.judge import APACHE, OURS
from bench.life import Measurement, say
from bench.loads import MeasureFailed
from bench.machine import cpu_seconds
from bench.report import Section, number
from bench.servers import Server
from bench.works import ASYNC
from tests.support.foreign import java_classpath, java_command
from tests.support.processes import ServerProcess, ask, await_answer, child_environment

PACKAGE = "org.apache.rocketmq.example.benchmark"
QUEUES = 8
FIRST_LINE_SECONDS = 60.0
JAVA_NAME = "Java {}"
JVM = ("-Xms512m", "-Xmx512m")

JAVA = Section(
    "Apache's own benchmark programs",
    f"`{PACKAGE}`: Producer (64 threads, 128 bytes, sync sends), BatchProducer (64 threads, 16"
    " messages a batch), and Producer with Consumer (20 threads) beside it; JVM and brokers share"
    " the cores, and the JVM takes most of them. Counted after the programs' first ten seconds."
    " RT is what they print: of a send, or from born to consumed, in ms; ours / Apache's.",
    ("program", "messages/s", "ratio", "µs CPU per message", "per CPU second", "mean RT ms",
     "longest RT ms"),
)  # fmt: skip


@dataclass(frozen=True)
class Program:
    name: str
    main: str
    arguments: tuple[str, ...]
    line: re.Pattern[str]
    """Of its figures: mean and longest RT."""
    beside: tuple[str, ...] = ()
    """Main class and arguments of what runs at the same time."""


_SENT = re.compile(
    r"Send TPS: \d+ .*Max RT\(ms\): (?P<most>\d+) \| Average RT\(ms\): +(?P<mean>[\d.]+)"
)
_CONSUMED = re.compile(
    r"Consume TPS: \d+ \| AVG\(B2C\) RT\(ms\): +(?P<mean>[\d.]+) "
    r".*MAX\(B2C\) RT\(ms\): (?P<most>\d+)"
)
_PRODUCER = ("Producer", "-w", "64", "-s", "128")
PROGRAMS = (
    Program("Producer", "Producer", _PRODUCER[1:], _SENT),
    Program("BatchProducer", "BatchProducer", ("-w", "64", "-s", "128", "-b", "16"), _SENT),
    Program("Producer and Consumer", "Consumer", ("-w", "20"), _CONSUMED, _PRODUCER),
)


@dataclass(frozen=True)
class Counted:
    per_second: float
    cpu_us: float
    mean_ms: float
    most_ms: float


def run(measurement: Measurement) -> None:
    java_classpath()
    with measurement.serving("java", ASYNC) as servers:
        for program in PROGRAMS:
            if servers and measurement.has_time(f"java {program.name}"):
                found: dict[str, Counted] = {}
                for server in servers:
                    what = f"java {program.name}, {server.name}"
                    measurement.attempt(what, _count, measurement, program, server, found)
                cells = java_cells(program.name, found)
                measurement.page.add(JAVA, cells)
                say(f"    {cells}")


def _count(
    measurement: Measurement, program: Program, server: Server, found: dict[str, Counted]
) -> None:
    found[server.name] = counted(program, server, measurement.options.java_run)


def counted(program: Program, server: Server, seconds: float) -> Counted:
    """One program against one server, on a topic of its own: a consumer finds no backlog.

    Their default, BenchmarkTest, has 1,024 queues on either server; this one has 8."""
    topic = create_topic(server, f"Java{program.main}")
    with contextlib.ExitStack() as running:
        if program.beside:
            running.enter_context(_started(server, topic, *program.beside))
        process = running.enter_context(_started(server, topic, program.main, *program.arguments))
        process.await_line("RT(ms)", FIRST_LINE_SECONDS)
        before = (time.monotonic(), stored(server, topic), cpu_seconds(server.broker_pid))
        time.sleep(seconds)
        after = (time.monotonic(), stored(server, topic), cpu_seconds(server.broker_pid))
        line = figures(process.stdout_lines, program.line)
    passed, messages, cpu = (end - begin for begin, end in zip(before, after, strict=True))
    return Counted(messages / passed, cpu * 1e6 / max(messages, 1), *line)


def figures(lines: list[str], form: re.Pattern[str]) -> tuple[float, float]:
    """Mean and longest RT (ms) of the last line that has them."""
    found = [match for line in lines if (match := form.search(line))]
    return float(found[-1]["mean"]), float(found[-1]["most"])


@contextlib.contextmanager
def _started(server: Server, topic: str, main: str, *arguments: str) -> Iterator[ServerProcess]:
    with tempfile.TemporaryDirectory(prefix="java-") as home:
        command = [
            java_command(), *JVM, f"-Duser.home={home}",
            "-cp", os.pathsep.join(java_classpath()), f"{PACKAGE}.{main}",
            "-n", server.namesrv, "-t", topic, "-ri", "1000", *arguments,
        ]  # fmt: skip
        process = ServerProcess(
            JAVA_NAME.format(main), command, environment=child_environment(), cwd=Path(home)
        )
        with process:
            yield process


def create_topic(server: Server, topic: str) -> str:
    fields = {
        "topic": topic, "defaultTopic": "TBW102", "readQueueNums": str(QUEUES),
        "writeQueueNums": str(QUEUES), "perm": "6", "topicFilterType": "SINGLE_TAG",
        "topicSysFlag": "0", "order": "false",
    }  # fmt: skip
    answer = ask(server.address, 17, fields)
    if answer.code != 0:
        raise MeasureFailed(f"{server.name}: topic {topic}: {answer.code} {answer.remark}")
    await_answer(server.namesrv, 105, {"topic": topic})
    return topic


def stored(server: Server, topic: str) -> int:
    """Messages in a topic of `create_topic`."""
    answers = (
        ask(server.address, 30, {"topic": topic, "queueId": str(queue)}) for queue in range(QUEUES)
    )
    return sum(int(answer.fields["offset"]) for answer in answers)


def java_cells(name: str, found: dict[str, Counted]) -> list[str]:
    def both(field: str, digits: int) -> str:
        values = (found.get(side) for side in (OURS, APACHE))
        return " / ".join(
            number(None if one is None else getattr(one, field), digits) for one in values
        )

    ours, theirs = found.get(OURS), found.get(APACHE)
    ratios = ["–", "–"]
    if ours and theirs:
        ratios = [
            f"{ours.per_second / theirs.per_second:.1f}×",
            f"{theirs.cpu_us / ours.cpu_us:.1f}×",
        ]
    return [
        name, both("per_second", 0), ratios[0], both("cpu_us", 2), ratios[1], both("mean_ms", 2),
        both("most_ms", 0),
    ]  # fmt: skip
