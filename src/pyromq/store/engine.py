"""The engine: durable bytes behind one small interface.

It knows bytes, offsets, tag hashes, checksums and files; it does not know groups, acks, delays or
transactions. Two implementations run the same tests: `NativeEngine` (Rust, Apache's files) and
`MemoryEngine` (obvious Python, the oracle).

Positions. `append` assigns queue and log offsets and copies; nothing is promised yet. `write` puts
the appends of one loop turn into the file with one write. A flush thread syncs. They only rise:

    appended ≥ written ≥ flushed          commit = written (ASYNC_FLUSH) or flushed (SYNC_FLUSH)

Replies, reads, queue maxima, index and arrivals follow `commit`, never `append`: what a reader has
seen or a producer was told cannot be taken back by a failed write of the same turn.

All calls are made by one thread, the loop's. Only the flusher lives elsewhere, and while the disk
is slow the writer; they announce themselves by `on_progress`, called on the loop.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from enum import Enum
from typing import NamedTuple, Protocol

from pyromq.units import LogOffset, QueueOffset


class Boundary(Enum):
    """Which message a time search means when several, or none, carry that store time."""

    LOWER = "lower"
    """The first message stored at or after the time; the queue's end if there is none."""
    UPPER = "upper"
    """The last message stored at or before the time."""


class ReadStatus(Enum):
    """What a queue read found. Names and meanings: Apache's GetMessageStatus."""

    FOUND = "FOUND"
    NO_MATCHED_MESSAGE = "NO_MATCHED_MESSAGE"
    NO_MATCHED_LOGIC_QUEUE = "NO_MATCHED_LOGIC_QUEUE"
    NO_MESSAGE_IN_QUEUE = "NO_MESSAGE_IN_QUEUE"
    OFFSET_OVERFLOW_ONE = "OFFSET_OVERFLOW_ONE"
    OFFSET_OVERFLOW_BADLY = "OFFSET_OVERFLOW_BADLY"
    OFFSET_TOO_SMALL = "OFFSET_TOO_SMALL"


class Positions(NamedTuple):
    """How far the log has come, in bytes; each is the end of a whole record."""

    appended: LogOffset
    written: LogOffset
    flushed: LogOffset
    commit: LogOffset


class Appended(NamedTuple):
    """Where one message (or the first of a batch) will be once `commit` reaches `end`."""

    queue_offset: QueueOffset
    log_offset: LogOffset
    end: LogOffset
    """Log position behind the record, or behind the last of a batch: wait for this one."""
    store_timestamp_ms: int


class Arrival(NamedTuple):
    """A queue that became longer since the last `take_arrivals`."""

    topic: str
    queue_id: int
    max_offset: QueueOffset
    """One past the newest committed message."""


class QueueRange(NamedTuple):
    """The readable part of a queue: `max_offset` is one past the last message."""

    min_offset: QueueOffset
    max_offset: QueueOffset


class QueueRead(NamedTuple):
    """Result of a queue read. `body` is the matching records as stored, one after another."""

    status: ReadStatus
    next_offset: QueueOffset
    min_offset: QueueOffset
    max_offset: QueueOffset
    message_count: int
    body: bytes


class KeyQuery(NamedTuple):
    """Records found by key, oldest first, and how far the index has come."""

    records: list[bytes]
    index_last_timestamp_ms: int
    index_last_log_offset: LogOffset


class LogSegment(NamedTuple):
    """One file of the log."""

    log_offset: LogOffset
    end: LogOffset
    modified_ms: int | None
    """When it was last written, ms since 1970; None where the file system does not tell."""


class Removals(NamedTuple):
    """What of old files is still to be removed."""

    left: int
    """Tasks handed over and not done yet."""
    failure: str | None
    """Why the first of them could not be done, if it was tried; it is tried again each second."""


class Damage(NamedTuple):
    """What is known of damage in the store; what is good around it is served all the same."""

    place_count: int
    """Damaged places: holes, bad records that reads came by, queue entries that point nowhere."""
    holes: list[tuple[LogOffset, LogOffset]]
    """Ranges of the log (from, to) in which nothing valid is though there was something once."""


