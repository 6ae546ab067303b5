"""Bodies of resets and of consumers' status: codes 220, 221, 222, 223.

Sources: org.apache.rocketmq.remoting.protocol.body.{ResetOffsetBody,ResetOffsetBodyForC,
GetConsumerStatusBody}, common.message.MessageQueueForC 5.5.0.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from msgspec import Struct, field

from pyromq.domain.route import MessageQueue
from pyromq.errors import RequestFailed
from pyromq.wire import dialect
from pyromq.wire.remoting.bodies.form import decode_answer, decode_body


class _ResetOffsets(Struct, frozen=True, rename="camel"):
    offset_table: Mapping[MessageQueue, int] = field(default_factory=dict)


class _QueueOffsetForCpp(Struct, frozen=True, rename="camel", kw_only=True):
    """MessageQueueForC."""

    topic: str
    broker_name: str
    queue_id: int
    offset: int


class _ResetOffsetsForCpp(Struct, frozen=True, rename="camel"):
    offset_table: list[_QueueOffsetForCpp] = field(default_factory=list)


class _ConsumerStatus(Struct, frozen=True, rename="camel", kw_only=True):
    consumer_table: Mapping[str, Mapping[MessageQueue, int]] = field(default_factory=dict)
    message_queue_table: Mapping[MessageQueue, int] = field(default_factory=dict)


class _Offsets(Struct, frozen=True, rename="camel"):
    """As read: the queues are still JSON text."""

    offset_table: dict[str, int] = field(default_factory=dict)


class _Status(Struct, frozen=True, rename="camel", kw_only=True):
    """As read, likewise."""

    consumer_table: dict[str, dict[str, int]] = field(default_factory=dict)
    message_queue_table: dict[str, int] = field(default_factory=dict)


def encode_reset_offsets(offsets: Mapping[MessageQueue, int]) -> bytes:
    """The answer to 222, and what clients are told with 220."""
    return dialect.encode(_ResetOffsets(offsets))


def decode_reset_offsets(body: bytes) -> dict[MessageQueue, int]:
    decoded = decode_answer("ResetOffsetBody", body, _Offsets)
    return _by_queue("ResetOffsetBody", decoded.offset_table)


def encode_reset_offsets_for_cpp(offsets: Mapping[MessageQueue, int]) -> bytes:
    """220 in the form that clients in C++ read."""
    return dialect.encode(
        _ResetOffsetsForCpp(
            [
                _QueueOffsetForCpp(
                    topic=queue.topic,
                    broker_name=queue.broker_name,
                    queue_id=queue.queue_id,
                    offset=offset,
                )
                for queue, offset in offsets.items()
            ]
        )
    )


def encode_consumer_status(
    offsets_by_client: Mapping[str, Mapping[MessageQueue, int]],
) -> bytes:
    """The answer to 223."""
    return dialect.encode(_ConsumerStatus(consumer_table=offsets_by_client))


def decode_consumer_status(body: bytes) -> dict[str, dict[MessageQueue, int]]:
    """The same, read."""
    decoded = decode_answer("GetConsumerStatusBody", body, _Status)
    return {
        client_id: _by_queue("GetConsumerStatusBody", offsets)
        for client_id, offsets in decoded.consumer_table.items()
    }


def encode_own_status(offsets: Mapping[MessageQueue, int]) -> bytes:
    """A client's answer to 221."""
    return dialect.encode(_ConsumerStatus(message_queue_table=offsets))


def decode_own_status(body: bytes) -> dict[MessageQueue, int]:
    """The same, read; it comes from a stranger, so its size is bounded."""
    decoded = decode_body("GetConsumerStatusBody", body, _Status)
    return _by_queue("GetConsumerStatusBody", decoded.message_queue_table)


def _by_queue(name: str, offsets: Mapping[str, int]) -> dict[MessageQueue, int]:
    try:
        return {
            dialect.decode(key.encode(), MessageQueue): offset for key, offset in offsets.items()
        }
    except (dialect.DialectError, msgspec.ValidationError) as error:
        raise RequestFailed(f"{name} body: queue key: {error}") from error


__all__ = [
    "decode_consumer_status",
    "decode_own_status",
    "decode_reset_offsets",
    "encode_consumer_status",
    "encode_own_status",
    "encode_reset_offsets",
    "encode_reset_offsets_for_cpp",
]
