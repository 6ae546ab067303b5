"""A broker that is killed again and again under load, and the judgement on what it did.

A run is some kills of one store, each followed by a start at once; then all is read and checked.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tests.support.checker import Violation, check
from tests.support.history import History, Instant, Uptime
from tests.support.pyromq_server import PyromqServer
from tests.support.workload import DELAY_LEVELS, DRAIN_SECONDS, Workload

MODES = ("SYNC_FLUSH", "ASYNC_FLUSH")
KILLS_PER_RUN = 20
UPTIME_SECONDS_MAX = 0.8
SETTINGS = {
    "messageDelayLevel": DELAY_LEVELS,
    # Small files, so that kills hit their ends and beginnings, too.
    "mappedFileSizeCommitLog": 256 * 1024,
    "mappedFileSizeConsumeQueue": 200 * 20,
    "maxHashSlotNum": 500,
    "maxIndexNum": 2_000,
    "maxMessageSize": 64 * 1024,
    "reserveAheadSize": 512 * 1024,
    "flushIntervalCommitLog": 100,
    "flushIntervalConsumeQueue": 100,
}


class Server(Protocol):
    """A server that can be killed: ours, or Apache's."""

    @property
    def broker(self) -> str: ...

    @property
    def pid(self) -> int: ...

    ready_seconds: float

    def start(self) -> object: ...

    def stop(self) -> None: ...

    def kill(self) -> None: ...


def server(root: Path, mode: str, **more: object) -> PyromqServer:
    """A standalone server with small files; `more` are further properties."""
    settings = {"flushDiskType": mode, **SETTINGS, **more}
    words = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    return PyromqServer(
        "standalone", "--data-dir", root, "--namesrv-port", 0, "--broker-port", 0, *words
    )


@dataclass(frozen=True)
class Result:
    """What a run brought."""

    history: History
    violations: list[Violation]
    ready_seconds_max: float

    def __str__(self) -> str:
        history = self.history
        acknowledged = sum(sent.outcome.value == "ok" for sent in history.sent)
        unknown = sum(sent.outcome.value == "unknown" for sent in history.sent)
        return (
            f"{history.fault_count} kills, {acknowledged} acknowledged, {unknown} unknown, "
            f"{len(history.delivered)} delivered, {len(history.given_back)} given back, "
            f"READY in at most {self.ready_seconds_max:.2f} s, {len(self.violations)} violations"
        )


async def run(
    root: Path,
    mode: str,
    kills: int,
    chance: random.Random,
    start: Callable[[Path, str], Server] = server,
    drain_seconds: float = DRAIN_SECONDS,
) -> Result:
    """Kills one broker that often at random moments, checks what is left."""
    workload = Workload(chance, drain_seconds)
    history = workload.history
    ready_seconds = []
    current: Server | None = None
    try:
        for number in range(kills + 1):
            current = start(root, mode)
            await asyncio.to_thread(current.start)
            ready_seconds.append(current.ready_seconds)
            history.uptimes.append(Uptime(Instant.now()))
            workload.moved(current.broker)
            if number == 0:
                await workload.prepare()
                workload.start()
            if number < kills:
                await workload.until_sent(1)
                await asyncio.sleep(chance.uniform(0.0, UPTIME_SECONDS_MAX))
                workload.down()
                await asyncio.to_thread(current.kill)
                history.uptimes[-1].ended = Instant.now()
        await workload.until_sent(50)
        await workload.finish()
        await workload.close()
        assert current is not None
        await asyncio.to_thread(current.stop)
    finally:
        await workload.close()
        if current is not None:
            current.kill()
    return Result(history, check(history), max(ready_seconds))


__all__ = ["KILLS_PER_RUN", "MODES", "SETTINGS", "Result", "Server", "run", "server"]
