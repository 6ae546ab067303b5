"""Topics, groups, and the broker as a whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from pyromq.domain.group import GroupConfig
from pyromq.domain.topic import TopicConfig
from pyromq.domain.version import DataVersion


class AdminApi(Protocol):
    """Topics, groups, and the broker as a whole."""

    async def put_topic(self, config: TopicConfig) -> None: ...

    async def put_topics(self, configs: Sequence[TopicConfig]) -> None:
        """All of them, or none if one is refused."""
        ...

    async def delete_topic(self, topic: str) -> None: ...

    def topic(self, topic: str) -> TopicConfig: ...

    def topics(self) -> tuple[DataVersion, Mapping[str, TopicConfig]]: ...

    def system_topics(self) -> Sequence[str]: ...

    async def put_group(self, config: GroupConfig) -> None: ...

    async def put_groups(self, configs: Sequence[GroupConfig]) -> None:
        """All of them, or none if one is refused."""
        ...

    async def delete_group(self, group: str, *, is_offset_cleaned: bool) -> None: ...

    def group(self, group: str) -> GroupConfig: ...

    def groups(self) -> tuple[DataVersion, Mapping[str, GroupConfig]]: ...

    def groups_of_topic(self, topic: str) -> Sequence[str]:
        """Groups that consume it now or have an offset in it."""
        ...

    def runtime_info(self) -> Mapping[str, str]: ...

    def remove_expired_files(self) -> None:
        """Log files old enough go now, whatever the hour; returns before they are gone."""
        ...

    def clean_queue_files(self) -> None:
        """Queue and index files go whose messages are gone; returns before they are."""
        ...


__all__ = ["AdminApi"]
