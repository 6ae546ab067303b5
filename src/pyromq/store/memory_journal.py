"""The memory twin of the metadata journal: numbers changes, keeps none.

For tests that need no disk. `flush` is what the sync thread of the other does.
"""

from __future__ import annotations

from collections.abc import Callable

from pyromq.errors import StoreFailed
from pyromq.store.changes import Change
from pyromq.store.journal import JournalPositions
from pyromq.store.journal_thread import CallOnLoop
from pyromq.store.tables import Tables


class MemoryJournal:
    """Same positions and failures as `Journal`."""

    def __init__(self, *, sync_flush: bool) -> None:
        self._sync_flush = sync_flush
        self._appended = self._written = self._durable = 0
        self._failure: str | None = None
        self._next_failure: str | None = None
        self._callbacks: list[Callable[[], None]] = []

    def start(self, call_on_loop: CallOnLoop, copy_tables: Callable[[], Tables]) -> None:
        del call_on_loop, copy_tables

    def append(self, change: Change) -> int:
        del change
        if self._failure is not None:
            raise StoreFailed(self._failure)
        self._appended += 1
        return self._appended

    def write(self) -> None:
        if self._written == self._appended:
            return
        self._failure = self._failure or self._next_failure
        if self._failure is not None:
            self._appended = self._written
            raise StoreFailed(self._failure)
        self._written = self._appended

    def flush(self) -> None:
        """Makes durable what was written and announces it."""
        if self._failure is None:
            self._durable = self._written
        for callback in self._callbacks:
            callback()

    def fail_next_write(self, reason: str) -> None:
        self._next_failure = reason

    def positions(self) -> JournalPositions:
        commit = self._durable if self._sync_flush else self._written
        return JournalPositions(self._appended, self._written, self._durable, commit)

    def failure(self) -> str | None:
        return self._failure

    def is_full(self) -> bool:
        return False

    def resume(self) -> bool:
        return False

    def on_progress(self, callback: Callable[[], None]) -> None:
        self._callbacks.append(callback)

    async def durable(self, sequence: int) -> None:
        if self._failure is not None:
            raise StoreFailed(self._failure)
        assert sequence <= self._written, "wait for what was written"
        self.flush()

    def close(self) -> None:
        self.write()
        self.flush()
        self._failure = self._failure or "the metadata journal is closed"


__all__ = ["MemoryJournal"]
