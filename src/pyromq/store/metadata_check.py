"""The metadata of a store nobody has open: is it sound, and what can be saved if not.

`look` reads what a start would read, with files that refuse to change anything. `salvage` puts
together what is left of a damaged journal: the newest snapshot that can be read, every sound change
of the journals since, and what only config/*.json knows. A change says what is so, not what
differs, so one lost change costs nothing but itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from pyromq.errors import StoreDamaged
from pyromq.store import journal_format as form
from pyromq.store import projection
from pyromq.store.changes import AnyChange
from pyromq.store.files import Files
from pyromq.store.findings import Finding, make
from pyromq.store.metadata import FOLDER
from pyromq.store.projection import BROKER_FILES, NAMESRV_FILES, ProjectedFile
from pyromq.store.recovery import (
    Recovered,
    generations,
    journal_path,
    recover,
    snapshot_path,
)
from pyromq.store.tables import Tables
from pyromq.wire import dialect

NAMESRV_FOLDER: Final = "namesrv"
"""Where a standalone process keeps its name server, under the broker's root."""
FOREIGN_NS: Final = 10_000_000_000
"""A file of config/ so much newer than the journal is not ours."""
_SIZE_MAX: Final = 512 << 20


class UnchangedFiles(Files):
    """The file system for looking: what would change it does nothing."""

    def make_directory(self, directory: Path) -> None:
        pass

    def open(self, path: Path) -> int:  # noqa: ARG002
        return -1

    def write(self, fd: int, data: bytes | memoryview) -> int:  # noqa: ARG002
        return len(data)

    def sync(self, fd: int) -> None:
        pass

    def truncate(self, fd: int, size: int) -> None:
        pass

    def close(self, fd: int) -> None:
        pass

    def rename(self, source: Path, target: Path) -> None:
        pass

    def remove(self, path: Path) -> None:
        pass

    def sync_directory(self, directory: Path) -> None:
        pass


class Looked(NamedTuple):
    """What was found."""

    findings: list[Finding]
    topics: frozenset[str] | None
    """The broker's topics; None if they are not known."""


class Salvaged(NamedTuple):
    """Tables put together from what can be read."""

    tables: Tables
    sequence: int
    generation: int
    """The newest there was, readable or not."""
    sources: list[str]
    """Where they come from, for people."""


def look(root: Path) -> Looked:
    """The broker's metadata, and that of the name server beside it if there is one."""
    findings, topics = _look_at(root, BROKER_FILES)
    findings += _other_configs(root)
    namesrv = root / NAMESRV_FOLDER
    if namesrv.is_dir():
        findings += _look_at(namesrv, NAMESRV_FILES)[0]
    return Looked(findings, topics)


def _look_at(
    root: Path, projected: tuple[ProjectedFile, ...]
) -> tuple[list[Finding], frozenset[str] | None]:
    files = UnchangedFiles()
    findings: list[Finding] = []
    directory = root / FOLDER
    recovered: Recovered | None = None
    is_damaged = False
    try:
        recovered = recover(directory, files)
    except StoreDamaged as damaged:
        is_damaged = True
        kind = "newer-format" if _is_newer(directory, files) else "metadata-damaged"
        text = str(damaged).partition("; nothing was changed")[0]
        findings.append(make(kind, _named_file(directory, text), text))
    for note in recovered.notes if recovered else ():
        path = directory / note.split(" ", 1)[0]
        kind = "metadata-damaged" if "is damaged" in note else "metadata-torn"
        findings.append(make(kind, path, note))
    topics = frozenset(recovered.tables.topics) if recovered else None
    for file in projected:
        known = recovered.tables.projected.get(file.name, []) if recovered else []
        found, unreadable = projection.find(files, root, file, known)
        for path in unreadable:
            has_other = found is not None or recovered is not None or is_damaged
            kind = "config-unreadable" if has_other else "metadata-gone"
            findings.append(make(kind, path, "cannot be read as what it should be"))
        if found is not None and found.change is not None:
            if recovered is not None:
                what = "not what we wrote last"
                findings.append(make("config-foreign", root / file.name, what))
            if file.name == projection.TOPICS and (recovered is None or topics is not None):
                tables = Tables()
                tables.apply(found.change)
                topics = frozenset(tables.topics)
    return findings, topics


def _named_file(directory: Path, text: str) -> Path:
    """The file a recovery's sentence is about."""
    for word in text.split():
        if word.startswith(str(directory)):
            return Path(word.rstrip(",;"))
    return directory


def _is_newer(directory: Path, files: Files) -> bool:
    journals, snapshots = generations(directory, files)
    paths = [(journal_path(directory, n), form.JOURNAL_MAGIC, n) for n in journals]
    paths += [(snapshot_path(directory, n), form.SNAPSHOT_MAGIC, n) for n in snapshots]
    for path, magic, number in paths:
        try:
            form.is_header(files.read(path), magic, number)
        except form.NewerFormat:
            return True
        except OSError:
            continue
    return False


