"""How exact the lag is that a broker tells (code 208) while messages are stored and consumed.

Run from the repository's root: `.venv/bin/python -m bench.lag [--servers pyromq,apache]`.

One client sends to four queues with several messages in flight and knows how many were confirmed;
it commits offsets for a group and knows which commits were answered; between, it asks for the lag.
Each true lag lies between what was certain before the question and possible after its answer:

    confirmed before − commits sent by the end ≤ lag ≤ sent by the end − commits answered before

The error of a sample is how far its answer lies outside; 0 is exact.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime
import random
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from bench.servers import SERVERS, Server, servers_named
from pyromq.client import RemotingClient
from pyromq.codes import RequestCode, ResponseCode
from pyromq.wire import dialect
from pyromq.wire.remoting.bodies.progress import OffsetWrapper

TOPIC, GROUP = "lag-topic", "lag-group"
QUEUES = 4
SENDS_IN_FLIGHT = 32
RESULTS = Path(__file__).parent / "results"


@dataclass
class Truth:
    """What the client knows, in messages over all queues."""

    sent: int = 0
    confirmed: int = 0
    commits_sent: list[int] = field(default_factory=lambda: [0] * QUEUES)
    commits_answered: list[int] = field(default_factory=lambda: [0] * QUEUES)
    stored: list[int] = field(default_factory=lambda: [0] * QUEUES)
    """Confirmed messages by queue."""


class ToldStats(msgspec.Struct, rename="camel"):
    """ConsumeStats as a client reads it: its keys are objects written as text."""

    offset_table: dict[str, OffsetWrapper]


@dataclass
class Samples:
    count: int = 0
    wrong: int = 0
    error_max: int = 0
    lag_max: int = 0


class Measured:
    """One broker and its one client."""

    def __init__(self, address: str, message_count: int) -> None:
        self._address = address
        self._message_count = message_count
        self._client = RemotingClient()
        self._truth = Truth()
        self._samples = Samples()
        self._has_ended = False

    async def run(self) -> Samples:
        try:
            await self._prepare()
            sends = asyncio.gather(*(self._send() for _ in range(SENDS_IN_FLIGHT)))
            others = asyncio.gather(self._commit(), self._sample())
            await sends
            self._has_ended = True
            await others
        finally:
            await self._client.close()
        return self._samples

    async def _ask(
        self, code: RequestCode, ext: dict[str, str], body: bytes = b""
    ) -> dict[str, str]:
        """The answer; a broker that says it is busy stored nothing and is asked again."""
        code_of_answer = int(ResponseCode.SYSTEM_BUSY)
        while code_of_answer == ResponseCode.SYSTEM_BUSY:
            answer = await self._client.invoke(
                self._address, int(code), ext, body, timeout_ms=20_000
            )
            code_of_answer = answer.code
        if answer.code != ResponseCode.SUCCESS:
            raise SystemExit(f"{code.name} of {self._address}: {answer.code} {answer.remark}")
        return {**answer.ext, "body": answer.body.decode()}

    async def _prepare(self) -> None:
        await self._ask(
            RequestCode.UPDATE_AND_CREATE_TOPIC,
            {
                "topic": TOPIC,
                "defaultTopic": "TBW102",
                "readQueueNums": str(QUEUES),
                "writeQueueNums": str(QUEUES),
                "perm": "6",
                "topicFilterType": "SINGLE_TAG",
                "topicSysFlag": "0",
                "order": "false",
            },
        )
        group = dialect.encode({"groupName": GROUP})
        await self._ask(RequestCode.UPDATE_AND_CREATE_SUBSCRIPTIONGROUP, {}, group)
        for queue in range(QUEUES):
            await self._commit_to(queue, 0)

    async def _send(self) -> None:
        truth = self._truth
        while truth.sent < self._message_count:
            queue = truth.sent % QUEUES
            truth.sent += 1
            await self._ask(
                RequestCode.SEND_MESSAGE_V2,
                {
                    "a": "lag-producers",
                    "b": TOPIC,
                    "c": "TBW102",
                    "d": str(QUEUES),
                    "e": str(queue),
                    "f": "0",
                    "g": "0",
                    "h": "0",
                    "i": f"UNIQ_KEY\x01{truth.sent:032X}\x02",
                },
                b"x" * 128,
            )
            truth.confirmed += 1
            truth.stored[queue] += 1

    async def _commit_to(self, queue: int, offset: int) -> None:
        self._truth.commits_sent[queue] = offset
        await self._ask(
            RequestCode.UPDATE_CONSUMER_OFFSET,
            {
                "consumerGroup": GROUP,
                "topic": TOPIC,
                "queueId": str(queue),
                "commitOffset": str(offset),
            },
        )
        self._truth.commits_answered[queue] = offset

    async def _commit(self) -> None:
        """Consumes: some way towards what is stored, queue after queue."""
        chance = random.Random(1)
        truth = self._truth
        queue = 0
        while not self._has_ended:
            done, stored = truth.commits_answered[queue], truth.stored[queue]
            await self._commit_to(queue, done + chance.randint(0, stored - done))
            queue = (queue + 1) % QUEUES

    async def _sample(self) -> None:
        truth, samples = self._truth, self._samples
        while not self._has_ended:
            confirmed, answered = truth.confirmed, sum(truth.commits_answered)
            stats = await self._ask(
                RequestCode.GET_CONSUME_STATS, {"consumerGroup": GROUP, "topic": TOPIC}
            )
            told = dialect.decode(stats["body"].encode(), ToldStats)
            lag = sum(row.broker_offset - row.consumer_offset for row in told.offset_table.values())
            low = confirmed - sum(truth.commits_sent)
            high = truth.sent - answered
            error = max(low - lag, lag - high, 0)
            samples.count += 1
            samples.wrong += error > 0
            samples.error_max = max(samples.error_max, error)
            samples.lag_max = max(samples.lag_max, lag)


def _row(server: Server, samples: Samples) -> str:
    return (
        f"| {server.name} | {samples.count} | {samples.lag_max} | {samples.wrong} "
        f"| {samples.error_max} |"
    )


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.lag", description=__doc__)
    parser.add_argument("--servers", default="pyromq", help=f"of {', '.join(SERVERS)}")
    parser.add_argument("--messages", type=int, default=20_000)
    chosen = parser.parse_args(arguments)
    names = chosen.servers.split(",")
    if not set(names) <= set(SERVERS):
        parser.error(f"--servers {chosen.servers}: of {', '.join(SERVERS)}")
    rows, versions = [], []
    with tempfile.TemporaryDirectory(prefix="lag-") as folder:
        settings = ("flushDiskType=ASYNC_FLUSH",)
        for server in servers_named(names, Path(folder).resolve(), settings, is_ephemeral=True):
            try:
                server.start()
                samples = asyncio.run(Measured(server.address, chosen.messages).run())
            finally:
                server.clear()
            rows.append(_row(server, samples))
            versions.append(server.version)
    today = datetime.datetime.now(datetime.UTC).date()
    result = RESULTS / f"{today:%Y-%m-%d}-lag.md"
    result.write_text(
        "\n".join(
            [
                f"# lag, {today:%Y-%m-%d}",
                "",
                f"`python -m bench.lag --servers {chosen.servers}`: {chosen.messages} messages to "
                f"{QUEUES} queues, {SENDS_IN_FLIGHT} in flight, commits and questions (code 208) "
                "all the while; method in bench/lag.py.",
                *(f"- {version}" for version in versions),
                "",
                "| server | questions | largest lag | answers out of bounds | largest error |",
                "| --- | --- | --- | --- | --- |",
                *rows,
                "",
            ]
        )
    )
    print(f"bench/results/{result.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
