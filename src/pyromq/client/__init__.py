"""Our own asyncio client of RocketMQ servers: this one's and Apache's.

    from pyromq.client import Message, Producer, PullConsumer

    async with Producer("127.0.0.1:9876", "orders") as producer:
        result = await producer.send(Message("Orders", b"...", tag="new", keys=["4711"]))
        assert result.is_ok
        await producer.send_batch([Message("Orders", b"1"), Message("Orders", b"2")])
        await producer.send_one_way(Message("Orders", b"..."))
        await producer.send(Message("Orders", b"...", sharding_key="customer 7"))  # in order

    async with PullConsumer("127.0.0.1:9876", "reports") as consumer:
        queues = await consumer.queues("Orders")
        consumer.assign(queues)
        await consumer.seek_to_begin(queues[0])
        for message in await consumer.poll(timeout_ms=5_000):
            print(message.queue_offset, message.tag, message.keys, message.body)
        await consumer.commit()

    async def on_message(message: ReceivedMessage) -> None:
        ...  # returns: consumed; raises: it comes again

    consumer = PushConsumer("127.0.0.1:9876", "billing", on_message)
    consumer.subscribe("Orders", "new || changed")
    async with consumer:
        await asyncio.Event().wait()

The first argument is the name server's address, several with `;` between. Several producers and
consumers may share one `ClientInstance` (`instance=`): its connections, routes and client id.
Everything raises `pyromq.errors.PyromqError`; see `pyromq.client.errors`. Without `await`:
`pyromq.client.sync`. A tutorial: docs/tutorial/python-client.md.

Names are imported when they are first used, so that importing this package costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pyromq.client.admin import Admin
    from pyromq.client.consumption import ReconsumeLater
    from pyromq.client.dedup import (
        MarkerStore,
        MemoryMarkers,
        RedisMarkers,
        SqliteMarkers,
        deduplicated,
    )
    from pyromq.client.errors import (
        ClientClosed,
        NamesrvUnreachable,
        RouteNotFound,
        SendFailed,
        ServerRefused,
    )
    from pyromq.client.hooks import ConsumeEvent, ConsumeHook, SendEvent, SendHook
    from pyromq.client.instance import ClientInstance
    from pyromq.client.message import Message, ReceivedMessage, SendResult, SendStatus
    from pyromq.client.offsets import ConsumeFromWhere
    from pyromq.client.producer import Producer
    from pyromq.client.pull_consumer import PullConsumer
    from pyromq.client.push_consumer import MessageModel, PushConsumer
    from pyromq.client.remoting import (
        AnswerOverdue,
        ConnectFailed,
        PeerUnreachable,
        RemotingClient,
    )
    from pyromq.client.trace import TraceRecorder
    from pyromq.client.transactions import (
        TransactionProducer,
        TransactionResult,
        TransactionState,
    )
    from pyromq.domain.route import MessageQueue
    from pyromq.wire.compress import CompressionType

_MODULES: Final = {
    "Admin": "client.admin",
    "AnswerOverdue": "client.remoting",
    "ClientClosed": "client.errors",
    "ClientInstance": "client.instance",
    "CompressionType": "wire.compress",
    "ConnectFailed": "client.remoting",
    "ConsumeEvent": "client.hooks",
    "ConsumeFromWhere": "client.offsets",
    "ConsumeHook": "client.hooks",
    "MarkerStore": "client.dedup",
    "MemoryMarkers": "client.dedup",
    "Message": "client.message",
    "MessageModel": "client.push_consumer",
    "MessageQueue": "domain.route",
    "NamesrvUnreachable": "client.errors",
    "PeerUnreachable": "client.remoting",
    "Producer": "client.producer",
    "PullConsumer": "client.pull_consumer",
    "PushConsumer": "client.push_consumer",
    "ReceivedMessage": "client.message",
    "ReconsumeLater": "client.consumption",
    "RedisMarkers": "client.dedup",
    "RemotingClient": "client.remoting",
    "RouteNotFound": "client.errors",
    "SendEvent": "client.hooks",
    "SendFailed": "client.errors",
    "SendHook": "client.hooks",
    "SendResult": "client.message",
    "SendStatus": "client.message",
    "ServerRefused": "client.errors",
    "SqliteMarkers": "client.dedup",
    "TraceRecorder": "client.trace",
    "TransactionProducer": "client.transactions",
    "TransactionResult": "client.transactions",
    "TransactionState": "client.transactions",
    "deduplicated": "client.dedup",
}


def __getattr__(name: str) -> object:
    module = _MODULES.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"pyromq.{module}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_MODULES])


__all__ = [
    "Admin",
    "AnswerOverdue",
    "ClientClosed",
    "ClientInstance",
    "CompressionType",
    "ConnectFailed",
    "ConsumeEvent",
    "ConsumeFromWhere",
    "ConsumeHook",
    "MarkerStore",
    "MemoryMarkers",
    "Message",
    "MessageModel",
    "MessageQueue",
    "NamesrvUnreachable",
    "PeerUnreachable",
    "Producer",
    "PullConsumer",
    "PushConsumer",
    "ReceivedMessage",
    "ReconsumeLater",
    "RedisMarkers",
    "RemotingClient",
    "RouteNotFound",
    "SendEvent",
    "SendFailed",
    "SendHook",
    "SendResult",
    "SendStatus",
    "ServerRefused",
    "SqliteMarkers",
    "TraceRecorder",
    "TransactionProducer",
    "TransactionResult",
    "TransactionState",
    "deduplicated",
]
