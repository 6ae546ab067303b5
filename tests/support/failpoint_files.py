"""Failpoints of the metadata's files: the same points, rules and trail as the engine's.

`rmqlog/src/failpoints.rs` tells what a point is and what the variables mean. Here a `Files` takes
the place of the real one: it lives in the test tree, so no installed server can be given it.
"""

from __future__ import annotations

import errno
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, NamedTuple, NoReturn, TypeVar

from pyromq.store.failed_sync import NOTE
from pyromq.store.files import Files

RULES_VARIABLE: Final = "RMQLOG_FAILPOINTS"
TRAIL_VARIABLE: Final = "RMQLOG_FAILPOINTS_TRAIL"
GATE_VARIABLE: Final = "RMQLOG_FAILPOINTS_GATE"
PROJECTION_VARIABLE: Final = "RMQLOG_FAILPOINTS_PROJECTION_MS"
"""Time between two projections, in ms."""
START, RUN, STOP = "start", "run", "stop"

STEPS: Final = frozenset(
    {
        "run.backup.rename",
        "run.cut.remove",
        "run.journal.remove",
        "run.journal.resize",
        "run.journal.sync",
        "run.journal.write",
        "run.metadata.sync_dir",
        "run.metadata_note.create",
        "run.metadata_note.write",
        "run.next_journal.create",
        "run.next_journal.remove_tmp",
        "run.next_journal.rename",
        "run.next_journal.sync",
        "run.next_journal.write",
        "run.projection.create",
        "run.projection.create_dir",
        "run.projection.remove_tmp",
        "run.projection.rename",
        "run.projection.sync",
        "run.projection.sync_dir",
        "run.projection.write",
        "run.snapshot.create",
        "run.snapshot.remove",
        "run.snapshot.remove_tmp",
        "run.snapshot.rename",
        "run.snapshot.sync",
        "run.snapshot.write",
        "start.cut.create",
        "start.cut.remove",
        "start.cut.sync",
        "start.cut.write",
        "start.journal.remove",
        "start.journal.resize",
        "start.journal.sync",
        "start.journal.write",
        "start.metadata.sync_dir",
        "start.metadata_note.create",
        "start.metadata_note.remove",
        "start.metadata_note.write",
        "start.metadata_root.sync_dir",
        "start.next_journal.create",
        "start.next_journal.remove_tmp",
        "start.next_journal.rename",
        "start.next_journal.sync",
        "start.next_journal.write",
        "start.snapshot.create",
        "start.snapshot.remove",
        "start.snapshot.remove_tmp",
        "start.snapshot.rename",
        "start.snapshot.sync",
        "start.snapshot.write",
        "stop.backup.rename",
        "stop.journal.sync",
        "stop.journal.write",
        "stop.metadata_note.create",
        "stop.metadata_note.write",
        "stop.projection.create",
        "stop.projection.create_dir",
        "stop.projection.remove_tmp",
        "stop.projection.rename",
        "stop.projection.sync",
        "stop.projection.sync_dir",
        "stop.projection.write",
    }
)
"""Every step at which the broker's metadata becomes durable: phase, kind of file, operation."""

T = TypeVar("T")


class Rule(NamedTuple):
    name: str
    hit: int
    is_lasting: bool
    action: str

    @classmethod
    def parse(cls, text: str) -> Rule:
        name, _, rest = text.partition("=")
        hit, _, action = rest.partition(":")
        return cls(name, int(hit.rstrip("+")), hit.endswith("+"), action)