def _other_configs(root: Path) -> list[Finding]:
    """Files of Apache's that we keep and do not use: they must be JSON of its dialect."""
    ours = {file.name for file in BROKER_FILES}
    findings: list[Finding] = []
    config = root / "config"
    paths = sorted(config.glob("*.json")) if config.is_dir() else []
    for path in paths:
        if f"config/{path.name}" in ours:
            continue
        try:
            dialect.read(path.read_bytes(), size_max=_SIZE_MAX)
        except (OSError, dialect.DialectError) as error:
            what = f"cannot be read: {error}"
            findings.append(make("config-unreadable", path, what))
    return findings


# --- salvage ------------------------------------------------------------------------------------


def salvage(root: Path, projected: tuple[ProjectedFile, ...]) -> Salvaged | None:
    """What can be read of the metadata under `root`, or None if nothing can."""
    files = UnchangedFiles()
    directory = root / FOLDER
    journals, snapshots = generations(directory, files)
    sources: list[str] = []
    taken = _taken(root, projected, files, sources)
    base, tables, sequence = _newest_snapshot(directory, files, snapshots)
    if tables is None:
        if not taken:
            return None
        tables = _from_changes(taken)
        base = min(journals, default=0)
    else:
        sources.insert(0, snapshot_path(directory, base).name)
        _complete(tables, _from_changes(taken))
    for number in (number for number in journals if number >= base):
        path = journal_path(directory, number)
        count = 0
        for entry in _sound_entries(path, files):
            if entry.sequence <= sequence:
                continue
            try:
                tables.apply(_decoder.decode(entry.payload))
            except msgspec.DecodeError:
                continue
            sequence = entry.sequence
            count += 1
        sources.append(f"{path.name} ({count} changes)")
    for file in projected:
        path = root / file.name
        if path.exists() and not _is_foreign(path, [journal_path(directory, n) for n in journals]):
            # Known as ours: what the journal held is not older than what lies there.
            tables.projected[file.name] = [projection.digest_of(path.read_bytes())]
    generation = max([*journals, *snapshots], default=0)
    return Salvaged(tables, sequence, generation, sources)


def _is_foreign(path: Path, journals: list[Path]) -> bool:
    """Whether another program wrote the file: ours never does so without writing to its journal."""
    written_ns = path.stat().st_mtime_ns
    return all(journal.stat().st_mtime_ns + FOREIGN_NS < written_ns for journal in journals)


_decoder: Final[msgspec.msgpack.Decoder[AnyChange]] = msgspec.msgpack.Decoder(AnyChange)
_tables_decoder: Final = msgspec.msgpack.Decoder(Tables)


def _taken(
    root: Path, projected: tuple[ProjectedFile, ...], files: Files, sources: list[str]
) -> list[AnyChange]:
    changes = []
    for file in projected:
        found, _ = projection.find(files, root, file, [])
        if found is not None and found.change is not None:
            changes.append(found.change)
            sources.append(file.name)
    return changes


def _from_changes(changes: list[AnyChange]) -> Tables:
    tables = Tables()
    for change in changes:
        tables.apply(change)
    return tables


def _newest_snapshot(
    directory: Path, files: Files, snapshots: list[int]
) -> tuple[int, Tables | None, int]:
    for number in reversed(snapshots):
        try:
            data = files.read(snapshot_path(directory, number))
            entry = form.entry_at(data, form.HEADER_SIZE)
            if isinstance(entry, form.Entry):
                return number, _tables_decoder.decode(entry.payload), entry.sequence
        except (OSError, msgspec.DecodeError):
            continue
    return 0, None, 0


def _sound_entries(path: Path, files: Files) -> Iterator[form.Entry]:
    try:
        data = files.read(path)
    except OSError:
        return
    yield from form.entries_behind(data, form.HEADER_SIZE)


def _complete(tables: Tables, shown: Tables) -> None:
    """Adds what only config/*.json knows; what the journal says counts where both say something."""
    for name, topic in shown.topics.items():
        if name not in tables.doomed_topics:
            tables.topics.setdefault(name, topic)
    for name, group in shown.groups.items():
        tables.groups.setdefault(name, group)
    for key, offsets in shown.offsets.items():
        known = tables.offsets.setdefault(key, {})
        for queue_id, offset in offsets.items():
            known.setdefault(queue_id, offset)
    for level, offset in shown.delay_offsets.items():
        tables.delay_offsets.setdefault(level, offset)
    for namespace, values in shown.kv.items():
        known_values = tables.kv.setdefault(namespace, {})
        for key, value in values.items():
            known_values.setdefault(key, value)


__all__ = ["NAMESRV_FOLDER", "Looked", "Salvaged", "UnchangedFiles", "look", "salvage"]
