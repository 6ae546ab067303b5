"""The memory twin of the engine: obvious Python over one bytearray, the same bytes and answers.

It is the oracle of the property tests and the store of tests that need no disk; clear and slow on
purpose, every rule in one place. Sources: CommitLog (append, blank record, dispatch), ConsumeQueue
(search by time) and DefaultMessageStore (getMessage) of org.apache.rocketmq.store 5.5.0.

Nothing happens by itself here: `write` ends a turn, `flush` is what the flush thread of the other
engine does, `fail_next_write`, `fail_next_flush` and `be_busy` are the disk's bad days.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import msgspec

from pyromq.domain.subscription import tag_hash
from pyromq.domain.topic import SCHEDULE_TOPIC
from pyromq.errors import MessageIllegal, StoreBusy, StoreFailed
from pyromq.store.engine import (
    Appended,
    Arrival,
    Boundary,
    Damage,
    KeyQuery,
    LogSegment,
    Positions,
    QueueRange,
    QueueRead,
    ReadStatus,
    Rebuild,
    Removals,
    StoreSettings,
)
from pyromq.store.memory_index import KeyIndex
from pyromq.units import LogOffset, QueueOffset
from pyromq.wire.batch import BatchItem, decode_batch
from pyromq.wire.record import (
    MAGIC_BLANK,
    PROPERTIES_SIZE_MAX,
    Record,
    encode_record,
    parse_properties,
)

_BLANK_SIZE_MIN: Final = 8

_TRANSACTION_MASK: Final = 0xC
_TRANSACTION_PREPARED: Final = 0x4
_TRANSACTION_ROLLBACK: Final = 0xC
_QUEUE_ENTRY_SIZE: Final = 20
_SCAN_SIZE_MAX: Final = 16_000
"""Bytes of queue entries one read may look at: Apache's maxFilterMessageSize."""

_DECIMAL: Final = re.compile(r"[+-]?[0-9]{1,10}\Z")


class _Stored(NamedTuple):
    """One record between append and dispatch, with all that queues and index want of it."""

    topic: str
    queue_id: int
    queue_offset: QueueOffset
    log_offset: LogOffset
    size: int
    store_timestamp_ms: int
    is_queued: bool
    """False for half and rolled back messages (bits of sysFlag): no queue shows them."""
    tags_code: int
    keys: tuple[str, ...]
    """What the index takes, each already joined with the topic."""

    @property
    def end(self) -> int:
        return self.log_offset + self.size


@dataclass(slots=True)
class _Queue:
    """One consume queue."""

    first: int = 0
    """Queue offset of the first entry: those before it were removed with their records."""
    next_offset: int = 0
    """Given to the next append; ahead of `entries` by what is not committed yet."""
    entries: list[_Stored] = field(default_factory=list)

    @property
    def end(self) -> int:
        return self.first + len(self.entries)


