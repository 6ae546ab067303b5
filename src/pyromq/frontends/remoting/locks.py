"""Rows of order locks: codes 41 and 42.

Source: AdminBrokerProcessor (lockBatchMQ, unlockBatchMQ) of org.apache.rocketmq.broker 5.5.0.
"""

from __future__ import annotations

from pyromq.api import Caller, LockRequest, LocksApi
from pyromq.codes import RequestCode
from pyromq.frontends.remoting.table import DONE, Answer, PlainVerb, WaitingVerb
from pyromq.wire.remoting.bodies.locks import decode_lock_batch, encode_locked
from pyromq.wire.remoting.frame import Command


class LockRows:
    """The rows, bound to one broker."""

    def __init__(self, broker: LocksApi) -> None:
        self._broker = broker

    def rows(self) -> list[tuple[RequestCode, PlainVerb | WaitingVerb]]:
        return [
            (RequestCode.LOCK_BATCH_MQ, self.lock),
            (RequestCode.UNLOCK_BATCH_MQ, self.unlock),
        ]

    def lock(self, caller: Caller, header: None, command: Command) -> Answer:
        del caller, header
        return Answer(body=encode_locked(self._broker.lock_queues(_request(command.body))))

    def unlock(self, caller: Caller, header: None, command: Command) -> Answer:
        del caller, header
        self._broker.unlock_queues(_request(command.body))
        return DONE


def _request(body: bytes) -> LockRequest:
    batch = decode_lock_batch(body)
    return LockRequest(
        group=batch.consumer_group or "",
        client_id=batch.client_id or "",
        queues=batch.mq_set,
    )


__all__ = ["LockRows"]
