"""RocketMQ's config/*.json as a projection of the tables, in Apache's shape.

The journal is the truth; these files are written so that Apache's broker can be started on the same
directory, and read back only where they are the newer truth. Whose a file is, its digest tells:
before a file of ours comes into its place, its digest is durable in the journal. At start

- content whose digest we know is ours: the journal wins; unless we had newer content in its place;
- readable content we do not know was written by Apache's broker (or by a person): it wins, but for
  entries we had changed after the content that was read there (`handover`);
- unreadable content is a write that was cut short: its .bak is looked at the same way, and if that
  says nothing either, the journal wins.

Without a journal the files are all there is: then one that exists and cannot be read, nor its .bak,
is damage and never an empty table. Members we do not know are kept and written again.

Sources: ConfigManager, TopicConfigManager, SubscriptionGroupManager, ConsumerOffsetManager,
ScheduleMessageService and KVConfigManager of Apache RocketMQ 5.5.0.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

import msgspec

from pyromq.domain.group import GroupConfig
from pyromq.domain.topic import TopicConfig
from pyromq.domain.version import DataVersion
from pyromq.store import changes
from pyromq.store.changes import AnyChange, Fields
from pyromq.store.files import Files, replace_file
from pyromq.store.shown import DELAY_OFFSETS, GROUPS, KV, OFFSETS, TOPICS
from pyromq.store.tables import Tables, split_key
from pyromq.units import MIB
from pyromq.wire import dialect

_SIZE_MAX: Final = 512 * MIB
"""A table of millions of queues stays below; more is not such a file."""
_FILE: Final = ""
"""The name under which unknown members of the file itself are kept."""

ConfigT = TypeVar("ConfigT", TopicConfig, GroupConfig)


class Unreadable(Exception):
    """Content that is not such a file: cut short, empty, or something else."""


class ProjectedFile(NamedTuple):
    """One file of the projection."""

    name: str
    """Path under the root."""
    shows: tuple[str, ...]
    """The fields of `Tables` it is made of."""
    encode: Callable[[Tables], bytes]
    take: Callable[[Fields], AnyChange]
    """The change that puts a file's content in place of the table. Raises Unreadable."""


class Found(NamedTuple):
    """A file's content at start."""

    digest: bytes
    change: AnyChange | None
    """None if the content is ours."""


