"""A broker that dies, or is refused something, exactly at one persistence step after another.

A *leg* is one life of a process with one point armed. Legs of a chain share one store and one load,
each is started at once when the one before has died, and at the end the whole history is judged.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.support.checker import Violation, check
from tests.support.failpoint_build import native_module
from tests.support.failpoint_files import (
    GATE_VARIABLE,
    PROJECTION_VARIABLE,
    RULES_VARIABLE,
    TRAIL_VARIABLE,
)
from tests.support.history import History, Instant, Outcome, Queue, Uptime
from tests.support.kill_run import SETTINGS
from tests.support.processes import ServerFailed
from tests.support.pyromq_server import PyromqServer
from tests.support.workload import Workload

REACH_SECONDS: Final = 30.0
"""How long the load goes on until a point must have been reached."""
KILL: Final = "kill"
PLACES: Final = ("before", "within", "after")
LAZY_MS: Final = 60_000
SEGMENT_SIZE: Final = 128 * 1024
_SMALL: Final = {**SETTINGS, "mappedFileSizeCommitLog": SEGMENT_SIZE, "maxIndexNum": 500}


@dataclass(frozen=True)
class Leg:
    """How a step is brought about."""

    step: str
    """Phase, kind of file, operation: `run.log.sync`."""
    prepare: Callable[[Path], None] | None = None
    """Done to the store before the start."""
    also: tuple[str, ...] = ()
    """Further rules: a step that follows an error needs the error first."""
    trigger: Callable[[str, Path], None] | None = None
    """Asked of the running broker: its address, the store."""
    settings: Mapping[str, object] = field(default_factory=dict)
    is_lazy: bool = False
    """What follows from log and journal is not written before a clean stop, which has all to do."""
    hit: int = 1
    """The how-manieth time."""
    place: str | None = None
    """The only place, where a later leg goes on from there."""
    after_sends: int = 0
    """Hits count when so many messages were acknowledged: until then queues may be rebuilt."""
    sends: int = 20
    """Acknowledged messages before a clean stop, where the step is one of it."""
    is_after_stop: bool = False
    """The step comes only in a start after a clean stop, which is made first."""
    is_for_kills: bool = False
    """A process that came further than this step would serve a damaged log."""
    has_load: bool = True
    """Without, the broker is left alone: the step comes by itself."""
    goes_on: bool = False
    """It needs what the leg before it leaves: the two are tried together."""
    is_needed: bool = False
    """Later legs of the chain need what it leaves."""

    @property
    def phase(self) -> str:
        return self.step.split(".")[0]

    @property
    def places(self) -> tuple[str, ...]:
        if self.place is not None:
            return (self.place,)
        is_write = self.step.endswith(".write")
        return PLACES if is_write else ("before", "after")


@dataclass(frozen=True)
class Shot:
    """A leg with what shall happen in it."""

    leg: Leg
    place: str
    hit: int | None = None
    """The how-manieth time; None: as the leg says."""
    action: str = KILL

    @property
    def point(self) -> str:
        return f"{self.leg.step}.{self.place}"

    def __str__(self) -> str:
        return f"{self.point}={self.hit or self.leg.hit}:{self.action}"


@dataclass
class ChainResult:
    """What the legs of a chain brought."""

    history: History
    violations: list[Violation] = field(default_factory=list)
    not_reached: list[str] = field(default_factory=list)
    """Points at which nothing happened."""
    unlisted: set[str] = field(default_factory=set)
    """Steps that processes did and nobody listed."""
    reached: set[str] = field(default_factory=set)
    """Every point that any process came by."""
    hit_count: int = 0

    def __str__(self) -> str:
        acknowledged = sum(sent.outcome is Outcome.OK for sent in self.history.sent)
        return (
            f"{self.hit_count} points hit, {len(self.not_reached)} not reached, "
            f"{acknowledged} acknowledged, {len(self.violations)} violations"
        )


class _Chain:
    def __init__(self, root: Path, mode: str, workload: Workload) -> None:
        self._root = root
        self._mode = mode
        self._workload = workload
        self._is_prepared = False
        self._has_begun = False
        self._number = 0
        self._current: PyromqServer | None = None
        self.result = ChainResult(self._workload.history)

    def _server(self, leg: Leg | None = None, rules: Sequence[str] = ()) -> PyromqServer:
        self._number += 1
        settings = {"flushDiskType": self._mode, **_SMALL}
        environment = {RULES_VARIABLE: ";".join(rules), TRAIL_VARIABLE: str(self._trail)}
        if leg is not None:
            settings |= leg.settings
        if leg is not None and leg.after_sends:
            environment[GATE_VARIABLE] = str(self._gate)
        if leg is not None and leg.is_lazy:
            settings["flushIntervalConsumeQueue"] = LAZY_MS
            environment[PROJECTION_VARIABLE] = str(LAZY_MS)
        words = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
        arguments = ["standalone", "--data-dir", self._root, "--namesrv-port", 0]
        return PyromqServer(
            *[*arguments, "--broker-port", 0, *words],
            program=("tests.support.failpoint_main", str(native_module())),
            environment=environment,
        )

    @property
    def _trail(self) -> Path:
        return self._root.with_name(f"{self._root.name}.trail-{self._number}")

    @property
    def _gate(self) -> Path:
        return self._root.with_name(f"{self._root.name}.gate-{self._number}")

    def _lines(self) -> list[str]:
        return self._trail.read_text().splitlines() if self._trail.exists() else []

    async def _begin(self, server: PyromqServer) -> None:
        """The server is up; raises ServerFailed if it died on the way."""
        self._current = server
        await asyncio.to_thread(server.start)
        self._workload.history.uptimes.append(Uptime(Instant.now()))
        self._workload.moved(server.broker)

    async def _load(self) -> None:
        """Whoever is not prepared yet tries to be: the broker may die meanwhile."""
        if not self._is_prepared:
            with contextlib.suppress(AssertionError):
                await self._workload.prepare()
                self._is_prepared = True
        if self._is_prepared and not self._has_begun:
            self._workload.start()
            self._has_begun = True

    async def _end(self) -> None:
        self._workload.down()
        current, self._current = self._current, None
        if current is not None:
            await asyncio.to_thread(current.kill)
        uptimes, now = self._workload.history.uptimes, Instant.now()
        if uptimes and uptimes[-1].ended is None:
            uptimes[-1].ended = now
        else:
            uptimes.append(Uptime(now, now))  # a start that was no more
        self._workload.raise_failures()

    async def _serve_and_stop(self) -> None:
        server = self._server()
        await self._begin(server)
        await self._load()
        await self._workload.until_sent(5)
        self._workload.down()
        self._workload.history.uptimes[-1].ended = Instant.now()
        self._current = None
        await asyncio.to_thread(server.stop)
        self._note_trail()

    async def shoot(self, shot: Shot) -> None:
        """Once more where nobody came by: a log that has just begun a segment, say, has nothing
        there to make checksums of."""
        if await self._try(shot):
            self.result.hit_count += 1
            return
        if shot.action == KILL and shot.hit is None:
            await self._serve_and_kill()
            if await self._try(shot):
                self.result.hit_count += 1
                return
        self.result.not_reached.append(str(shot))

    async def _serve_and_kill(self) -> None:
        try:
            await self._begin(self._server())
            await self._load()
            await self._workload.until_sent(5)
        finally:
            await self._end()
        self._note_trail()

    async def _try(self, shot: Shot) -> bool:
        """Whether the process came to the point."""
        leg = shot.leg
        if leg.is_after_stop:
            await self._serve_and_stop()
        if leg.prepare is not None:
            leg.prepare(self._root)
        server = self._server(leg, [*leg.also, str(shot)])
        try:
            with contextlib.suppress(ServerFailed):  # it died in its start, as it may
                await self._begin(server)
                await self._live(server, shot)
        finally:
            await self._end()
        self._note_trail()
        return any(line.startswith(f"hit {shot.point} ") for line in self._lines())

    async def _live(self, server: PyromqServer, shot: Shot) -> None:
        leg = shot.leg
        process = server.process
        if leg.has_load:
            await self._load()
        if leg.after_sends:
            await self._workload.until_sent(leg.after_sends)
            self._gate.touch()
        if leg.phase == "start" and shot.action == KILL:
            return  # it serves, so what was to happen in its start did not
        if leg.trigger is not None:
            with contextlib.suppress(OSError, ServerFailed):
                await asyncio.to_thread(leg.trigger, server.broker, self._root)
        if leg.phase == "stop" and process.exit_code is None:
            await self._workload.until_sent(leg.sends)
            self._workload.down()
            process.terminate()
        if shot.action == KILL or leg.phase == "stop":
            await asyncio.to_thread(process.await_exit, REACH_SECONDS)
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(REACH_SECONDS):
                # Another process writes the trail: there is no event to wait for.
                while process.exit_code is None and not self._was_hit():  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
        if process.exit_code is None and leg.has_load:
            await self._workload.until_called(50)

    def _was_hit(self) -> bool:
        return any(line.startswith("hit ") for line in self._lines())

    def _note_trail(self) -> None:
        for line in self._lines():
            if line.startswith("unlisted "):
                self.result.unlisted.add(line.removeprefix("unlisted "))
            elif not line.startswith("hit "):
                self.result.reached.add(line)

    async def finish(self) -> None:
        """A process without points armed; everything is read and judged."""
        await self._begin(self._server())
        await self._load()
        await self._workload.until_sent(50)
        await self._workload.finish()
        await self._workload.close()
        assert self._current is not None
        await asyncio.to_thread(self._current.stop)
        self._current = None
        self._note_trail()
        history = self._workload.history
        _forget_removed(history)
        self.result.violations = check(history)

    async def close(self) -> None:
        await self._workload.close()
        if self._current is not None:
            self._current.kill()


def _forget_removed(history: History) -> None:
    """What lay before a queue's first place is not asked for: its segments were removed."""
    lows = {queue: low for queue, (low, _) in history.ranges.items()}

    def is_kept(queue: Queue, queue_offset: int | None) -> bool:
        return queue_offset is None or queue_offset >= lows.get(queue, 0)

    history.sent = [sent for sent in history.sent if is_kept(sent.queue, sent.queue_offset)]
    history.delivered = [
        got for got in history.delivered if is_kept(got.what.queue, got.what.queue_offset)
    ]


