"""A disk that fails where a test says, and a loop that turns when a test says."""

from __future__ import annotations

import errno
import os
import queue
import threading
from collections.abc import Callable
from pathlib import Path

from pyromq.store.files import Files

WAIT_S = 10


class FaultyFiles(Files):
    """The real files with planned failures; `boot` stands for the machine's boot id."""

    def __init__(self, boot: str = "boot-1") -> None:
        self.boot = boot
        self.calls: list[str] = []
        self.open_fds: set[int] = set()
        self._unsynced: dict[int, int] = {}
        self._faults: dict[str, tuple[int, Exception]] = {}
        self._short_writes: list[int] = []
        self.never_taken: dict[str, int] = {}
        """File name → bytes at its end that are gone once the kernel's copy is dropped."""
        self._sync_gate: threading.Event | None = None
        self._sync_entered = threading.Event()

    def fail(
        self,
        operation: str,
        *,
        after: int = 0,
        code: int = errno.EIO,
        error: Exception | None = None,
    ) -> None:
        """The operation fails once, after `after` more calls that succeed: with the disk's `code`,
        or with `error` as if the program had a fault."""
        self._faults[operation] = (after, error or OSError(code, os.strerror(code)))

    def shorten_next_write(self, size: int) -> None:
        """The next write takes only `size` bytes."""
        self._short_writes.append(size)

    def unsynced_size(self) -> int:
        """Bytes a power cut might take: written and not synced since."""
        return sum(self._unsynced.values())

    def hold_syncs(self) -> threading.Event:
        """Syncs wait until the returned event is set."""
        self._sync_gate = threading.Event()
        self._sync_entered.clear()
        return self._sync_gate

    def wait_for_sync(self) -> None:
        """Returns when a sync runs that `hold_syncs` holds."""
        assert self._sync_entered.wait(WAIT_S), "nobody syncs"

    def abandon(self) -> None:
        """What the kernel does for a killed process: closes its files."""
        for fd in list(self.open_fds):
            self.close(fd)

    def _note(self, operation: str) -> None:
        self.calls.append(operation)
        fault = self._faults.get(operation)
        if fault is not None:
            calls_left, error = fault
            if calls_left <= 0:
                del self._faults[operation]
                raise error
            self._faults[operation] = (calls_left - 1, error)

    def boot_id(self) -> str:
        return self.boot

    def read(self, path: Path) -> bytes:
        self._note("read")
        return super().read(path)

    def open(self, path: Path) -> int:
        self._note("open")
        fd = super().open(path)
        self.open_fds.add(fd)
        return fd

    def close(self, fd: int) -> None:
        self.open_fds.discard(fd)  # what is not synced by now stays unsynced
        self._unsynced[-len(self.calls)] = self._unsynced.pop(fd, 0)
        super().close(fd)

    def write(self, fd: int, data: bytes | memoryview) -> int:
        self._note("write")
        if self._short_writes:
            data = data[: self._short_writes.pop(0)]
        size = super().write(fd, data)
        self._unsynced[fd] = self._unsynced.get(fd, 0) + size
        return size

    def sync(self, fd: int) -> None:
        covered = self._unsynced.get(fd, 0)  # what is written from now on waits for the next
        self._sync_entered.set()
        if self._sync_gate is not None:
            assert self._sync_gate.wait(WAIT_S), "the test never let the sync go on"
        self._note("sync")
        self._unsynced[fd] = self._unsynced.get(fd, 0) - covered

    def drop_cache(self, path: Path) -> None:
        self._note("drop_cache")
        lost = self.never_taken.get(path.name)
        if lost is not None:
            os.truncate(path, path.stat().st_size - lost)

    def truncate(self, fd: int, size: int) -> None:
        self._note("truncate")
        super().truncate(fd, size)

    def rename(self, source: Path, target: Path) -> None:
        self._note("rename")
        super().rename(source, target)

    def remove(self, path: Path) -> None:
        self._note("remove")
        super().remove(path)

    def sync_directory(self, directory: Path) -> None:
        self._note("sync_directory")


class HandLoop:
    """Takes what threads want called on the loop; `turn_until` calls it here."""

    def __init__(self) -> None:
        self._calls: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()

    def call_on_loop(self, call: Callable[[], None]) -> None:
        self._calls.put(call)

    def turn_until(self, is_reached: Callable[[], bool]) -> None:
        """Runs calls until the condition holds; fails if none comes for long."""
        while not is_reached():
            self._calls.get(timeout=WAIT_S)()


__all__ = ["FaultyFiles", "HandLoop"]
