"""Bodies about consumer groups: codes 43, 200, 201, 225, 300, 352.

Sources: org.apache.rocketmq.remoting.protocol.body.{SubscriptionGroupWrapper,
SubscriptionGroupList,GroupList,ConsumerOffsetSerializeWrapper},
…protocol.subscription.SubscriptionGroupConfig, broker.offset.ConsumerOffsetManager 5.5.0.
"""

from __future__ import annotations

from msgspec import Struct, field

from pyromq.domain.group import GroupConfig
from pyromq.domain.version import DataVersion
from pyromq.wire import dialect
from pyromq.wire.remoting.bodies.form import decode_answer, decode_body


class GroupTable(Struct, frozen=True, rename="camel", kw_only=True):
    """A broker's consumer groups (SubscriptionGroupWrapper)."""

    subscription_group_table: dict[str, GroupConfig] = field(default_factory=dict)
    forbidden_table: dict[str, dict[str, int]] = field(default_factory=dict)
    """Group → topic → bits of what is forbidden."""
    data_version: DataVersion = DataVersion()


class OffsetTable(Struct, frozen=True, rename="camel", kw_only=True):
    """Committed offsets: `topic@group` → queue id → offset (ConsumerOffsetSerializeWrapper)."""

    offset_table: dict[str, dict[int, int]] = field(default_factory=dict)
    data_version: DataVersion | None = None
    group_topic_map: dict[str, list[str]] | None = None
    pull_offset_table: dict[str, dict[int, int]] | None = None


class _GroupConfigList(Struct, frozen=True, rename="camel"):
    group_config_list: list[GroupConfig] = field(default_factory=list)


class _GroupNames(Struct, frozen=True, rename="camel"):
    group_list: list[str] = field(default_factory=list)


def encode_group_names(names: list[str]) -> bytes:
    """The answer to code 300."""
    return dialect.encode(_GroupNames(names))


def decode_group_names(body: bytes) -> list[str]:
    return decode_answer("GroupList", body, _GroupNames).group_list


def encode_group_table(table: GroupTable) -> bytes:
    return dialect.encode(table)


def decode_group_table(body: bytes) -> GroupTable:
    return decode_answer("SubscriptionGroupWrapper", body, GroupTable)


def encode_group_config(config: GroupConfig) -> bytes:
    return dialect.encode(config)


def decode_group_config(body: bytes) -> GroupConfig:
    return decode_body("SubscriptionGroupConfig", body, GroupConfig)


def encode_group_config_list(configs: list[GroupConfig]) -> bytes:
    return dialect.encode(_GroupConfigList(configs))


def decode_group_config_list(body: bytes) -> list[GroupConfig]:
    return decode_body("SubscriptionGroupList", body, _GroupConfigList).group_config_list


def encode_offset_table(table: OffsetTable) -> bytes:
    return dialect.encode(table)


def decode_offset_table(body: bytes) -> OffsetTable:
    return decode_answer("ConsumerOffsetSerializeWrapper", body, OffsetTable)


__all__ = [
    "GroupTable",
    "OffsetTable",
    "decode_group_config",
    "decode_group_config_list",
    "decode_group_names",
    "decode_group_table",
    "decode_offset_table",
    "encode_group_config",
    "encode_group_config_list",
    "encode_group_names",
    "encode_group_table",
    "encode_offset_table",
]