def part_of(legs: Sequence[Leg], part: int, parts: int) -> list[Leg]:
    """Every `parts`-th group of legs that belong together, from group `part` on, and what all
    need. The parts together are the chain."""
    chosen: list[Leg] = []
    group = -1
    for leg in legs:
        group += not leg.goes_on
        if leg.is_needed or group % parts == part:
            chosen.append(leg)
    return chosen


async def run_chain(
    root: Path,
    mode: str,
    shots: Sequence[Shot],
    chance: random.Random,
    *,
    has_delays: bool = True,
) -> ChainResult:
    """One store through all these ends, and the judgement on what its clients saw."""
    chain = _Chain(root, mode, Workload(chance, has_delays=has_delays))
    try:
        for shot in shots:
            await chain.shoot(shot)
        await chain.finish()
    finally:
        await chain.close()
    for kind in ("trail", "gate"):
        for file in root.parent.glob(f"{root.name}.{kind}-*"):
            file.unlink()
    shutil.rmtree(root)
    return chain.result


def kill_at(leg: Leg, place: str) -> Shot:
    """SIGKILL the first time a step comes there, or before it where it has no such place."""
    return Shot(leg, place if place in leg.places else leg.places[0])


def any_shot(leg: Leg, chance: random.Random) -> Shot:
    """Anything at one of the places of a step, at some time that may never come."""
    if leg.is_for_kills:
        return kill_at(leg, chance.choice(PLACES))
    hit = leg.hit if leg.phase == "start" else leg.hit + chance.choice((0, 0, 0, 1, 2, 5))
    action = chance.choices((KILL, "EIO", "ENOSPC", "delay-300"), (6, 2, 1, 1))[0]
    return Shot(leg, chance.choice(leg.places), hit, action)


__all__ = [
    "KILL",
    "SEGMENT_SIZE",
    "ChainResult",
    "Leg",
    "Shot",
    "any_shot",
    "kill_at",
    "part_of",
    "run_chain",
]