class Rebuild(NamedTuple):
    """Queues and index that a start found damaged or missing, being made anew from the log."""

    done: int
    """Bytes of the log gone through so far, of `size`."""
    size: int
    queue_count: int
    """Queues known to be unavailable until then."""
    has_queues: bool
    """Those are, and those too of which nobody knows yet whether they hold messages."""
    has_index: bool
    """Queries by key may miss messages."""
    failure: str | None
    """What keeps it from going on; it is tried again each second."""

    @property
    def is_any(self) -> bool:
        return self.has_queues or self.has_index

    @property
    def percent(self) -> int:
        """0 to 100; 100 only when nothing is being rebuilt."""
        if not self.is_any:
            return 100
        return min(self.done * 100 // self.size, 99) if self.size else 0


class StoreSettings(NamedTuple):
    """What the engine must know to open a store. Sizes are bytes unless they say count."""

    root: str
    store_host: bytes
    """Address written into each record: 4 or 16 address bytes and a 4-byte port."""
    sync_flush: bool = True
    segment_size: int = 1 << 30
    consume_queue_file_size: int = 300_000 * 20
    index_slot_count: int = 5_000_000
    index_entry_count: int = 20_000_000
    index_enabled: bool = True
    flush_interval_ms: int = 500
    flush_interval_consume_queue_ms: int = 1000
    message_size_max: int = 4 << 20
    reserve_ahead: int = 32 << 20
    """Disk space kept reserved ahead of the log's end (fallocate)."""
    write_busy_ms: int = 1000
    """A write that has been with the disk for longer keeps new messages out (StoreBusy)."""
    slow_write_ms: int = 10
    """After a write that takes this long a thread does the writes, until they are quick again."""
    delay_levels_ms: tuple[int, ...] = ()
    """Delay of level 1, 2, …: queues of SCHEDULE_TOPIC_XXXX carry the deliver time where others
    carry the tag hash, and a rebuilt queue must do so too."""
    rebuild_in_background: bool = False
    """What must be rebuilt from the log is while the store is in use (`Engine.rebuild`), instead of
    before it is open."""


class Engine(Protocol):
    """A message store. Every method may raise `StoreFailed`; `append*` also `MessageIllegal`.

    While a queue is being rebuilt (`rebuild`), whatever names it raises `StoreRebuilding`: appends,
    reads, its range, times.
    """

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
        """Adds one record behind the log's end, in memory.

        `properties` is the stored text (name \\x01 value \\x02 …), `born_host` 4 or 16 address
        bytes and a 4-byte port (the IPv6 bits of the stored sysFlag follow the lengths). The store
        time is `now_ms`, or the previous record's if that is later: it never decreases.

        Raises MessageIllegal if the body is larger than `message_size_max` or the properties than
        32,767 bytes, StoreFailed if the store is read-only after a failure, StoreBusy if the disk
        is slow and too much waits for it: `write_busy_ms` long, or 64 MiB.
        """
        ...

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
        """Adds every item of a request batch (MessageDecoder.encodeMessages) with consecutive queue
        offsets.

        All or none: a body that does not parse to its last byte is refused whole (MessageIllegal)
        and nothing is appended; one batch never straddles two segments. Returns the first item's
        place with the end of the last, and the log offset of each item in order.
        """
        ...

    def write(self) -> None:
        """Ends a turn: one write per touched segment, then commit (ASYNC_FLUSH) or ask for a sync.

        Once writes are slow a thread does them, until they are quick again: then `written` moves
        later, what is appended meanwhile follows with the first call after that, and the call after
        `on_progress` tells if it failed.

        Raises StoreFailed if a write failed: all appends behind `written` are gone, positions fall
        back to it, and offsets are given to the next appends again (nobody was told of them).
        """
        ...

    def positions(self) -> Positions: ...

    def failure(self) -> str | None:
        """Why the store is read-only now (a failed sync or write), or None while it is well."""
        ...

    def damage(self) -> Damage:
        """What starts and reads found damaged so far.

        A damaged message keeps its queue offset, which is never given again; reads pass over it,
        and the server's log tells of each place once.
        """
        ...

    def rebuild(self) -> Rebuild:
        """What of queues and index is being made anew from the log, since the start."""
        ...

    def on_progress(self, callback: Callable[[], None]) -> None:
        """Registers what is called on the loop after a thread moved `written` or `flushed`, or
        failed: then `write` is to be called."""
        ...

    def take_arrivals(self) -> list[Arrival]:
        """Queues that grew by commit since the last call, each once."""
        ...

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
        """Committed records of one queue from `queue_offset` on.

        With `tag_hashes`, only records whose tag hash (String.hashCode of the tag) is in it. The
        first matching record is returned even if it alone is larger than `body_size_max`. A read
        stops after scanning 16,000 bytes of queue entries or 20 × `message_count_max`, whichever
        is more. Damaged records are left out, and `next_offset` is behind them: offsets of what is
        returned may have gaps.
        """
        ...

    def queue_range(self, topic: str, queue_id: int) -> QueueRange:
        """Committed range; (0, 0) for a queue that has no messages yet."""
        ...

    def queue_ids(self, topic: str) -> Sequence[int]:
        """Queues of the topic that hold, or once held, messages; ascending."""
        ...

    def record_at(self, log_offset: LogOffset) -> bytes | None:
        """The committed record that begins exactly there, or None if none does."""
        ...

    def store_time(self, topic: str, queue_id: int, queue_offset: QueueOffset) -> int:
        """Store time in ms of the message at that queue offset, −1 if there is none."""
        ...

    def offset_by_time(
        self, topic: str, queue_id: int, timestamp_ms: int, boundary: Boundary
    ) -> QueueOffset:
        """Queue offset by store time. An empty queue answers its min offset, else see `Boundary`;
        UPPER with nothing at or before the time answers the min offset."""
        ...

    def query_key(
        self, topic: str, key: str, *, count_max: int, begin_ms: int, end_ms: int
    ) -> KeyQuery:
        """Records indexed under the key (UNIQ_KEY or one of KEYS) stored within [begin, end].

        Only a hash is compared, as Apache does; clients compare the key itself. While the index is
        being rebuilt the answer is right but may lack messages, the newest ones too: they are
        indexed in the order of the log.
        """
        ...

    def drop_topic(self, topic: str) -> None:
        """Forgets all queues of a deleted topic; a new topic of that name starts at 0."""
        ...

    def log_min(self) -> LogOffset:
        """First position of the log that is still there; queue minima follow it."""
        ...

    def oldest_segment(self) -> LogSegment | None:
        """The oldest segment of the log, if it may be removed: never the one being written, none
        with a record that is not committed, and none that the next start must find again."""
        ...

    def remove_segment(self, log_offset: LogOffset) -> bool:
        """Takes the oldest segment out of the log, if it is the one that begins there.

        At once no read finds its records any more, and queues begin with the first message that is
        left; a queue of which none is left keeps its end, so no offset is given twice. The file is
        removed by a thread of the engine. Returns False if it was not the oldest or may not go.
        """
        ...

    def remove_derived(self, pause_ms: int) -> None:
        """Has the queue and index files removed whose records are all gone, after the segments
        handed over so far, one each `pause_ms`. The last file of a queue or of the index stays."""
        ...

    def removals_left(self) -> Removals:
        """What the engine's thread has not removed yet."""
        ...

    def limit_appends(self, end: LogOffset, reason: str | None) -> None:
        """Appends that would end behind `end` raise StoreFailed(reason) until this is called again;
        with None as reason there is no limit. Reads and `failure` know nothing of it."""
        ...

    def close(self) -> None:
        """Writes, syncs and closes everything, then removes `abort`: the clean stop."""
        ...


__all__ = [
    "Appended",
    "Arrival",
    "Boundary",
    "Damage",
    "Engine",
    "KeyQuery",
    "LogSegment",
    "Positions",
    "QueueRange",
    "QueueRead",
    "ReadStatus",
    "Rebuild",
    "Removals",
    "StoreSettings",
]
