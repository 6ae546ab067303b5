"""How exactly delayed messages are delivered while many are pending, and what that costs.

Run from the repository's root: `.venv/bin/python -m bench.delays [--servers pyromq,apache]`.

One client sends messages to a topic of eight queues with a delay level each; the levels' delays are
so long that all of them are pending before the first is due. Two shapes: `spread`, over 18 levels
whose delays are a second apart, so that several are due at once all the time; `one level`, where
they fall due as fast as they were sent. Then it waits, and asks one question every 10 ms: what the
deliveries do to others shows in how long the answers take.

In the end both the waiting messages and their copies are pulled. A message is late by the copy's
store time less its own store time and the delay of its level; each must have exactly one copy.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime
import os
import platform
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.machine import file_system, machine
from bench.report import commit, table
from bench.servers import SERVERS, Server, servers_named
from pyromq.client import RemotingClient
from pyromq.codes import RequestCode, ResponseCode
from pyromq.domain.properties import unique_key_of
from pyromq.domain.topic import SCHEDULE_TOPIC
from pyromq.wire.record import Record, decode_records
from pyromq.wire.remoting.frame import Command

TOPIC = "delays"
QUEUES = 8
IN_FLIGHT = 128
FIRST_DELAY_S = 25
"""Long enough for a client in Python to send 100,000 messages before."""
SHAPES = {"spread": 18, "one level": 1}
"""Levels the messages are spread over."""
QUESTION_INTERVAL_S = 0.01
IDLE_S = 5.0
LOOK_INTERVAL_S = 0.5
LATE_MAX_S = 60.0
RESULTS = Path(__file__).parent / "results"
HEAD = (
    "shape",
    "server",
    "messages",
    "sent in s",
    "late p50 ms",
    "p99 ms",
    "max ms",
    "early max ms",
    "µs CPU per delivered message",
    "% of a core meanwhile",
    "% while nothing is due",
    "answers meanwhile p50 ms",
    "p99 ms",
    "max ms",
)


class DelaysFailed(Exception):
    """The numbers would mean nothing."""


@dataclass(frozen=True)
class Seen:
    """What one run showed."""

    messages: int
    sent_s: float
    lateness_ms: list[int]
    """Sorted; negative is early."""
    cpu_s: float
    """Of the broker while it delivered."""
    delivering_s: float
    idle_share: float
    """Of a core, while nothing was due."""
    answers_s: list[float]
    """Sorted."""

    def cells(self, shape: str, server: str) -> list[str]:
        late, answers = self.lateness_ms, [seconds * 1e3 for seconds in self.answers_s]
        return [
            shape,
            server,
            f"{self.messages:,}",
            f"{self.sent_s:.1f}",
            *(f"{value}" for value in (_quantile(late, 0.5), _quantile(late, 0.99), late[-1])),
            f"{max(-late[0], 0)}",
            f"{self.cpu_s / self.messages * 1e6:.1f}",
            f"{self.cpu_s / self.delivering_s * 100:.1f}",
            f"{self.idle_share * 100:.1f}",
            *(f"{_quantile(answers, part):.2f}" for part in (0.5, 0.99)),
            f"{answers[-1]:.2f}",
        ]


class Measured:
    """One broker and its one client."""

    def __init__(self, server: Server, message_count: int, level_count: int) -> None:
        self._server = server
        self._message_count = message_count
        self._level_count = level_count
        self._client = RemotingClient()
        self._sent = 0
        self._answers_s: list[float] = []

    async def run(self) -> Seen:
        try:
            return await self._run()
        finally:
            await self._client.close()

    async def _run(self) -> Seen:
        pid = self._server.broker_pid
        await self._create_topic()
        began = time.monotonic()
        await asyncio.gather(*(self._send() for _ in range(IN_FLIGHT)))
        sent_s = time.monotonic() - began
        if await self._delivered_count() != 0:
            raise DelaysFailed(f"sending took {sent_s:.0f} s, messages were due meanwhile")
        # Leave a JVM a moment to end what it does after the load.
        await asyncio.sleep(max(FIRST_DELAY_S - 1 - sent_s - IDLE_S, 0))
        idle_cpu, idle_s = await self._questions_for(pid, IDLE_S)
        cpu, spent_s = await self._deliveries(pid)
        lateness = await self._lateness()
        return Seen(
            messages=self._message_count,
            sent_s=sent_s,
            lateness_ms=lateness,
            cpu_s=cpu,
            delivering_s=spent_s,
            idle_share=idle_cpu / idle_s,
            answers_s=sorted(self._answers_s),
        )

    # --- asking ---------------------------------------------------------------------------------

    async def _ask(self, code: RequestCode, ext: dict[str, str], *, of: int = 0) -> Command:
        code_of_answer = int(ResponseCode.SYSTEM_BUSY)  # it stored nothing and is asked again
        while code_of_answer == ResponseCode.SYSTEM_BUSY:
            answer = await self._client.invoke(
                self._server.address, int(code), ext, b"x" * of, timeout_ms=20_000
            )
            code_of_answer = answer.code
        if answer.code != 0:
            raise DelaysFailed(f"{code.name}: {answer.code} {answer.remark}")
        return answer

    async def _create_topic(self) -> None:
        ext = {
            "topic": TOPIC,
            "defaultTopic": "TBW102",
            "readQueueNums": str(QUEUES),
            "writeQueueNums": str(QUEUES),
            "perm": "6",
            "topicFilterType": "SINGLE_TAG",
            "topicSysFlag": "0",
            "order": "false",
        }
        await self._ask(RequestCode.UPDATE_AND_CREATE_TOPIC, ext)

    async def _send(self) -> None:
        while self._sent < self._message_count:
            number = self._sent
            self._sent += 1
            level = 1 + number % self._level_count
            properties = f"UNIQ_KEY\x01{number:032X}\x02TAGS\x01TagA\x02DELAY\x01{level}\x02"
            ext = {"a": "delays", "b": TOPIC, "c": "TBW102", "d": str(QUEUES), "f": "0", "g": "0"}
            ext |= {"e": str(number % QUEUES), "h": "0", "i": properties}
            await self._ask(RequestCode.SEND_MESSAGE_V2, ext, of=128)

    async def _max_offset(self, topic: str, queue: int) -> int:
        ext = {"topic": topic, "queueId": str(queue)}
        return int((await self._ask(RequestCode.GET_MAX_OFFSET, ext)).ext["offset"])

    async def _delivered_count(self) -> int:
        return sum([await self._max_offset(TOPIC, queue) for queue in range(QUEUES)])

    async def _questions_for(self, pid: int, seconds: float) -> tuple[float, float]:
        """Asks a question every 10 ms; CPU seconds of the broker, and seconds that passed."""
        cpu, began = _cpu_seconds(pid), time.monotonic()
        while (passed := time.monotonic() - began) < seconds:
            asked = time.monotonic()
            await self._max_offset(TOPIC, 0)
            self._answers_s.append(time.monotonic() - asked)
            await asyncio.sleep(max(asked + QUESTION_INTERVAL_S - time.monotonic(), 0))
        return _cpu_seconds(pid) - cpu, passed

    async def _deliveries(self, pid: int) -> tuple[float, float]:
        """The same until everything is delivered; only its answers are counted."""
        self._answers_s.clear()
        cpu, seconds = 0.0, 0.0
        latest_s = FIRST_DELAY_S + self._level_count + LATE_MAX_S
        while await self._delivered_count() < self._message_count:
            more_cpu, more_s = await self._questions_for(pid, LOOK_INTERVAL_S)
            cpu, seconds = cpu + more_cpu, seconds + more_s
            if seconds > latest_s:
                raise DelaysFailed(f"not all were delivered after {seconds:.0f} s")
        return cpu, seconds

    # --- what came of it ------------------------------------------------------------------------

    async def _lateness(self) -> list[int]:
        due_ms: dict[str, int] = {}
        for level in range(1, self._level_count + 1):
            delay_ms = 1000 * (FIRST_DELAY_S + level - 1)
            async for record in self._records(SCHEDULE_TOPIC, level - 1):
                due_ms[_key(record)] = record.store_timestamp_ms + delay_ms
        if len(due_ms) != self._message_count:
            raise DelaysFailed(f"{len(due_ms)} of {self._message_count} messages were waiting")
        lateness: list[int] = []
        for queue in range(QUEUES):
            lateness += [
                record.store_timestamp_ms - due_ms.pop(_key(record))
                async for record in self._records(TOPIC, queue)
            ]
        if due_ms:
            raise DelaysFailed(f"{len(due_ms)} messages have no copy")
        return sorted(lateness)

    async def _records(self, topic: str, queue: int) -> AsyncIterator[Record]:
        offset, end = 0, await self._max_offset(topic, queue)
        while offset < end:
            ext = {
                "consumerGroup": "delays",
                "topic": topic,
                "queueId": str(queue),
                "queueOffset": str(offset),
                "maxMsgNums": "32",
                "sysFlag": "4",
                "commitOffset": "0",
                "suspendTimeoutMillis": "0",
                "subscription": "*",
                "subVersion": "0",
                "expressionType": "TAG",
            }
            answer = await self._ask(RequestCode.PULL_MESSAGE, ext)
            offset = int(answer.ext["nextBeginOffset"])
            for record in decode_records(answer.body):
                yield record


def _key(record: Record) -> str:
    key = unique_key_of(record.properties.decode())
    assert key is not None, "each was sent with one"
    return key


def _quantile(values: Sequence[float], part: float) -> float:
    return values[min(int(len(values) * part), len(values) - 1)]


def _cpu_seconds(pid: int) -> float:
    """User and system time of all threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _measure(names: Sequence[str], message_count: int, settings: Sequence[str]) -> str:
    rows: list[list[str]] = []
    versions: list[str] = []
    with tempfile.TemporaryDirectory(prefix="delays-") as folder:
        root = Path(folder).resolve()
        disk = file_system(root, Path("/proc/mounts").read_text())
        for shape, level_count in SHAPES.items():
            delays = " ".join(f"{FIRST_DELAY_S + level}s" for level in range(level_count))
            given = (*settings, f"messageDelayLevel={delays}")
            servers = servers_named(names, root, given, is_ephemeral=False)
            for server in servers:
                try:
                    server.start()
                    seen = asyncio.run(Measured(server, message_count, level_count).run())
                finally:
                    server.clear()
                rows.append(seen.cells(shape, server.name))
            versions = [server.version for server in servers]
    today = datetime.datetime.now(datetime.UTC).date()
    lines = [
        f"# delays, {today:%Y-%m-%d}\n",
        f"- Machine: {machine()}; Python {platform.python_version()}.",
        f"- Servers: {'; '.join(versions)}. Commit: {commit()}.",
        f"- Settings of all servers: {', '.join(settings)}, messageDelayLevel={FIRST_DELAY_S}s, one"
        f" second more per level (18 levels in `spread`). Data in a temporary directory on {disk}.",
        f"- Load: `python -m bench.delays`: {message_count:,} messages of 128 bytes to {QUEUES}"
        " queues, all of them pending before the first is due; method in bench/delays.py.",
        "- Late: store time of the copy less store time of the message and its delay, in whole ms,"
        " of every message. CPU: user and system time of the whole broker process. Answers: to one"
        " question every 10 ms while messages were delivered; those cost CPU too, as when nothing"
        " was due.",
        "",
        table(HEAD, rows),
    ]
    result = RESULTS / f"{today:%Y-%m-%d}-delays.md"
    result.write_text("\n".join(lines))
    return result.name


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.delays", description=__doc__)
    parser.add_argument("--servers", default="pyromq", help=f"of {', '.join(SERVERS)}")
    parser.add_argument("--messages", type=int, default=100_000)
    parser.add_argument("--set", dest="settings", action="append", metavar="KEY=VALUE")
    chosen = parser.parse_args(arguments)
    names = chosen.servers.split(",")
    if not set(names) <= set(SERVERS):
        parser.error(f"--servers {chosen.servers}: of {', '.join(SERVERS)}")
    try:
        name = _measure(names, chosen.messages, chosen.settings or ["flushDiskType=ASYNC_FLUSH"])
    except DelaysFailed as failed:
        print(f"delays: {failed}", file=sys.stderr)
        return 1
    print(f"bench/results/{name}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
