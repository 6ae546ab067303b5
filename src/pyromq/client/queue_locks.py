"""Order locks: while a member holds a queue's lock at the broker, no other member consumes it.

A broker keeps a lock for 60 s after it was last asked for it; we ask every 20 s and trust an answer
for 30 s, so that ours ends before the broker's. Source: impl.consumer.RebalanceImpl (lock, lockAll,
unlock) and ProcessQueue (isLockExpired) of org.apache.rocketmq.client 5.5.0.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from typing import Final

from pyromq.client.instance import ClientInstance
from pyromq.codes import RequestCode
from pyromq.domain.route import MessageQueue
from pyromq.errors import PyromqError
from pyromq.wire.remoting.bodies.locks import LockBatch, decode_locked, encode_lock_batch

RENEW_INTERVAL_MS: Final = 20_000
VALID_MS: Final = 30_000
_TIMEOUT_MS: Final = 1_000

_log = logging.getLogger("pyromq.client")


class QueueLocks:
    """The locks of one consumer."""

    def __init__(self, instance: ClientInstance, group: str) -> None:
        self._instance = instance
        self._group = group
        self._valid_until_ms: dict[MessageQueue, int] = {}
        self._asking = asyncio.Lock()
        """One request after another: a lock that is given back must not come back by a renewal."""

    def is_held(self, queue: MessageQueue) -> bool:
        until_ms = self._valid_until_ms.get(queue)
        return until_ms is not None and self._instance.clock.monotonic_ms() < until_ms

    @property
    def queues(self) -> list[MessageQueue]:
        return list(self._valid_until_ms)

    async def lock(self, queues: Iterable[MessageQueue]) -> None:
        """Asks for the locks; `is_held` says which of them were given."""
        async with self._asking:
            await asyncio.gather(*(self._lock_at(*share) for share in _by_broker(queues)))

    async def renew(self) -> None:
        async with self._asking:
            await asyncio.gather(*(self._lock_at(*share) for share in _by_broker(self.queues)))

    async def unlock(self, queues: Iterable[MessageQueue]) -> None:
        """Others may have them at once. What fails is logged: the locks end by themselves."""
        async with self._asking:
            held = [queue for queue in queues if self._valid_until_ms.pop(queue, None) is not None]
            for broker, share in _by_broker(held):
                try:
                    await self._ask(RequestCode.UNLOCK_BATCH_MQ, share)
                except PyromqError as error:
                    _log.warning("locks at %s not given back: %s", broker, error)

    async def _lock_at(self, broker: str, queues: list[MessageQueue]) -> None:
        asked_ms = self._instance.clock.monotonic_ms()
        try:
            locked = set(decode_locked(await self._ask(RequestCode.LOCK_BATCH_MQ, queues)))
        except PyromqError as error:
            # What was given before stays valid until its time is over.
            _log.warning("no order locks from %s: %s", broker, error)
            return
        for queue in queues:
            if queue in locked:
                self._valid_until_ms[queue] = asked_ms + VALID_MS
            else:
                self._valid_until_ms.pop(queue, None)

    async def _ask(self, code: RequestCode, queues: list[MessageQueue]) -> bytes:
        body = encode_lock_batch(
            LockBatch(client_id=self._instance.client_id, consumer_group=self._group, mq_set=queues)
        )
        address = await self._instance.address_of(queues[0])
        answer = await self._instance.call(address, code, None, body, timeout_ms=_TIMEOUT_MS)
        return answer.body


def _by_broker(queues: Iterable[MessageQueue]) -> list[tuple[str, list[MessageQueue]]]:
    shares: dict[str, list[MessageQueue]] = {}
    for queue in queues:
        shares.setdefault(queue.broker_name, []).append(queue)
    return list(shares.items())


__all__ = ["RENEW_INTERVAL_MS", "VALID_MS", "QueueLocks"]
