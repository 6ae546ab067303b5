"""BrokerApi: the verbs of a broker, the same for every door and for a broker far away.

A door turns bytes into these requests and these results back into bytes; the verbs know neither.
A plain method changes nothing while it runs and answers at once; an `async` one may wait: for the
commit of what it stored, for a journal entry, for a message. What they await are `Latch`es only.

One file per subject; a door asks for the part it serves. Every verb may raise a `RequestRefused`,
which carries the response code.
"""

from __future__ import annotations

from typing import Protocol

from pyromq.api.admin import AdminApi
from pyromq.api.caller import Caller
from pyromq.api.clients import (
    ClientConnection,
    ClientsApi,
    ConsumerConnections,
    Heartbeat,
    HeartbeatAnswer,
)
from pyromq.api.express import (
    ExpressApi,
    ExpressDoor,
    ExpressParked,
    ExpressPolls,
    ExpressPull,
    ExpressPulled,
    ExpressReplies,
    ExpressTerms,
    ExpressTopic,
    Settled,
)
from pyromq.api.locks import LockRequest, LocksApi
from pyromq.api.messages import (
    MessageQuery,
    MessagesApi,
    PullRequest,
    PullResult,
    PullStatus,
    SendReceiver,
    SendRequest,
    SendResult,
    StoredSend,
)
from pyromq.api.offsets import OffsetsApi
from pyromq.api.peers import DirectMessage, Peers, PushedReply
from pyromq.api.progress import (
    BrokerProgress,
    GroupProgress,
    ProgressApi,
    QueueEntries,
    QueueProgress,
    QueueStats,
    QueueTimes,
    StatsReading,
    StatsReadings,
    TopicStats,
)
from pyromq.api.relays import ClientAnswer, DirectConsumption, RelaysApi, RunningInfoRequest
from pyromq.api.replies import RepliesApi, ReplyResult, StoredReply
from pyromq.api.resets import PushedReset, ResetRequest, ResetsApi
from pyromq.api.retries import RetriesApi, SendBackRequest
from pyromq.api.upkeep import UpkeepApi


class BrokerApi(
    MessagesApi,
    RepliesApi,
    RetriesApi,
    OffsetsApi,
    ResetsApi,
    ProgressApi,
    ClientsApi,
    LocksApi,
    RelaysApi,
    AdminApi,
    UpkeepApi,
    Protocol,
):
    """A broker, here or far away."""

    @property
    def broker_name(self) -> str: ...

    @property
    def broker_address(self) -> str:
        """`ip:port` as clients are told."""
        ...

    @property
    def cluster_name(self) -> str: ...


__all__ = [
    "AdminApi",
    "BrokerApi",
    "BrokerProgress",
    "Caller",
    "ClientAnswer",
    "ClientConnection",
    "ClientsApi",
    "ConsumerConnections",
    "DirectConsumption",
    "DirectMessage",
    "ExpressApi",
    "ExpressDoor",
    "ExpressParked",
    "ExpressPolls",
    "ExpressPull",
    "ExpressPulled",
    "ExpressReplies",
    "ExpressTerms",
    "ExpressTopic",
    "GroupProgress",
    "Heartbeat",
    "HeartbeatAnswer",
    "LockRequest",
    "LocksApi",
    "MessageQuery",
    "MessagesApi",
    "OffsetsApi",
    "Peers",
    "ProgressApi",
    "PullRequest",
    "PullResult",
    "PullStatus",
    "PushedReply",
    "PushedReset",
    "QueueEntries",
    "QueueProgress",
    "QueueStats",
    "QueueTimes",
    "RelaysApi",
    "RepliesApi",
    "ReplyResult",
    "ResetRequest",
    "ResetsApi",
    "RetriesApi",
    "RunningInfoRequest",
    "SendBackRequest",
    "SendReceiver",
    "SendRequest",
    "SendResult",
    "Settled",
    "StatsReading",
    "StatsReadings",
    "StoredReply",
    "StoredSend",
    "TopicStats",
    "UpkeepApi",
]
