"""Consumer groups: their settings, and which come into being by being used.

Source: subscription.SubscriptionGroupManager of org.apache.rocketmq.broker 5.5.0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from pyromq.broker.journal import Journal
from pyromq.broker.parked import ParkedPolls
from pyromq.broker.remarks import shown
from pyromq.config import BrokerConfig, Settings
from pyromq.domain.attributes import GROUP_ATTRIBUTES, altered_attributes
from pyromq.domain.group import (
    GROUP_COUNT_MAX,
    SYSTEM_GROUP_PREFIX,
    SYSTEM_GROUPS,
    GroupConfig,
    check_group_name,
    is_legal_group_name,
)
from pyromq.domain.topic import QUEUE_COUNT_MAX
from pyromq.domain.version import DataVersion
from pyromq.errors import GroupNotFound, InvalidParameter, RequestFailed
from pyromq.store.metadata import Metadata

FORBIDDEN_TO_READ = 1 << 2
"""Bit of a group's forbidden table (PermName.INDEX_PERM_READ)."""


class Groups:
    """The consumer groups of this broker."""

    def __init__(
        self,
        metadata: Metadata,
        journal: Journal,
        parked: ParkedPolls,
        settings: Settings[BrokerConfig],
    ) -> None:
        self._metadata = metadata
        self._journal = journal
        self._parked = parked
        self._settings = settings
        self.table: Mapping[str, GroupConfig] = metadata.tables.groups
        """By name; read it freely."""

    def create_missing_system_groups(self) -> None:
        for name in SYSTEM_GROUPS:
            if name not in self.table:
                self._journal.change(self._metadata.put_group, GroupConfig(group_name=name))

    def find(self, name: str) -> tuple[GroupConfig | None, int]:
        """The group, created now if that is allowed, and the journal sequence to wait for (or 0).

        None if it does not exist and must not, or cannot, be created.
        """
        config = self.table.get(name)
        if config is not None:
            return config, 0
        if not self._may_be_created(name) or len(self.table) >= GROUP_COUNT_MAX:
            return None, 0
        config = GroupConfig(group_name=name)
        return config, self._journal.change(self._metadata.put_group, config)

    def is_forbidden_to_read(self, group: str, topic: str) -> bool:
        forbidden = self._metadata.tables.forbidden
        return bool(forbidden) and forbidden.get(group, {}).get(topic, 0) & FORBIDDEN_TO_READ != 0

    async def put(self, config: GroupConfig) -> None:
        """Creates or changes a group. The attributes are changes: their keys carry `+` or `-`."""
        await self.put_all([config])

    async def put_all(self, configs: Sequence[GroupConfig]) -> None:
        """Creates or changes groups: all of them, or none if one cannot be."""
        finals = [self._checked(config) for config in configs]
        new = {config.group_name for config in finals if config.group_name not in self.table}
        if new and len(self.table) + len(new) > GROUP_COUNT_MAX:
            raise RequestFailed(
                f"group[{next(iter(new))}] cannot be created: the broker has "
                f"{len(self.table)} groups of {GROUP_COUNT_MAX}, the most it takes"
            )
        sequence = 0
        for config in finals:
            if config != self.table.get(config.group_name):
                sequence = self._journal.change(self._metadata.put_group, config)
        if not sequence:
            return
        kept = self._journal.kept(sequence)
        # They may be allowed less than before.
        self._parked.wake_groups({config.group_name for config in finals})
        await kept

    def _checked(self, config: GroupConfig) -> GroupConfig:
        """What the group will be."""
        name = config.group_name
        check_group_name(name)
        if not 0 <= config.retry_queue_nums <= QUEUE_COUNT_MAX:
            raise InvalidParameter(
                f"retryQueueNums[{config.retry_queue_nums}] is illegal, "
                f"accepted is 0 to {QUEUE_COUNT_MAX}"
            )
        old = self.table.get(name)
        attributes = altered_attributes(
            None if old is None else old.attributes, config.attributes, GROUP_ATTRIBUTES
        )
        return msgspec.structs.replace(config, attributes=attributes)

    async def delete(self, name: str, *, is_offset_cleaned: bool) -> None:
        """Removes the settings, and on demand what the group has consumed."""
        sequence = self._journal.change(self._metadata.delete_group, name)
        if is_offset_cleaned:
            sequence = self._journal.change(self._metadata.drop_offsets, group=name)
        await self._journal.kept(sequence)

    def config(self, name: str) -> GroupConfig:
        """The group's settings; those it would be created with, if it may come by being used.

        Apache creates the group when it is asked for: a question changes nothing here.
        """
        config = self.table.get(name)
        if config is not None:
            return config
        if not self._may_be_created(name):
            raise GroupNotFound(f"No group in this broker: {shown(name)}")
        return GroupConfig(group_name=name)

    def all(self) -> tuple[DataVersion, Mapping[str, GroupConfig]]:
        tables = self._metadata.tables
        return tables.groups_version, tables.groups

    def _may_be_created(self, name: str) -> bool:
        return (
            self._settings.current.auto_create_subscription_group
            or name.startswith(SYSTEM_GROUP_PREFIX)
        ) and is_legal_group_name(name)


__all__ = ["Groups"]
