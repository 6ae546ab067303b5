"""What a slow disk does to everybody else: answers while every sync, or every write, takes so long.

Run from the repository's root:
`.venv/bin/python -m bench.slow_disk [--calls fdatasync,pwrite64] [--delays 0,50,1000,10000]`.

strace holds each such call of the broker back. Meanwhile some clients send, one asks for a max
offset every 5 ms (a command that only needs the loop: its time is the loop's lag and the way there
and back), one pulls the same message every 5 ms. The lines with delay 0 show what being traced
costs by itself. The first slow write is done by the loop, and seen as the longest ping.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field

from pyromq.client import RemotingClient
from pyromq.codes import RequestCode
from tests.support.pyromq_server import PyromqServer

TOPIC = "slow"
SENDERS = 16
SECONDS = 8.0
DELAYS = 3
"""A run lasts as long as so many delays, if that is longer."""
EVERY_S = 0.005
FIRST_SLOW = 20
"""Of each thread: the start has its syncs and writes, too."""


@dataclass
class Times:
    """How long answers took, in ms."""

    ms: list[float] = field(default_factory=list)
    codes: Counter[int] = field(default_factory=Counter)

    def at(self, share: float) -> float:
        ranked = sorted(self.ms)
        return ranked[min(int(len(ranked) * share), len(ranked) - 1)] if ranked else 0.0

    def __str__(self) -> str:
        codes = ", ".join(f"{count} × code {code}" for code, count in sorted(self.codes.items()))
        return f"p50 {self.at(0.5):.1f}, p99 {self.at(0.99):.1f}, max {max(self.ms):.1f}; {codes}"


class Clients:
    """All clients of one broker for one delay."""

    def __init__(self, address: str, seconds: float) -> None:
        self._address = address
        self._seconds = seconds
        self._until = 0.0
        self.kinds = {"ping": Times(), "pull": Times(), "send": Times()}

    async def run(self) -> None:
        await self._calls("send", self._send, count=FIRST_SLOW)
        self.kinds["send"] = Times()
        self._until = time.monotonic() + self._seconds
        await asyncio.gather(
            self._calls("ping", self._ping, EVERY_S),
            self._calls("pull", self._pull, EVERY_S),
            *(self._calls("send", self._send) for _ in range(SENDERS)),
        )

    async def _calls(
        self,
        kind: str,
        request: tuple[RequestCode, dict[str, str], bytes],
        every_s: float = 0.0,
        count: int | None = None,
    ) -> None:
        client, times, done = RemotingClient(), self.kinds[kind], 0
        code, ext, body = request
        try:
            while done < count if count is not None else time.monotonic() < self._until:
                began = time.monotonic()
                answer = await client.invoke(self._address, int(code), ext, body, timeout_ms=60_000)
                times.ms.append((time.monotonic() - began) * 1000)
                times.codes[answer.code] += 1
                done += 1
                if every_s:
                    await asyncio.sleep(every_s)
        finally:
            await client.close()

    _ping = (RequestCode.GET_MAX_OFFSET, {"topic": TOPIC, "queueId": "0"}, b"")
    _send = (
        RequestCode.SEND_MESSAGE_V2,
        {
            "a": "slow-producers",
            "b": TOPIC,
            "c": "TBW102",
            "d": "1",
            "e": "0",
            "f": "0",
            "g": "0",
            "h": "0",
            "i": "UNIQ_KEY\x01slow\x02",
        },
        b"x" * 128,
    )
    _pull = (
        RequestCode.PULL_MESSAGE,
        {
            "consumerGroup": "slow-readers",
            "topic": TOPIC,
            "queueId": "0",
            "queueOffset": "0",
            "maxMsgNums": "1",
            "sysFlag": "4",
            "commitOffset": "0",
            "suspendTimeoutMillis": "0",
            "subscription": "*",
            "subVersion": "0",
            "expressionType": "TAG",
        },
        b"",
    )


def measure(call: str, delay_ms: int) -> dict[str, Times]:
    """All kinds of requests while each such system call takes `delay_ms` longer."""
    delay = f"inject={call}:delay_exit={delay_ms * 1000}:when={FIRST_SLOW}+"
    tracer = ["strace", "-D", "-f", "--seccomp-bpf", "-o", "/dev/null", "-e", f"trace={call}"]
    with tempfile.TemporaryDirectory(prefix="pyromq-bench-") as directory:
        words = ["standalone", "--data-dir", directory, "--namesrv-port", 0, "--broker-port", 0]
        server = PyromqServer(*words, tracer=[*tracer, "-e", delay] if delay_ms else tracer)
        server.start()
        try:
            clients = Clients(server.broker, max(SECONDS, DELAYS * delay_ms / 1000))
            asyncio.run(clients.run())
        finally:
            server.kill()
    return clients.kinds


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--calls", default="fdatasync,pwrite64", help="system calls, with commas")
    options.add_argument("--delays", default="0,50,1000,10000", help="ms, with commas")
    chosen = options.parse_args()
    for call in chosen.calls.split(","):
        for word in chosen.delays.split(","):
            for kind, times in measure(call, int(word)).items():
                print(f"{call} +{word} ms, {kind} (ms): {times}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
