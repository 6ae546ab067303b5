"""Storing and reading messages."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import Protocol

import msgspec

from pyromq.api.caller import Caller
from pyromq.codes import ResponseCode
from pyromq.errors import RequestRefused
from pyromq.units import LogOffset, QueueOffset


class SendRequest(msgspec.Struct, frozen=True, gc=False):
    """One message, or a batch whose items are in `body`.

    The order of the fields is that in which the native reader fills them.
    """

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
    is_batch: bool = False
    is_ordinary: bool = False
    """A door has looked at the properties: none has a special meaning, and the next two fields say
    what they say. Else the broker looks at them."""
    unique_key: str | None = None
    is_waived: bool = False
    """The sender does not want to wait for the sync."""


class StoredSend(msgspec.Struct, frozen=True, gc=False):
    """A message that is in the log, while its promise is still to be kept."""

    topic: str
    """Under which it is stored."""
    queue_id: int
    """The one that its sender is told."""
    queue_offset: QueueOffset
    log_offset: LogOffset
    end: LogOffset
    """Of its record."""
    unique_key: str
    is_waived: bool
    """It promises to be written; others promise to be committed."""
    region_id: str
    is_traced: bool
    sequence: int
    """Of the journal, to be kept as well: its topic came into being with it. 0: none."""


class SendReceiver(Protocol):
    """Who answers sends that were held until their promise was kept."""

    def kept(self, count: int, answers: bytes) -> None:
        """So many sends, and their answers joined."""
        ...

    def lost(self, answers: Sequence[bytes], error: RequestRefused) -> None:
        """Instead of these answers the error is to be told. FlushTimedOut: they are stored, but
        whether they stay is not known."""
        ...


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

    @property
    def message_id_prefix(self) -> str:
        """The part of an offsetMsgId before the log offset."""
        ...

    async def send(self, caller: Caller, request: SendRequest) -> SendResult:
        """Stores one message; returns when its promise holds."""
        ...

    def store(self, caller: Caller, request: SendRequest) -> StoredSend:
        """The first half of `send`. `finish` or `hold` is to be called next, at once."""
        ...

    async def finish(self, request: SendRequest, stored: StoredSend) -> SendResult:
        """The second half of `send`."""
        ...

    def hold(self, stored: StoredSend, answer: bytes, receiver: SendReceiver) -> None:
        """Instead of `finish`, of what has no `sequence`: the receiver is given `answer` back when
        the promise is kept, or when it cannot be."""
        ...

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
    "SendReceiver",
    "SendRequest",
    "SendResult",
    "StoredSend",
]
