"""The metadata of one server: tables, their journal and their projection as one part.

A change is numbered by the journal and applied to the tables at once; it returns its sequence, and
a reply that depends on it waits until `positions().commit` has reached that. So the tables may be
ahead of the disk by one turn, but nobody has been promised anything that could still be lost.

Offset commits come by the thousand: those of one turn become one change, the last of each queue
wins. Any other change first closes the turn's offsets, so that order is kept.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final, Protocol

from pyromq.clock import Clock
from pyromq.domain.group import GroupConfig
from pyromq.domain.topic import TopicConfig
from pyromq.domain.version import DataVersion
from pyromq.errors import StartFailed, StoreFailed
from pyromq.store import changes, projection
from pyromq.store.changes import AnyChange, Change
from pyromq.store.failed_sync import write_again
from pyromq.store.files import Files
from pyromq.store.handover import take_projection
from pyromq.store.journal import Journal, JournalPositions, begin_generation
from pyromq.store.journal_thread import CallOnLoop
from pyromq.store.memory_journal import MemoryJournal
from pyromq.store.projection import BROKER_FILES, NAMESRV_FILES, ProjectedFile
from pyromq.store.recovery import recover
from pyromq.store.shown import Shown
from pyromq.store.tables import Tables, offset_key, split_key
from pyromq.units import SECOND_MS

FOLDER: Final = "pyromq"
"""Under the root, where our own files live; none of them in Apache's folders."""
PROJECTION_INTERVAL_MS: Final = 5 * SECOND_MS
OFFSET_VERSION_STEP: Final = 500
"""Offset commits per step of their DataVersion: Apache's consumerOffsetUpdateVersionStep."""
DELAY_VERSION_STEP: Final = 200
"""Delivered messages per step of that DataVersion: Apache's delayOffsetUpdateVersionStep."""

_log = logging.getLogger(__name__)


class ChangeJournal(Protocol):
    """What `Metadata` asks of a journal: `Journal` on disk, `MemoryJournal` in tests."""

    def start(self, call_on_loop: CallOnLoop, copy_tables: Callable[[], Tables]) -> None: ...
    def append(self, change: Change) -> int: ...
    def write(self) -> None: ...
    def positions(self) -> JournalPositions: ...
    def failure(self) -> str | None: ...
    def is_full(self) -> bool: ...
    def resume(self) -> bool: ...
    def on_progress(self, callback: Callable[[], None]) -> None: ...
    async def durable(self, sequence: int) -> None: ...
    def close(self) -> None: ...


_FILE_OF: Final[dict[type[Change], str]] = {
    changes.TopicPut: projection.TOPICS,
    changes.TopicDeleted: projection.TOPICS,
    changes.TopicsTaken: projection.TOPICS,
    changes.GroupPut: projection.GROUPS,
    changes.GroupDeleted: projection.GROUPS,
    changes.ForbiddenPut: projection.GROUPS,
    changes.GroupsTaken: projection.GROUPS,
    changes.OffsetsCommitted: projection.OFFSETS,
    changes.OffsetsDropped: projection.OFFSETS,
    changes.OffsetsReset: projection.OFFSETS,
    changes.OffsetsTaken: projection.OFFSETS,
    changes.DelayOffsetsMoved: projection.DELAY_OFFSETS,
    changes.DelayOffsetsTaken: projection.DELAY_OFFSETS,
    changes.KvPut: projection.KV,
    changes.KvDeleted: projection.KV,
    changes.KvTaken: projection.KV,
}
"""Which file shows a change."""


_RULES: Final = frozenset(
    {
        changes.TopicPut,
        changes.TopicDeleted,
        changes.TopicsTaken,
        changes.GroupPut,
        changes.GroupDeleted,
        changes.ForbiddenPut,
        changes.GroupsTaken,
        changes.OffsetsReset,
        changes.ResetsAdopted,
        changes.OffsetsTaken,
    }
)
"""Changes that decide on what clients may do, or must be told."""


