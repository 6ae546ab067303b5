"""Storing and reading messages."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import Protocol

import msgspec

from pyromq.api.caller import Caller
from pyromq.codes import ResponseCode
from pyromq.units import LogOffset, QueueOffset


class SendRequest(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One message, or a batch whose items are in `body`."""

    topic: str
    producer_group: str
    queue_id: int
    """−1: the broker picks one."""
    body: bytes
    properties: str = ""
    flag: int = 0
    sys_flag: int = 0
    born_timestamp_ms: int = 0
    reconsume_times: int = 0
    max_reconsume_times: int | None = None
    default_topic: str = ""
    default_topic_queue_nums: int = 4
    unit_mode: bool = False
    is_oneway: bool = False


class SendResult(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Where the message is; answered only when its durability promise holds."""

    msg_id: str
    """offsetMsgId: store host and log offset in hex; for a batch comma-joined."""
    queue_id: int
    queue_offset: QueueOffset
    transaction_id: str
    """The message's UNIQ_KEY."""
    region_id: str
    is_traced: bool
    is_sync_late: bool = False
    """Stored, but the sync did not end in time (code 10): to its sender the outcome is unknown."""


class PullStatus(IntEnum):
    """Outcome of a pull as its response code."""

    FOUND = ResponseCode.SUCCESS
    NOT_FOUND = ResponseCode.PULL_NOT_FOUND
    RETRY_IMMEDIATELY = ResponseCode.PULL_RETRY_IMMEDIATELY
    OFFSET_MOVED = ResponseCode.PULL_OFFSET_MOVED


class PullRequest(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Messages of one queue from `queue_offset` on; the broker may hold it until some arrive."""

    consumer_group: str
    topic: str
    queue_id: int
    queue_offset: QueueOffset
    message_count_max: int
    body_size_max: int | None = None
    commit_offset: QueueOffset | None = None
    """Consumed so far, if the request commits (sysFlag bit 0)."""
    may_suspend: bool = False
    suspend_timeout_ms: int = 0
    subscription: str | None = None
    """Filter text if the request carries its own (sysFlag bit 2), else the heartbeat's counts."""
    subscription_version: int = 0
    expression_type: str = "TAG"
    is_class_filter: bool = False
    is_lite: bool = False


class PullResult(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Records as stored, and where to go on."""

    status: PullStatus
    remark: str
    """Name of the store's status, e.g. OFFSET_OVERFLOW_ONE: clients log it."""
    next_begin_offset: QueueOffset
    min_offset: QueueOffset
    max_offset: QueueOffset
    body: bytes = b""
    message_count: int = 0
    suggest_which_broker_id: int = 0
    topic_sys_flag: int = 0
    group_sys_flag: int = 0


class MessageQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Records found by key and how far the index has come."""

    records: Sequence[bytes]
    index_last_timestamp_ms: int
    index_last_log_offset: LogOffset


class MessagesApi(Protocol):
    """Storing and reading messages."""

    @property
    def region_id(self) -> str:
        """Told with the answer to each send, also to a refused one; so is `is_traced`."""
        ...

    @property
    def is_traced(self) -> bool:
        """Whether clients may trace messages that they send here."""
        ...

    async def send(self, caller: Caller, request: SendRequest) -> SendResult: ...

    async def send_batch(self, caller: Caller, request: SendRequest) -> SendResult: ...

    async def pull(self, caller: Caller, request: PullRequest) -> PullResult: ...

    def query_by_key(
        self,
        topic: str,
        key: str,
        *,
        count_max: int,
        begin_ms: int,
        end_ms: int,
        is_unique_key: bool,
        is_tag: bool,
    ) -> MessageQuery:
        """Messages with a word of KEYS, or with a UNIQ_KEY or exactly these TAGS instead."""
        ...

    def message_at(self, log_offset: LogOffset) -> bytes: ...


__all__ = [
    "MessageQuery",
    "MessagesApi",
    "PullRequest",
    "PullResult",
    "PullStatus",
    "SendRequest",
    "SendResult",
]
