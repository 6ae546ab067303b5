"""The metadata of a broker or a name server: topics, groups, offsets, KV config.

State with one owner, the loop thread. It changes by `apply` only, which is what the journal
replays; so tables rebuilt from the journal equal those that wrote it. Same content as RocketMQ's
TopicConfigManager, SubscriptionGroupManager, ConsumerOffsetManager, ScheduleMessageService and
KVConfigManager.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, TypeVar

import msgspec

from pyromq.domain.group import GroupConfig
from pyromq.domain.topic import TopicConfig
from pyromq.domain.version import DataVersion
from pyromq.store import changes
from pyromq.store.changes import AnyChange, Fields
from pyromq.store.shown import DELAY_OFFSETS, GROUPS, OFFSETS, SHOWN_KEPT, TOPICS, Shown

KeyT = TypeVar("KeyT")
ValueT = TypeVar("ValueT")

KEY_SEPARATOR: Final = "@"
DIGESTS_KEPT: Final = 3
"""Contents of a file that we know as ours: the one being written, the one in place, its .bak.
Before a content is announced, the one in place is the newest of them."""


class Tables(msgspec.Struct, kw_only=True):
    """All metadata. As MessagePack it is the journal's snapshot: a field never changes its name."""

    topics: dict[str, TopicConfig] = msgspec.field(default_factory=dict)
    topics_version: DataVersion = DataVersion()
    doomed_topics: dict[str, None] = msgspec.field(default_factory=dict)
    """Deleted topics whose queues the store may still have."""
    groups: dict[str, GroupConfig] = msgspec.field(default_factory=dict)
    groups_version: DataVersion = DataVersion()
    forbidden: dict[str, dict[str, int]] = msgspec.field(default_factory=dict)
    """Group → topic → bits."""
    offsets: dict[str, dict[int, int]] = msgspec.field(default_factory=dict)
    """`topic@group` → queue id → committed offset."""
    offsets_version: DataVersion = DataVersion()
    pull_offsets: dict[str, dict[int, int]] = msgspec.field(default_factory=dict)
    """Like `offsets`, but in memory only."""
    resets: dict[str, dict[int, int]] = msgspec.field(default_factory=dict)
    """Like `offsets`: those that were set from outside and that the group has not adopted yet."""
    delay_offsets: dict[int, int] = msgspec.field(default_factory=dict)
    """Delay level → offset in its queue up to which everything is delivered."""
    delay_offsets_version: DataVersion = DataVersion()
    kv: dict[str, dict[str, str]] = msgspec.field(default_factory=dict)
    """Namespace → key → value."""
    locks: dict[str, dict[int, str]] = msgspec.field(default_factory=dict)
    """`topic@group` → queue id → client that holds the order lock."""

    unknown_topics: dict[str, Fields] = msgspec.field(default_factory=dict)
    unknown_groups: dict[str, Fields] = msgspec.field(default_factory=dict)
    unknown_offsets: dict[str, Fields] = msgspec.field(default_factory=dict)
    unknown_delay_offsets: dict[str, Fields] = msgspec.field(default_factory=dict)
    unknown_kv: dict[str, Fields] = msgspec.field(default_factory=dict)
    projected: dict[str, list[bytes]] = msgspec.field(default_factory=dict)
    """File of the projection → digests of what we wrote last, the newest at the end."""
    shown: dict[str, list[Shown]] = msgspec.field(default_factory=dict)
    """File of the projection → contents that may lie in its place, the newest at the end. None:
    not known what the file shows."""

    def offset(self, group: str, topic: str, queue_id: int) -> int:
        """Committed offset, −1 if there is none."""
        return self.offsets.get(offset_key(topic, group), {}).get(queue_id, -1)

    def pull_offset(self, group: str, topic: str, queue_id: int) -> int:
        """Offset the group has pulled up to; the committed one if that is not known."""
        pulled = self.pull_offsets.get(offset_key(topic, group), {}).get(queue_id)
        return self.offset(group, topic, queue_id) if pulled is None else pulled

    def topics_of_group(self, group: str) -> list[str]:
        """Topics in which the group has committed offsets."""
        return [topic for topic, name in map(split_key, self.offsets) if name == group and topic]

    def groups_of_topic(self, topic: str) -> list[str]:
        """Groups that have committed offsets in the topic."""
        return [group for name, group in map(split_key, self.offsets) if name == topic and group]

    def held_locks(self) -> Iterator[tuple[str, str, int, str]]:
        """(group, topic, queue id, client id) of each order lock."""
        for key, clients in self.locks.items():
            topic, group = split_key(key)
            for queue_id, client_id in clients.items():
                yield group, topic, queue_id, client_id

    def copy(self, *names: str) -> Tables:
        """What these tables (or those that are named) are now, for another thread."""
        copied = Tables()
        for name in names or self.__struct_fields__:
            value = getattr(self, name)
            setattr(copied, name, _copied(value) if isinstance(value, dict) else value)
        copied.shown = {
            file: [content.copy() for content in contents]
            for file, contents in copied.shown.items()
        }
        return copied

    def apply(self, change: AnyChange) -> None:
        """Makes one change. Depends on nothing but the tables and the change."""
        if self.shown:
            self._note_shown(change)
        match change:
            case changes.OffsetsCommitted(offsets, version):
                for key, committed in offsets.items():
                    self.offsets.setdefault(key, {}).update(committed)
                self.offsets_version = version
            case changes.OffsetsDropped(keys):
                for key in keys:
                    self.offsets.pop(key, None)
                    self.pull_offsets.pop(key, None)
                    self.resets.pop(key, None)
            case changes.OffsetsReset(key, offsets, version, is_marked):
                self.offsets.setdefault(key, {}).update(offsets)
                self.offsets_version = version
                if is_marked:
                    self.resets.setdefault(key, {}).update(offsets)
                else:
                    self._unmark(key, offsets)
            case changes.ResetsAdopted(key, queue_ids):
                self._unmark(key, queue_ids)
            case changes.OffsetsTaken(offsets, version, unknown):
                self.offsets = {key: dict(taken) for key, taken in offsets.items()}
                self.resets = {}
                self.offsets_version = version
                self.unknown_offsets = unknown
            case changes.TopicPut(config, version):
                self.topics[config.topic_name] = config
                self.topics_version = version
                self.doomed_topics.pop(config.topic_name, None)
            case changes.TopicDeleted(topic, version):
                self.topics.pop(topic, None)
                self.unknown_topics.pop(topic, None)
                self.topics_version = version
                self.doomed_topics[topic] = None
            case changes.TopicQueuesDropped(topic):
                self.doomed_topics.pop(topic, None)
            case changes.TopicsTaken(configs, version, unknown):
                self.topics = dict(configs)
                self.topics_version = version
                for topic in configs:
                    self.doomed_topics.pop(topic, None)
                self.unknown_topics = dict(unknown)
            case changes.GroupPut(config, version):
                self.groups[config.group_name] = config
                self.groups_version = version
            case changes.GroupDeleted(group, version):
                self.groups.pop(group, None)
                self.forbidden.pop(group, None)
                for key in [key for key in self.resets if split_key(key)[1] == group]:
                    del self.resets[key]
                self.unknown_groups.pop(group, None)
                self.groups_version = version
            case changes.ForbiddenPut(group, topic, bits, version):
                if bits > 0:
                    self.forbidden.setdefault(group, {})[topic] = bits
                    self.groups_version = version
                else:
                    self.forbidden.pop(group, None)
            case changes.GroupsTaken(configs, forbidden, version, unknown):
                self.groups = dict(configs)
                self.forbidden = {group: dict(bits) for group, bits in forbidden.items()}
                self.groups_version = version
                self.unknown_groups = dict(unknown)
            case changes.QueuesLocked(group, client_id, queues):
                for topic, queue_ids in queues.items():
                    clients = self.locks.setdefault(offset_key(topic, group), {})
                    clients.update(dict.fromkeys(queue_ids, client_id))
            case changes.QueuesUnlocked(group, queues):
                for topic, queue_ids in queues.items():
                    key = offset_key(topic, group)
                    clients = self.locks.get(key, {})
                    for queue_id in queue_ids:
                        clients.pop(queue_id, None)
                    if not clients:
                        self.locks.pop(key, None)
            case changes.DelayOffsetsMoved(moved, version):
                self.delay_offsets.update(moved)
                self.delay_offsets_version = version
            case changes.DelayOffsetsTaken(moved, version, unknown):
                self.delay_offsets = dict(moved)
                self.delay_offsets_version = version
                self.unknown_delay_offsets = unknown
            case changes.KvPut(namespace, key, value):
                self.kv.setdefault(namespace, {})[key] = value
            case changes.KvDeleted(namespace, key):
                self.kv.get(namespace, {}).pop(key, None)
            case changes.KvTaken(kv, unknown):
                self.kv = {namespace: dict(values) for namespace, values in kv.items()}
                self.unknown_kv = unknown
            case changes.Projected(file, digest, since):
                self._show(file, digest, since)
                known = [old for old in self.projected.get(file, []) if old != digest]
                self.projected[file] = [*known, digest][-DIGESTS_KEPT:]
            case changes.Opened() | changes.Closed():
                pass

    # --- what the projection shows --------------------------------------------------------------

    def _show(self, file: str, digest: bytes, since: Shown | None) -> None:
        contents = self.shown.get(file, [])
        if since is not None:
            since = since.copy()
            since.digest = digest
            others = [content for content in contents if content.digest != digest]
            self.shown[file] = [*others, since][-SHOWN_KEPT:]
        elif digest in self.projected.get(file, []):
            self.shown[file] = [content for content in contents if content.digest == digest]
        else:
            self.shown[file] = [*contents, Shown(digest=digest)][-SHOWN_KEPT:]

    def _note_shown(self, change: AnyChange) -> None:
        """Keeps what the files show of the entries that this change is about to change."""
        match change:
            case changes.OffsetsCommitted(offsets, _):
                for key, queues in offsets.items():
                    self.note_offsets(key, queues)
            case changes.OffsetsDropped(keys):
                for key in keys:
                    self.note_offsets(key, self.offsets.get(key, ()))
            case changes.OffsetsReset(key, offsets, _, _):
                self.note_offsets(key, offsets)
            case changes.TopicPut(TopicConfig(topic_name=topic), _) | changes.TopicDeleted(
                topic, _
            ):
                for content in self.shown.get(TOPICS, ()):
                    content.topics.setdefault(topic, self.topics.get(topic))
            case changes.GroupPut(GroupConfig(group_name=group), _) | changes.GroupDeleted(
                group, _
            ):
                for content in self.shown.get(GROUPS, ()):
                    content.groups.setdefault(group, self.groups.get(group))
            case changes.DelayOffsetsMoved(moved, _):
                for content in self.shown.get(DELAY_OFFSETS, ()):
                    for level in moved:
                        content.delay_offsets.setdefault(level, self.delay_offsets.get(level))
            case changes.TopicsTaken():
                self.shown.pop(TOPICS, None)
            case changes.GroupsTaken():
                self.shown.pop(GROUPS, None)
            case changes.OffsetsTaken():
                self.shown.pop(OFFSETS, None)
            case changes.DelayOffsetsTaken():
                self.shown.pop(DELAY_OFFSETS, None)

    def note_offsets(self, key: str, queue_ids: Iterable[int]) -> None:
        """Offsets of these queues are about to be changed; also before a change by hand."""
        contents = self.shown.get(OFFSETS)
        if contents:
            committed = self.offsets.get(key, {})
            for content in contents:
                seen = content.offsets.setdefault(key, {})
                for queue_id in queue_ids:
                    if queue_id not in seen:
                        seen[queue_id] = committed.get(queue_id)

    def changed_since(self, file: str, copied: Tables) -> Shown:
        """What a content made of `copied` shows of the file's entries that differ by now."""
        contents = self.shown.get(file)
        newest = contents[-1] if contents else _everything(self, copied)
        shown = Shown()
        if file == TOPICS:
            shown.topics = _older(newest.topics, copied.topics, self.topics)
        elif file == GROUPS:
            shown.groups = _older(newest.groups, copied.groups, self.groups)
        elif file == DELAY_OFFSETS:
            shown.delay_offsets = _older(
                newest.delay_offsets, copied.delay_offsets, self.delay_offsets
            )
        elif file == OFFSETS:
            for key, queues in newest.offsets.items():
                now = self.offsets.get(key, {})
                if older := _older(queues, copied.offsets.get(key, {}), now):
                    shown.offsets[key] = older
        return shown

    def _unmark(self, key: str, queue_ids: Iterable[int]) -> None:
        marks = self.resets.get(key, {})
        for queue_id in queue_ids:
            marks.pop(queue_id, None)
        if not marks:
            self.resets.pop(key, None)


