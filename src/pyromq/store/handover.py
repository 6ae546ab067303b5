"""What files of the projection change at start: another program wrote them, and it may have read an
older content than the journal has reached.

After a clean stop the files show everything, so content that is not ours is the newer truth, whole.
After a kill they lag behind by up to five seconds. Then each entry that we had changed since is
looked at with three values: what the file showed, what the journal says, what the other program
left.

- It left the entry as the file showed it: our change stands.
- It changed the entry, too: topics and groups are as it left them, since it came later. Of two
  offsets that both went forward the higher one counts, for a group consumes what lies below only
  once; if either was set back, the lower one, for a reset must not be undone.
- A topic that we had deleted comes back if the file still names it: the other program may have
  taken messages for it, and deleting it again would take those.

Where it is not known what the file showed, its content counts whole.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from pyromq.domain.version import DataVersion
from pyromq.errors import StoreDamaged
from pyromq.store import changes, projection
from pyromq.store.changes import AnyChange
from pyromq.store.files import Files
from pyromq.store.projection import ProjectedFile
from pyromq.store.recovery import Recovered
from pyromq.store.shown import DELAY_OFFSETS, GROUPS, OFFSETS, TOPICS, Shown
from pyromq.store.tables import Tables

KeyT = TypeVar("KeyT")
ConfigT = TypeVar("ConfigT")

_log = logging.getLogger(__name__)


def take_projection(
    root: Path,
    projected: tuple[ProjectedFile, ...],
    files: Files,
    recovered: Recovered | None,
    now_ms: int,
) -> tuple[list[AnyChange], set[str]]:
    """Changes that follow from files not written by us, and files to be written anew.

    Raises StoreDamaged where there is no journal and a file cannot be read.
    """
    taken: list[AnyChange] = []
    stale: set[str] = set()
    for note in recovered.notes if recovered else ():
        _log.warning("metadata recovery: %s", note)
    for file in projected:
        known = recovered.tables.projected.get(file.name, []) if recovered else []
        shown = recovered.tables.shown.get(file.name, []) if recovered else []
        in_place = [content.digest for content in shown] or known
        found, unreadable = projection.find(files, root, file, known, in_place)
        if found is None and unreadable and recovered is None:
            raise StoreDamaged(
                f"the metadata file {unreadable[0]} cannot be read, and there is neither a .bak "
                f"that can nor a journal; nothing was changed. "
                f"To repair it: pyromq store repair {root}"
            )
        for path in unreadable:
            _log.warning("metadata recovery: %s was cut short and is not used", path)
        if found is not None:
            if found.change is not None:
                taken.append(found.change)
            if found.digest not in known[-1:] or len(shown) > 1:
                taken.append(changes.Projected(file.name, found.digest))
            if found.change is not None and recovered is not None:
                _log.warning("%s was changed by another program and is taken", root / file.name)
                kept = _kept(recovered.tables, found.change, shown, now_ms)
                if kept:
                    stale.add(file.name)
                taken += kept
        if found is None or unreadable or (known and found.digest != known[-1]):
            stale.add(file.name)
    return taken, stale


def _kept(tables: Tables, theirs: AnyChange, shown: list[Shown], now_ms: int) -> list[AnyChange]:
    """Our changes that stand, to be made again after the whole table was taken."""
    match theirs:
        case changes.TopicsTaken():
            return _kept_topics(tables, theirs, shown, now_ms)
        case changes.GroupsTaken():
            return _kept_groups(tables, theirs, shown, now_ms)
        case changes.OffsetsTaken():
            return _kept_offsets(tables, theirs, shown, now_ms)
        case changes.DelayOffsetsTaken():
            moved = merged_offsets(
                tables.delay_offsets, theirs.offsets, [content.delay_offsets for content in shown]
            )
            differing = {
                level: offset
                for level, offset in moved.items()
                if offset is not None and offset != theirs.offsets.get(level)
            }
            _tell(DELAY_OFFSETS, [f"level {level}" for level in differing])
            version = _newer(tables.delay_offsets_version, theirs.version, now_ms)
            return [changes.DelayOffsetsMoved(differing, version)] if differing else []
    return []


def _kept_topics(
    tables: Tables, theirs: changes.TopicsTaken, shown: list[Shown], now_ms: int
) -> list[AnyChange]:
    version = _newer(tables.topics_version, theirs.version, now_ms)
    kept: list[AnyChange] = []
    names = []
    contents = [content.topics for content in shown]
    for topic, ours in _standing("topic", tables.topics, theirs.configs, contents):
        if ours is None:
            _log.warning("topic %s was deleted, and the other program had it: it is back", topic)
            continue
        kept.append(changes.TopicPut(ours, version))
        names.append(topic)
    _tell(TOPICS, names)
    return kept


def _kept_groups(
    tables: Tables, theirs: changes.GroupsTaken, shown: list[Shown], now_ms: int
) -> list[AnyChange]:
    version = _newer(tables.groups_version, theirs.version, now_ms)
    kept: list[AnyChange] = []
    names = []
    contents = [content.groups for content in shown]
    for group, ours in _standing("group", tables.groups, theirs.configs, contents):
        kept.append(
            changes.GroupPut(ours, version) if ours else changes.GroupDeleted(group, version)
        )
        names.append(group)
    _tell(GROUPS, names)
    return kept


def _standing(
    kind: str,
    ours: Mapping[str, ConfigT],
    theirs: Mapping[str, ConfigT],
    shown: Sequence[Mapping[str, ConfigT | None]],
) -> Iterator[tuple[str, ConfigT | None]]:
    """Entries that only we had changed since a file showed them, each as we have it."""
    for name in _keys(*shown):
        mine, left = ours.get(name), theirs.get(name)
        if mine == left:
            continue
        if left in [content.get(name, mine) for content in shown]:
            yield name, mine
        else:
            _log.warning("%s %s was changed by both: it is as the other left it", kind, name)


def _kept_offsets(
    tables: Tables, theirs: changes.OffsetsTaken, shown: list[Shown], now_ms: int
) -> list[AnyChange]:
    version = _newer(tables.offsets_version, theirs.version, now_ms)
    dropped: list[str] = []
    committed: dict[str, dict[int, int]] = {}
    for key in _keys(*(content.offsets for content in shown)):
        left = theirs.offsets.get(key, {})
        merged = merged_offsets(
            tables.offsets.get(key, {}),
            left,
            [content.offsets.get(key, {}) for content in shown],
        )
        wanted = {**left, **merged}
        if wanted == left:
            continue
        present = {queue: offset for queue, offset in wanted.items() if offset is not None}
        if not left.keys() <= present.keys():
            dropped.append(key)
        committed[key] = present
    _tell(OFFSETS, list(committed))
    kept: list[AnyChange] = []
    if dropped:
        kept.append(changes.OffsetsDropped(dropped))
    if some := {key: queues for key, queues in committed.items() if queues}:
        kept.append(changes.OffsetsCommitted(some, version))
    for key, marks in tables.resets.items():
        final = committed.get(key, theirs.offsets.get(key, {}))
        still = {queue: offset for queue, offset in marks.items() if final.get(queue) == offset}
        if still and shown:
            kept.append(changes.OffsetsReset(key, still, version, True))
    return kept


def merged_offsets(
    ours: Mapping[KeyT, int],
    theirs: Mapping[KeyT, int],
    shown: list[Mapping[KeyT, int | None]],
) -> dict[KeyT, int | None]:
    """The offsets that we had changed since a file showed them; None: there shall be none.

    `shown` are the contents the other may have read, the newest at the end; an offset that one of
    them lacks was in it as ours is now.
    """
    merged: dict[KeyT, int | None] = {}
    for key in _keys(*shown):
        mine, left = ours.get(key), theirs.get(key)
        before = [content.get(key, mine) for content in shown]
        if left in before:
            merged[key] = mine
        elif mine is None or left is None:
            merged[key] = left
        else:
            base = before[-1] if before[-1] is not None else 0
            forward = mine >= base and left >= base
            merged[key] = max(mine, left) if forward else min(mine, left)
    return merged


def _keys(*mappings: Mapping[KeyT, object]) -> list[KeyT]:
    """Of all of them, each once, in a fixed order."""
    return list(dict.fromkeys(key for mapping in mappings for key in mapping))


def _newer(ours: DataVersion, theirs: DataVersion, now_ms: int) -> DataVersion:
    """One that neither side has given out."""
    counter = max(ours.counter, theirs.counter)
    return DataVersion(counter, 0, 0).next(now_ms, theirs.state_version)


def _tell(file: str, names: list[str]) -> None:
    if names:
        _log.warning(
            "%s did not show the last changes before a kill; they stand: %s%s",
            file,
            ", ".join(names[:5]),
            f" and {len(names) - 5} more" if len(names) > 5 else "",
        )


__all__ = ["merged_offsets", "take_projection"]
