"""Which queue a message goes to: in turns, by key, and rather not to a slow or failed broker.

Source: latency.MQFaultStrategy (selectOneMessageQueue), impl.producer.TopicPublishInfo and
producer.selector.SelectMessageQueueByHash of org.apache.rocketmq.client 5.5.0.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from pyromq.client.faults import FaultTable
from pyromq.client.routes import Publication
from pyromq.clock import Clock
from pyromq.domain.route import MessageQueue
from pyromq.domain.subscription import tag_hash


class QueueChoice:
    """Queues of all topics take turns."""

    def __init__(self, clock: Clock, faults: FaultTable | None) -> None:
        """`faults`: None avoids only the broker that just failed."""
        self._clock = clock
        self._faults = faults
        self._turns: dict[str, int] = {}

    def next(self, publication: Publication, avoided: str | None) -> MessageQueue:
        """In turns; rather one of a broker that is neither slow nor the one that just failed."""
        queues = publication.queues
        topic = queues[0].topic
        turn = self._turns.get(topic)
        if turn is None:
            turn = random.randrange(len(queues))  # noqa: S311 - producers shall not march in step
        self._turns[topic] = turn + 1
        count = len(queues)
        first = queues[turn % count]
        if (avoided is None and self._is_available(first)) or not publication.has_choice:
            return first
        others = [
            (step, queue)
            for step in range(count)
            if (queue := queues[(turn + step) % count]).broker_name != avoided
        ]
        quick = (place for place in others if self._is_available(place[1]))
        step, queue = next(quick, others[0] if others else (0, first))
        self._turns[topic] = turn + step + 1
        return queue

    def _is_available(self, queue: MessageQueue) -> bool:
        return self._faults is None or self._faults.is_available(
            queue.broker_name, self._clock.monotonic_ms()
        )

    def note(self, queue: MessageQueue, begin_ms: int, *, has_failed: bool) -> None:
        """What became of a send to the queue's broker that began at `begin_ms` (monotonic)."""
        if self._faults is not None:
            now_ms = self._clock.monotonic_ms()
            self._faults.note(queue.broker_name, now_ms - begin_ms, now_ms, has_failed=has_failed)


def queue_of_key(key: str, queues: Sequence[MessageQueue]) -> MessageQueue:
    """The queue of an ordering key: as Java's SelectMessageQueueByHash chooses for a String."""
    return queues[abs(tag_hash(key)) % len(queues)]


__all__ = ["QueueChoice", "queue_of_key"]