class Metadata:
    """Owned by the loop thread; nothing but opening and stopping waits for a disk."""

    def __init__(
        self,
        journal: ChangeJournal,
        tables: Tables,
        clock: Clock,
        *,
        root: Path | None = None,
        projected: tuple[ProjectedFile, ...] = (),
        files: Files | None = None,
    ) -> None:
        """For `open_broker`, `open_namesrv` and `in_memory`."""
        self.tables = tables
        self._journal = journal
        self._clock = clock
        self.on_rules_changed: Callable[[], None] = _nothing
        """Told after each change of topics, groups, permissions or resets."""
        self._root = root
        self._projected = projected
        self._files = files or Files()
        self._offset_commits = 0
        self._delayed_count = 0
        self._turn_offsets: dict[str, dict[int, int]] = {}
        self._changed_files: set[str] = set()
        self._uncertain_files: set[str] = set()
        """Files whose last writing failed: the old content or the new may lie there."""
        self._in_place: dict[str, tuple[int, int, int] | None] = {}
        """What lies in the place of each file, as we left it or found it at start."""
        self._projection_lock = asyncio.Lock()
        self._is_stopping = asyncio.Event()
        self._projection_task: asyncio.Task[None] | None = None

    # --- open and stop --------------------------------------------------------------------------

    @classmethod
    def open_broker(
        cls, root: Path, *, sync_flush: bool, clock: Clock, files: Files | None = None
    ) -> Metadata:
        """Metadata of the broker that stores in `root`. Raises StartFailed, often StoreDamaged."""
        return cls._open(root, BROKER_FILES, sync_flush, clock, files or Files())

    @classmethod
    def open_namesrv(
        cls, root: Path, *, sync_flush: bool, clock: Clock, files: Files | None = None
    ) -> Metadata:
        """KV config of a name server, beside kvConfig.json in `root`."""
        return cls._open(root, NAMESRV_FILES, sync_flush, clock, files or Files())

    @classmethod
    def in_memory(cls, *, clock: Clock, sync_flush: bool = False) -> Metadata:
        """Without a disk; with `sync_flush` only `flush` makes changes durable."""
        return cls(MemoryJournal(sync_flush=sync_flush), _new_tables(clock), clock)

    @classmethod
    def _open(
        cls,
        root: Path,
        projected: tuple[ProjectedFile, ...],
        sync_flush: bool,
        clock: Clock,
        files: Files,
    ) -> Metadata:
        try:
            write_again(root / FOLDER, files)
            recovered = recover(root / FOLDER, files)
            taken, stale = take_projection(root, projected, files, recovered, clock.now_ms())
            if recovered is None:
                tables = _new_tables(clock)
                for change in taken:
                    tables.apply(change)
                for name in stale:  # there is no such file, so it shows nothing
                    tables.shown.setdefault(name, [Shown()])
                recovered = begin_generation(root / FOLDER, files, 1, tables, 0)
                taken = []
            elif recovered.is_snapshot_lost:
                recovered = begin_generation(
                    root / FOLDER,
                    files,
                    recovered.journal_generation + 1,
                    recovered.tables,
                    recovered.sequence,
                )
            journal = Journal(root / FOLDER, files, recovered, sync_flush=sync_flush)
            metadata = cls(
                journal, recovered.tables, clock, root=root, projected=projected, files=files
            )
            for change in taken:
                metadata._change(change)
            metadata.write()
        except (OSError, StoreFailed) as error:
            raise StartFailed(f"metadata under {root} cannot be opened: {error}") from error
        metadata._changed_files = stale
        metadata._in_place = {
            file.name: metadata._files.identity(root / file.name) for file in projected
        }
        return metadata

    def start(self, call_on_loop: CallOnLoop) -> None:
        """Starts the sync thread and the projection's task, on the running loop."""
        self._journal.start(call_on_loop, self._copy_for_snapshot)
        if self._projected:
            self._projection_task = asyncio.get_running_loop().create_task(
                self._keep_projected(), name="metadata projection"
            )

    async def stop(self) -> None:
        """The clean end: everything synced, and the projection shows it."""
        if self._projection_task is not None:
            self._is_stopping.set()
            await self._projection_task
            self._projection_task = None
        try:
            if self.failure() is None:
                self.write()
                await self.project()
        finally:
            self._journal.close()

    def _copy_for_snapshot(self) -> Tables:
        tables = self.tables.copy()
        tables.pull_offsets = {}
        return tables

    # --- topics, groups -------------------------------------------------------------------------

    def put_topic(self, config: TopicConfig) -> int:
        """Creates or replaces a topic."""
        return self._change(changes.TopicPut(config, self._next(self.tables.topics_version)))

    def delete_topic(self, topic: str) -> int:
        """Forgets a topic; its offsets stay until `drop_offsets`, its queues are doomed."""
        if topic not in self.tables.topics:
            return self._last_sequence()
        return self._change(changes.TopicDeleted(topic, self._next(self.tables.topics_version)))

    def note_queues_dropped(self, topic: str) -> int:
        """The store has dropped the queues of a deleted topic."""
        return self._change(changes.TopicQueuesDropped(topic))

    def put_group(self, config: GroupConfig) -> int:
        """Creates or replaces a consumer group."""
        return self._change(changes.GroupPut(config, self._next(self.tables.groups_version)))

    def delete_group(self, group: str) -> int:
        """Forgets a group and what it is forbidden; its offsets stay until `drop_offsets`."""
        if group not in self.tables.groups and group not in self.tables.forbidden:
            return self._last_sequence()
        return self._change(changes.GroupDeleted(group, self._next(self.tables.groups_version)))

    def put_forbidden(self, group: str, topic: str, bits: int) -> int:
        """Sets what the group may not do with the topic; 0 clears all topics of the group."""
        version = self._next(self.tables.groups_version)
        return self._change(changes.ForbiddenPut(group, topic, bits, version))

    # --- offsets --------------------------------------------------------------------------------

    def commit_offset(self, group: str, topic: str, queue_id: int, offset: int) -> int:
        """Sets the group's offset in a queue, also to a lower one."""
        failure = self._journal.failure()
        if failure is not None:
            raise StoreFailed(failure)
        key = offset_key(topic, group)
        if self.tables.shown:
            self.tables.note_offsets(key, (queue_id,))
        committed = self.tables.offsets.get(key)
        if committed is None:
            committed = self.tables.offsets[key] = {}
        committed[queue_id] = offset
        self._offset_commits += 1
        if self._offset_commits % OFFSET_VERSION_STEP == 0:
            self.tables.offsets_version = self._next(self.tables.offsets_version)
        self._turn_offsets.setdefault(key, {})[queue_id] = offset
        return self._last_sequence()

    def commit_pull_offset(self, group: str, topic: str, queue_id: int, offset: int) -> None:
        """Sets how far the group has pulled. In memory only, as Apache does."""
        self.commit_pull_offsets(group, topic, [(queue_id, offset)])

    def commit_pull_offsets(
        self, group: str, topic: str, offsets: Iterable[tuple[int, int]]
    ) -> None:
        """The same of several queues, by queue id; the last one of a queue counts."""
        self.tables.pull_offsets.setdefault(offset_key(topic, group), {}).update(offsets)
        self._changed_files.add(projection.OFFSETS)

    def drop_offsets(self, *, group: str | None = None, topic: str | None = None) -> int:
        """Forgets all offsets of a group, of a topic, or of that group in that topic."""
        assert group is not None or topic is not None, "name a group or a topic"
        keys = [
            key
            for key in {**self.tables.offsets, **self.tables.pull_offsets}
            if group in (None, split_key(key)[1]) and topic in (None, split_key(key)[0])
        ]
        return self._change(changes.OffsetsDropped(keys)) if keys else self._last_sequence()

    def clone_offsets(self, source_group: str, target_group: str, topic: str) -> int:
        """Gives the target group exactly the offsets the source group has in the topic."""
        offsets = self.tables.offsets.get(offset_key(topic, source_group))
        if offsets is None:
            return self._last_sequence()
        offsets = dict(offsets)
        target = offset_key(topic, target_group)
        self._change(changes.OffsetsDropped([target]))
        version = self.tables.offsets_version
        return self._change(changes.OffsetsCommitted({target: offsets}, version))

    def reset_offsets(
        self, group: str, topic: str, offsets: dict[int, int], *, is_marked: bool
    ) -> int:
        """Sets the group's offsets (by queue) from outside; marked ones stay so until adopted."""
        key, version = offset_key(topic, group), self.tables.offsets_version
        return self._change(changes.OffsetsReset(key, offsets, version, is_marked))

    def adopt_resets(self, group: str, topic: str, queue_ids: list[int]) -> int:
        """The group goes on from the offsets these queues were reset to."""
        return self._change(changes.ResetsAdopted(offset_key(topic, group), queue_ids))

    # --- order locks ----------------------------------------------------------------------------

    def put_locks(self, group: str, client_id: str, queues: dict[str, list[int]]) -> int:
        """A client got the order locks of queues (topic → queue ids)."""
        return self._change(changes.QueuesLocked(group, client_id, queues))

    def delete_locks(self, group: str, queues: dict[str, list[int]]) -> int:
        """Order locks ended."""
        return self._change(changes.QueuesUnlocked(group, queues))

    # --- delay levels ---------------------------------------------------------------------------

    def move_delay_offsets(self, offsets: dict[int, int]) -> int:
        """Sets up to where the queues of delay levels are delivered, by level."""
        tables = self.tables
        steps = self._delayed_count // DELAY_VERSION_STEP
        for level, offset in offsets.items():
            self._delayed_count += max(offset - tables.delay_offsets.get(level, 0), 0)
        version = tables.delay_offsets_version
        if self._delayed_count // DELAY_VERSION_STEP > steps:
            version = self._next(version)
        return self._change(changes.DelayOffsetsMoved(offsets, version))

    # --- KV config ------------------------------------------------------------------------------

    def put_kv(self, namespace: str, key: str, value: str) -> int:
        return self._change(changes.KvPut(namespace, key, value))

    def delete_kv(self, namespace: str, key: str) -> int:
        if key not in self.tables.kv.get(namespace, {}):
            return self._last_sequence()
        return self._change(changes.KvDeleted(namespace, key))

    # --- the turn -------------------------------------------------------------------------------

    def write(self) -> None:
        """Ends a turn: one write of all its changes. Raises StoreFailed if it failed; the metadata
        is read-only then, and the tables show changes that the next start will not know."""
        self._close_turn_offsets()
        self._journal.write()

    def positions(self) -> JournalPositions:
        """How far changes have come."""
        return self._journal.positions()._replace(appended=self._last_sequence())

    def kept_sequence(self) -> int:
        """Up to which change nothing can get lost any more: `positions().commit`, every turn."""
        return self._journal.positions().commit

    def failure(self) -> str | None:
        """Why nothing can be changed now, or None while all is well."""
        return self._journal.failure()

    def is_full(self) -> bool:
        """Whether a full disk is why: it goes on by itself, and what was written is synced."""
        return self._journal.is_full()

    def resume(self) -> bool:
        """Goes on after a full disk, if there is space now; see `Journal`. Does not raise."""
        return self._journal.resume()

    def on_progress(self, callback: Callable[[], None]) -> None:
        """Registers what is called on the loop after `durable` moved, or a sync failed."""
        self._journal.on_progress(callback)

    def flush(self) -> None:
        """In memory only: what the sync thread does on disk."""
        assert isinstance(self._journal, MemoryJournal), "a journal on disk syncs by itself"
        self._journal.flush()

    def _change(self, change: AnyChange) -> int:
        self._close_turn_offsets()
        sequence = self._journal.append(change)
        self.tables.apply(change)
        file = _FILE_OF.get(type(change))
        if file is not None:
            self._changed_files.add(file)
        if type(change) in _RULES:
            self.on_rules_changed()
        return sequence

    def _close_turn_offsets(self) -> None:
        """The tables have them already; the journal gets them now, in their place."""
        if self._turn_offsets:
            offsets, self._turn_offsets = self._turn_offsets, {}
            self._journal.append(changes.OffsetsCommitted(offsets, self.tables.offsets_version))
            self._changed_files.add(projection.OFFSETS)

    def _last_sequence(self) -> int:
        """Of the last change, the turn's offsets counted as the one they will become."""
        return self._journal.positions().appended + bool(self._turn_offsets)

    def _next(self, version: DataVersion) -> DataVersion:
        return version.next(self._clock.now_ms())

    # --- projection -----------------------------------------------------------------------------

    async def project(self) -> None:
        """Writes every file whose table has changed. A file that cannot be written is logged and
        tried again with the next round; the journal holds all of it.

        Also a file that somebody else has written meanwhile: an Apache broker does so although the
        store's lock refuses it, with what it had read.
        """
        async with self._projection_lock:
            for name in await asyncio.to_thread(self._replaced_files):
                _log.warning("%s was written by another program; it is written anew", name)
                self._changed_files.add(name)
            for file in self._projected:
                if file.name in self._changed_files:
                    self._changed_files.discard(file.name)
                    try:
                        await self._project_file(file)
                    except StoreFailed:
                        self._changed_files.add(file.name)
                        raise

    async def _project_file(self, file: ProjectedFile) -> None:
        assert self._root is not None
        path = self._root / file.name
        if file.name in self._uncertain_files:
            await self._learn_digest(file)
        copied = self.tables.copy(*file.shows)
        data = await asyncio.to_thread(file.encode, copied)
        digest = projection.digest_of(data)
        since = self.tables.changed_since(file.name, copied)
        sequence = self._change(changes.Projected(file.name, digest, since))
        self.write()
        await self._journal.durable(sequence)
        try:
            await asyncio.to_thread(projection.write_projection, self._files, path, data)
        except OSError as error:
            _log.error("%s cannot be written: %s", path, error.strerror)
            self._changed_files.add(file.name)
            self._uncertain_files.add(file.name)
        else:
            self._in_place[file.name] = self._files.identity(path)
            self._change(changes.Projected(file.name, digest))

    def _replaced_files(self) -> list[str]:
        assert self._root is not None or not self._in_place
        return [
            name
            for name, identity in self._in_place.items()
            if self._root is not None
            and name not in self._uncertain_files
            and self._files.identity(self._root / name) != identity
        ]

    async def _learn_digest(self, file: ProjectedFile) -> None:
        """After a failure: makes sure that what lies there now, if it is ours, stays known as ours
        however many more attempts fail."""
        assert self._root is not None
        known = self.tables.projected.get(file.name, [])
        found, _ = await asyncio.to_thread(projection.find, self._files, self._root, file, known)
        if found is not None and found.change is None:
            self._change(changes.Projected(file.name, found.digest))
        self._uncertain_files.discard(file.name)

    async def _keep_projected(self) -> None:
        while self.failure() is None or self.is_full():
            try:
                async with asyncio.timeout(PROJECTION_INTERVAL_MS / SECOND_MS):
                    await self._is_stopping.wait()
                return
            except TimeoutError:
                pass
            self.resume()
            try:
                if self.failure() is None:
                    await self.project()
            except StoreFailed as error:
                _log.error("the metadata is not projected: %s", error)


def _nothing() -> None:
    """Nobody wants to know."""


def _new_tables(clock: Clock) -> Tables:
    """Empty tables; a DataVersion begins with the time it was made, as Apache's does."""
    version = DataVersion(0, 0, clock.now_ms())
    return Tables(
        topics_version=version,
        groups_version=version,
        offsets_version=version,
        delay_offsets_version=version,
    )


__all__ = ["FOLDER", "OFFSET_VERSION_STEP", "PROJECTION_INTERVAL_MS", "Metadata"]
