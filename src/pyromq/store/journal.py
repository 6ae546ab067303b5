"""The metadata journal: a checked, numbered sequence of changes, appended and synced like the log.

    appended ≥ written ≥ durable          commit = written (ASYNC_FLUSH) or durable (SYNC_FLUSH)

`append` numbers a change in memory, `write` puts the changes of one loop turn into the file with
one write, a thread syncs and announces it. A reply that depends on a change waits until `commit`
has reached its sequence. The first failed write or sync makes the journal read-only for good: a
sync that failed once may report success the second time although the bytes are gone.

A full disk is not a failure of that kind: the journal takes no changes while it lasts, and goes on
by itself. What the write left is cut off again. The changes it should have written were refused,
but the tables show them already, so they are kept and written first when there is space.

When the file has grown large, the thread prepares the journal of the next generation; the loop goes
over to it at the end of a turn and hands the thread a copy of the tables as they are right then:
the next generation's snapshot. See `recovery` for how they are read back.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from pyromq import __version__
from pyromq.errors import StoreFailed
from pyromq.store import journal_format as form
from pyromq.store.changes import Change, Closed, Opened
from pyromq.store.failed_sync import note_failed_sync
from pyromq.store.files import Files, replace_file, write_all
from pyromq.store.journal_thread import CallOnLoop, JournalThread
from pyromq.store.recovery import Recovered, journal_path, remove_superseded, snapshot_path
from pyromq.store.tables import Tables
from pyromq.units import MIB, SECOND_MS

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
JOURNAL_SIZE_MIN: Final = 2 * MIB
"""Below this no new generation is begun: reading it back takes a fraction of a second."""

_log = logging.getLogger(__name__)


class JournalPositions(NamedTuple):
    """How far the journal has come: the sequence of the last change in each state."""

    appended: int
    written: int
    durable: int
    commit: int


class Journal:
    """Changes on disk. All methods are called on the loop thread."""

    def __init__(
        self,
        directory: Path,
        files: Files,
        recovered: Recovered,
        *,
        sync_flush: bool,
        flush_interval_ms: int = 500,
        size_min: int = JOURNAL_SIZE_MIN,
    ) -> None:
        """Goes on where `recovered` ends. `flush_interval_ms` counts with ASYNC_FLUSH only."""
        self._directory = directory
        self._files = files
        self._sync_flush = sync_flush
        self._flush_interval_ms = flush_interval_ms
        self._size_min = size_min
        self._copy_tables: Callable[[], Tables] = Tables
        self._encoder = msgspec.msgpack.Encoder()
        self._boot = form.boot_mark(files.boot_id())

        self._appended = self._written = self._durable = recovered.sequence
        self._turn: list[bytes] = []
        """Entries appended since the last write."""
        self._failure: str | None = None
        self._unwritten: bytes | None = None
        """Entries that found the disk full; None while none did."""
        self._is_closed = False
        self._callbacks: list[Callable[[], None]] = []
        self._waiters: list[tuple[int, asyncio.Future[None]]] = []

        self._generation = recovered.journal_generation
        self._size = recovered.journal_size
        self._size_limit = max(size_min, recovered.snapshot_size)
        """A journal larger than its snapshot (and than `size_min`) is worth a new generation."""
        self._prepared_fd: int | None = None
        """Journal of the next generation, as soon as the thread has made it."""
        self._is_generation_due = False
        """From asking for a new generation to its snapshot's end."""

        self._thread = JournalThread("pyromq-metadata")
        self._hurry = threading.Event()
        self._is_syncing = False
        self._fd = self._open_synced(recovered)
        self._older_fds: list[tuple[int, int]] = []
        """Journals of earlier generations that may need a sync, each with its last sequence."""
        self._mark: tuple[tuple[int, ...], int] = ((), 0)
        """What the thread shall sync, and how far that goes; replaced whole, never changed."""
        self._synced_to = self._durable
        """Written by the thread before it reports, read by the loop after."""
        self._sync_error: BaseException | None = None
        """Likewise; `close` may come before the report."""

        self.append(Opened(__version__))
        self.write()

    def _open_synced(self, recovered: Recovered) -> int:
        """The newest journal, open, and all synced that a killed process may have left unsynced:
        what the next entries call durable must be so, and so must the names of the files that
        are believed, before an older generation goes."""
        numbers = range(recovered.snapshot_generation, recovered.journal_generation + 1)
        fds = [self._files.open(journal_path(self._directory, number)) for number in numbers]
        try:
            for fd in fds:
                self._files.sync(fd)
            self._files.sync_directory(self._directory)
        except OSError as error:
            note_failed_sync(self._directory, self._files, error)
            raise
        for fd in fds[:-1]:
            self._files.close(fd)
        remove_superseded(self._directory, self._files, recovered.snapshot_generation)
        return fds[-1]

    def start(self, call_on_loop: CallOnLoop, copy_tables: Callable[[], Tables]) -> None:
        """Starts the thread. `copy_tables` gives the tables as they are, for a snapshot."""
        self._copy_tables = copy_tables
        self._thread.start(call_on_loop)

    # --- append, write --------------------------------------------------------------------------

    def append(self, change: Change) -> int:
        """Numbers a change. Raises StoreFailed if the journal is read-only."""
        if self._failure is not None:
            raise StoreFailed(self._failure)
        payload = self._encoder.encode(change)
        self._appended += 1
        self._turn.append(form.encode_entry(self._appended, self._durable, self._boot, payload))
        return self._appended

    def write(self) -> None:
        """Ends a turn: one write of all changes since the last. Raises StoreFailed if it fails;
        then nothing behind `written` will ever be, and the journal is read-only."""
        if not self._turn:
            return
        data = b"".join(self._turn)
        self._turn.clear()
        if self._failure is not None:
            raise StoreFailed(self._failure)
        try:
            write_all(self._files, self._fd, data)
        except OSError as error:
            self._written_in_part(error, data)
            raise StoreFailed(self._failure) from error
        except Exception as error:
            # Also a fault of ours ends it: a journal must not go on behind a gap.
            self._appended = self._written
            self._fail(f"the metadata journal could not be written: {_reason(error)}")
            raise StoreFailed(self._failure) from error
        self._was_written(data)

    def _was_written(self, data: bytes) -> None:
        self._written = self._appended
        self._size += len(data)
        self._set_mark()
        self._sync_soon()
        if self._prepared_fd is not None:
            self._begin_generation(self._prepared_fd)
        elif self._size >= self._size_limit and not self._is_generation_due:
            self._prepare_generation()

    def _written_in_part(self, error: OSError, data: bytes) -> None:
        reason = f"the metadata journal could not be written: {_reason(error)}"
        if error.errno not in _FULL:
            self._appended = self._written
            self._fail(reason)
            return
        self._unwritten = data
        self._failure = f"{reason}; it goes on by itself when there is space"
        _log.error("%s", self._failure)
        self._cut_back()

    def _cut_back(self) -> bool:
        """Takes off the file what a write left behind its last whole entry."""
        try:
            self._files.truncate(self._fd, self._size)
        except OSError as error:
            self._fail(f"the metadata journal could not be cut back: {_reason(error)}")
            return False
        return True

    def resume(self) -> bool:
        """Goes on after a full disk, if that is what stopped it and there is space now. Returns
        whether it did."""
        data = self._unwritten
        if data is None or self._is_closed or self._sync_error is not None:
            return False
        try:
            write_all(self._files, self._fd, data)
        except OSError as error:
            if self._cut_back() and error.errno not in _FULL:
                self._fail(f"the metadata journal could not be written: {_reason(error)}")
            return False
        self._unwritten = self._failure = None
        _log.warning("the metadata journal goes on: there is space again")
        self._was_written(data)
        return True

    def positions(self) -> JournalPositions:
        commit = self._durable if self._sync_flush else self._written
        return JournalPositions(self._appended, self._written, self._durable, commit)

    def failure(self) -> str | None:
        """Why the journal takes no changes, or None while it is well."""
        return self._failure

    def is_full(self) -> bool:
        """Whether it is a full disk that keeps it from taking changes: that passes."""
        return self._unwritten is not None

    def _final_failure(self) -> str | None:
        """As `failure`, but not for a full disk: what was written before is synced all the same."""
        return None if self._unwritten is not None else self._failure

    def on_progress(self, callback: Callable[[], None]) -> None:
        """Registers what is called on the loop after `durable` moved, or a sync failed."""
        self._callbacks.append(callback)

    async def durable(self, sequence: int) -> None:
        """Waits until that change is synced, whatever the flush mode. Raises StoreFailed."""
        assert sequence <= self._written, "wait for what was written"
        failure = self._final_failure()
        if failure is not None:
            raise StoreFailed(failure)
        if sequence <= self._durable:
            return
        self._hurry.set()
        future = asyncio.get_running_loop().create_future()
        self._waiters.append((sequence, future))
        await future

    def _fail(self, reason: str) -> None:
        _log.error("%s; metadata is read-only from now on", reason)
        if self._unwritten is not None:
            self._unwritten = None
            self._appended = self._written
        self._failure = reason
        self._release_waiters()

    def _fail_sync(self, error: BaseException) -> None:
        self._fail(f"the metadata journal could not be synced: {_reason(error)}")

    def _release_waiters(self) -> None:
        waiting = []
        for sequence, future in self._waiters:
            if future.done():
                continue
            failure = self._final_failure()
            if failure is not None:
                future.set_exception(StoreFailed(failure))
            elif sequence <= self._durable:
                future.set_result(None)
            else:
                waiting.append((sequence, future))
        self._waiters = waiting

    # --- sync -----------------------------------------------------------------------------------

    def _sync_soon(self) -> None:
        if self._is_syncing or self._final_failure() is not None:
            return
        if self._durable < self._written:
            self._is_syncing = True
            self._thread.hand_over(self._sync, self._sync_done)

    def _set_mark(self) -> None:
        self._mark = ((*(fd for fd, _ in self._older_fds), self._fd), self._written)

    def _sync(self) -> None:
        """On the thread. What is written while it waits or syncs shares the next sync."""
        if not self._sync_flush:
            self._hurry.wait(self._flush_interval_ms / SECOND_MS)
            self._hurry.clear()
        fds, sequence = self._mark
        try:
            for fd in fds:
                self._files.sync(fd)
        except BaseException as error:
            note_failed_sync(self._directory, self._files, error)
            self._sync_error = error
            raise
        self._synced_to = sequence

    def _sync_done(self, error: BaseException | None) -> None:
        if self._is_closed:
            return
        self._is_syncing = False
        if error is not None:
            self._fail_sync(error)
        elif self._final_failure() is None:
            self._durable = self._synced_to
            self._close_outgrown()
            self._release_waiters()
            self._sync_soon()
        for callback in self._callbacks:
            callback()

    def _close_outgrown(self) -> None:
        """Journals of earlier generations need no sync any more once their last change had one.
        No sync runs now, so none uses them."""
        for fd, last_sequence in self._older_fds:
            if last_sequence <= self._durable:
                self._files.close(fd)
        self._older_fds = [(fd, last) for fd, last in self._older_fds if last > self._durable]
        self._set_mark()

    # --- generations ----------------------------------------------------------------------------

    def _prepare_generation(self) -> None:
        self._is_generation_due = True
        generation = self._generation + 1
        fds: list[int] = []

        def prepare() -> None:
            path = journal_path(self._directory, generation)
            replace_file(self._files, path, form.encode_header(form.JOURNAL_MAGIC, generation))
            fds.append(self._files.open(path))

        def prepared(error: BaseException | None) -> None:
            if error is not None:
                self._give_up_generation(f"cannot prepare its journal: {_reason(error)}")
            elif self._is_closed:
                self._files.close(fds[0])
            else:
                self._prepared_fd = fds[0]

        self._hurry.set()
        self._thread.hand_over(prepare, prepared)

    def _begin_generation(self, fd: int) -> None:
        """The tables are now exactly what all earlier journals make of them."""
        self._prepared_fd = None
        self._generation += 1
        self._older_fds.append((self._fd, self._written))
        self._fd = fd
        self._set_mark()
        self._size = form.HEADER_SIZE
        generation, sequence, tables = self._generation, self._written, self._copy_tables()
        sizes: list[int] = []

        def write() -> None:
            size = write_snapshot(self._directory, self._files, generation, tables, sequence)
            sizes.append(size)
            remove_superseded(self._directory, self._files, generation)

        def written(error: BaseException | None) -> None:
            if error is not None:
                self._give_up_generation(f"cannot write its snapshot: {_reason(error)}")
                return
            self._is_generation_due = False
            self._size_limit = max(self._size_min, sizes[0])

        self._hurry.set()
        self._thread.hand_over(write, written)

    def _give_up_generation(self, reason: str) -> None:
        """Nothing is lost by it: the journals so far hold everything. Tried again when larger."""
        _log.error("no new generation of the metadata: %s", reason)
        self._is_generation_due = False
        self._size_limit = self._size + self._size_min

    # --- close ----------------------------------------------------------------------------------

    def close(self) -> None:
        """Writes and syncs what there is, marks the clean end. Waits for the disk."""
        if self._is_closed:
            return
        try:
            self.resume()
            self.write()
        finally:
            self._hurry.set()
            self._thread.stop()
            self._is_closed = True
            if self._failure is None and self._sync_error is not None:
                self._fail_sync(self._sync_error)
            try:
                if self._failure is None:
                    self._finish()
            finally:
                for fd in (*(fd for fd, _ in self._older_fds), self._fd):
                    self._files.close(fd)
                if self._prepared_fd is not None:
                    self._files.close(self._prepared_fd)
                self._unwritten = None
                self._failure = self._failure or "the metadata journal is closed"
                self._release_waiters()

    def _finish(self) -> None:
        """Syncs twice, so that the end mark can call everything before it durable."""
        try:
            for fd in (*(fd for fd, _ in self._older_fds), self._fd):
                self._files.sync(fd)
            self._durable = self._written
            self.append(Closed())
            write_all(self._files, self._fd, b"".join(self._turn))
            self._turn.clear()
            self._files.sync(self._fd)
        except OSError as error:
            note_failed_sync(self._directory, self._files, error)
            self._fail(f"the metadata journal could not be closed: {error.strerror}")
            raise StoreFailed(self._failure) from error
        self._written = self._durable = self._appended


