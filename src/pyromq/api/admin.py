"""Topics, groups, and the broker as a whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from pyromq.api.offsets import QueueProgress, QueueStats
from pyromq.domain.group import GroupConfig
from pyromq.domain.topic import TopicConfig
from pyromq.domain.version import DataVersion


class AdminApi(Protocol):
    """Topics, groups, and the broker as a whole."""

    async def put_topic(self, config: TopicConfig) -> None: ...

    async def delete_topic(self, topic: str) -> None: ...

    def topic(self, topic: str) -> TopicConfig: ...

    def topics(self) -> tuple[DataVersion, Mapping[str, TopicConfig]]: ...

    def system_topics(self) -> Sequence[str]: ...

    def topic_stats(self, topic: str) -> Sequence[QueueStats]:
        """Every queue of the topic, the empty ones too."""
        ...

    async def put_group(self, config: GroupConfig) -> None: ...

    async def delete_group(self, group: str, *, is_offset_cleaned: bool) -> None: ...

    def group(self, group: str) -> GroupConfig: ...

    def groups(self) -> tuple[DataVersion, Mapping[str, GroupConfig]]: ...

    def groups_of_topic(self, topic: str) -> Sequence[str]:
        """Groups that consume it now or have an offset in it."""
        ...

    def consume_stats(self, group: str, topics: Sequence[str] = ()) -> Sequence[QueueProgress]:
        """How far a group is, in the named topics or in all it has offsets in."""
        ...

    def runtime_info(self) -> Mapping[str, str]: ...


__all__ = ["AdminApi"]
