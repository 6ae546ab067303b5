"""A broker whose disk fills up under load, and the judgement on what it did.

A run fills a small file system with messages of random sizes until they are refused, looks whether
reads and commits go on, makes room and measures how long messages stay refused. Somewhere on the
way the broker is killed and started again. At the end everything is read and checked.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from pyromq.codes import RequestCode, ResponseCode
from tests.support.checker import Violation, check
from tests.support.disk_error_run import acknowledged_count, probe_pull, probe_send
from tests.support.history import History, Instant, Outcome, Uptime
from tests.support.kill_run import MODES, server
from tests.support.processes import Answer, ServerFailed, ask, retries
from tests.support.pyromq_server import PyromqServer
from tests.support.small_disk import EXT4, MIB, TMPFS, mounted
from tests.support.workload import Workload

RESUME_SECONDS = 2.0
"""From when there is room again to the first message that is taken."""
FILL_SECONDS_MAX = 60.0
PROBES_WHILE_FULL = 10
SIZES = (0, 100, 3_000, 30_000, 60_000)
BALLAST_BYTES = 20 * MIB
NO_SPACE = "No space left"


class Moment(Enum):
    """When the broker is killed."""

    FILLING = "while it fills up"
    FULL = "while it is full"
    ROOM = "with room again"
    RESUMED = "after messages were taken again"


@dataclass(frozen=True)
class Plan:
    """The choices of a run."""

    mode: str
    kind: str
    size_mib: int
    segment_bytes: int
    has_reserve: bool
    killed: Moment

    def __str__(self) -> str:
        reserve = "reserve" if self.has_reserve else "no reserve"
        size = f"{self.size_mib} MiB of {self.kind}, segments of {self.segment_bytes >> 10} KiB"
        return f"{self.mode}, {reserve}, {size}, killed {self.killed.value}"


def any_plan(number: int, chance: random.Random) -> Plan:
    """The how-manieth run's: modes, file systems and reserve in turn, the rest by chance."""
    return Plan(
        mode=MODES[number % 2],
        kind=(TMPFS, EXT4)[number // 2 % 2],
        size_mib=chance.randint(36, 56),
        segment_bytes=chance.choice((256, 1_024, 4_096)) << 10,
        has_reserve=number // 4 % 2 == 0,
        killed=chance.choice(list(Moment)),
    )


@dataclass
class FullResult:
    """What a full disk brought."""

    plan: Plan
    history: History
    refusal: Answer = field(default_factory=lambda: Answer(0))
    """The answer to a send when the disk was full."""
    unexpected: list[str] = field(default_factory=list)
    """What no answer should have been, in words."""
    free_bytes: int = 0
    """What was left of the disk then."""
    resumed_seconds: float | None = None
    """From room on the disk to the first message taken; None: none was."""
    violations: list[Violation] = field(default_factory=list)

    def faults(self) -> list[str]:
        """Everything that is wrong, in words."""
        faults = [f"{violation.rule}: {violation.text}" for violation in self.violations]
        faults += self.unexpected
        if self.refusal.code != ResponseCode.SERVICE_NOT_AVAILABLE:
            faults.append(f"a send to the full disk got {self.refusal}")
        if self.plan.has_reserve and NO_SPACE in self.refusal.remark:
            faults.append(f"messages got into the reserve: {self.refusal.remark}")
        if self.resumed_seconds is None or self.resumed_seconds > RESUME_SECONDS:
            faults.append(f"messages were taken again after {self.resumed_seconds} s")
        return faults

    def __str__(self) -> str:
        refused = sum(sent.outcome is Outcome.REFUSED for sent in self.history.sent)
        return (
            f"{acknowledged_count(self.history)} acknowledged, {refused} refused, "
            f"{self.free_bytes >> 10} KiB free when full, "
            f"taken again after {self.resumed_seconds or 0.0:.2f} s"
        )


class _Run:
    """One run on one mounted disk."""

    def __init__(self, root: Path, plan: Plan, chance: random.Random) -> None:
        self._plan = plan
        self._workload = Workload(chance, sizes=SIZES)
        self._chance = chance
        self._server = self._new_server(root)
        self._root = root
        self._is_up = False
        self.result = FullResult(plan, self._workload.history)

    def _new_server(self, root: Path) -> PyromqServer:
        settings: dict[str, object] = {"cleanFileForciblyEnable": "false"}
        settings["mappedFileSizeCommitLog"] = self._plan.segment_bytes
        if not self._plan.has_reserve:
            settings["diskReserveBytes"] = 0
        return server(root, self._plan.mode, **settings)

    async def carry_out(self, ballast: Path, free_bytes: Callable[[], int]) -> None:
        workload = self._workload
        try:
            await self._start()
            await workload.prepare()
            await asyncio.to_thread(probe_send, self._server.broker, "probes")
            await asyncio.to_thread(probe_pull, self._server.broker, "probes")
            workload.start()
            if self._plan.killed is Moment.FILLING:
                await workload.until_sent(self._chance.randint(1, 300))
                await self._kill_and_start()
            await self._until_full()
            self.result.free_bytes = free_bytes()
            await self._use_while_full()
            if self._plan.killed is Moment.FULL:
                await self._kill()
                with self._unless_no_space():
                    await self._start()
            self._workload.history.uptimes[-1].ended = Instant.now()  # full: nothing is due
            await asyncio.to_thread(ballast.unlink)
            if self._plan.killed is Moment.ROOM:
                await self._kill()
            if not self._is_up:
                await self._start()
            await self._until_taken_again()
            workload.history.uptimes.append(Uptime(Instant.now()))
            await workload.until_sent(20)
            if self._plan.killed is Moment.RESUMED:
                await self._kill_and_start()
            await workload.until_sent(20)
            await workload.finish()
            await workload.close()
            await asyncio.to_thread(self._server.stop)
        finally:
            await workload.close()
            self._server.kill()

    async def _start(self) -> None:
        self._server = self._new_server(self._root)
        await asyncio.to_thread(self._server.start)
        self._is_up = True
        self._workload.history.uptimes.append(Uptime(Instant.now()))
        self._workload.moved(self._server.broker)

    async def _kill(self) -> None:
        self._workload.down()
        await asyncio.to_thread(self._server.kill)
        self._is_up = False
        self._workload.history.uptimes[-1].ended = Instant.now()

    async def _kill_and_start(self) -> None:
        await self._kill()
        await self._start()

    @contextlib.contextmanager
    def _unless_no_space(self) -> Iterator[None]:
        """Without a reserve a start may find no room for its marks: it must say so."""
        try:
            yield
        except ServerFailed as error:
            if self._plan.has_reserve or NO_SPACE not in str(error):
                self.result.unexpected.append(f"a start on the full disk: {error}")

    async def _until_full(self) -> None:
        """Until a message is refused for the disk, and not only for the haste between two looks."""
        wanted = "the disk is full" if self._plan.has_reserve else NO_SPACE
        deadline = time.monotonic() + FILL_SECONDS_MAX
        while time.monotonic() < deadline:
            self._workload.raise_failures()
            answer = await asyncio.to_thread(probe_send, self._server.broker, "probes")
            if answer.code != 0:
                self.result.refusal = answer
                if wanted in answer.remark:
                    return
            await asyncio.sleep(0.05)
        self.result.unexpected.append(f"not full after {FILL_SECONDS_MAX:.0f} s")

    async def _use_while_full(self) -> None:
        """Reads, and with a reserve commits and new topics, while producers go on to be refused."""
        broker = self._server.broker
        for number in range(PROBES_WHILE_FULL):
            await self._workload.until_called(20)
            read = await asyncio.to_thread(probe_pull, broker, "probes")
            if read.code != 0:
                self.result.unexpected.append(f"a pull from the full disk got {read}")
            commit = await asyncio.to_thread(_commit, broker, number + 1)
            is_refused = commit.code == ResponseCode.SERVICE_NOT_AVAILABLE
            if commit.code != 0 and (self._plan.has_reserve or not is_refused):
                self.result.unexpected.append(f"a commit on the full disk got {commit}")

    async def _until_taken_again(self) -> None:
        began = time.monotonic()
        for _ in retries(RESUME_SECONDS * 5):
            answer = await asyncio.to_thread(probe_send, self._server.broker, "probes")
            if answer.code == 0:
                self.result.resumed_seconds = time.monotonic() - began
                return


def _commit(broker: str, offset: int) -> Answer:
    fields = {"consumerGroup": "probes", "topic": "probes", "queueId": "0"}
    fields["commitOffset"] = str(offset)
    return ask(broker, RequestCode.UPDATE_CONSUMER_OFFSET, fields)


async def run(folder: Path, plan: Plan, chance: random.Random) -> FullResult:
    """One run, in an empty folder; raises CannotMount."""
    with mounted(folder / "disk", plan.size_mib, plan.kind) as disk:
        ballast = disk.take("ballast", BALLAST_BYTES)
        one = _Run(disk.path / "store", plan, chance)
        await one.carry_out(ballast, disk.free_bytes)
    one.result.violations = check(one.result.history)
    return one.result


__all__ = ["FullResult", "Moment", "Plan", "any_plan", "run"]
