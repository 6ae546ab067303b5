"""Changes of the metadata: what the journal holds, one typed value each.

A change carries everything its effect depends on, the resulting DataVersion included, so that
replaying it gives the same tables at any time and on any machine. On disk they are MessagePack
arrays headed by their tag; a field added later goes to the end and has a default.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import msgspec

from pyromq.domain.group import GroupConfig
from pyromq.domain.topic import TopicConfig
from pyromq.domain.version import DataVersion
from pyromq.store.shown import Shown

Fields: TypeAlias = dict[str, Any]
"""Members of a config/*.json that this version does not know and hands on."""


class Change(msgspec.Struct, frozen=True, array_like=True):
    """One change of the tables."""


class TopicPut(Change, frozen=True, tag="topic"):
    config: TopicConfig
    version: DataVersion


class TopicDeleted(Change, frozen=True, tag="topic-deleted"):
    topic: str
    version: DataVersion


class TopicQueuesDropped(Change, frozen=True, tag="queues-dropped"):
    """The store has no queues of the deleted topic any more."""

    topic: str


class TopicsTaken(Change, frozen=True, tag="topics-taken"):
    """The whole table comes from a topics.json that was not ours."""

    configs: dict[str, TopicConfig]
    version: DataVersion
    unknown: dict[str, Fields]
    """By topic; under the empty name those of the file itself."""


class GroupPut(Change, frozen=True, tag="group"):
    config: GroupConfig
    version: DataVersion


class GroupDeleted(Change, frozen=True, tag="group-deleted"):
    group: str
    version: DataVersion


class ForbiddenPut(Change, frozen=True, tag="forbidden"):
    """What the group may not do with the topic, as bits; 0 clears the whole group, as in Apache."""

    group: str
    topic: str
    bits: int
    version: DataVersion


class GroupsTaken(Change, frozen=True, tag="groups-taken"):
    """The whole table comes from a subscriptionGroup.json that was not ours."""

    configs: dict[str, GroupConfig]
    forbidden: dict[str, dict[str, int]]
    version: DataVersion
    unknown: dict[str, Fields]


class OffsetsCommitted(Change, frozen=True, tag="offsets"):
    """Offset commits of one turn by `topic@group` and queue; of several the last."""

    offsets: dict[str, dict[int, int]]
    version: DataVersion


class OffsetsDropped(Change, frozen=True, tag="offsets-dropped"):
    keys: list[str]
    """`topic@group` of each."""


class OffsetsReset(Change, frozen=True, tag="offsets-reset"):
    """Offsets set from outside the group."""

    key: str
    """`topic@group`."""
    offsets: dict[int, int]
    """By queue."""
    version: DataVersion
    is_marked: bool
    """They stay marked until the group has adopted them."""


class ResetsAdopted(Change, frozen=True, tag="resets-adopted"):
    """The group goes on from the offsets these queues were reset to."""

    key: str
    queue_ids: list[int]


class OffsetsTaken(Change, frozen=True, tag="offsets-taken"):
    """The whole table comes from a consumerOffset.json that was not ours."""

    offsets: dict[str, dict[int, int]]
    version: DataVersion
    unknown: dict[str, Fields]


class QueuesLocked(Change, frozen=True, tag="locked"):
    """Queues whose order lock a client of the group got."""

    group: str
    client_id: str
    queues: dict[str, list[int]]
    """Topic → queue ids."""


class QueuesUnlocked(Change, frozen=True, tag="unlocked"):
    """Order locks of the group that were given back, or expired."""

    group: str
    queues: dict[str, list[int]]


class DelayOffsetsMoved(Change, frozen=True, tag="delay-offsets"):
    """How far the queues of delay levels have been delivered, by level."""

    offsets: dict[int, int]
    version: DataVersion


class DelayOffsetsTaken(Change, frozen=True, tag="delay-offsets-taken"):
    """The whole table comes from a delayOffset.json that was not ours."""

    offsets: dict[int, int]
    version: DataVersion
    unknown: dict[str, Fields]


class KvPut(Change, frozen=True, tag="kv"):
    namespace: str
    key: str
    value: str


class KvDeleted(Change, frozen=True, tag="kv-deleted"):
    namespace: str
    key: str


class KvTaken(Change, frozen=True, tag="kv-taken"):
    """The whole table comes from a kvConfig.json that was not ours."""

    kv: dict[str, dict[str, str]]
    unknown: dict[str, Fields]


class Projected(Change, frozen=True, tag="projected"):
    """A file of the projection is about to get this content, or has it.

    Durable before the file is renamed into its place: what we wrote is always known as ours.
    """

    file: str
    digest: bytes
    since: Shown | None = None
    """About to get: the entries that have changed while the content was made. None: it has it."""


class Opened(Change, frozen=True, tag="opened"):
    """A process began to write here."""

    version: str
    """Of pyromq."""


class Closed(Change, frozen=True, tag="closed"):
    """A process ended cleanly: everything before is durable."""


AnyChange: TypeAlias = (
    TopicPut
    | TopicDeleted
    | TopicQueuesDropped
    | TopicsTaken
    | GroupPut
    | GroupDeleted
    | ForbiddenPut
    | GroupsTaken
    | OffsetsCommitted
    | OffsetsDropped
    | OffsetsReset
    | ResetsAdopted
    | OffsetsTaken
    | QueuesLocked
    | QueuesUnlocked
    | DelayOffsetsMoved
    | DelayOffsetsTaken
    | KvPut
    | KvDeleted
    | KvTaken
    | Projected
    | Opened
    | Closed
)

__all__ = [
    "AnyChange",
    "Closed",
    "DelayOffsetsMoved",
    "DelayOffsetsTaken",
    "Fields",
    "ForbiddenPut",
    "GroupDeleted",
    "GroupPut",
    "GroupsTaken",
    "KvDeleted",
    "KvPut",
    "KvTaken",
    "OffsetsCommitted",
    "OffsetsDropped",
    "OffsetsReset",
    "OffsetsTaken",
    "Opened",
    "Projected",
    "QueuesLocked",
    "QueuesUnlocked",
    "ResetsAdopted",
    "TopicDeleted",
    "TopicPut",
    "TopicQueuesDropped",
    "TopicsTaken",
]
