"""Long polls: pulls that found nothing and wait for a message, a deadline, or the end.

A parked poll is an entry under its queue and in a heap of deadlines; it costs nothing while nothing
happens, and there is no timer per poll. Four things wake it: a message that it wants (those it does
not want only move its offset forward), its deadline, a change of its topic or group, and the loss
of its connection or of the broker.

Ordinary pulls wait on a door's express lane, if there is one; what it cannot decide it gives back,
and the poll goes on here. So the bounds are for both together, and whatever wakes polls for another
reason than a message asks the lane for its own first.

Source: longpolling.PullRequestHoldService of org.apache.rocketmq.broker 5.5.0, which scans all
polls every 5 s instead.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from heapq import heapify, heappop, heappush
from typing import Final

from pyromq.api import ExpressPolls
from pyromq.errors import RequestRefused, ServiceUnavailable, StoreFailed, SystemBusy
from pyromq.store.engine import Arrival, Engine, QueueRead, ReadStatus
from pyromq.units import QueueOffset
from pyromq.waiting import Latch

POLLS_MAX: Final = 200_000
"""Polls parked at once; each holds about 2 KiB. Beyond, clients are told to come back later."""
CONNECTION_POLLS_MAX: Final = 16_384
"""Polls of one connection: a client has one per queue, and a topic has 1,024 queues at most."""
STALE_DEADLINES_MIN: Final = 1_024
"""The heap is rebuilt when it has more finished polls than this, and more than live ones."""


class Poll:
    """One parked pull. Mutable: its offset advances over messages that it does not want."""

    __slots__ = (
        "body_size_max",
        "connection_id",
        "deadline_ms",
        "group",
        "latch",
        "message_count_max",
        "queue_id",
        "queue_offset",
        "tag_hashes",
        "topic",
    )

    def __init__(
        self,
        topic: str,
        queue_id: int,
        queue_offset: QueueOffset,
        *,
        message_count_max: int,
        body_size_max: int,
        tag_hashes: frozenset[int] | None,
        group: str,
        connection_id: int,
        deadline_ms: int,
    ) -> None:
        self.topic = topic
        self.queue_id = queue_id
        self.queue_offset = queue_offset
        self.message_count_max = message_count_max
        self.body_size_max = body_size_max
        self.tag_hashes = tag_hashes
        self.group = group
        self.connection_id = connection_id
        self.deadline_ms = deadline_ms
        self.latch: Latch[QueueRead | None] = Latch()
        """What was found, or None: look again yourself (time is up, or the topic changed)."""

    def __lt__(self, other: Poll) -> bool:
        return self.deadline_ms < other.deadline_ms


class ParkedPolls:
    """All parked polls of a broker."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._by_topic: dict[str, dict[int, dict[Poll, None]]] = {}
        self._by_connection: dict[int, dict[Poll, None]] = {}
        self._deadlines: list[Poll] = []
        self._count = 0
        self._is_closed = False
        self._lane: ExpressPolls | None = None

    def add_lane(self, lane: ExpressPolls) -> None:
        """Where ordinary pulls wait from now on."""
        self._lane = lane
        lane.limit_polls(POLLS_MAX - self._count, CONNECTION_POLLS_MAX)
        for connection_id in self._by_connection:
            self._limit_lane(connection_id)
        for topic in self._by_topic:
            lane.watch(topic, is_watched=True)

    def __len__(self) -> int:
        """Those of the lane included."""
        return self._count if self._lane is None else self._count + self._lane.poll_count

    def park(self, poll: Poll) -> Latch[QueueRead | None]:
        """Keeps the poll until something wakes it; raises SystemBusy beyond the limits."""
        if self._is_closed:
            raise ServiceUnavailable("the broker is shutting down")
        lane = self._lane
        if len(self) >= POLLS_MAX:
            raise SystemBusy(f"{POLLS_MAX} pulls are waiting for messages, no more are held")
        own = self._by_connection.setdefault(poll.connection_id, {})
        on_lane = 0 if lane is None else lane.poll_count_of(poll.connection_id)
        if len(own) + on_lane >= CONNECTION_POLLS_MAX:
            raise SystemBusy(
                f"{CONNECTION_POLLS_MAX} pulls of this connection are waiting, no more are held"
            )
        own[poll] = None
        queues = self._by_topic.get(poll.topic)
        if queues is None:
            queues = self._by_topic[poll.topic] = {}
            if lane is not None:
                lane.watch(poll.topic, is_watched=True)
        queues.setdefault(poll.queue_id, {})[poll] = None
        heappush(self._deadlines, poll)
        self._count += 1
        self._limit_lane(poll.connection_id)
        return poll.latch

    def wake(self, arrivals: Iterable[Arrival]) -> None:
        """Gives new messages to the polls that want them."""
        for arrival in arrivals:
            queues = self._by_topic.get(arrival.topic)
            if queues is None:
                continue
            polls = queues.get(arrival.queue_id)
            if polls:
                self._offer(list(polls), arrival.max_offset)

    def wake_topic(self, topic: str) -> None:
        """The topic changed or is gone: its polls look again themselves."""
        if self._lane is not None:
            self._lane.give_back_topic(topic)
        for polls in list(self._by_topic.get(topic, {}).values()):
            for poll in list(polls):
                self._finish(poll, None)

    def wake_group(self, group: str) -> None:
        """The group changed: its polls look again themselves."""
        self.wake_groups({group})

    def wake_groups(self, groups: Collection[str]) -> None:
        """The same for several. Rare, so all polls are gone through, once."""
        if self._lane is not None:
            self._lane.give_back_groups(groups)
        own = [
            poll for polls in self._by_connection.values() for poll in polls if poll.group in groups
        ]
        for poll in own:
            self._finish(poll, None)

    def expire(self, monotonic_ms: int) -> None:
        """Wakes the polls whose time is up."""
        if self._lane is not None:
            self._lane.end_waits(monotonic_ms)
        deadlines = self._deadlines
        while deadlines and (deadlines[0].latch.is_set or deadlines[0].deadline_ms <= monotonic_ms):
            poll = heappop(deadlines)
            if not poll.latch.is_set:
                self._finish(poll, None)
        if len(deadlines) - self._count > max(STALE_DEADLINES_MIN, self._count):
            self._deadlines = [poll for poll in deadlines if not poll.latch.is_set]
            heapify(self._deadlines)

    def drop_connection(self, connection_id: int) -> None:
        """Nobody waits for the answers any more."""
        for poll in list(self._by_connection.get(connection_id, ())):
            self._fail(poll, ServiceUnavailable("the connection is closed"))

    def close(self) -> None:
        """Ends all polls: clients come back when the broker does, or go to another one."""
        self._is_closed = True
        if self._lane is not None:
            self._lane.limit_polls(0, 0)
            self._lane.refuse_polls(ServiceUnavailable("the broker is shutting down"))
        for polls in list(self._by_connection.values()):
            for poll in list(polls):
                self._fail(poll, ServiceUnavailable("the broker is shutting down"))
        self._deadlines.clear()

    def _offer(self, polls: list[Poll], max_offset: QueueOffset) -> None:
        reads: dict[tuple[int, int, int, frozenset[int] | None], QueueRead] = {}
        for poll in polls:
            if poll.latch.is_set or poll.queue_offset >= max_offset:
                continue
            wanted = (
                poll.queue_offset,
                poll.message_count_max,
                poll.body_size_max,
                poll.tag_hashes,
            )
            read = reads.get(wanted)
            if read is None:
                try:
                    read = self._read(poll)
                except StoreFailed as error:
                    self._fail(poll, ServiceUnavailable(f"the store cannot be read: {error}"))
                    continue
                reads[wanted] = read
            if read.status is ReadStatus.NO_MATCHED_MESSAGE:
                poll.queue_offset = read.next_offset
            else:
                self._finish(poll, read)

    def _read(self, poll: Poll) -> QueueRead:
        """Reads on while whole scans hold nothing that the poll wants."""
        offset = poll.queue_offset
        while True:
            read = self._engine.read(
                poll.topic,
                poll.queue_id,
                offset,
                message_count_max=poll.message_count_max,
                body_size_max=poll.body_size_max,
                tag_hashes=poll.tag_hashes,
            )
            if (
                read.status is not ReadStatus.NO_MATCHED_MESSAGE
                or not offset < read.next_offset < read.max_offset
            ):
                return read
            offset = read.next_offset

    def _finish(self, poll: Poll, read: QueueRead | None) -> None:
        self._forget(poll)
        poll.latch.set(read)

    def _fail(self, poll: Poll, error: RequestRefused) -> None:
        self._forget(poll)
        poll.latch.fail(error)

    def _forget(self, poll: Poll) -> None:
        self._count -= 1
        queues = self._by_topic[poll.topic]
        polls = queues[poll.queue_id]
        del polls[poll]
        if not polls:
            del queues[poll.queue_id]
            if not queues:
                del self._by_topic[poll.topic]
                if self._lane is not None:
                    self._lane.watch(poll.topic, is_watched=False)
        own = self._by_connection[poll.connection_id]
        del own[poll]
        if not own:
            del self._by_connection[poll.connection_id]
        self._limit_lane(poll.connection_id)

    def _limit_lane(self, connection_id: int) -> None:
        """What waits here is not to wait there."""
        if self._lane is None or self._is_closed:
            return
        own_count = len(self._by_connection.get(connection_id, ()))
        self._lane.limit_polls(POLLS_MAX - self._count, CONNECTION_POLLS_MAX)
        self._lane.limit_polls_of(connection_id, CONNECTION_POLLS_MAX - own_count)


__all__ = ["CONNECTION_POLLS_MAX", "POLLS_MAX", "ParkedPolls", "Poll"]
