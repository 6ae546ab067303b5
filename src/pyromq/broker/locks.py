"""Order locks as verbs: who asks for what, and what outlives a restart.

Apache keeps locks in memory only. After its restart whoever asks first gets a queue, though the
client that had it goes on working for up to 30 s, and two clients then work on it at once. Here the
journal knows who holds a queue: not when he last asked, so renewals cost nothing on disk. A lock is
journaled in the turn in which it is given, before its answer leaves; nobody waits for the sync of
it, since after a power failure clients are without an answer for longer than they trust an old one.

Apache gives a lock to anyone for anything. Here it must be for a queue of this broker and for a
group that exists; a client's queues come from a route, and its heartbeat has created its group and
that group's retry topic before it asks.

Source: client.rebalance.RebalanceLockManager and processor.AdminBrokerProcessor of
org.apache.rocketmq.broker 5.5.0.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from typing import Final

from pyromq.api import LockRequest
from pyromq.broker.clients import CLIENT_ID_LENGTH_MAX
from pyromq.broker.groups import Groups
from pyromq.broker.journal import Journal
from pyromq.broker.remarks import FAQ, shown
from pyromq.broker.topics import Topics
from pyromq.clock import Clock
from pyromq.config import BrokerConfig, Settings
from pyromq.domain.ordering import OrderLocks, Queue
from pyromq.domain.route import MessageQueue
from pyromq.errors import GroupNotFound, InvalidParameter, ServiceUnavailable, SystemBusy
from pyromq.store.metadata import Metadata

REQUEST_QUEUES_MAX: Final = 8_192
"""Queues of one request: a client asks for all that it has on this broker, and a topic has 1,024
at most."""


class Locks:
    """The order locks of this broker."""

    def __init__(
        self,
        topics: Topics,
        groups: Groups,
        metadata: Metadata,
        journal: Journal,
        settings: Settings[BrokerConfig],
        clock: Clock,
    ) -> None:
        self._topic_table = topics.table
        self._group_table = groups.table
        self._metadata = metadata
        self._journal = journal
        self._settings = settings
        self._clock = clock
        self._locks = OrderLocks()

    def open(self) -> None:
        """Takes over who held what before the restart."""
        self._locks.lease_ms = self._settings.current.order_lock_lease_ms
        now_ms = self._clock.monotonic_ms()
        for group, topic, queue_id, client_id in self._metadata.tables.held_locks():
            self._locks.restore(group, Queue(topic, queue_id), client_id, now_ms)

    def lock(self, request: LockRequest) -> Sequence[MessageQueue]:
        """The queues that are the client's now."""
        queues = self._checked(request)
        group = request.group
        if group not in self._group_table:
            raise GroupNotFound(f"subscription group not exist, {shown(group)} {FAQ}")
        lockable = [queue for queue in queues if self._is_lockable(queue)]
        wanted = [Queue(queue.topic, queue.queue_id) for queue in lockable]
        if not self._locks.has_room(group, wanted):
            raise SystemBusy(
                f"{len(self._locks)} queues are locked, {len(wanted)} more of group[{group}] "
                "find no room"
            )
        self._locks.lease_ms = self._settings.current.order_lock_lease_ms
        client_id = request.client_id
        locked, gained = self._locks.lock(group, client_id, wanted, self._clock.monotonic_ms())
        if gained:
            try:
                self._journal.change(self._metadata.put_locks, group, client_id, _by_topic(gained))
            except ServiceUnavailable:
                self._locks.unlock(group, client_id, gained)
                raise
        is_locked = frozenset(locked)
        return [queue for queue in lockable if (queue.topic, queue.queue_id) in is_locked]

    def unlock(self, request: LockRequest) -> None:
        """Gives back what the client holds of the queues; anything else is no fault."""
        queues = self._checked(request)
        broker_name = self._settings.current.broker_name
        given = self._locks.unlock(
            request.group,
            request.client_id,
            [Queue(one.topic, one.queue_id) for one in queues if one.broker_name == broker_name],
        )
        if given:
            self._journal.change(self._metadata.delete_locks, request.group, _by_topic(given))

    def is_any_held(self, group: str) -> bool:
        """Whether some client of the group consumes in order now."""
        return self._locks.is_any_held(group, self._clock.monotonic_ms())

    def sweep(self) -> None:
        """Forgets what has expired."""
        self._locks.lease_ms = self._settings.current.order_lock_lease_ms
        with contextlib.suppress(ServiceUnavailable):  # then the next start forgets them
            for group, queues in self._locks.sweep(self._clock.monotonic_ms()).items():
                self._journal.change(self._metadata.delete_locks, group, _by_topic(queues))

    def _checked(self, request: LockRequest) -> Sequence[MessageQueue]:
        """The queues, each once. Raises InvalidParameter."""
        if not request.group or request.group.isspace():
            raise InvalidParameter("consumerGroup is blank")
        if not 0 < len(request.client_id.strip()) <= CLIENT_ID_LENGTH_MAX:
            raise InvalidParameter(
                f"clientId[{shown(request.client_id)}] is illegal, "
                f"1 to {CLIENT_ID_LENGTH_MAX} characters are accepted"
            )
        if len(request.queues) > REQUEST_QUEUES_MAX:
            raise InvalidParameter(
                f"mqSet has {len(request.queues)} queues, at most {REQUEST_QUEUES_MAX} are accepted"
            )
        return list(dict.fromkeys(request.queues))

    def _is_lockable(self, queue: MessageQueue) -> bool:
        """Whether it is a queue of this broker."""
        topic = self._topic_table.get(queue.topic)
        return (
            topic is not None
            and queue.broker_name == self._settings.current.broker_name
            and 0 <= queue.queue_id < max(topic.read_queue_nums, topic.write_queue_nums)
        )


def _by_topic(queues: Iterable[Queue]) -> dict[str, list[int]]:
    by_topic: dict[str, list[int]] = {}
    for queue in queues:
        by_topic.setdefault(queue.topic, []).append(queue.queue_id)
    return by_topic


__all__ = ["REQUEST_QUEUES_MAX", "Locks"]
