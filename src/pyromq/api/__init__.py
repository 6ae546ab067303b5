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
from pyromq.api.messages import (
    MessageQuery,
    MessagesApi,
    PullRequest,
    PullResult,
    PullStatus,
    SendRequest,
    SendResult,
)
from pyromq.api.offsets import OffsetsApi, QueueProgress, QueueStats
from pyromq.api.peers import Peers


class BrokerApi(MessagesApi, OffsetsApi, ClientsApi, AdminApi, Protocol):
    """A broker, here or far away."""

    @property
    def broker_name(self) -> str: ...

    @property
    def cluster_name(self) -> str: ...


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
