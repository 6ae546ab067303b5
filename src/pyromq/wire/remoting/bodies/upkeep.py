"""Bodies of a broker's upkeep: codes 401, 907, 2001, 2003.

Sources: org.apache.rocketmq.remoting.protocol.body.{SetMessageRequestModeRequestBody,HARuntimeInfo}
and broker.coldctr.ColdDataCgCtrService 5.5.0.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec
from msgspec import Struct, field

from pyromq.wire import dialect
from pyromq.wire.remoting.bodies.form import decode_body

COLD_READ_LIMIT_OF_A_GROUP: Final = 3 << 20
COLD_READ_LIMIT_OF_ALL: Final = 100 << 20
"""Bytes a second: defaults of Apache's cgColdReadThreshold and globalColdReadThreshold."""


class ConsumeModeChange(Struct, frozen=True, rename="camel", kw_only=True):
    """How a group's consumers are to get their messages (SetMessageRequestModeRequestBody)."""

    topic: str
    consumer_group: str
    mode: str = "PULL"
    pop_share_queue_num: int = 0


class _Replica(Struct, frozen=True, rename="camel"):
    """What a replica tells of itself; of a master all of it is nothing."""

    master_addr: str | None = None
    transferred_byte_in_second: int = 0
    max_offset: int = 0
    last_read_timestamp: int = 0
    last_write_timestamp: int = 0
    master_flush_offset: int = 0
    is_activated: bool = field(name="isActivated", default=False)


class _ReplicationInfo(Struct, frozen=True, rename="camel", kw_only=True):
    master: bool = True
    master_commit_log_max_offset: int
    in_sync_slave_nums: int = 0
    ha_connection_info: list[None] = field(default_factory=list)
    ha_client_runtime_info: _Replica = _Replica()


class _ColdReads(Struct, frozen=True, rename="camel", kw_only=True):
    runtime_table: dict[str, None] = field(default_factory=dict)
    config_table: Mapping[str, int]
    cg_cold_read_threshold: int = COLD_READ_LIMIT_OF_A_GROUP
    global_cold_read_threshold: int = COLD_READ_LIMIT_OF_ALL
    global_acc: int = 0


def decode_consume_mode_change(body: bytes) -> ConsumeModeChange:
    return decode_body("SetMessageRequestModeRequestBody", body, ConsumeModeChange)


def encode_replication_of_master(log_end: int) -> bytes:
    """The answer to code 907 of a master without replicas."""
    return dialect.encode(_ReplicationInfo(master_commit_log_max_offset=log_end))


def encode_cold_reads(limits: Mapping[str, int]) -> bytes:
    """The answer to code 2003: limits that were put; nothing is counted. In Apache's order, which
    mqadmin prints."""
    return msgspec.json.encode(_ColdReads(config_table=dict(limits)))


__all__ = [
    "ConsumeModeChange",
    "decode_consume_mode_change",
    "encode_cold_reads",
    "encode_replication_of_master",
]
