"""Which queues a consumer has: shared out anew when members, routes or subscriptions change.

Every member computes the shares from the same lists (`domain.rebalance`), every 20 s and when
something tells that they changed; so for a moment two members may think that a queue is theirs, and
messages of it may come twice. Under order locks that cannot happen. Source: impl.consumer.
{RebalanceService,RebalanceImpl} of org.apache.rocketmq.client 5.5.0.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Sequence
from typing import Final, Protocol

from pyromq.client.errors import RouteNotFound
from pyromq.client.instance import ClientInstance
from pyromq.client.queue_reader import QueueReader
from pyromq.codes import RequestCode
from pyromq.domain.rebalance import queue_order
from pyromq.domain.route import MessageQueue
from pyromq.domain.topic import retry_topic
from pyromq.errors import PyromqError
from pyromq.wire.remoting.bodies.clients import decode_consumer_ids
from pyromq.wire.remoting.headers.clients import ConsumerListHeader

REBALANCE_INTERVAL_MS: Final = 20_000
UNBALANCED_PAUSE_MS: Final = 1_000
"""Until the next try where something was missing: a route, a list of members, a lock."""

_log = logging.getLogger("pyromq.client")


class Consumer(Protocol):
    """What the assignment needs of its consumer."""

    @property
    def instance(self) -> ClientInstance: ...
    @property
    def group(self) -> str: ...
    @property
    def is_broadcast(self) -> bool: ...
    @property
    def topics(self) -> list[str]: ...
    @property
    def has_given_back(self) -> bool: ...

    def share(
        self, client_ids: Sequence[str], queues: Sequence[MessageQueue]
    ) -> list[MessageQueue]: ...
    async def lock(self, queues: Iterable[MessageQueue]) -> set[MessageQueue]: ...
    def begin(self, queue: MessageQueue) -> QueueReader: ...
    async def leave(self, reader: QueueReader) -> None: ...


class Assignment:
    """The queues of one push consumer."""

    def __init__(self, consumer: Consumer) -> None:
        self._consumer = consumer
        self._readers: dict[MessageQueue, QueueReader] = {}
        self._leaving: dict[MessageQueue, asyncio.Task[None]] = {}
        self._wanted = asyncio.Event()

    @property
    def queues(self) -> tuple[MessageQueue, ...]:
        return tuple(self._readers)

    @property
    def readers(self) -> list[QueueReader]:
        return list(self._readers.values())

    def want(self) -> None:
        """Something changed: share out at once."""
        self._wanted.set()

    async def begin(self) -> None:
        """A first sharing, after the brokers know of us."""
        for topic in self._consumer.topics:
            try:
                await self._consumer.instance.routes.readable_queues(topic)
            except PyromqError as error:
                if topic != retry_topic(self._consumer.group):
                    _log.warning("%s: %s", self._consumer.group, error)
        await self._consumer.instance.beat()
        if not await self._share_out():
            self._wanted.set()

    async def keep(self) -> None:
        """Shares out again and again, until cancelled."""
        is_balanced = not self._wanted.is_set()
        while True:
            pause_ms = REBALANCE_INTERVAL_MS if is_balanced else UNBALANCED_PAUSE_MS
            if not is_balanced:
                self._wanted.clear()
            try:
                async with asyncio.timeout(pause_ms / 1000):
                    await self._wanted.wait()
            except TimeoutError:
                pass
            self._wanted.clear()
            is_balanced = await self._share_out()

    async def stop_reading(self, timeout_ms: int) -> None:
        """`timeout_ms`: for queues that are being left and whose listeners still run."""
        leaving = list(self._leaving.values())
        if leaving:
            _, late = await asyncio.wait(leaving, timeout=timeout_ms / 1000)
            for task in late:
                task.cancel()
            await asyncio.gather(*leaving, return_exceptions=True)
        await asyncio.gather(*(reader.stop_reading() for reader in self._readers.values()))

    async def end(self) -> None:
        """No queue is ours any more."""
        for reader in self._readers.values():
            reader.is_dropped = True
        self._readers.clear()

    def drop(self, reader: QueueReader) -> None:
        """Leaves the queue in the background; it may come back."""
        if self._readers.get(reader.queue) is reader:
            del self._readers[reader.queue]
            task = asyncio.get_running_loop().create_task(
                self._leave(reader), name=f"leave {reader.queue.topic}/{reader.queue.queue_id}"
            )
            self._leaving[reader.queue] = task

    async def _leave(self, reader: QueueReader) -> None:
        try:
            await self._consumer.leave(reader)
        finally:
            self._leaving.pop(reader.queue, None)
            self._wanted.set()

    # ── sharing ─────────────────────────────────────────────────────────────────────────────────

    async def _share_out(self) -> bool:
        """Whether everything that should be ours is."""
        is_balanced = True
        topics = self._consumer.topics
        for reader in self.readers:
            if reader.queue.topic not in topics:
                self.drop(reader)
        for topic in topics:
            try:
                share = await self._share_of(topic)
            except RouteNotFound as error:
                # Its retry topic a group gets with the first message that fails, and the name
                # servers hear of it a little later.
                if topic != retry_topic(self._consumer.group):
                    _log.warning("%s: %s", self._consumer.group, error)
                    is_balanced = False
                elif self._consumer.has_given_back:
                    is_balanced = False
            except PyromqError as error:
                _log.warning("%s: topic %s not shared out: %s", self._consumer.group, topic, error)
                is_balanced = False
            else:
                is_balanced = share is not None and await self._take(topic, share) and is_balanced
        return is_balanced

    async def _share_of(self, topic: str) -> list[MessageQueue] | None:
        """Our queues; None if the brokers do not know of us, who has just told them."""
        instance = self._consumer.instance
        queues = sorted(await instance.routes.readable_queues(topic), key=queue_order)
        if self._consumer.is_broadcast:
            return queues
        members = await self._members(queues)
        if instance.client_id not in members:
            await instance.beat()
            members = await self._members(queues)
        if instance.client_id not in members:
            return None
        return self._consumer.share(sorted(members), queues)

    async def _members(self, queues: Sequence[MessageQueue]) -> list[str]:
        """Client ids of the group, from any broker of the topic."""
        failure: PyromqError | None = None
        for queue in {queue.broker_name: queue for queue in queues}.values():
            try:
                address = await self._consumer.instance.address_of(queue, needs_master=False)
                answer = await self._consumer.instance.call(
                    address,
                    RequestCode.GET_CONSUMER_LIST_BY_GROUP,
                    ConsumerListHeader(consumer_group=self._consumer.group),
                )
                return decode_consumer_ids(answer.body)
            except PyromqError as error:
                failure = error
        if failure is not None:
            raise failure
        return []

    async def _take(self, topic: str, share: Sequence[MessageQueue]) -> bool:
        """Leaves what is no longer ours, begins what has become ours."""
        wanted = set(share)
        for reader in self.readers:
            if reader.queue.topic == topic and reader.queue not in wanted:
                self.drop(reader)
        fresh = [queue for queue in share if queue not in self._readers]
        free = [queue for queue in fresh if queue not in self._leaving]
        locked = await self._consumer.lock(free) if free else set()
        for queue in free:
            if queue in locked:
                self._readers[queue] = self._consumer.begin(queue)
        if fresh:
            _log.info("%s: %d queues of topic %s", self._consumer.group, len(share), topic)
        return len(locked) == len(fresh)


__all__ = ["Assignment"]
