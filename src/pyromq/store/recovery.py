"""Reading the metadata journal back at start.

Generation n is `metadata.n.snapshot` (all tables at one sequence) and `metadata.n.journal` (every
change after it, until the next generation's journal begins). Two generations are kept, so a damaged
snapshot costs nothing: the one before it and two journals give the same tables.

What is wrong at the journal's end decides:
- an entry cut short at the very end: the write a crash interrupted; cut off, and said loudly;
- a bad entry that a later one calls durable, or, while the machine has not been restarted since,
  any bad entry that is not simply short: damage, StoreDamaged, nothing is changed;
- after a restart of the machine, a bad entry that nothing calls durable: a power cut wrote the
  sectors of an unsynced write in its own order; cut off there, loudly.
What is cut off is kept in a file beside it. Unreadable never means empty.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from pyromq.errors import StoreDamaged
from pyromq.store import journal_format as form
from pyromq.store.changes import AnyChange
from pyromq.store.failed_sync import note_failed_sync
from pyromq.store.files import Files, write_all
from pyromq.store.journal_format import Entry, Fault
from pyromq.store.tables import Tables

_NAME: Final = re.compile(r"metadata\.([0-9]{10})\.(journal|snapshot)\Z")
_NAME_OF_ANY: Final = re.compile(r"metadata\.([0-9]{10})\.")

_change_decoder: Final[msgspec.msgpack.Decoder[AnyChange]] = msgspec.msgpack.Decoder(AnyChange)
_tables_decoder: Final = msgspec.msgpack.Decoder(Tables)


class Recovered(NamedTuple):
    """What was found, ready to be written on."""

    tables: Tables
    sequence: int
    """Of the last change in the tables."""
    snapshot_generation: int
    """The newest snapshot that can be read."""
    snapshot_size: int
    journal_generation: int
    """The newest journal."""
    journal_size: int
    """Bytes of all journals since that snapshot."""
    notes: list[str]
    """What was wrong and what was done about it; for the log."""
    is_snapshot_lost: bool = False
    """A newer snapshot is damaged: make a new one before anything else goes wrong."""


class _Journal(NamedTuple):
    generation: int
    path: Path
    data: bytes


class _Break(NamedTuple):
    """Where reading in order ended before the end."""

    journal: _Journal
    at: int
    fault: Fault


def journal_path(directory: Path, generation: int) -> Path:
    return directory / f"metadata.{generation:010}.journal"


def snapshot_path(directory: Path, generation: int) -> Path:
    return directory / f"metadata.{generation:010}.snapshot"


def generations(directory: Path, files: Files) -> tuple[list[int], list[int]]:
    """Numbers of the journals and of the snapshots there are, ascending."""
    found: dict[str, list[int]] = {"journal": [], "snapshot": []}
    for name in files.names(directory):
        if match := _NAME.match(name):
            found[match[2]].append(int(match[1]))
    return found["journal"], found["snapshot"]


def remove_superseded(directory: Path, files: Files, newest: int) -> None:
    """Keeps the generation whose snapshot is known to be good, and the one before it."""
    _, snapshots = generations(directory, files)
    generation = max((n for n in snapshots if n < newest), default=newest)
    for name in files.names(directory):
        match = _NAME_OF_ANY.match(name)
        if match and int(match[1]) < generation:
            files.remove(directory / name)


def recover(directory: Path, files: Files) -> Recovered | None:
    """The newest state that can be proven complete, or None if there is no journal at all.

    Raises StoreDamaged; then nothing was changed. A torn end is cut off the file.
    """
    journals, snapshots = generations(directory, files)
    if not snapshots and not any(_holds_entries(directory, files, n) for n in journals):
        return None  # nothing, or the very first start was interrupted
    notes: list[str] = []
    damaged, base, tables, sequence, snapshot_size = _newest_snapshot(directory, files, snapshots)
    numbers = [number for number in journals if number >= base]
    if not numbers or numbers != list(range(base, numbers[-1] + 1)):
        missing = next(n for n in range(base, base + len(numbers) + 1) if n not in numbers)
        raise _damaged(journal_path(directory, missing), "is missing", directory)

    kept = [_read_journal(directory, files, number) for number in numbers]
    boot = form.boot_mark(files.boot_id())
    boots: set[int] = set()
    broken: _Break | None = None
    for journal in kept:
        for found in _entries(journal, sequence):
            if isinstance(found, _Break):
                broken = found
                break
            tables.apply(_decode_change(found, journal, directory))
            sequence = found.sequence
            boots = {found.boot}
        if broken is not None or not _is_continued(journal, kept, sequence):
            broken = broken or _Break(journal, len(journal.data), Fault.END)
            break
    if broken is not None:
        later = _entries_after(broken, kept)
        boots |= {entry.boot for entry in later}
        same_boot = boot != 0 and boot in boots
        _check_is_torn(broken, later, sequence, same_boot, _is_last(broken, kept), directory)
        kept = _cut(broken, kept, files, sequence, notes)
    for path in damaged:
        notes.append(
            f"{path.name} is damaged and set aside; "
            "the snapshot before it and the journals hold the same"
        )
        files.rename(path, path.with_name(f"{path.name}.damaged"))
    return Recovered(
        tables=tables,
        sequence=sequence,
        snapshot_generation=base,
        snapshot_size=snapshot_size,
        journal_generation=kept[-1].generation,
        journal_size=sum(len(journal.data) for journal in kept),
        notes=notes,
        is_snapshot_lost=bool(damaged),
    )


def _newest_snapshot(
    directory: Path, files: Files, snapshots: list[int]
) -> tuple[list[Path], int, Tables, int, int]:
    damaged: list[Path] = []
    for generation in reversed(snapshots):
        path = snapshot_path(directory, generation)
        found = _read_snapshot(path, generation, files, directory)
        if found is not None:
            return damaged, generation, *found
        damaged.append(path)
    if not damaged:
        raise _damaged(
            directory, "holds a metadata journal, but no snapshot to begin with", directory
        )
    raise _damaged(damaged[0], "is damaged, and no earlier snapshot can be read", directory)


def _read_snapshot(
    path: Path, generation: int, files: Files, directory: Path
) -> tuple[Tables, int, int] | None:
    data = _read(path, files, directory)
    try:
        if not form.is_header(data, form.SNAPSHOT_MAGIC, generation):
            return None
    except form.NewerFormat as newer:
        raise _damaged(path, str(newer), directory) from newer
    entry = form.entry_at(data, form.HEADER_SIZE)
    if isinstance(entry, Fault) or entry.end != len(data):
        return None
    try:
        return _tables_decoder.decode(entry.payload), entry.sequence, len(data)
    except msgspec.DecodeError as error:
        raise _damaged(path, f"holds tables of another version ({error})", directory) from error


def _holds_entries(directory: Path, files: Files, generation: int) -> bool:
    path = journal_path(directory, generation)
    return len(_read(path, files, directory)) != form.HEADER_SIZE


def _read_journal(directory: Path, files: Files, generation: int) -> _Journal:
    path = journal_path(directory, generation)
    data = _read(path, files, directory)
    try:
        if not form.is_header(data, form.JOURNAL_MAGIC, generation):
            raise _damaged(path, "has a damaged header", directory)
    except form.NewerFormat as newer:
        raise _damaged(path, str(newer), directory) from newer
    return _Journal(generation, path, data)


def _entries(journal: _Journal, sequence: int) -> Iterator[Entry | _Break]:
    """Entries in order; at last a break unless the file ends where one does."""
    at = form.HEADER_SIZE
    while True:
        found = form.entry_at(journal.data, at)
        if found is Fault.END:
            return
        if isinstance(found, Fault):
            yield _Break(journal, at, found)
            return
        if found.sequence != sequence + 1:
            yield _Break(journal, at, Fault.DAMAGED)
            return
        sequence = found.sequence
        at = found.end
        yield found


def _is_continued(journal: _Journal, kept: list[_Journal], sequence: int) -> bool:
    """Whether the next journal, if it holds anything, begins right after this one."""
    for later in kept:
        if later.generation > journal.generation:
            first = form.entry_at(later.data, form.HEADER_SIZE)
            return not isinstance(first, Entry) or first.sequence == sequence + 1
    return True


def _check_is_torn(
    broken: _Break,
    later: list[Entry],
    sequence: int,
    same_boot: bool,
    is_last: bool,
    directory: Path,
) -> None:
    """Raises StoreDamaged unless what is missing was never promised to anybody."""
    place = f"is damaged at byte {broken.at}, behind change {sequence}"
    if any(entry.durable > sequence for entry in later):
        raise _damaged(broken.journal.path, f"{place}, which had been synced", directory)
    is_short = broken.fault is Fault.TORN and is_last
    if same_boot and not is_short:
        raise _damaged(
            broken.journal.path, f"{place}, and the machine was not restarted since", directory
        )


def _is_last(broken: _Break, kept: list[_Journal]) -> bool:
    """Whether later journals, if any, were prepared only and never written."""
    return all(
        len(journal.data) == form.HEADER_SIZE
        for journal in kept
        if journal.generation > broken.journal.generation
    )


def _entries_after(broken: _Break, kept: list[_Journal]) -> list[Entry]:
    entries = list(form.entries_behind(broken.journal.data, broken.at + 1))
    for journal in kept:
        if journal.generation > broken.journal.generation:
            entries += form.entries_behind(journal.data, form.HEADER_SIZE)
    return entries


def _cut(
    broken: _Break, kept: list[_Journal], files: Files, sequence: int, notes: list[str]
) -> list[_Journal]:
    """Cuts the torn end off, keeps a copy of the cut bytes, sets later journals aside."""
    journal, at, _ = broken
    rest = journal.data[at:]
    notes.append(
        f"{journal.path.name} ended in an interrupted write: {len(rest)} bytes behind change "
        f"{sequence} were cut off at byte {at}"
    )
    if rest:
        _write_new(files, journal.path.with_name(f"{journal.path.name}.cut-{at}"), rest)
        fd = files.open(journal.path)
        try:
            files.truncate(fd, at)
            files.sync(fd)
        except OSError as error:
            note_failed_sync(journal.path.parent, files, error)
            raise
        finally:
            files.close(fd)
    for later in kept:
        if later.generation > journal.generation:
            if len(later.data) == form.HEADER_SIZE:
                files.remove(later.path)
                continue
            notes.append(f"{later.path.name} continued what was cut off and was set aside")
            files.rename(later.path, later.path.with_name(f"{later.path.name}.cut"))
    files.sync_directory(journal.path.parent)
    kept = [k for k in kept if k.generation < journal.generation]
    return [*kept, journal._replace(data=journal.data[:at])]


def _write_new(files: Files, path: Path, data: bytes) -> None:
    files.remove(path)
    fd = files.open(path)
    try:
        write_all(files, fd, data)
        files.sync(fd)
    finally:
        files.close(fd)


def _decode_change(entry: Entry, journal: _Journal, directory: Path) -> AnyChange:
    try:
        return _change_decoder.decode(entry.payload)
    except msgspec.DecodeError as error:
        raise _damaged(
            journal.path,
            f"holds change {entry.sequence} in a form this version does not know ({error})",
            directory,
        ) from error


def _read(path: Path, files: Files, directory: Path) -> bytes:
    try:
        return files.read(path)
    except OSError as error:
        raise _damaged(path, f"cannot be read ({error.strerror})", directory) from error


def _damaged(path: Path, what: str, directory: Path) -> StoreDamaged:
    return StoreDamaged(
        f"the metadata file {path} {what}; nothing was changed. "
        f"To repair it: pyromq store repair {directory.parent}"
    )


__all__ = [
    "Recovered",
    "generations",
    "journal_path",
    "recover",
    "remove_superseded",
    "snapshot_path",
]
