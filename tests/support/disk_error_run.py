"""A broker one of whose system calls fails under load; then kill -9, a start, and the judgement."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.checker import Violation, check
from tests.support.history import History, Instant, Outcome, Uptime
from tests.support.kill_run import SETTINGS, server
from tests.support.processes import Answer, ask
from tests.support.strace import Call, Strace
from tests.support.workload import Workload

SYNCED = ("fdatasync", "fsync")
ERROR_SECONDS_MAX = 3.0
"""How long the load goes on where the call that shall fail is not made so often."""
SENDS_AFTERWARDS = 150
"""The load's calls from the error to the kill: enough to see whether a lost sync is repeated."""
SEGMENTS_MAX = 100
"""More than the load fills until the error: 25 MiB."""
SEND, PULL = 310, 11


@dataclass(frozen=True)
class Injection:
    """The n-th call of a name fails, once or from then on, in each thread."""

    name: str
    when: int
    is_lasting: bool = False
    error: str = "EIO"
    is_of_log: bool = False
    """Only calls on the segments of the log count and fail."""

    def __str__(self) -> str:
        which = " of the log" if self.is_of_log else ""
        return f"{self.expression}{which}"

    @property
    def expression(self) -> str:
        """As strace takes it."""
        return f"{self.name}:error={self.error}:when={self.when}{'+' if self.is_lasting else ''}"


@dataclass
class ErrorResult:
    """What an error brought."""

    injection: Injection
    history: History
    violations: list[Violation] = field(default_factory=list)
    injected: list[Call] = field(default_factory=list)
    repeated: list[Call] = field(default_factory=list)
    """Syncs of a file after one of its syncs failed."""
    probe: Answer = field(default_factory=lambda: Answer(0))
    """The answer to a send after the error."""
    read: Answer = field(default_factory=lambda: Answer(0))
    """The answer to a pull after the error."""

    @property
    def was_hit(self) -> bool:
        """Whether the call was made so often that it failed."""
        return bool(self.injected)

    @property
    def is_log_lost(self) -> bool:
        """Whether a sync of the commit log failed: no send may succeed any more."""
        return any("/commitlog/" in call.path and call.name in SYNCED for call in self.injected)

    def faults(self) -> list[str]:
        """Everything that is wrong, in words."""
        faults = [f"{violation.rule}: {violation.text}" for violation in self.violations]
        faults += [f"synced again: {call.path}" for call in self.repeated]
        if self.is_log_lost and (self.probe.code == 0 or "/commitlog/" not in self.probe.remark):
            faults.append(f"after a failed sync a send got {self.probe.code} {self.probe.remark}")
        if self.read.code != 0:
            faults.append(f"after the error a pull got {self.read.code} {self.read.remark}")
        return faults


def log_segments(root: Path) -> tuple[Path, ...]:
    """The first segments of the log, those that are still to come, too."""
    size = SETTINGS["mappedFileSizeCommitLog"]
    assert isinstance(size, int)
    return tuple(root / "commitlog" / f"{number * size:020}" for number in range(SEGMENTS_MAX))


def repeated_syncs(calls: list[Call]) -> list[Call]:
    """Syncs of a file after a failed one: they would succeed although the bytes are lost."""
    lost: set[str] = set()
    repeated = []
    for call in calls:
        if call.name in SYNCED:
            if call.path in lost:
                repeated.append(call)
            if call.is_injected:
                lost.add(call.path)
    return repeated


def probe_send(address: str, topic: str, timeout_seconds: float = 10.0) -> Answer:
    """One send of a client that takes no part in the history: to a topic of its own."""
    ext = {"a": "probes", "b": topic, "c": "TBW102", "d": "1", "e": "0", "f": "0", "g": "0"}
    ext |= {"h": "0", "i": "UNIQ_KEY\x01probe\x02"}
    return ask(address, SEND, ext, b"probe", timeout_seconds=timeout_seconds)


def probe_pull(address: str, topic: str, timeout_seconds: float = 10.0) -> Answer:
    """One pull of what `probe_send` stored first."""
    ext = {"consumerGroup": "probes", "topic": topic, "queueId": "0", "queueOffset": "0"}
    ext |= {"maxMsgNums": "1", "sysFlag": "4", "commitOffset": "0", "suspendTimeoutMillis": "0"}
    ext |= {"subscription": "*", "subVersion": "0", "expressionType": "TAG"}
    return ask(address, PULL, ext, timeout_seconds=timeout_seconds)


async def run(root: Path, mode: str, injection: Injection, chance: random.Random) -> ErrorResult:
    """Load, the error, some more load, a probe, kill -9, a start, everything read and checked."""
    workload = Workload(chance, has_delays=False)
    history = workload.history
    result = ErrorResult(injection, history)
    current = server(root, mode)
    try:
        await asyncio.to_thread(current.start)
        history.uptimes.append(Uptime(Instant.now()))
        workload.moved(current.broker)
        await workload.prepare()
        await asyncio.to_thread(probe_send, current.broker, "probes")
        await asyncio.to_thread(probe_pull, current.broker, "probes")  # the group is known now
        paths = log_segments(root) if injection.is_of_log else ()
        with Strace(current.pid, injection.expression, paths=paths) as strace:
            workload.start()
            await workload.until_failed(ERROR_SECONDS_MAX)
            await workload.until_called(SENDS_AFTERWARDS)
            result.probe = await asyncio.to_thread(probe_send, current.broker, "probes")
            result.read = await asyncio.to_thread(probe_pull, current.broker, "probes")
            workload.down()
            await asyncio.to_thread(current.kill)
            history.uptimes[-1].ended = Instant.now()
            calls = strace.calls()
        result.injected = [call for call in calls if call.is_injected]
        result.repeated = repeated_syncs(calls)
        current = server(root, mode)
        await asyncio.to_thread(current.start)
        history.uptimes.append(Uptime(Instant.now()))
        workload.moved(current.broker)
        await workload.until_sent(20)
        await workload.finish()
        await workload.close()
        await asyncio.to_thread(current.stop)
    finally:
        await workload.close()
        current.kill()
    result.violations = check(history)
    return result


def any_injection(chance: random.Random) -> Injection:
    """A point somewhere in the life of a busy store."""
    names = ("fdatasync", "pwrite64", "pwritev", "fallocate", "fsync")
    name = chance.choices(names, (6, 4, 1, 1, 1))[0]
    when = chance.randint(1, {"fdatasync": 50, "pwrite64": 60}.get(name, 5))
    return Injection(name, when, is_lasting=chance.random() < 0.25)


def acknowledged_count(history: History) -> int:
    return sum(sent.outcome is Outcome.OK for sent in history.sent)


__all__ = [
    "ErrorResult",
    "Injection",
    "acknowledged_count",
    "any_injection",
    "probe_pull",
    "probe_send",
    "repeated_syncs",
    "run",
]
