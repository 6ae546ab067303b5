"""Bodies of order locks: codes 41 and 42.

Source: org.apache.rocketmq.remoting.protocol.body.{LockBatchRequestBody,LockBatchResponseBody,
UnlockBatchRequestBody} 5.5.0.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct, field

from pyromq.domain.route import MessageQueue
from pyromq.wire import dialect
from pyromq.wire.remoting.bodies.form import decode_answer, decode_body


class LockBatch(Struct, frozen=True, rename="camel", kw_only=True):
    """Queues that a client of a group wants to lock, or to unlock."""

    client_id: str | None = None
    consumer_group: str | None = None
    mq_set: list[MessageQueue] = field(default_factory=list)
    only_this_broker: bool = False
    """Not to be passed on to the replicas."""


class _Locked(Struct, frozen=True):
    queues: list[MessageQueue] = field(name="lockOKMQSet", default_factory=list)


def encode_lock_batch(batch: LockBatch) -> bytes:
    return dialect.encode(batch)


def decode_lock_batch(body: bytes) -> LockBatch:
    return decode_body("LockBatchRequestBody", body, LockBatch)


def encode_locked(queues: Sequence[MessageQueue]) -> bytes:
    """The queues that were locked."""
    return dialect.encode(_Locked(list(queues)))


def decode_locked(body: bytes) -> list[MessageQueue]:
    return decode_answer("LockBatchResponseBody", body, _Locked).queues


__all__ = ["LockBatch", "decode_lock_batch", "decode_locked", "encode_lock_batch", "encode_locked"]
