"""Reading the journal back: what is cut, what is refused, what the earlier generation saves."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from pyromq.errors import StoreDamaged
from pyromq.store import journal_format as form
from pyromq.store.changes import KvPut
from pyromq.store.files import replace_file
from pyromq.store.journal import Journal, begin_generation, write_snapshot
from pyromq.store.recovery import Recovered, journal_path, recover, snapshot_path
from pyromq.store.tables import Tables
from tests.support.faulty_files import FaultyFiles


@pytest.fixture
def files() -> Iterator[FaultyFiles]:
    files = FaultyFiles()
    yield files
    files.abandon()


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "store" / "pyromq"


def put_all(journal: Journal, *keys: str) -> None:
    """One turn per key."""
    for key in keys:
        journal.append(KvPut("ns", key, key.upper()))
        journal.write()


def write_journal(directory: Path, files: FaultyFiles, *keys: str) -> None:
    """Generation 1 with these changes, its writer killed."""
    begun = begin_generation(directory, files, 1, Tables(), 0)
    put_all(Journal(directory, files, begun, sync_flush=True), *keys)
    files.abandon()


def keys(recovered: Recovered | None) -> str:
    assert recovered is not None
    return "".join(recovered.tables.kv.get("ns", {}))


def damage(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 0x10
    path.write_bytes(data)


def entry_ends(path: Path) -> list[int]:
    """Where each entry ends; the header's end first."""
    data = path.read_bytes()
    ends = [form.HEADER_SIZE]
    while isinstance(found := form.entry_at(data, ends[-1]), form.Entry):
        ends.append(found.end)
    return ends


def test_no_journal_is_none(directory: Path, files: FaultyFiles) -> None:
    assert recover(directory, files) is None
    files.make_directory(directory)
    assert recover(directory, files) is None


@pytest.mark.parametrize("failing", ["write", "rename", "sync"])
@pytest.mark.parametrize("after", [0, 1, 2, 3])
def test_an_interrupted_first_start_is_a_first_start_again(
    directory: Path, files: FaultyFiles, failing: str, after: int
) -> None:
    files.fail(failing, after=after)
    try:
        begin_generation(directory, files, 1, Tables(), 0)
    except OSError:
        assert recover(directory, files) is None
    else:
        assert recover(directory, files) is not None


def test_every_written_change_comes_back_in_order(directory: Path, files: FaultyFiles) -> None:
    write_journal(directory, files, *"abc")
    found = recover(directory, files)
    assert keys(found) == "abc"
    assert found is not None
    assert found.notes == []
    assert found.sequence == 4  # the first says that a process began


def test_a_torn_last_entry_is_cut_off_loudly_and_kept_aside(
    directory: Path, files: FaultyFiles
) -> None:
    write_journal(directory, files, *"abc")
    path = journal_path(directory, 1)
    whole = path.read_bytes()
    end = entry_ends(path)[-2]
    path.write_bytes(whole[:-1])
    found = recover(directory, files)
    assert keys(found) == "ab"
    assert found is not None
    assert "interrupted write" in found.notes[0]
    assert path.read_bytes() == whole[:end]
    assert (directory / f"{path.name}.cut-{end}").read_bytes() == whole[end:-1]
    again = recover(directory, files)
    assert again is not None
    assert again.notes == []


def test_an_end_torn_while_the_next_journal_was_prepared_is_cut_off(
    directory: Path, files: FaultyFiles
) -> None:
    write_journal(directory, files, *"abc")
    path, following = journal_path(directory, 1), journal_path(directory, 2)
    replace_file(files, following, form.encode_header(form.JOURNAL_MAGIC, 2))
    path.write_bytes(path.read_bytes()[:-1])
    found = recover(directory, files)
    assert keys(found) == "ab"
    assert found is not None
    assert found.journal_generation == 1
    assert len(found.notes) == 1
    assert [p.name for p in directory.iterdir() if p.name.startswith(following.name)] == []


@pytest.mark.parametrize("entry", [0, 1, 2, 3])
@pytest.mark.parametrize("at", [0, 5, 13, 21, 25, 30])
def test_damage_is_refused_while_the_machine_was_not_restarted(
    directory: Path, files: FaultyFiles, entry: int, at: int
) -> None:
    write_journal(directory, files, *"abc")
    path = journal_path(directory, 1)
    damage(path, entry_ends(path)[entry] + at)
    before = path.read_bytes()
    with pytest.raises(StoreDamaged) as refused:
        recover(directory, files)
    assert str(path) in str(refused.value)
    assert f"pyromq store repair {directory.parent}" in str(refused.value)
    assert path.read_bytes() == before


def test_after_a_restart_of_the_machine_an_unsynced_end_is_cut_off(
    directory: Path, files: FaultyFiles
) -> None:
    write_journal(directory, files, *"abc")
    path = journal_path(directory, 1)
    damage(path, entry_ends(path)[2] + 25)
    files.boot = "boot-2"
    found = recover(directory, files)
    assert keys(found) == "a"
    assert found is not None
    assert len(found.notes) == 1


