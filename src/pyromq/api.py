"""BrokerApi: the verbs of a broker, the same for every door and for a broker far away.

A door turns bytes into these requests and these results back into bytes; the verbs know neither.
A plain method changes nothing while it runs and answers at once; an `async` one may wait: for the
commit of what it stored, for a journal entry, for a message. What they await are `Latch`es only.

Every verb may raise a `RequestRefused`, which carries the response code.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import Protocol

import msgspec

from pyromq.codes import ResponseCode
from pyromq.domain.group import ConsumerData, GroupConfig, Subscription
from pyromq.domain.topic import TopicConfig
from pyromq.domain.version import DataVersion
from pyromq.units import LogOffset, QueueOffset


class Caller(msgspec.Struct, frozen=True, gc=False):
    """The connection a request came by."""

    connection_id: int
    """Given by the door, unique within the process's life."""
    address: str
    """`ip:port` as the client sees itself (behind HAProxy: the client's, not the proxy's)."""
    host: bytes
    """The same as stored in records: 4 or 16 address bytes and a 4-byte port."""
    language: str = "OTHER"
    version: int = 0


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


class Heartbeat(msgspec.Struct, frozen=True, kw_only=True):
    """Who a client is and what it wants, every 30 s."""

    client_id: str
    producer_groups: Sequence[str] = ()
    consumers: Sequence[ConsumerData] = ()
    fingerprint: int = 0
    """Compact heartbeats (V2): hash over the full form, 0 if the client does not use them."""
    is_without_subscriptions: bool = False


class HeartbeatAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Sent back as ext fields IS_SUPPORT_HEART_BEAT_V2 and IS_SUB_CHANGE."""

    supports_v2: bool = True
    has_subscription_changed: bool = True


class ClientConnection(msgspec.Struct, frozen=True, kw_only=True):
    """One connected client of a group."""

    client_id: str
    client_addr: str
    language: str
    version: int
    last_update_timestamp_ms: int = 0


class ConsumerConnections(msgspec.Struct, frozen=True, kw_only=True):
    """Everything known of a consumer group's clients."""

    connections: Sequence[ClientConnection]
    subscriptions: Mapping[str, Subscription]
    consume_type: str
    message_model: str
    consume_from_where: str


class QueueStats(msgspec.Struct, frozen=True, kw_only=True):
    """Extent of one queue (TopicOffset on the wire)."""

    queue_id: int
    min_offset: QueueOffset
    max_offset: QueueOffset
    last_update_timestamp_ms: int


class QueueProgress(msgspec.Struct, frozen=True, kw_only=True):
    """How far a group is in one queue (OffsetWrapper on the wire)."""

    topic: str
    queue_id: int
    broker_offset: QueueOffset
    consumer_offset: QueueOffset
    pull_offset: QueueOffset
    last_timestamp_ms: int
    """Store time of the last message consumed, 0 if there is none."""


class MessageQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Records found by key and how far the index has come."""

    records: Sequence[bytes]
    index_last_timestamp_ms: int
    index_last_log_offset: LogOffset


class MessagesApi(Protocol):
    """Storing and reading messages."""

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
    ) -> MessageQuery: ...

    def message_at(self, log_offset: LogOffset) -> bytes: ...


class OffsetsApi(Protocol):
    """Where queues begin and end, and where groups are in them."""

    def consumer_offset(
        self, group: str, topic: str, queue_id: int, *, is_zero_if_not_found: bool | None
    ) -> QueueOffset:
        """The committed offset, or the first-offset rule's answer; QueryNotFound (22) if neither.

        `is_zero_if_not_found` is the client's setZeroIfNotFound, None if it sent none.
        """
        ...

    async def commit_offset(
        self, caller: Caller, group: str, topic: str, queue_id: int, offset: QueueOffset
    ) -> None: ...

    def max_offset(self, topic: str, queue_id: int) -> QueueOffset: ...

    def min_offset(self, topic: str, queue_id: int) -> QueueOffset: ...

    def offset_by_time(
        self, topic: str, queue_id: int, timestamp_ms: int, *, is_upper: bool
    ) -> QueueOffset: ...

    def earliest_store_time(self, topic: str, queue_id: int) -> int:
        """ms, −1 if the queue is empty."""
        ...

    def all_consumer_offsets(self) -> bytes:
        """consumerOffset.json as it would be written now."""
        ...


class ClientsApi(Protocol):
    """Who is connected."""

    async def heartbeat(self, caller: Caller, heartbeat: Heartbeat) -> HeartbeatAnswer: ...

    def unregister_client(
        self,
        caller: Caller,
        client_id: str,
        producer_group: str | None,
        consumer_group: str | None,
    ) -> None: ...

    def connection_lost(self, connection_id: int) -> None:
        """The door closed a connection: its clients leave their groups, its parked polls end."""
        ...

    def consumer_ids(self, group: str) -> Sequence[str]: ...

    def consumer_connections(self, group: str) -> ConsumerConnections: ...

    def producer_connections(self, group: str) -> Sequence[ClientConnection]: ...

    def all_producers(self) -> Mapping[str, Sequence[ClientConnection]]: ...


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


class BrokerApi(MessagesApi, OffsetsApi, ClientsApi, AdminApi, Protocol):
    """A broker, here or far away."""

    @property
    def broker_name(self) -> str: ...

    @property
    def cluster_name(self) -> str: ...


class Peers(Protocol):
    """What a broker may tell connected clients by itself; each door supplies one."""

    def notify_consumer_ids_changed(self, connection_id: int, group: str) -> None:
        """Code 40, one-way; a connection that is gone is ignored."""
        ...


__all__ = [
    "AdminApi",
    "BrokerApi",
    "Caller",
    "ClientConnection",
    "ClientsApi",
    "ConsumerConnections",
    "Heartbeat",
    "HeartbeatAnswer",
    "MessageQuery",
    "MessagesApi",
    "OffsetsApi",
    "Peers",
    "PullRequest",
    "PullResult",
    "PullStatus",
    "QueueProgress",
    "QueueStats",
    "SendRequest",
    "SendResult",
]
