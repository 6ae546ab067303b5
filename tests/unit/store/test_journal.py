"""The journal while it runs: positions, group commit, failures, new generations."""

from __future__ import annotations

import asyncio
import contextlib
import errno
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pyromq.errors import StoreFailed
from pyromq.store.changes import KvPut
from pyromq.store.journal import Journal, begin_generation
from pyromq.store.recovery import Recovered, generations, recover
from pyromq.store.tables import Tables
from tests.support.faulty_files import FaultyFiles, HandLoop


class Running:
    """A started journal with its tables, as Metadata keeps them."""

    def __init__(self, directory: Path, files: FaultyFiles, **options: object) -> None:
        self.files = files
        self.directory = directory
        self.loop = HandLoop()
        recovered = recover(directory, files) or begin_generation(directory, files, 1, Tables(), 0)
        self.recovered: Recovered = recovered
        self.tables = recovered.tables
        kept: dict[str, object] = {"sync_flush": True, **options}
        self.journal = Journal(directory, files, recovered, **kept)  # type: ignore[arg-type]
        self.progress_count = 0
        self.is_killed = False
        self.journal.on_progress(self._count)

    def _count(self) -> None:
        self.progress_count += 1

    def start(self) -> Running:
        self.journal.start(self.loop.call_on_loop, self.tables.copy)
        return self

    def put(self, key: str, value: str = "v") -> int:
        change = KvPut("ns", key, value)
        sequence = self.journal.append(change)
        self.tables.apply(change)
        return sequence

    def wait_durable(self, sequence: int) -> None:
        self.loop.turn_until(lambda: self.journal.positions().durable >= sequence)

    def has_snapshot(self, generation: int) -> bool:
        _, snapshots = generations(self.directory, self.files)
        return snapshots[-1] >= generation and not self.journal._is_generation_due

    def kill(self) -> None:
        """What remains of a process that was killed: the files."""
        self.is_killed = True
        self.journal._thread.stop()
        self.files.abandon()

    def is_idle(self) -> bool:
        """Whether nothing is expected of the thread, or the journal has failed."""
        journal = self.journal
        awaits_generation = journal._is_generation_due and journal._prepared_fd is None
        return journal.failure() is not None or not (journal._is_syncing or awaits_generation)

    def names(self) -> list[str]:
        return [path.name for path in sorted(self.directory.iterdir())]


@pytest.fixture
def files() -> Iterator[FaultyFiles]:
    files = FaultyFiles()
    yield files
    files.abandon()


@pytest.fixture
def run(tmp_path: Path, files: FaultyFiles) -> Iterator[Callable[..., Running]]:
    running: list[Running] = []

    def make(**options: object) -> Running:
        one = Running(tmp_path / "pyromq", files, **options)
        running.append(one)
        return one

    yield make
    for one in running:
        if not one.is_killed:
            one.journal.close()


def test_a_change_is_appended_then_written_then_durable(run: Callable[..., Running]) -> None:
    one = run()
    start = one.journal.positions().written
    sequence = one.put("a")
    assert one.journal.positions() == (sequence, start, 0, 0)
    one.journal.write()
    assert one.journal.positions() == (sequence, sequence, 0, 0)
    one.start().wait_durable(sequence)
    assert one.journal.positions() == (sequence,) * 4
    assert one.progress_count >= 1


def test_with_async_flush_written_is_committed(run: Callable[..., Running]) -> None:
    one = run(sync_flush=False)
    sequence = one.put("a")
    assert one.journal.positions().commit < sequence
    one.journal.write()
    assert one.journal.positions().commit == sequence


def test_one_turn_is_one_write(run: Callable[..., Running], files: FaultyFiles) -> None:
    one = run()
    files.calls.clear()
    for n in range(100):
        one.put(str(n))
    one.journal.write()
    one.journal.write()
    assert files.calls.count("write") == 1


def test_what_is_written_during_a_sync_shares_the_next(
    run: Callable[..., Running], files: FaultyFiles
) -> None:
    one = run().start()
    gate = files.hold_syncs()
    for n in range(50):
        sequence = one.put(str(n))
        one.journal.write()
    gate.set()
    files.calls.clear()
    one.wait_durable(sequence)
    assert files.calls.count("sync") <= 2


def test_durable_is_never_said_of_what_a_running_sync_does_not_cover(
    run: Callable[..., Running], files: FaultyFiles
) -> None:
    one = run()
    gate = files.hold_syncs()
    first = one.put("a")
    one.journal.write()
    one.start()
    files.wait_for_sync()
    last = one.put("b")
    one.journal.write()
    gate.set()
    one.loop.turn_until(lambda: one.progress_count == 1)
    assert one.journal.positions().durable == first
    one.wait_durable(last)
    assert files.unsynced_size() == 0


def test_a_start_syncs_what_a_killed_process_left(
    run: Callable[..., Running], files: FaultyFiles
) -> None:
    one = run()
    one.put("a")
    one.journal.write()
    one.kill()
    files.calls.clear()
    run()
    assert files.calls.index("sync") < files.calls.index("write")