class MemoryEngine:
    """An `Engine` that lives as long as the process."""

    def __init__(self, settings: StoreSettings) -> None:
        self._settings = settings
        self._log = bytearray()
        """From position 0 on; what was removed stays in it and is not looked at any more."""
        self._min = 0
        self._limit: tuple[int, str] | None = None
        """Appends that would end behind this position are refused, and why."""
        self._busy: str | None = None
        """Appends are refused as by a slow disk, and why."""
        self._written = 0
        self._flushed = 0
        self._store_timestamp_ms = 0
        self._records: dict[int, _Stored] = {}
        self._pending: list[_Stored] = []
        """Appended, not yet committed; in log order."""
        self._dropped: set[int] = set()
        """Log offsets of pending records whose topic was deleted in the meantime."""
        self._queues: dict[tuple[str, int], _Queue] = {}
        self._index = KeyIndex(settings.index_entry_count)
        self._arrived: dict[tuple[str, int], None] = {}
        self._progress_callbacks: list[Callable[[], None]] = []
        self._failure: str | None = None
        self._next_write_failure: tuple[str, bool] | None = None
        self._next_flush_failure: str | None = None

    # --- append ---------------------------------------------------------------------------------

    def append(
        self,
        topic: str,
        queue_id: int,
        body: bytes | memoryview,
        properties: bytes,
        flag: int,
        sys_flag: int,
        born_timestamp_ms: int,
        born_host: bytes,
        reconsume_times: int,
        prepared_transaction_offset: int,
        now_ms: int,
    ) -> Appended:
        """See `Engine.append`."""
        self._check_usable()
        if len(body) > self._settings.message_size_max:
            raise MessageIllegal(
                f"the message body has {len(body)} bytes, "
                f"at most {self._settings.message_size_max} are taken"
            )
        if len(properties) > PROPERTIES_SIZE_MAX:
            raise MessageIllegal(
                f"the message properties have {len(properties)} bytes, "
                f"at most {PROPERTIES_SIZE_MAX} are taken"
            )
        appended, _ = self._append_items(
            [BatchItem(flag, bytes(body), properties)],
            topic=topic,
            queue_id=queue_id,
            sys_flag=sys_flag,
            born_timestamp_ms=born_timestamp_ms,
            born_host=born_host,
            reconsume_times=reconsume_times,
            prepared_transaction_offset=prepared_transaction_offset,
            now_ms=now_ms,
        )
        return appended

    def append_batch(
        self,
        topic: str,
        queue_id: int,
        batch: bytes | memoryview,
        *,
        sys_flag: int,
        born_timestamp_ms: int,
        born_host: bytes,
        reconsume_times: int,
        now_ms: int,
    ) -> tuple[Appended, list[LogOffset]]:
        """See `Engine.append_batch`."""
        self._check_usable()
        if _is_half_or_rolled_back(sys_flag):
            raise MessageIllegal("a batch cannot be part of a transaction")
        size_max = self._settings.message_size_max
        return self._append_items(
            decode_batch(batch, size_max=size_max, count_max=size_max),
            topic=topic,
            queue_id=queue_id,
            sys_flag=sys_flag,
            born_timestamp_ms=born_timestamp_ms,
            born_host=born_host,
            reconsume_times=reconsume_times,
            prepared_transaction_offset=0,
            now_ms=now_ms,
        )

    def _append_items(
        self,
        items: list[BatchItem],
        *,
        topic: str,
        queue_id: int,
        sys_flag: int,
        born_timestamp_ms: int,
        born_host: bytes,
        reconsume_times: int,
        prepared_transaction_offset: int,
        now_ms: int,
    ) -> tuple[Appended, list[LogOffset]]:
        records = [
            Record(
                topic=topic,
                body=item.body,
                properties=item.properties,
                queue_id=queue_id,
                flag=item.flag,
                sys_flag=sys_flag,
                born_timestamp_ms=born_timestamp_ms,
                born_host=born_host,
                store_timestamp_ms=max(now_ms, self._store_timestamp_ms),
                store_host=self._settings.store_host,
                reconsume_times=reconsume_times,
                prepared_transaction_offset=prepared_transaction_offset,
            )
            for item in items
        ]
        size = sum(len(encode_record(record)) for record in records)
        if self._busy is not None:
            raise StoreBusy(self._busy)
        if self._limit is not None and len(self._log) + size > self._limit[0]:
            raise StoreFailed(self._limit[1])
        self._begin_segment_unless_fits(size)

        is_queued = not _is_half_or_rolled_back(sys_flag)
        queue = self._queues.setdefault((topic, queue_id), _Queue())
        places = []
        for record in records:
            placed = msgspec.structs.replace(
                record,
                queue_offset=QueueOffset(queue.next_offset if is_queued else 0),
                log_offset=LogOffset(len(self._log)),
            )
            queue.next_offset += is_queued
            encoded = encode_record(placed)
            self._log += encoded
            places.append(placed)
            self._pending.append(self._described(placed, len(encoded), is_queued))
        first = places[0]
        self._store_timestamp_ms = first.store_timestamp_ms
        end = LogOffset(len(self._log))
        appended = Appended(first.queue_offset, first.log_offset, end, first.store_timestamp_ms)
        return appended, [placed.log_offset for placed in places]

    def _begin_segment_unless_fits(self, size: int) -> None:
        """A record, or a whole batch, never straddles segments: a blank record fills the rest."""
        segment_size = self._settings.segment_size
        if size + _BLANK_SIZE_MIN > segment_size:
            raise MessageIllegal(
                f"the stored message has {size} bytes, "
                f"a log segment of {segment_size} cannot hold it"
            )
        room = segment_size - len(self._log) % segment_size
        if size + _BLANK_SIZE_MIN > room:
            self._log += struct.pack(">ii", room, MAGIC_BLANK).ljust(room, b"\0")

    def _described(self, record: Record, size: int, is_queued: bool) -> _Stored:
        properties = parse_properties(record.properties.decode(errors="replace"))
        is_rolled_back = record.sys_flag & _TRANSACTION_MASK == _TRANSACTION_ROLLBACK
        return _Stored(
            topic=record.topic,
            queue_id=record.queue_id,
            queue_offset=record.queue_offset,
            log_offset=record.log_offset,
            size=size,
            store_timestamp_ms=record.store_timestamp_ms,
            is_queued=is_queued,
            tags_code=self._tags_code(record.topic, properties, record.store_timestamp_ms),
            keys=() if is_rolled_back else tuple(_index_keys(record.topic, properties)),
        )

    def _tags_code(self, topic: str, properties: dict[str, str], store_timestamp_ms: int) -> int:
        """Hash of the tag; in the queues of the delay levels the time of delivery instead."""
        level_text = properties.get("DELAY")
        if topic == SCHEDULE_TOPIC and level_text is not None and _DECIMAL.match(level_text):
            level = min(int(level_text), len(self._settings.delay_levels_ms))
            if level > 0:
                return store_timestamp_ms + self._settings.delay_levels_ms[level - 1]
        return tag_hash(properties.get("TAGS", ""))

    # --- write, flush, commit -------------------------------------------------------------------

    def write(self) -> None:
        """See `Engine.write`."""
        if len(self._log) == self._written:
            return
        reason, is_final = self._failure, True
        if reason is None and self._next_write_failure is not None:
            reason, is_final = self._next_write_failure
            self._next_write_failure = None
        if reason is not None:
            self._take_back_turn()
            if is_final:
                self._failure = reason
            raise StoreFailed(reason)
        self._written = len(self._log)
        self._dispatch()

    def flush(self) -> None:
        """What a flush thread does: syncs what was written and announces it."""
        if self._failure is None and self._next_flush_failure is not None:
            self._failure = self._next_flush_failure
        if self._failure is None:
            self._flushed = self._written
            self._dispatch()
        for callback in self._progress_callbacks:
            callback()

    def fail_next_write(self, reason: str, *, is_final: bool = True) -> None:
        """The next `write` fails and takes its turn back; afterwards read-only if `is_final`."""
        self._next_write_failure = (reason, is_final)

    def be_busy(self, reason: str | None) -> None:
        """Appends raise StoreBusy until this is called with None."""
        self._busy = reason

    def fail_next_flush(self, reason: str) -> None:
        """The next `flush` fails; the store is read-only afterwards."""
        self._next_flush_failure = reason

    def _take_back_turn(self) -> None:
        """Nobody was told of the turn's appends: their queue and log offsets are given again."""
        kept = [record for record in self._pending if record.end <= self._written]
        for record in self._pending[len(kept) :]:
            if record.log_offset in self._dropped:
                self._dropped.discard(record.log_offset)
            elif record.is_queued:
                self._queues[record.topic, record.queue_id].next_offset -= 1
        self._pending = kept
        del self._log[self._written :]
        last = kept[-1] if kept else next(reversed(self._records.values()), None)
        self._store_timestamp_ms = last.store_timestamp_ms if last else 0

    def _commit(self) -> int:
        return self._flushed if self._settings.sync_flush else self._written

    def _dispatch(self) -> None:
        """Shows committed records to readers, index and arrivals."""
        commit = self._commit()
        while self._pending and self._pending[0].end <= commit:
            record = self._pending.pop(0)
            self._records[record.log_offset] = record
            if self._settings.index_enabled:
                for key in record.keys:
                    self._index.put(key, record.log_offset, record.store_timestamp_ms)
            if not record.is_queued or record.log_offset in self._dropped:
                self._dropped.discard(record.log_offset)
                continue
            queue = self._queues[record.topic, record.queue_id]
            assert record.queue_offset == queue.end, "a queue has no holes"
            queue.entries.append(record)
            self._arrived[record.topic, record.queue_id] = None

    def positions(self) -> Positions:
        """See `Engine.positions`."""
        return Positions(
            appended=LogOffset(len(self._log)),
            written=LogOffset(self._written),
            flushed=LogOffset(self._flushed),
            commit=LogOffset(self._commit()),
        )

    def failure(self) -> str | None:
        """See `Engine.failure`."""
        return self._failure

    def damage(self) -> Damage:
        """See `Engine.damage`: memory has none."""
        return Damage(0, [])

    def rebuild(self) -> Rebuild:
        """See `Engine.rebuild`: nothing has to be."""
        return Rebuild(0, 0, 0, has_queues=False, has_index=False, failure=None)

    def on_progress(self, callback: Callable[[], None]) -> None:
        """See `Engine.on_progress`."""
        self._progress_callbacks.append(callback)

    def take_arrivals(self) -> list[Arrival]:
        """See `Engine.take_arrivals`."""
        arrivals = [
            Arrival(topic, queue_id, self.queue_range(topic, queue_id).max_offset)
            for topic, queue_id in self._arrived
        ]
        self._arrived.clear()
        return arrivals

    # --- read -----------------------------------------------------------------------------------

    def read(
        self,
        topic: str,
        queue_id: int,
        queue_offset: QueueOffset,
        *,
        message_count_max: int,
        body_size_max: int,
        tag_hashes: Collection[int] | None,
    ) -> QueueRead:
        """See `Engine.read`."""
        queue = self._queue(topic, queue_id)
        queue_min, queue_max = QueueOffset(queue.first), QueueOffset(queue.end)
        outside = _status_outside(queue_offset, queue_min, queue_max)
        if outside is not None:
            status, next_offset = outside
            return QueueRead(status, next_offset, queue_min, queue_max, 0, b"")

        scan_size_max = max(_SCAN_SIZE_MAX, message_count_max * _QUEUE_ENTRY_SIZE)
        next_offset = queue_offset
        count = 0
        body = bytearray()
        for entry in queue.entries[queue_offset - queue_min :]:
            if (entry.queue_offset - queue_offset) * _QUEUE_ENTRY_SIZE >= scan_size_max:
                break
            if count and (count >= message_count_max or len(body) + entry.size > body_size_max):
                break
            next_offset = QueueOffset(entry.queue_offset + 1)
            if tag_hashes is None or _as_int32(entry.tags_code) in tag_hashes:
                body += self._log[entry.log_offset : entry.end]
                count += 1
        status = ReadStatus.FOUND if count else ReadStatus.NO_MATCHED_MESSAGE
        return QueueRead(status, next_offset, queue_min, queue_max, count, bytes(body))

    def queue_range(self, topic: str, queue_id: int) -> QueueRange:
        """See `Engine.queue_range`."""
        queue = self._queue(topic, queue_id)
        return QueueRange(QueueOffset(queue.first), QueueOffset(queue.end))

    def queue_ids(self, topic: str) -> Sequence[int]:
        """See `Engine.queue_ids`."""
        return sorted(
            queue_id for (name, queue_id), q in self._queues.items() if name == topic and q.end
        )

    def record_at(self, log_offset: LogOffset) -> bytes | None:
        """See `Engine.record_at`."""
        record = self._records.get(log_offset)
        return bytes(self._log[record.log_offset : record.end]) if record else None

    def store_time(self, topic: str, queue_id: int, queue_offset: QueueOffset) -> int:
        """See `Engine.store_time`."""
        queue = self._queue(topic, queue_id)
        if not queue.first <= queue_offset < queue.end:
            return -1
        return queue.entries[queue_offset - queue.first].store_timestamp_ms

    def offset_by_time(
        self, topic: str, queue_id: int, timestamp_ms: int, boundary: Boundary
    ) -> QueueOffset:
        """See `Engine.offset_by_time`."""
        queue = self._queue(topic, queue_id)
        times = [entry.store_timestamp_ms for entry in queue.entries]
        if boundary is Boundary.LOWER:
            return QueueOffset(queue.first + sum(time < timestamp_ms for time in times))
        last = sum(time <= timestamp_ms for time in times) - 1
        return QueueOffset(queue.first + max(0, last))

    def query_key(
        self, topic: str, key: str, *, count_max: int, begin_ms: int, end_ms: int
    ) -> KeyQuery:
        """See `Engine.query_key`."""
        found = self._index.find(f"{topic}#{key}", count_max, begin_ms, end_ms)
        records = [self._records[offset] for offset in found if offset in self._records]
        return KeyQuery(
            [bytes(self._log[record.log_offset : record.end]) for record in records],
            self._index.last_timestamp_ms,
            self._index.last_log_offset,
        )

    # --- the rest -------------------------------------------------------------------------------

    def drop_topic(self, topic: str) -> None:
        """See `Engine.drop_topic`. Records of it that wait for their commit enter no queue."""
        for key in [key for key in self._queues if key[0] == topic]:
            del self._queues[key]
            self._arrived.pop(key, None)
        self._dropped.update(r.log_offset for r in self._pending if r.topic == topic)

    def log_min(self) -> LogOffset:
        """See `Engine.log_min`."""
        return LogOffset(self._min)

    def oldest_segment(self) -> LogSegment | None:
        """See `Engine.oldest_segment`. It was modified when its last record was stored."""
        end = self._min + self._settings.segment_size
        last = next(reversed(self._records), 0)
        if end > last - last % self._settings.segment_size:
            return None
        times = [r.store_timestamp_ms for r in self._records.values() if r.log_offset < end]
        return LogSegment(LogOffset(self._min), LogOffset(end), max(times, default=0))

    def remove_segment(self, log_offset: LogOffset) -> bool:
        """See `Engine.remove_segment`."""
        oldest = self.oldest_segment()
        if oldest is None or oldest.log_offset != log_offset:
            return False
        self._min = oldest.end
        for offset in [offset for offset in self._records if offset < self._min]:
            del self._records[offset]
        for queue in self._queues.values():
            left = [entry for entry in queue.entries if entry.log_offset >= self._min]
            queue.first += len(queue.entries) - len(left)
            queue.entries = left
        return True

    def remove_derived(self, pause_ms: int) -> None:
        """See `Engine.remove_derived`. There are no files."""

    def removals_left(self) -> Removals:
        """See `Engine.removals_left`."""
        return Removals(0, None)

    def limit_appends(self, end: LogOffset, reason: str | None) -> None:
        """See `Engine.limit_appends`."""
        self._limit = None if reason is None else (end, reason)

    def close(self) -> None:
        """See `Engine.close`."""
        if self._failure is None:
            self.write()
            self.flush()
            self._failure = self._failure or "the store is closed"

    def _queue(self, topic: str, queue_id: int) -> _Queue:
        return self._queues.get((topic, queue_id)) or _Queue()

    def _check_usable(self) -> None:
        if self._failure is not None:
            raise StoreFailed(self._failure)