def _everything(*tables: Tables) -> Shown:
    """All entries there are in one of the tables; the values do not matter."""
    every = Shown()
    for table in tables:
        every.topics |= table.topics
        every.groups |= table.groups
        every.delay_offsets |= table.delay_offsets
        for key, queues in table.offsets.items():
            every.offsets.setdefault(key, {}).update(queues)
    return every


def _older(
    keys: Iterable[KeyT], then: Mapping[KeyT, ValueT], now: Mapping[KeyT, ValueT]
) -> dict[KeyT, ValueT | None]:
    return {key: then.get(key) for key in keys if then.get(key) != now.get(key)}


def _copied(table: dict[str, Any]) -> dict[str, Any]:
    """A table whose rows are values, or dictionaries or lists of values."""
    return {
        key: dict(row) if isinstance(row, dict) else list(row) if isinstance(row, list) else row
        for key, row in table.items()
    }


def offset_key(topic: str, group: str) -> str:
    return f"{topic}{KEY_SEPARATOR}{group}"


def split_key(key: str) -> tuple[str, str]:
    """Topic and group of an offset's key; two empty names if it is not one."""
    parts = key.split(KEY_SEPARATOR)
    return (parts[0], parts[1]) if len(parts) == 2 else ("", "")


__all__ = ["KEY_SEPARATOR", "Tables", "offset_key", "split_key"]