def test_a_short_write_is_continued(run: Callable[..., Running], files: FaultyFiles) -> None:
    one = run()
    one.put("a")
    files.shorten_next_write(5)
    one.journal.write()
    one.journal.close()
    assert recovered_kv(one, files) == {"ns": {"a": "v"}}


def test_a_failed_write_makes_it_read_only_for_good(
    run: Callable[..., Running], files: FaultyFiles
) -> None:
    one = run()
    kept = one.put("kept")
    one.journal.write()
    one.put("lost")
    files.fail("write", code=errno.EIO)
    with pytest.raises(StoreFailed, match="could not be written"):
        one.journal.write()
    assert not one.journal.resume()
    writes = files.calls.count("write")
    with pytest.raises(StoreFailed, match="could not be written"):
        one.put("refused")
    one.journal.write()
    assert files.calls.count("write") == writes
    assert one.journal.positions().written == one.journal.positions().appended == kept
    one.journal.close()
    assert recovered_kv(one, files) == {"ns": {"kept": "v"}}


def journal_size(one: Running) -> int:
    return (one.directory / one.names()[0]).stat().st_size


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_it_goes_on_by_itself_after_a_full_disk(
    run: Callable[..., Running], files: FaultyFiles, code: int
) -> None:
    one = run().start()
    one.put("kept")
    one.journal.write()
    size = journal_size(one)
    one.put("late")
    for _ in range(2):  # the disk is full, and still full when looked at again
        files.shorten_next_write(20)
        files.fail("write", after=1, code=code)
        if one.journal.is_full():
            assert not one.journal.resume()
        else:
            with pytest.raises(StoreFailed, match="goes on by itself"):
                one.journal.write()
        assert one.journal.is_full()
        assert journal_size(one) == size  # nothing incomplete stays
        with pytest.raises(StoreFailed, match="could not be written"):
            one.put("refused")
        one.journal.write()
    assert one.journal.resume()
    assert one.journal.failure() is None
    assert not one.journal.resume()
    sequence = one.put("next")
    one.journal.write()
    one.wait_durable(sequence)
    one.journal.close()
    assert recovered_kv(one, files) == {"ns": {"kept": "v", "late": "v", "next": "v"}}
    assert one.tables.kv == {"ns": {"kept": "v", "late": "v", "next": "v"}}


def test_what_was_written_before_the_disk_was_full_becomes_durable(
    run: Callable[..., Running], files: FaultyFiles
) -> None:
    one = run().start()
    one.loop.turn_until(one.is_idle)
    gate = files.hold_syncs()
    kept = one.put("kept")
    one.journal.write()
    files.wait_for_sync()
    one.put("late")
    files.fail("write", code=errno.ENOSPC)
    with pytest.raises(StoreFailed):
        one.journal.write()
    gate.set()
    one.wait_durable(kept)
    assert one.journal.positions().commit == kept


def test_a_process_killed_while_the_disk_is_full_leaves_whole_entries(
    run: Callable[..., Running], files: FaultyFiles
) -> None:
    one = run()
    one.put("kept")
    one.journal.write()
    one.put("lost")
    files.shorten_next_write(20)
    files.fail("write", after=1, code=errno.ENOSPC)
    with pytest.raises(StoreFailed):
        one.journal.write()
    one.kill()
    again = run()
    assert again.recovered.notes == []
    assert again.tables.kv == {"ns": {"kept": "v"}}


def test_a_write_cut_short_by_a_full_disk_is_cut_off_at_the_next_start(
    run: Callable[..., Running], files: FaultyFiles
) -> None:
    one = run()
    one.put("kept")
    one.journal.write()
    one.put("lost")
    files.shorten_next_write(20)
    files.fail("write", after=1, code=errno.ENOSPC)
    files.fail("truncate")
    with pytest.raises(StoreFailed, match="could not be cut back"):
        one.journal.write()
    assert not one.journal.resume()
    one.journal.close()
    again = run()
    assert again.tables.kv == {"ns": {"kept": "v"}}
    assert len(again.recovered.notes) == 1
    again.put("next")
    again.journal.write()
    again.journal.close()
    assert recovered_kv(again, files) == {"ns": {"kept": "v", "next": "v"}}


def test_a_failed_sync_is_never_tried_again(
    run: Callable[..., Running], files: FaultyFiles
) -> None:
    one = run()
    sequence = one.put("a")
    one.journal.write()
    files.fail("sync")
    files.calls.clear()
    one.start()
    one.loop.turn_until(lambda: one.progress_count == 1)
    assert one.journal.failure() is not None
    assert one.journal.positions().commit < sequence
    with pytest.raises(StoreFailed, match="could not be synced"):
        one.put("b")
    one.journal.close()
    assert files.calls.count("sync") == 1