def _reason(error: BaseException) -> str:
    """What the disk said; a fault of ours is shown with where it happened."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    _log.error("a fault on the thread of the metadata journal", exc_info=error)
    return repr(error)


def write_snapshot(
    directory: Path, files: Files, generation: int, tables: Tables, sequence: int
) -> int:
    """Puts all tables, as they are after change `sequence`, into one file; returns its size."""
    payload = msgspec.msgpack.encode(tables)
    data = form.encode_header(form.SNAPSHOT_MAGIC, generation)
    data += form.encode_entry(sequence, sequence, form.boot_mark(files.boot_id()), payload)
    replace_file(files, snapshot_path(directory, generation), data)
    return len(data)


def begin_generation(
    directory: Path, files: Files, generation: int, tables: Tables, sequence: int
) -> Recovered:
    """An empty journal and its snapshot, made at start, before there is a loop to keep waiting."""
    files.make_directory(directory)
    files.sync_directory(directory.parent)
    header = form.encode_header(form.JOURNAL_MAGIC, generation)
    replace_file(files, journal_path(directory, generation), header)
    size = write_snapshot(directory, files, generation, tables, sequence)
    return Recovered(tables, sequence, generation, size, generation, len(header), [])


__all__ = [
    "JOURNAL_SIZE_MIN",
    "Journal",
    "JournalPositions",
    "begin_generation",
    "write_snapshot",
]