def _index_keys(topic: str, properties: dict[str, str]) -> list[str]:
    keys = [properties["UNIQ_KEY"]] if "UNIQ_KEY" in properties else []
    keys += [key for key in properties.get("KEYS", "").split(" ") if key]
    joined = [f"{topic}#{key}" for key in keys]
    if "TAGS" in properties:
        joined.append(f"{topic}#T#{properties['TAGS']}")
    return joined


def _status_outside(
    offset: int, queue_min: int, queue_max: int
) -> tuple[ReadStatus, QueueOffset] | None:
    """What Apache answers to an offset that is no message of the queue."""
    if queue_max == 0:
        return ReadStatus.NO_MESSAGE_IN_QUEUE, QueueOffset(0)
    if offset < queue_min:
        return ReadStatus.OFFSET_TOO_SMALL, QueueOffset(queue_min)
    if offset == queue_max:
        return ReadStatus.OFFSET_OVERFLOW_ONE, QueueOffset(offset)
    if offset > queue_max:
        return ReadStatus.OFFSET_OVERFLOW_BADLY, QueueOffset(queue_max)
    return None


def _is_half_or_rolled_back(sys_flag: int) -> bool:
    return sys_flag & _TRANSACTION_MASK in (_TRANSACTION_PREPARED, _TRANSACTION_ROLLBACK)


def _as_int32(value: int) -> int:
    value &= 0xFFFFFFFF
    return value - (1 << 32) if value & 0x80000000 else value


__all__ = ["MemoryEngine"]
