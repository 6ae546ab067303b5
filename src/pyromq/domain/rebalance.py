"""Who of a group reads which queues of a topic: every member computes it for itself.

All members must use the same rule and see the same lists. Queues are sorted by topic, broker name
and id, members by client id. Sources: consumer.rebalance.AllocateMessageQueue{Averagely,
AveragelyByCircle,ConsistentHash} of org.apache.rocketmq.client, consistenthash.ConsistentHashRouter
of org.apache.rocketmq.common, message.MessageQueue (compareTo, toString) 5.5.0.
"""

from __future__ import annotations

import bisect
import hashlib
from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

from pyromq.domain.route import MessageQueue

Allocation: TypeAlias = Callable[[str, Sequence[str], Sequence[MessageQueue]], list[MessageQueue]]
"""Own client id, all client ids, all queues (both sorted) → own queues. None if the list of members
does not name us (yet)."""

_VIRTUAL_NODES: Final = 10


def queue_order(queue: MessageQueue) -> tuple[str, str, int]:
    """What queues are sorted by."""
    return queue.topic, queue.broker_name, queue.queue_id


def averagely(
    client_id: str, client_ids: Sequence[str], queues: Sequence[MessageQueue]
) -> list[MessageQueue]:
    """Neighbouring queues, as many for each; the first members get one more (AVG, the default)."""
    if client_id not in client_ids:
        return []
    index, members, count = client_ids.index(client_id), len(client_ids), len(queues)
    size, rest = divmod(count, members)
    start = index * size + min(index, rest)
    return list(queues[start : start + size + (index < rest)])


def averagely_by_circle(
    client_id: str, client_ids: Sequence[str], queues: Sequence[MessageQueue]
) -> list[MessageQueue]:
    """Every member in turn gets a queue (AVG_BY_CIRCLE)."""
    if client_id not in client_ids:
        return []
    return list(queues[client_ids.index(client_id) :: len(client_ids)])


def by_consistent_hash(
    client_id: str, client_ids: Sequence[str], queues: Sequence[MessageQueue]
) -> list[MessageQueue]:
    """Queues keep their members as far as possible when others come and go (CONSISTENT_HASH)."""
    if client_id not in client_ids:
        return []
    ring = sorted(
        (_hash(f"{member}-{number}"), member)
        for member in client_ids
        for number in range(_VIRTUAL_NODES)
    )
    places = [place for place, _ in ring]
    return [
        queue
        for queue in queues
        if ring[bisect.bisect_left(places, _hash(_java_text(queue))) % len(ring)][1] == client_id
    ]


def _java_text(queue: MessageQueue) -> str:
    return (
        f"MessageQueue [topic={queue.topic}, brokerName={queue.broker_name}, "
        f"queueId={queue.queue_id}]"
    )


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.md5(text.encode(), usedforsecurity=False).digest()[:4])


__all__ = ["Allocation", "averagely", "averagely_by_circle", "by_consistent_hash", "queue_order"]
