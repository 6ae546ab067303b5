"""Delays: delivers what waited for its delay level, on time and at least once.

The head of each level says when there is something to do; an alarm rings then, and nothing wakes
the broker before. A ring delivers one turn's worth of what is due and leaves the rest to the next
turn, so that requests come between. Two things are kept per level: how far it is delivered, in
memory, and how far that is safe on disk, in the metadata journal (see `deliveries`).

What it costs: about 5 µs of CPU per message where many are due together (0.3 read, 1.5 taken apart,
1 appended, 1 written and put into its queue), four times that where a ring finds only a few of each
level. bench/delays.py measures it.

Source: schedule.ScheduleMessageService of org.apache.rocketmq.broker 5.5.0.
"""

from __future__ import annotations

import logging
import struct
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from pyromq.broker.alarm import Alarm
from pyromq.broker.copies import Copies
from pyromq.broker.delay_level import DelayLevel
from pyromq.broker.deliveries import Deliveries
from pyromq.clock import Clock
from pyromq.domain.delay import delay_ms, level_of
from pyromq.domain.topic import SCHEDULE_TOPIC, TopicConfig
from pyromq.errors import ServiceUnavailable, StoreFailed
from pyromq.observe.counters import BrokerCounters
from pyromq.store.engine import Arrival, Engine, QueueRead
from pyromq.store.metadata import Metadata
from pyromq.turn import Turn
from pyromq.units import MIB, SECOND_MS, LogOffset, QueueOffset

TURN_COUNT_MAX: Final = 256
"""Messages delivered in one turn, by all levels that have something due: about 1 ms of the loop."""
TURN_SIZE_MAX: Final = MIB
"""Bytes of them; a larger message comes alone."""
REST_MS: Final = 10
"""Between two deliveries, unless much is due: what is due in quick succession goes together."""
LOOK_INTERVAL_MS: Final = SECOND_MS
"""Longest sleep while something waits: the wall clock may be set meanwhile."""
RETRY_INTERVAL_MS: Final = SECOND_MS
"""Pause after the store refused something."""

_SIZE_AND_OFFSET: Final = struct.Struct(">i16xq")
"""Of a record: its size, and its queue offset."""

_log = logging.getLogger(__name__)