@pytest.mark.parametrize("operation", ["sync", "write"])
def test_a_fault_of_ours_fails_it_as_a_bad_disk_does(
    run: Callable[..., Running],
    files: FaultyFiles,
    operation: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    one = run().start()
    one.loop.turn_until(lambda: not one.journal._is_syncing)
    kept = one.journal.positions().commit
    files.fail(operation, error=ZeroDivisionError("a fault of ours"))
    one.put("a")
    with contextlib.suppress(StoreFailed):
        one.journal.write()
    one.loop.turn_until(one.is_idle)
    assert "a fault of ours" in (one.journal.failure() or "")
    assert one.journal.positions().commit == kept
    with pytest.raises(StoreFailed):
        one.put("b")
    assert any(record.exc_info for record in caplog.records)


def test_a_sync_that_fails_during_close_is_not_tried_again_either(
    run: Callable[..., Running], files: FaultyFiles
) -> None:
    one = run().start()
    one.loop.turn_until(lambda: not one.journal._is_syncing)
    gate = files.hold_syncs()
    sequence = one.put("a")
    one.journal.write()
    files.wait_for_sync()
    files.calls.clear()
    files.fail("sync")
    gate.set()
    one.journal.close()
    assert one.journal.positions().durable < sequence
    assert "could not be synced" in (one.journal.failure() or "")
    assert files.calls.count("sync") == 1
    assert not files.open_fds


async def test_waiting_for_durable_ends_with_it_or_with_the_failure(
    run: Callable[..., Running], files: FaultyFiles
) -> None:
    one = run(sync_flush=False, flush_interval_ms=3_600_000)
    one.journal.start(asyncio.get_running_loop().call_soon_threadsafe, one.tables.copy)
    sequence = one.put("a")
    one.journal.write()
    await one.journal.durable(sequence)  # does not wait out the flush interval
    assert one.journal.positions().durable == sequence
    await one.journal.durable(sequence)
    later = one.put("b")
    one.journal.write()
    files.fail("sync")
    with pytest.raises(StoreFailed):
        await one.journal.durable(later)
    with pytest.raises(StoreFailed):
        await one.journal.durable(later)


def test_close_marks_the_end_and_makes_all_durable(
    run: Callable[..., Running], files: FaultyFiles
) -> None:
    one = run().start()
    one.put("a")
    one.journal.close()
    positions = one.journal.positions()
    assert positions.durable == positions.appended
    assert not files.open_fds
    with pytest.raises(StoreFailed, match="closed"):
        one.put("b")
    one.journal.close()


def test_a_grown_journal_is_followed_by_a_new_generation(
    run: Callable[..., Running], files: FaultyFiles
) -> None:
    one = run(size_min=2000).start()
    wanted = grow(one, generation=4)
    assert len(wanted) * 200 > 3 * 2000  # each generation waited until the journal had grown
    one.journal.close()
    names = one.names()
    assert "metadata.0000000004.journal" in names
    assert "metadata.0000000004.snapshot" in names
    assert not any(name.startswith("metadata.0000000001") for name in names)
    assert len([name for name in names if name.endswith(".snapshot")]) == 2
    assert recovered_kv(one, files) == {"ns": wanted}


def test_close_right_after_a_generation_began_closes_both_journals(
    run: Callable[..., Running], files: FaultyFiles
) -> None:
    one = run(size_min=500).start()
    while one.journal._prepared_fd is None:
        one.put("k")
        one.journal.write()
        one.loop.turn_until(one.is_idle)
    one.put("last")
    one.journal.write()
    one.journal.close()
    assert not files.open_fds
    assert files.unsynced_size() == 0
    assert "last" in recovered_kv(one, files)["ns"]


@pytest.mark.parametrize("error", [None, ZeroDivisionError("a fault of ours")])
@pytest.mark.parametrize("operation", ["rename", "sync", "write", "open"])
@pytest.mark.parametrize("after", [0, 1, 2, 3])
def test_a_generation_that_cannot_be_made_costs_nothing(
    run: Callable[..., Running],
    files: FaultyFiles,
    operation: str,
    after: int,
    error: Exception | None,
) -> None:
    one = run(size_min=2000).start()
    wanted: dict[str, str] = {}
    is_planned = False
    while not one.has_snapshot(3) and one.journal.failure() is None:
        if one.journal._size > 1900 and not is_planned:
            is_planned = True
            files.fail(operation, after=after, error=error)
        key = f"k{len(wanted)}"
        one.put(key)
        try:
            one.journal.write()
        except StoreFailed:
            break  # the fault hit the turn's own write; the turn was refused
        wanted[key] = "v"
        one.loop.turn_until(one.is_idle)
    one.kill()
    assert recovered_kv(one, files) == {"ns": wanted}


def grow(one: Running, generation: int) -> dict[str, str]:
    """Puts until that generation's snapshot is there; returns what was put."""
    wanted: dict[str, str] = {}
    while not one.has_snapshot(generation):
        key = f"k{len(wanted)}"
        one.put(key, "x" * 100)
        wanted[key] = "x" * 100
        one.journal.write()
        one.loop.turn_until(one.is_idle)
        positions = one.journal.positions()
        assert positions.durable < positions.written or one.files.unsynced_size() == 0
    return wanted


def recovered_kv(one: Running, files: FaultyFiles) -> dict[str, dict[str, str]]:
    found = recover(one.directory, files)
    assert found is not None
    return found.tables.kv
