"""Order locks: which client of a group may consume a queue in order, and for how long.

A client that consumes in order asks for its queues every 20 s and works on one only while its last
answer is younger than 30 s. A lock lasts longer than that, 60 s, so it is never given to another
client while the first one still trusts it. It ends by being given back, or by time, and by nothing
else: a client whose connection broke may be in the middle of a message.

What a restarted broker knows are the holders without their times. It treats them as asked for at
the start, for as long as such a client may still trust what it was told before.

Sources: client.rebalance.RebalanceLockManager of org.apache.rocketmq.broker,
impl.consumer.ProcessQueue of org.apache.rocketmq.client 5.5.0. Times are monotonic ms.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final, NamedTuple

LOCK_LEASE_MS: Final = 60_000
"""How long a lock lasts after its client last asked for it."""
CLIENT_VALIDITY_MS: Final = 30_000
"""How long a client works on a queue without a new answer."""
LOCKS_MAX: Final = 200_000
"""Locks in all, expired ones included: as many as polls may wait, since who may consume a queue
also waits for its messages. Each holds about 300 bytes; to sweep them all takes 10 ms."""


class Queue(NamedTuple):
    """One queue of this broker."""

    topic: str
    queue_id: int


class Lock:
    """Who holds a queue, and since when."""

    __slots__ = ("asked_at_ms", "client_id")

    def __init__(self, client_id: str, asked_at_ms: int) -> None:
        self.client_id = client_id
        self.asked_at_ms = asked_at_ms
        """When the client last asked for it."""


class OrderLocks:
    """All order locks of a broker: group → queue → lock."""

    def __init__(self, lease_ms: int = LOCK_LEASE_MS, *, locks_max: int = LOCKS_MAX) -> None:
        self.lease_ms = lease_ms
        """May change at any time; it counts for the locks that are held, too."""
        self._locks_max = locks_max
        self._groups: dict[str, dict[Queue, Lock]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def has_room(self, group: str, queues: Iterable[Queue]) -> bool:
        """Whether all these queues can be locked, those counted that are already."""
        locks = self._groups.get(group, {})
        return self._count + sum(queue not in locks for queue in queues) <= self._locks_max

    def lock(
        self, group: str, client_id: str, queues: Collection[Queue], now_ms: int
    ) -> tuple[list[Queue], list[Queue]]:
        """The queues that are the client's now, and those among them that were not before."""
        assert self.has_room(group, queues), "ask first"
        locks = self._groups.setdefault(group, {})
        locked = []
        gained = []
        for queue in queues:
            lock = locks.get(queue)
            if lock is None:
                locks[queue] = Lock(client_id, now_ms)
                self._count += 1
                gained.append(queue)
            elif lock.client_id == client_id:
                lock.asked_at_ms = now_ms
            elif self._has_expired(lock, now_ms):
                lock.client_id = client_id
                lock.asked_at_ms = now_ms
                gained.append(queue)
            else:
                continue
            locked.append(queue)
        if not locks:
            del self._groups[group]
        return locked, gained

    def unlock(self, group: str, client_id: str, queues: Iterable[Queue]) -> list[Queue]:
        """Gives back what the client holds of these queues; returns those."""
        locks = self._groups.get(group, {})
        given = [
            queue for queue in queues if queue in locks and locks[queue].client_id == client_id
        ]
        self._remove(group, given)
        return given

    def is_any_held(self, group: str, now_ms: int) -> bool:
        """Whether some client of the group consumes in order now."""
        locks = self._groups.get(group, {})
        return any(not self._has_expired(lock, now_ms) for lock in locks.values())

    def sweep(self, now_ms: int) -> dict[str, list[Queue]]:
        """Forgets the locks that have expired; returns them by group."""
        swept = {}
        oldest_ms = now_ms - self.lease_ms
        for group, locks in list(self._groups.items()):
            expired = [queue for queue, lock in locks.items() if lock.asked_at_ms < oldest_ms]
            if expired:
                self._remove(group, expired)
                swept[group] = expired
        return swept

    def restore(self, group: str, queue: Queue, client_id: str, now_ms: int) -> None:
        """Takes over what was held before a restart, for as long as its holder may trust in it."""
        assert queue not in self._groups.get(group, {}), "only into an empty table"
        if self._count < self._locks_max:
            unused_ms = self.lease_ms - min(self.lease_ms, CLIENT_VALIDITY_MS)
            self._groups.setdefault(group, {})[queue] = Lock(client_id, now_ms - unused_ms)
            self._count += 1

    def _has_expired(self, lock: Lock, now_ms: int) -> bool:
        return now_ms - lock.asked_at_ms > self.lease_ms

    def _remove(self, group: str, queues: Iterable[Queue]) -> None:
        locks = self._groups.get(group, {})
        for queue in queues:
            del locks[queue]
            self._count -= 1
        if not locks:
            self._groups.pop(group, None)


__all__ = ["CLIENT_VALIDITY_MS", "LOCKS_MAX", "LOCK_LEASE_MS", "Lock", "OrderLocks", "Queue"]
