"""A message or batch on its way to a broker, and what the broker's answer says of it.

Sources: message.MessageBatch of org.apache.rocketmq.common, impl.MQClientAPIImpl
(processSendResponse) of org.apache.rocketmq.client 5.5.0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from pyromq.client.errors import ServerRefused
from pyromq.client.message import Message, SendResult, SendStatus
from pyromq.domain.route import MessageQueue
from pyromq.domain.topic import is_retry_or_dlq
from pyromq.errors import MessageIllegal
from pyromq.units import QueueOffset
from pyromq.wire.remoting.fields import decode_header
from pyromq.wire.remoting.frame import Command
from pyromq.wire.remoting.headers.send import EXT_MSG_REGION, EXT_TRACE_ON, SendResponse

_STATUSES: Final = {status.value: status for status in SendStatus}


class Outgoing(Struct, gc=False):
    """A message or batch, ready to be sent to any queue."""

    topic: str
    code: int
    messages: Sequence[Message]
    message_ids: Sequence[str]
    body: bytes
    properties: str
    sys_flag: int
    flag: int


def check_fits(first: Message, message: Message) -> None:
    """Raises MessageIllegal for what cannot be in one batch: MessageBatch.generateFromList."""
    if message.topic != first.topic:
        raise MessageIllegal(f"a batch has one topic, not {first.topic} and {message.topic}")
    if message.waits_for_store != first.waits_for_store:
        raise MessageIllegal("a batch has one `waits_for_store` for all its messages")
    if message.sharding_key != first.sharding_key:
        raise MessageIllegal("a batch goes to one queue, so it has one `sharding_key` or none")
    if message.delay_level or message.deliver_at_ms:
        raise MessageIllegal("messages of a batch cannot be delayed")
    if is_retry_or_dlq(message.topic):
        raise MessageIllegal(f"topic {message.topic}: retries are not sent in batches")


def result_of(outgoing: Outgoing, queue: MessageQueue, address: str, answer: Command) -> SendResult:
    """The confirmation. Raises ServerRefused."""
    status = _STATUSES.get(answer.code)
    if status is None:
        raise ServerRefused(address, outgoing.code, answer.code, answer.remark)
    ext = answer.ext
    header = decode_header(SendResponse, ext)
    ids = outgoing.message_ids
    return SendResult(
        status,
        header.batch_uniq_id or (ids[0] if len(ids) == 1 else ",".join(ids)),
        header.msg_id,
        queue
        if header.queue_id == queue.queue_id
        else MessageQueue(queue.broker_name, header.queue_id, queue.topic),
        QueueOffset(header.queue_offset),
        ext.get(EXT_MSG_REGION),
        ext.get(EXT_TRACE_ON) != "false",
    )


__all__ = ["Outgoing", "check_fits", "result_of"]
