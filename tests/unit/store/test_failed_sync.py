"""The start after a failed sync of the metadata journal: what counts is what the device has."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyromq.errors import StartFailed
from pyromq.store.failed_sync import NOTE
from pyromq.store.metadata import Metadata
from tests.support.clock import ManualClock
from tests.support.faulty_files import FaultyFiles, HandLoop


@pytest.fixture
def files() -> Iterator[FaultyFiles]:
    files = FaultyFiles()
    yield files
    files.abandon()


def opened(root: Path, files: FaultyFiles) -> Metadata:
    return Metadata.open_namesrv(root, sync_flush=True, clock=ManualClock(), files=files)


def fail_a_sync(root: Path, files: FaultyFiles) -> Path:
    """A store whose last change was written and not synced; its journal."""
    metadata = opened(root, files)
    journal = metadata._journal
    loop = HandLoop()
    metadata.put_kv("ns", "kept", "v")
    metadata.write()
    journal.start(loop.call_on_loop, metadata._copy_for_snapshot)
    loop.turn_until(lambda: journal.positions().durable == journal.positions().written)
    files.fail("sync")
    metadata.put_kv("ns", "last", "v")
    metadata.write()
    loop.turn_until(lambda: journal.failure() is not None)
    journal.close()
    folder = root / "pyromq"
    assert (folder / NOTE).read_text() == "[Errno 5] Input/output error\n"
    (path,) = folder.glob("*.journal")
    return path


def test_the_journal_is_written_again_before_it_is_read(tmp_path: Path, files: FaultyFiles) -> None:
    path = fail_a_sync(tmp_path, files)
    before, inode = path.read_bytes(), path.stat().st_ino
    files.calls.clear()
    metadata = opened(tmp_path, files)
    assert files.calls[: files.calls.index("drop_cache")].count("sync") == 1
    assert path.stat().st_ino != inode, "pages that the kernel calls clean are not written again"
    assert path.read_bytes().startswith(before)
    assert metadata.tables.kv["ns"] == {"kept": "v", "last": "v"}
    assert not path.with_name(NOTE).exists()


def test_what_the_device_does_not_give_back_is_not_believed(
    tmp_path: Path, files: FaultyFiles
) -> None:
    path = fail_a_sync(tmp_path, files)
    files.never_taken[path.name] = 5
    metadata = opened(tmp_path, files)
    assert metadata.tables.kv["ns"] == {"kept": "v"}


@pytest.mark.parametrize("operation", ["write", "sync", "rename"])
def test_a_disk_that_refuses_again_stops_the_start_and_changes_nothing(
    tmp_path: Path, files: FaultyFiles, operation: str
) -> None:
    path = fail_a_sync(tmp_path, files)
    before = path.read_bytes()
    files.fail(operation, code=errno.EIO)
    with pytest.raises(StartFailed, match="Input/output error"):
        opened(tmp_path, files)
    assert path.read_bytes() == before
    assert path.with_name(NOTE).exists()
    assert opened(tmp_path, files).tables.kv["ns"] == {"kept": "v", "last": "v"}


def test_a_failed_sync_of_the_cut_end_is_noted_too(tmp_path: Path, files: FaultyFiles) -> None:
    """It may be the first sync of what the killed process wrote."""
    metadata = opened(tmp_path, files)
    metadata.put_kv("ns", "written", "v")
    metadata.write()
    files.abandon()
    (path,) = (tmp_path / "pyromq").glob("*.journal")
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - 1)
    files.fail("sync", after=1)  # the first is of the copy of what is cut
    with pytest.raises(StartFailed, match="Input/output error"):
        opened(tmp_path, files)
    assert path.with_name(NOTE).exists()