def digest_of(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def backup_path(path: Path) -> Path:
    return path.with_name(path.name + ".bak")


def write_projection(files: Files, path: Path, data: bytes) -> None:
    """Puts new content in place and keeps the previous one as .bak, as Apache does."""
    files.make_directory(path.parent)
    if files.exists(path):
        files.rename(path, backup_path(path))
    replace_file(files, path, data)


def find(
    files: Files,
    root: Path,
    file: ProjectedFile,
    known: list[bytes],
    in_place: list[bytes] | None = None,
) -> tuple[Found | None, list[Path]]:
    """The newest content that can be read, from the file or its .bak, and what could not be.

    `known` are digests of what we wrote last, `in_place` those that we may have left in the file
    itself (all of them unless told): an older one there was put back by somebody else.
    """
    unreadable: list[Path] = []
    path = root / file.name
    for candidate in (path, backup_path(path)):
        if not files.exists(candidate):
            continue
        try:
            data = files.read(candidate)
            digest = digest_of(data)
            is_backup = candidate != path
            if digest in (known if is_backup or in_place is None else in_place):
                return Found(digest, None), unreadable
            change = file.take(_members(data))
            msgspec.msgpack.encode(change)
            return Found(digest, change), unreadable
        except (OSError, Unreadable, OverflowError):  # the last: a number no journal can hold
            unreadable.append(candidate)
    return None, unreadable


def _members(data: bytes) -> Fields:
    """The file's object. Standard JSON takes the fast reader, Apache's dialect the tolerant one."""
    try:
        tree: object = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        try:
            tree = dialect.read(data, size_max=_SIZE_MAX)
        except dialect.DialectError as error:
            raise Unreadable(str(error)) from error
    if not isinstance(tree, dict):
        raise Unreadable("not a JSON object")
    return tree


def _table(members: Fields, name: str) -> Fields:
    table = members.get(name)
    if not isinstance(table, dict):
        raise Unreadable(f"no {name}")
    return table


def _convert(value: object, type_: Any) -> Any:
    try:
        return msgspec.convert(value, type_, strict=False, str_keys=True)
    except msgspec.ValidationError as error:
        raise Unreadable(str(error)) from error


def _version(members: Fields) -> DataVersion:
    value: DataVersion = _convert(members.get("dataVersion") or {}, DataVersion)
    return value


def _take_configs(
    table: Fields, type_: type[ConfigT], name_field: str
) -> tuple[dict[str, ConfigT], dict[str, Fields]]:
    known = frozenset(type_.__struct_encode_fields__)
    configs: dict[str, ConfigT] = {}
    unknown: dict[str, Fields] = {}
    for name, value in table.items():
        if not isinstance(value, dict):
            raise Unreadable(f"{name} is not an object")
        members = {key: member for key, member in value.items() if member is not None}
        configs[name] = _convert({**members, name_field: name}, type_)
        if others := {key: member for key, member in members.items() if key not in known}:
            unknown[name] = others
    return configs, unknown


def _others(members: Fields, *known: str) -> dict[str, Fields]:
    others = {key: value for key, value in members.items() if key not in known}
    return {_FILE: others} if others else {}


def _encode_configs(
    configs: dict[str, TopicConfig] | dict[str, GroupConfig], unknown: dict[str, Fields]
) -> dict[str, object]:
    table: dict[str, object] = {}
    for name, config in sorted(configs.items()):
        others = unknown.get(name)
        if others is None:
            table[name] = config
        else:
            table[name] = _sorted({**msgspec.to_builtins(config), **others})
    return table


def _sorted(members: dict[str, Any]) -> dict[str, Any]:
    return dict(sorted(members.items()))


# --- config/topics.json -------------------------------------------------------------------------


def _encode_topics(tables: Tables) -> bytes:
    members = {
        "dataVersion": tables.topics_version,
        "topicConfigTable": _encode_configs(tables.topics, tables.unknown_topics),
    }
    others = tables.unknown_topics.get(_FILE, {})
    return dialect.encode(_sorted({**members, **others}), pretty=True)


def _take_topics(members: Fields) -> AnyChange:
    table = _table(members, "topicConfigTable")
    configs, unknown = _take_configs(table, TopicConfig, "topicName")
    unknown |= _others(members, "dataVersion", "topicConfigTable")
    return changes.TopicsTaken(configs, _version(members), unknown)


# --- config/subscriptionGroup.json --------------------------------------------------------------


def _encode_groups(tables: Tables) -> bytes:
    members = {
        "dataVersion": tables.groups_version,
        "forbiddenTable": {
            group: _sorted(bits) for group, bits in sorted(tables.forbidden.items())
        },
        "subscriptionGroupTable": _encode_configs(tables.groups, tables.unknown_groups),
    }
    others = tables.unknown_groups.get(_FILE, {})
    return dialect.encode(_sorted({**members, **others}), pretty=True)


def _take_groups(members: Fields) -> AnyChange:
    table = _table(members, "subscriptionGroupTable")
    configs, unknown = _take_configs(table, GroupConfig, "groupName")
    forbidden = _convert(members.get("forbiddenTable") or {}, dict[str, dict[str, int]])
    unknown |= _others(members, "dataVersion", "forbiddenTable", "subscriptionGroupTable")
    return changes.GroupsTaken(configs, forbidden, _version(members), unknown)


# --- config/consumerOffset.json -----------------------------------------------------------------


def _encode_offsets(tables: Tables) -> bytes:
    topics_of: dict[str, list[str]] = {}
    for key in sorted(tables.offsets):
        topic, group = split_key(key)
        if topic and group:
            topics_of.setdefault(group, []).append(topic)
    members = {
        "dataVersion": tables.offsets_version,
        "groupTopicMap": _sorted(topics_of),
        "offsetTable": _sorted_offsets(tables.offsets),
        "pullOffsetTable": _sorted_offsets(tables.pull_offsets),
    }
    others = tables.unknown_offsets.get(_FILE, {})
    return dialect.encode(_sorted({**members, **others}), pretty=True)


def _sorted_offsets(offsets: dict[str, dict[int, int]]) -> dict[str, dict[int, int]]:
    return {key: dict(sorted(queues.items())) for key, queues in sorted(offsets.items())}


def _take_offsets(members: Fields) -> AnyChange:
    offsets = _convert(_table(members, "offsetTable"), dict[str, dict[int, int]])
    computed = ("dataVersion", "groupTopicMap", "offsetTable", "pullOffsetTable")
    return changes.OffsetsTaken(offsets, _version(members), _others(members, *computed))


# --- config/delayOffset.json --------------------------------------------------------------------


def _encode_delay_offsets(tables: Tables) -> bytes:
    members = {
        "dataVersion": tables.delay_offsets_version,
        "offsetTable": dict(sorted(tables.delay_offsets.items())),
    }
    others = tables.unknown_delay_offsets.get(_FILE, {})
    return dialect.encode(_sorted({**members, **others}), pretty=True)


def _take_delay_offsets(members: Fields) -> AnyChange:
    offsets = _convert(_table(members, "offsetTable"), dict[int, int])
    others = _others(members, "dataVersion", "offsetTable")
    return changes.DelayOffsetsTaken(offsets, _version(members), others)


# --- kvConfig.json ------------------------------------------------------------------------------


def _encode_kv(tables: Tables) -> bytes:
    table = {namespace: _sorted(values) for namespace, values in sorted(tables.kv.items())}
    others = tables.unknown_kv.get(_FILE, {})
    return dialect.encode(_sorted({"configTable": table, **others}))


def _take_kv(members: Fields) -> AnyChange:
    kv = _convert(_table(members, "configTable"), dict[str, dict[str, str]])
    return changes.KvTaken(kv, _others(members, "configTable"))


BROKER_FILES: Final = (
    ProjectedFile(
        TOPICS, ("topics", "topics_version", "unknown_topics"), _encode_topics, _take_topics
    ),
    ProjectedFile(
        GROUPS,
        ("groups", "groups_version", "forbidden", "unknown_groups"),
        _encode_groups,
        _take_groups,
    ),
    ProjectedFile(
        OFFSETS,
        ("offsets", "offsets_version", "pull_offsets", "unknown_offsets"),
        _encode_offsets,
        _take_offsets,
    ),
    ProjectedFile(
        DELAY_OFFSETS,
        ("delay_offsets", "delay_offsets_version", "unknown_delay_offsets"),
        _encode_delay_offsets,
        _take_delay_offsets,
    ),
)
NAMESRV_FILES: Final = (ProjectedFile(KV, ("kv", "unknown_kv"), _encode_kv, _take_kv),)

__all__ = [
    "BROKER_FILES",
    "DELAY_OFFSETS",
    "GROUPS",
    "KV",
    "NAMESRV_FILES",
    "OFFSETS",
    "TOPICS",
    "Found",
    "ProjectedFile",
    "Unreadable",
    "backup_path",
    "digest_of",
    "find",
    "write_projection",
]