def test_after_a_restart_of_the_machine_synced_entries_are_missed(
    directory: Path, files: FaultyFiles
) -> None:
    begun = begin_generation(directory, files, 1, Tables(), 0)
    put_all(Journal(directory, files, begun, sync_flush=True), *"ab")
    files.abandon()
    found = recover(directory, files)
    assert found is not None
    put_all(Journal(directory, files, found, sync_flush=True), "c")  # a start syncs what it found
    files.abandon()
    path = journal_path(directory, 1)
    damage(path, entry_ends(path)[2] + 25)
    files.boot = "boot-2"
    with pytest.raises(StoreDamaged, match="which had been synced"):
        recover(directory, files)


def test_a_clean_end_protects_the_last_change(directory: Path, files: FaultyFiles) -> None:
    begun = begin_generation(directory, files, 1, Tables(), 0)
    journal = Journal(directory, files, begun, sync_flush=True)
    put_all(journal, "a")
    journal.close()
    path = journal_path(directory, 1)
    damage(path, entry_ends(path)[1] + 25)
    files.boot = "boot-2"
    with pytest.raises(StoreDamaged):
        recover(directory, files)


def test_zeros_behind_the_end_are_cut_after_a_power_failure_only(
    directory: Path, files: FaultyFiles
) -> None:
    write_journal(directory, files, *"ab")
    path = journal_path(directory, 1)
    path.write_bytes(path.read_bytes() + bytes(4096))
    with pytest.raises(StoreDamaged):
        recover(directory, files)
    files.boot = "boot-2"
    assert keys(recover(directory, files)) == "ab"


def test_a_repeated_or_missing_entry_is_damage(directory: Path, files: FaultyFiles) -> None:
    write_journal(directory, files, *"abc")
    path = journal_path(directory, 1)
    data, ends = path.read_bytes(), entry_ends(path)
    for wrong in (data + data[ends[-2] :], data[: ends[2]] + data[ends[3] :]):
        path.write_bytes(wrong)
        with pytest.raises(StoreDamaged):
            recover(directory, files)


class Generations:
    """Two generations: `ab` before, `cd` after the second snapshot."""

    def __init__(self, directory: Path, files: FaultyFiles) -> None:
        write_journal(directory, files, *"ab")
        found = recover(directory, files)
        assert found is not None
        header = form.encode_header(form.JOURNAL_MAGIC, 2)
        replace_file(files, journal_path(directory, 2), header)
        write_snapshot(directory, files, 2, found.tables, found.sequence)
        second = recover(directory, files)
        assert second is not None
        put_all(Journal(directory, files, second, sync_flush=True), *"cd")
        files.abandon()


@pytest.fixture
def two(directory: Path, files: FaultyFiles) -> Generations:
    return Generations(directory, files)


@pytest.mark.usefixtures("two")
def test_the_newest_generation_alone_is_enough(directory: Path, files: FaultyFiles) -> None:
    snapshot_path(directory, 1).unlink()
    journal_path(directory, 1).unlink()
    assert keys(recover(directory, files)) == "abcd"


@pytest.mark.usefixtures("two")
@pytest.mark.parametrize("at", [0, 9, 22, 30, 60, -1])
def test_a_damaged_snapshot_is_replaced_by_the_generation_before(
    directory: Path, files: FaultyFiles, at: int
) -> None:
    damage(snapshot_path(directory, 2), at)
    found = recover(directory, files)
    assert keys(found) == "abcd"
    assert found is not None
    assert found.is_snapshot_lost
    assert "metadata.0000000002.snapshot is damaged" in found.notes[0]


@pytest.mark.usefixtures("two")
def test_damage_in_the_superseded_generation_does_not_matter(
    directory: Path, files: FaultyFiles
) -> None:
    damage(journal_path(directory, 1), 100)
    damage(snapshot_path(directory, 1), 50)
    found = recover(directory, files)
    assert keys(found) == "abcd"
    assert found is not None
    assert found.notes == []


@pytest.mark.usefixtures("two")
@pytest.mark.parametrize("other", ["metadata.0000000001.snapshot", "metadata.0000000001.journal"])
def test_both_generations_damaged_is_refused(
    directory: Path, files: FaultyFiles, other: str
) -> None:
    damage(snapshot_path(directory, 2), 60)
    damage(directory / other, 60)
    listing = {path.name: path.read_bytes() for path in directory.iterdir()}
    with pytest.raises(StoreDamaged):
        recover(directory, files)
    assert listing == {path.name: path.read_bytes() for path in directory.iterdir()}


def test_a_damaged_snapshot_without_another_is_refused_also_where_no_change_follows(
    directory: Path, files: FaultyFiles
) -> None:
    begin_generation(directory, files, 1, Tables(), 7)
    damage(snapshot_path(directory, 1), -1)
    with pytest.raises(StoreDamaged, match="no earlier snapshot can be read"):
        recover(directory, files)


@pytest.mark.usefixtures("two")
@pytest.mark.parametrize("missing", ["metadata.0000000002.journal"])
def test_a_missing_journal_is_refused(directory: Path, files: FaultyFiles, missing: str) -> None:
    (directory / missing).unlink()
    with pytest.raises(StoreDamaged, match="is missing"):
        recover(directory, files)