class Delays:
    """All delay levels of a broker."""

    def __init__(
        self,
        engine: Engine,
        metadata: Metadata,
        topics: Mapping[str, TopicConfig],
        delays_ms: tuple[int, ...],
        clock: Clock,
        turn: Turn,
        counters: BrokerCounters,
    ) -> None:
        """`delays_ms`: the delay of level 1, 2, …"""
        self._engine = engine
        self._metadata = metadata
        self._delays_ms = delays_ms
        self._clock = clock
        self._turn = turn
        self._levels: dict[int, DelayLevel] = {}
        self._copies = Copies(engine, topics, counters)
        self._deliveries = Deliveries()
        self._is_closed = False
        self._rested_ms = 0
        """Monotonic time before which nothing is delivered for the sake of few messages."""
        self._is_refused = False
        """The store refused something, which was told; until nothing is held back any more."""
        self.alarm = Alarm(clock, self.deliver)
        """Rings when something is due."""

    # --- life -----------------------------------------------------------------------------------

    def open(self) -> None:
        """Goes on where the journal says, as far as the queues bear that out."""
        queue_ids = {*range(len(self._delays_ms)), *self._engine.queue_ids(SCHEDULE_TOPIC)}
        for queue_id in sorted(queue_ids):
            self._look(self._level(queue_id))
        self._set_alarm()

    def close(self) -> None:
        """From now on nothing is delivered any more."""
        self._is_closed = True
        self.alarm.set(None)

    def settle(self) -> None:
        """Notes in the journal what is safe by now."""
        moved = self._deliveries.safe(self._engine.positions().flushed)
        if moved:
            self._move(moved)

    def _move(self, offsets: dict[int, int]) -> None:
        try:
            self._metadata.move_delay_offsets(offsets)
        except StoreFailed as error:
            # They are delivered again after the next start; the journal's owner tells why.
            _log.debug("how far delay levels are delivered cannot be noted: %s", error)

    @property
    def has_deliveries(self) -> bool:
        """Whether copies are under way, which `end_turn` looks after."""
        return bool(self._deliveries)

    # --- what arrives, what is due --------------------------------------------------------------

    def arrived(self, arrivals: Iterable[Arrival]) -> None:
        """Messages were stored; some of them may have to wait for their delay."""
        is_news = False
        for arrival in arrivals:
            if arrival.topic == SCHEDULE_TOPIC:
                level = self._level(arrival.queue_id)
                if level.head_ms is None:
                    self._look(level)
                    is_news = True
        if is_news:
            self._set_alarm()

    def deliver(self) -> None:
        """Appends copies of what is due, at most a turn's worth, and sets the alarm anew."""
        if self._is_closed:
            return
        now_ms, monotonic_ms = self._clock.now_ms(), self._clock.monotonic_ms()
        for level in self._levels.values():
            if level.is_lost_in_time(now_ms):
                self._look(level)
        due = [level for level in self._levels.values() if level.is_due(now_ms, monotonic_ms)]
        for level in due:
            self._deliver(level, len(due), now_ms, monotonic_ms)
        if due:
            self._rested_ms = monotonic_ms + REST_MS
            self._turn.request_end()
        self._set_alarm()

    def end_turn(self) -> None:
        """The log was written, a slow disk was given what to write, or that failed; the journal
        comes next."""
        if not self._deliveries:
            return
        lost = self._deliveries.end_turn(self._engine.positions().appended)
        for number, offset in lost.items():
            level = self._levels[number]
            level.next_offset = offset
            self._look(level)
            self._hold(level, "their copies could not be written")
        if lost:
            self._set_alarm()
        elif self._is_refused:
            monotonic_ms = self._clock.monotonic_ms()
            self._is_refused = any(each.held_ms > monotonic_ms for each in self._levels.values())
        self.settle()

    # --- what is asked --------------------------------------------------------------------------

    def progress(self) -> dict[int, tuple[QueueOffset, QueueOffset]]:
        """Level → (offset behind what is delivered, end of its queue), of levels ever used."""
        try:
            found = {
                number: (
                    level.next_offset,
                    self._engine.queue_range(SCHEDULE_TOPIC, level.queue_id).max_offset,
                )
                for number, level in sorted(self._levels.items())
            }
        except StoreFailed as error:
            raise ServiceUnavailable(f"the store cannot be read: {error}") from error
        return {number: both for number, both in found.items() if both != (0, 0)}

    def offsets(self) -> bytes:
        """delayOffset.json as it would be written now, with levels where all still wait."""
        tables = self._metadata.tables
        offsets = dict.fromkeys(self.progress(), 0) | tables.delay_offsets
        table = ",".join(f"{level}:{offset}" for level, offset in sorted(offsets.items()))
        version = msgspec.json.encode(tables.delay_offsets_version, order="sorted")
        return b'{"dataVersion":' + version + b',"offsetTable":{' + table.encode() + b"}}"

    # --- one level ------------------------------------------------------------------------------

    def _level(self, queue_id: int) -> DelayLevel:
        number = level_of(queue_id)
        level = self._levels.get(number)
        if level is None:
            offset = self._metadata.tables.delay_offsets.get(number, 0)
            delay = delay_ms(number, self._delays_ms)
            level = self._levels[number] = DelayLevel(number, delay, QueueOffset(offset))
        return level

    def _look(self, level: DelayLevel) -> None:
        """Finds the level's first message that is not delivered."""
        level.head_ms = None
        try:
            queue = self._engine.queue_range(SCHEDULE_TOPIC, level.queue_id)
            if queue.max_offset < level.seen_end:
                level.see(QueueOffset(0), 0)  # the queue was taken away: nothing was seen of this
            offset = min(max(level.next_offset, queue.min_offset), queue.max_offset)
            if offset != level.next_offset:
                _log.warning(
                    "delay level %d: delivered up to %d, but its queue has %d to %d: corrected",
                    level.level,
                    level.next_offset,
                    queue.min_offset,
                    queue.max_offset,
                )
                level.next_offset = offset
                self._move({level.level: offset})
                self._turn.request_end()
            if offset < queue.max_offset:
                level.head_ms = self._engine.store_time(SCHEDULE_TOPIC, level.queue_id, offset)
                if level.is_lost_in_time(self._clock.now_ms()):
                    level.see(queue.max_offset, self._clock.monotonic_ms())
        except StoreFailed as error:
            level.head_ms = 0  # as if long due: it is looked at again when it is let go
            self._hold(level, error)

    def _deliver(
        self, level: DelayLevel, sharer_count: int, now_ms: int, monotonic_ms: int
    ) -> None:
        """Delivers what is due of one level, as far as its share of the turn goes."""
        count = max(TURN_COUNT_MAX // sharer_count, 1)
        size = TURN_SIZE_MAX // sharer_count
        while count > 0 and size > 0 and level.is_due(now_ms, monotonic_ms):
            offset = level.next_offset
            size -= self._deliver_some(level, count, size, now_ms)
            count -= max(level.next_offset - offset, 1)

    def _deliver_some(self, level: DelayLevel, count_max: int, size_max: int, now_ms: int) -> int:
        """One read's worth of it; returns how many bytes were read."""
        first_offset = level.next_offset
        ends: list[LogOffset] = []
        size = 0
        due_ms, due_count = level.due(now_ms)
        if due_count is not None:
            count_max = min(count_max, due_count)
        level.head_ms = None
        try:
            read = self._engine.read(
                SCHEDULE_TOPIC,
                level.queue_id,
                first_offset,
                message_count_max=min(level.read_count, count_max),
                body_size_max=size_max,
                tag_hashes=None,
            )
            size = len(read.body)
            start = self._engine.positions().appended
            level.head_ms = self._copies.append_due(read.body, due_ms, now_ms, ends)
            if read.message_count != read.next_offset - first_offset and (
                read.min_offset <= first_offset < read.max_offset
            ):
                ends[:] = _over_gaps(read, first_offset, start, ends)
                _log.error(
                    "delay level %d: no message is found at some of the places %d to %d: they are "
                    "passed over",
                    level.level,
                    first_offset,
                    first_offset + len(ends) - 1,
                )
        except StoreFailed as error:
            self._hold(level, error)
        except Exception as error:  # noqa: BLE001 — a fault with one must not stop all, for ever
            self._hold(level, error)
        if ends:
            level.next_offset = QueueOffset(first_offset + len(ends))
            self._deliveries.add(level.level, first_offset, ends)
            level.guess(len(ends))
        if level.head_ms is None:
            self._look(level)
        return size

    # --- when next ------------------------------------------------------------------------------

    def _set_alarm(self) -> None:
        if self._is_closed:
            return
        now_ms, monotonic_ms = self._clock.now_ms(), self._clock.monotonic_ms()
        waits = [level.wait_ms(now_ms, monotonic_ms) for level in self._levels.values()]
        wait_ms = min((wait for wait in waits if wait is not None), default=None)
        if wait_ms is None or (self._is_refused and self._engine.failure() is not None):
            self.alarm.set(None)
            return
        if wait_ms > 0:
            wait_ms = min(max(wait_ms, self._rested_ms - monotonic_ms), LOOK_INTERVAL_MS)
        self.alarm.set(monotonic_ms + max(wait_ms, 0))

    def _hold(self, level: DelayLevel, reason: object) -> None:
        """Leaves a level alone for a while; the store refused something."""
        level.held_ms = self._clock.monotonic_ms() + RETRY_INTERVAL_MS
        if not self._is_refused:
            self._is_refused = True
            fault = reason if isinstance(reason, Exception) else None
            is_ours = fault is not None and not isinstance(fault, StoreFailed)
            _log.error(
                "delayed messages are held back: %s", reason, exc_info=fault if is_ours else None
            )


def _over_gaps(
    read: QueueRead, first_offset: QueueOffset, start: LogOffset, ends: list[LogOffset]
) -> list[LogOffset]:
    """`ends` of the records of a read that passed over damaged ones, with places for these too."""
    filled: list[LogOffset] = []
    at = 0
    for end in ends:
        size, offset = _SIZE_AND_OFFSET.unpack_from(read.body, at)
        at += size
        filled += [filled[-1] if filled else start] * (offset - first_offset - len(filled))
        filled.append(end)
    if len(ends) == read.message_count:
        rest = max(read.next_offset - first_offset, 1) - len(filled)
        filled += [filled[-1] if filled else start] * rest
    return filled


__all__ = [
    "LOOK_INTERVAL_MS",
    "REST_MS",
    "RETRY_INTERVAL_MS",
    "TURN_COUNT_MAX",
    "TURN_SIZE_MAX",
    "Delays",
]