class Points:
    """All points of the process's metadata."""

    def __init__(self, environment: Mapping[str, str], steps: frozenset[str] = STEPS) -> None:
        words = environment.get(RULES_VARIABLE, "").split(";")
        self._rules = [Rule.parse(word) for word in words if word]
        self._steps = steps
        self._gate = environment.get(GATE_VARIABLE)
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()
        self.phase = START
        self._trail: int | None = None
        if path := environment.get(TRAIL_VARIABLE):
            self._trail = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC)

    def _note(self, line: str) -> None:
        if self._trail is not None:
            os.write(self._trail, f"{line}\n".encode())

    def reach(self, step: str, place: str) -> None:
        """Counts the point as reached and does what is asked for there; may raise OSError."""
        # The journal's thread runs from the start on and ends in the clean stop: always the same.
        is_thread = threading.current_thread().name == "pyromq-metadata"
        full = f"{RUN if is_thread else self.phase}.{step}"
        name = f"{full}.{place}"
        is_open = self._gate is None or Path(self._gate).exists()
        with self._lock:
            is_first = name not in self._counts
            self._counts[name] += is_open
            count = self._counts[name]
        if is_first:
            self._note(name if full in self._steps else f"unlisted {name}")
        for rule in self._rules:
            is_now = count == rule.hit or (rule.is_lasting and count > rule.hit)
            if rule.name == name and is_open and is_now:
                self._note(f"hit {name} {rule.action}")
                _act(rule.action)

    def step(self, step: str, act: Callable[[], T]) -> T:
        """A step that happens whole or not at all."""
        self.reach(step, "before")
        answer = act()
        self.reach(step, "after")
        return answer


def _act(action: str) -> None:
    if action == "kill":
        _die()
    if action.startswith("delay-"):
        time.sleep(int(action.removeprefix("delay-")) / 1000)  # on purpose: a slow disk
        return
    number = {"EIO": errno.EIO, "ENOSPC": errno.ENOSPC}[action]
    raise OSError(number, os.strerror(number))


def _die() -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    while True:
        signal.pause()


def kind_of(path: Path) -> str:
    """What a file is for the metadata, told by its path alone."""
    name = path.name.removesuffix(".tmp")
    if path.name.endswith(".bak"):
        return "backup"
    if name == NOTE:
        return "metadata_note"
    if ".cut" in name:
        return "cut"
    if name.endswith(".snapshot"):
        return "snapshot"
    if name.endswith(".journal"):
        return "next_journal" if path.name.endswith(".tmp") else "journal"
    return "projection" if name.endswith(".json") else "metadata"


class FailFiles(Files):
    """The real files with a point before and after each step, and within each write."""

    def __init__(self, points: Points) -> None:
        self._points = points
        self._kinds: dict[int, str] = {}

    def make_directory(self, directory: Path) -> None:
        if directory.is_dir():
            return
        kind = "projection" if directory.name == "config" else "metadata"
        self._points.step(
            f"{kind}.create_dir", lambda: super(FailFiles, self).make_directory(directory)
        )

    def open(self, path: Path) -> int:
        kind = kind_of(path)
        if path.exists():
            fd = super().open(path)
        else:
            fd = self._points.step(f"{kind}.create", lambda: super(FailFiles, self).open(path))
        self._kinds[fd] = kind
        return fd

    def write(self, fd: int, data: bytes | memoryview) -> int:
        step = f"{self._kinds[fd]}.write"
        self._points.reach(step, "before")
        half = super().write(fd, memoryview(data)[: len(data) // 2]) if len(data) > 1 else 0
        self._points.reach(step, "within")
        written = half + super().write(fd, memoryview(data)[half:])
        self._points.reach(step, "after")
        return written

    def sync(self, fd: int) -> None:
        self._points.step(f"{self._kinds[fd]}.sync", lambda: super(FailFiles, self).sync(fd))

    def truncate(self, fd: int, size: int) -> None:
        self._points.step(
            f"{self._kinds[fd]}.resize", lambda: super(FailFiles, self).truncate(fd, size)
        )

    def rename(self, source: Path, target: Path) -> None:
        kind = "next_journal" if target.name.endswith(".journal") else kind_of(target)
        self._points.step(f"{kind}.rename", lambda: super(FailFiles, self).rename(source, target))

    def remove(self, path: Path) -> None:
        if path.exists():
            operation = "remove_tmp" if path.name.endswith(".tmp") else "remove"
            step = f"{kind_of(path)}.{operation}"
            self._points.step(step, lambda: super(FailFiles, self).remove(path))

    def sync_directory(self, directory: Path) -> None:
        kind = {"config": "projection", "pyromq": "metadata"}.get(directory.name, "metadata_root")
        self._points.step(
            f"{kind}.sync_dir", lambda: super(FailFiles, self).sync_directory(directory)
        )


__all__ = [
    "GATE_VARIABLE",
    "PROJECTION_VARIABLE",
    "RULES_VARIABLE",
    "RUN",
    "START",
    "STEPS",
    "STOP",
    "TRAIL_VARIABLE",
    "FailFiles",
    "Points",
    "kind_of",
]