@pytest.mark.usefixtures("two")
def test_a_journal_without_any_snapshot_is_refused(directory: Path, files: FaultyFiles) -> None:
    snapshot_path(directory, 1).unlink()
    snapshot_path(directory, 2).unlink()
    with pytest.raises(StoreDamaged, match="no snapshot"):
        recover(directory, files)


@pytest.mark.usefixtures("two")
def test_a_torn_entry_that_later_journals_go_on_behind_is_damage(
    directory: Path, files: FaultyFiles
) -> None:
    snapshot_path(directory, 2).unlink()
    path, later = journal_path(directory, 1), journal_path(directory, 2)
    path.write_bytes(path.read_bytes()[:-1])
    data = later.read_bytes()
    first = form.entry_at(data, form.HEADER_SIZE)
    assert isinstance(first, form.Entry)
    unsynced = form.encode_entry(first.sequence, 0, form.boot_mark(files.boot), first.payload)
    later.write_bytes(data[: form.HEADER_SIZE] + unsynced)
    with pytest.raises(StoreDamaged):
        recover(directory, files)


@pytest.mark.usefixtures("two")
def test_a_gap_between_two_journals_is_refused_or_cut(directory: Path, files: FaultyFiles) -> None:
    snapshot_path(directory, 2).unlink()
    path = journal_path(directory, 1)
    path.write_bytes(path.read_bytes()[: entry_ends(path)[2]])
    with pytest.raises(StoreDamaged):
        recover(directory, files)
    later = journal_path(directory, 2)
    data = later.read_bytes()
    first = form.entry_at(data, form.HEADER_SIZE)
    assert isinstance(first, form.Entry)
    unsynced = form.encode_entry(first.sequence, 0, 0, first.payload)
    later.write_bytes(data[: form.HEADER_SIZE] + unsynced)
    files.boot = "boot-2"
    assert keys(recover(directory, files)) == "a"
    assert (directory / "metadata.0000000002.journal.cut").exists()


@pytest.mark.usefixtures("two")
def test_a_truncated_header_is_damage(directory: Path, files: FaultyFiles) -> None:
    path = journal_path(directory, 2)
    for size in (0, 1, form.HEADER_SIZE - 1):
        path.write_bytes(path.read_bytes()[:size])
        with pytest.raises(StoreDamaged, match="damaged header"):
            recover(directory, files)


@pytest.mark.parametrize("name", ["journal", "snapshot"])
def test_a_newer_format_is_refused_by_its_number(
    directory: Path, files: FaultyFiles, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(form, "FORMAT_VERSION", 9)
    monkeypatch.setattr(form, "OLDEST_READER", 8)
    begin_generation(directory, files, 1, Tables(), 0)
    monkeypatch.undo()
    other = "journal" if name == "snapshot" else "snapshot"
    begin_generation(directory.with_name("ours"), files, 1, Tables(), 0)
    file = f"metadata.0000000001.{other}"
    shutil.copy(directory.with_name("ours") / file, directory / file)
    with pytest.raises(StoreDamaged, match=r"format version 9, which needs .* version 8 or newer"):
        recover(directory, files)


def test_a_newer_format_that_old_readers_can_read_is_read(
    directory: Path, files: FaultyFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(form, "FORMAT_VERSION", 9)
    write_journal(directory, files, "a")
    monkeypatch.undo()
    assert keys(recover(directory, files)) == "a"


def test_a_change_this_version_does_not_know_is_refused(
    directory: Path, files: FaultyFiles
) -> None:
    write_journal(directory, files, "a")
    path = journal_path(directory, 1)
    payload = msgspec.msgpack.encode(["from-the-future", 1])
    path.write_bytes(path.read_bytes() + form.encode_entry(3, 0, 0, payload))
    with pytest.raises(StoreDamaged, match="change 3 in a form this version does not know"):
        recover(directory, files)


def test_a_file_the_disk_cannot_read_is_refused(directory: Path, files: FaultyFiles) -> None:
    write_journal(directory, files, "a")
    files.fail("read")
    with pytest.raises(StoreDamaged, match="cannot be read"):
        recover(directory, files)


@pytest.mark.usefixtures("two")
def test_names_are_synced_before_an_older_generation_goes(
    directory: Path, files: FaultyFiles
) -> None:
    """A kill may have come between the renaming of the newest snapshot and its sync."""
    found = recover(directory, files)
    assert found is not None
    write_snapshot(directory, files, 3, found.tables, found.sequence)
    replace_file(files, journal_path(directory, 3), form.encode_header(form.JOURNAL_MAGIC, 3))
    found = recover(directory, files)
    assert found is not None
    files.fail("sync_directory")
    with pytest.raises(OSError, match="Input/output error"):
        Journal(directory, files, found, sync_flush=True)
    assert snapshot_path(directory, 1).exists()
    files.calls.clear()
    Journal(directory, files, found, sync_flush=True)
    assert files.calls.index("sync_directory") < files.calls.index("remove")
    assert not snapshot_path(directory, 1).exists()
