"""What Python may see of the Rust extension; used by `store/native.py` and
`wire/remoting/native.py` only."""

from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any, Self, final

from typing_extensions import disjoint_base

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
    Rebuild,
    Removals,
)
from pyromq.units import LogOffset, QueueOffset

def build_profile() -> str:
    """The Cargo profile this module was built with: `release` or `debug`."""

# -- the storage engine (pyromq.store.native) ------------------------------------------------------

@disjoint_base
class LogEngine:
    """An open store in Apache's file formats, made or repaired by the constructor.

    What each method promises is said by `pyromq.store.engine.Engine`. Errors are
    `pyromq.errors.StoreFailed`, `StoreBusy`, `StoreRebuilding`, `MessageIllegal`, `StoreDamaged`
    and `Occupied`; `ValueError` for settings no store could work with. Only the constructor and
    `close` release the GIL.
    """

    def __new__(
        cls,
        *,
        root: str,
        store_host: bytes,
        sync_flush: bool,
        segment_size: int,
        consume_queue_file_size: int,
        index_slot_count: int,
        index_entry_count: int,
        index_enabled: bool,
        flush_interval_ms: int,
        flush_interval_consume_queue_ms: int,
        message_size_max: int,
        reserve_ahead: int,
        write_busy_ms: int,
        slow_write_ms: int,
        delay_levels_ms: tuple[int, ...],
        rebuild_in_background: bool,
    ) -> Self:
        """Opens or makes the store under `root`."""

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
        """Adds one record behind the log's end, in memory."""

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
        """Adds every item of a request batch, or none."""

    def write(self) -> None:
        """Ends a turn."""

    def positions(self) -> Positions:
        """How far the log has come."""

    def failure(self) -> str | None:
        """Why the store takes no more writes, or None."""

    def damage(self) -> Damage:
        """What starts and reads found damaged so far."""

    def rebuild(self) -> Rebuild:
        """What of queues and index is being made anew from the log."""

    def persist_failure(self) -> str | None:
        """Why queue units or index entries could not be written last time, or None. They wait in
        memory and are tried again."""

    def notes(self) -> list[str]:
        """What the start found and mended, a sentence each."""

    def descriptor(self) -> int:
        """An eventfd, readable when the flusher has news: then `collect` is due."""

    def collect(self) -> None:
        """Takes the flusher's news and makes the descriptor quiet."""

    def take_arrivals(self) -> list[Arrival]:
        """Queues that grew by commit since the last call."""

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
        """Committed records of one queue. Logs each damaged place the first time it is met."""

    def queue_range(self, topic: str, queue_id: int) -> QueueRange:
        """The readable part of a queue."""

    def queue_ids(self, topic: str) -> list[int]:
        """Queues of the topic that hold or held messages, ascending."""

    def record_at(self, log_offset: LogOffset) -> bytes | None:
        """The committed record that begins exactly there."""

    def store_time(self, topic: str, queue_id: int, queue_offset: QueueOffset) -> int:
        """Store time in ms, −1 if there is no such message."""

    def offset_by_time(
        self, topic: str, queue_id: int, timestamp_ms: int, boundary: Boundary
    ) -> QueueOffset:
        """Queue offset by store time."""

    def query_key(
        self, topic: str, key: str, *, count_max: int, begin_ms: int, end_ms: int
    ) -> KeyQuery:
        """Records indexed under a key."""

    def drop_topic(self, topic: str) -> None:
        """Forgets all queues of the topic."""

    def log_min(self) -> LogOffset:
        """The log's first position."""

    def oldest_segment(self) -> LogSegment | None:
        """The oldest segment, if it may be removed."""

    def remove_segment(self, log_offset: LogOffset) -> bool:
        """Takes that segment out of the log; a native thread removes its file."""

    def remove_derived(self, pause_ms: int) -> None:
        """Has queue and index files without records removed."""

    def removals_left(self) -> Removals:
        """What the native thread has not removed yet."""

    def limit_appends(self, end: LogOffset, reason: str | None) -> None:
        """Refuses appends that would end behind `end`."""

    def close(self) -> None:
        """The clean stop."""

# -- stores nobody has open (pyromq.store.check, .repair, .export) --------------------------------

@final
class StoreCheck:
    """Compares log, queues and index of a store; opens nothing for writing to."""

    def __new__(
        cls,
        *,
        root: Path,
        segment_size: int,
        consume_queue_file_size: int,
        index_slot_count: int,
        index_entry_count: int,
        index_enabled: bool,
        delay_levels_ms: Sequence[int],
    ) -> Self:
        """Lists the files. Sizes are the configured ones, or what the files agree on. Raises
        StoreFailed if a directory cannot be read, ValueError for sizes no store has."""

    def progress(self) -> tuple[int, int]:
        """Bytes of the log looked at, and all there are."""

    def step(self, size: int) -> bool:
        """Goes on for about `size` bytes, without the GIL; False at the end."""

    def finish(self) -> dict[str, Any]:
        """The report, see `pyromq.store.check`; ends the check."""

@final
class StoreRecords:
    """The valid records of a log that may be damaged, in order, without dropped topics'."""

    def __new__(
        cls, *, root: Path, segment_size: int, topic: str | None, from_ms: int, to_ms: int
    ) -> Self:
        """Records of one topic or all, stored from `from_ms` on and before `to_ms`."""

    def progress(self) -> tuple[int, int]:
        """As `StoreCheck.progress`."""

    def step(self, size: int) -> list[bytes] | None:
        """Records of about the next `size` bytes, without the GIL meanwhile; None at the end."""

    def skipped(self) -> tuple[int, int, int]:
        """Bad places so far, their bytes, and wanted records of dropped topics."""

@final
class StoreRebuild:
    """Makes consume queues and the index anew from the log, in a directory of their own."""

    def __new__(
        cls,
        *,
        root: Path,
        segment_size: int,
        consume_queue_file_size: int,
        index_slot_count: int,
        index_entry_count: int,
        delay_levels_ms: Sequence[int],
        out: Path,
        queues: Sequence[tuple[str, int]],
        with_index: bool,
    ) -> Self:
        """Prepares `out`: `consumequeue/TOPIC/ID/` for each of `queues`, `index/` if wanted."""

    def progress(self) -> tuple[int, int]:
        """As `StoreCheck.progress`."""

    def step(self, size: int) -> bool:
        """As `StoreCheck.step`."""

    def finish(self) -> tuple[int, int]:
        """Writes and syncs the rest; name and entry count of the newest index file, 0 if none."""

def clear_log_tail(root: Path, segment_size: int, log_offset: int) -> None:
    """Makes the log's bytes from `log_offset` on zero. The caller knows that no record is there."""

def remake_record_crcs(root: Path, segment_size: int, out: Path) -> int:
    """Makes the checksums of whole records anew in the new directory `out`, synced.

    Of records that pass what can be checked, and of bad ones what was noted. Answers how many.
    """

def note_newest_index(root: Path, name: int, count: int) -> None:
    """Tells our marker, if there is one, which index file is the newest now."""

# -- frames, headers, batches, records (pyromq.wire.remoting.native) -------------------------------

@final
class FrameReader:
    """Decodes frames straight into commands."""

    def __new__(
        cls,
        command: type,
        languages: list[object],
        json: object,
        rocketmq: object,
        send_type: type | None = None,
    ) -> FrameReader:
        """`languages` by their number; `json` and `rocketmq` are the two serialize types.

        With a `send_type` sends of the plain form come as commands without fields but with
        `typed`, an object of that type, whose members are those of `api.SendRequest`."""

    def split(
        self,
        data: bytes | bytearray | memoryview,
        start: int,
        frame_size_max: int,
        header_size_max: int,
        ext_fields_max: int,
    ) -> tuple[list[object], int, int]:
        """`(commands, end, needed)`: what was decoded from `start` on, where the next frame begins,
        and its size: 0 while unknown, −1 if it is not for this reader."""

@final
class SendAnswers:
    """Writes the answers to sends that were stored."""

    def __new__(cls, id_prefix: str, marks: list[tuple[str, str]], version: int) -> SendAnswers:
        """`marks`: what each answer tells of the broker. Raises ValueError if no header carries
        them."""

    def write(
        self,
        serialize_type: int,
        opaque: int,
        queue_id: int,
        queue_offset: int,
        log_offset: int,
        unique_key: str,
    ) -> bytes:
        """The whole frame."""

@final
class FieldWriter:
    """Writes typed headers of one type as text fields."""

    def __new__(cls, fields: list[tuple[str, str]]) -> FieldWriter:
        """`fields`: name on the wire and attribute, in the order to be written."""

    def write(self, header: object) -> dict[str, str] | None:
        """The fields that are not None; None instead if the reference must judge."""

def encode_head(command: object) -> bytes | None:
    """Prefix and header of a command's frame; None if the reference must judge it."""

def decode_batch(
    data: bytes | bytearray | memoryview, item_type: type, count_max: int
) -> list[object] | None:
    """All messages of a batch body as `item_type(flag, body, properties)`; None if not whole."""

def decode_records(data: bytes | bytearray | memoryview, record_type: type) -> list[object] | None:
    """Records one after another as `record_type(…)`, its members in the order of
    `wire.record.Record`; None if they do not fill `data` exactly."""

# -- the express lane (pyromq.wire.remoting.native) ------------------------------------------------

@final
class ExpressLane:
    """Stores ordinary sends and makes their answers; what is ordinary it is told.

    Used by `pyromq.frontends.remoting.express`, whose `ExpressReplies` says what the methods that
    end a turn promise. Nothing here releases the GIL.
    """

    def __new__(
        cls,
        engine: LogEngine,
        reader: FrameReader,
        begin_turn: Callable[[], int],
        frame_size_max: int,
        header_size_max: int,
        ext_fields_max: int,
        version: int,
    ) -> Self:
        """`reader` makes the commands of what is not for the lane; `begin_turn` answers the time in
        ms for the first send of a turn; `version` is what answers of pulls carry. Closed for sends
        until `open`."""

    def open(
        self,
        *,
        accept_from_ms: int,
        body_size_max: int,
        properties_size_max: int,
        refused_sys_flags: int,
        suffix: str,
        marks: Sequence[tuple[str, str]],
        id_prefix: str,
        version: int,
    ) -> None:
        """Opens the lane, or changes its terms; `marks` are name and value that each answer has."""

    def close(self) -> None:
        """Nothing takes the lane until `open`; what waits on it is not touched."""

    def put_topic(self, name: str, queue_count: int, added_sys_flag: int, may_batch: bool) -> None:
        """Opens the lane for a topic, or changes what is said of it."""

    def close_topic(self, name: str) -> None:
        """Closes it for a topic."""

    def close_topics(self) -> None:
        """Closes it for all."""

    def put_puller(
        self,
        topic: str,
        group: str,
        text: str | None,
        *,
        pair: int,
        queue_count: int,
        tag_hashes: Sequence[int] | None,
        sub_version: int,
        message_count_max: int,
        body_size_max: int,
        topic_sys_flag: int,
        group_sys_flag: int,
        hold_min_ms: int,
        hold_max_ms: int,
    ) -> None:
        """Lets a group pull from a topic by a filter text, or by its own subscription (None); its
        polls wait at least and at most so long. ValueError if that is not possible."""

    def close_pullers(self) -> None:
        """Closes the lane for all pulls."""

    def connect(self, peer: object, born_host: bytes) -> int:
        """A number for a connection; `peer` comes with its answers. ValueError for a bad host."""

    def disconnect(self, number: int) -> None:
        """Drops its answers. The number may be another's from now on."""

    def held(self, number: int) -> tuple[int, int]:
        """Sends of a connection that wait, and the bytes of their records."""

    def set_direct(self, number: int, socket: int | None) -> None:
        """From now on `write_direct` writes the connection's answers to that socket, and `release`
        does not answer them; None: the other way round."""

    def take_out(self, number: int) -> bytes | None:
        """Answers of a connection that `write_direct` would write now, and will not; None: none."""

    def write_direct(self) -> list[tuple[object, bytes]] | None:
        """Writes released answers to their sockets, without waiting. `(peer, rest)` of each socket
        that did not take all: from then on the connection's answers come from `release`."""

    def taken(self, number: int) -> int:
        """Sends of a connection that it has taken."""

    def taken_by_all(self) -> int:
        """Sends that it has taken since the start."""

    def feed(
        self,
        number: int,
        data: bytes | bytearray | memoryview,
        start: int,
        now_ms: int,
        room: int,
        unsent_room: int,
    ) -> tuple[
        list[object] | None,
        int,
        int,
        int,
        int,
        bytes | None,
        list[tuple[int, int, int, int, list[tuple[int, int]], list[tuple[int, int, int]]]] | None,
    ]:
        """`(commands, end, ahead, taken, size, answers, pulled)`: deals with frames from `start`.

        Takes sends, `taken` in all, while fewer than `room` requests of the connection wait (with
        records of `size` bytes afterwards), answers pulls that find something, and keeps those that
        may wait for it, until a frame is not for the lane; then collects commands until one is.
        `end` is where the next frame begins, `ahead` what is there: the size of an unfinished
        frame, 0 while that is unknown, −1 a frame that the reference must judge, −2 a pull that has
        to wait, as more than `unsent_room` bytes are answered, −3 a frame for the lane, once
        `commands` are served.
        `pulled` has of each pair, if there are any, (pair, pulls, messages, bytes, places,
        commits), `places` being (queue id, next offset), of which the last one of a queue counts,
        and `commits` (queue id, offset to commit, the queue's end). Pulls that wait now are in
        `places` and `commits`, but in none of the numbers; `begin_waits` is to be called. `answers`
        is what is still to be written: all of it if `set_direct` named no socket, else what that
        did not take.
        """

    def held_count(self) -> int:
        """Sends that wait for their promise."""

    def oldest_ms(self) -> int | None:
        """Monotonic ms since which the longest waiting one waits; None if none does."""

    def mark(self, monotonic_ms: int) -> None:
        """Ends a turn: what came in it waits since now."""

    def release(
        self, written: int, commit: int, monotonic_ms: int
    ) -> (
        tuple[
            list[tuple[object, int, int, bytes]],
            list[tuple[int, int]],
            list[tuple[str, int, int, int]],
        ]
        | None
    ):
        """Lets go of what is covered. Answers what happened since the last call, or None:

        `(peer, requests, bytes of its records that still wait, frames)` of each connection that
        gets answers and has no socket here (`set_direct`), `(requests, ms)` of each group that was
        let go together, `(topic, messages, bytes, requests)` of what was stored.
        """

    def end_turn(self, monotonic_ms: int) -> int:
        """Writes the log, lets go of what is covered and writes the answers to their sockets.

        0: all that was appended is committed. 1: something waits for its sync. 2, alone or with
        1: the turn did not end, as there is more to do than that; `release` goes on. Raises
        StoreFailed if the log could not be written: then nothing was let go.
        """

    def take_counts(self) -> tuple[list[tuple[int, int]], list[tuple[str, int, int, int]]]:
        """What `release` answers behind the answers to peers, since either was asked last."""

    def fail_written_beyond(self, position: int, code: int, remark: str) -> None:
        """Answers what waits to be written behind `position` with a code and a remark."""

    def fail_committed_beyond(self, position: int, code: int, remark: str) -> None:
        """The same for what waits for the commit."""

    def expire(
        self, monotonic_ms: int, timeout_ms: int, code: int
    ) -> (
        tuple[
            list[tuple[object, int, int, bytes]],
            list[tuple[int, int]],
            list[tuple[str, int, int, int]],
        ]
        | None
    ):
        """Answers what has waited for the whole timeout with `code`; as `release`."""

    def poll_count(self) -> int:
        """Pulls that wait for a message."""

    def poll_count_of(self, number: int) -> int:
        """Those of a connection."""

    def looked_at_count(self) -> int:
        """Waiting pulls that were looked at, each time that they were."""

    def limit_polls(self, room: int, connection_room: int) -> None:
        """So many may wait in all, and so many of each connection. None before the first call."""

    def limit_polls_of(self, number: int, room: int) -> None:
        """So many of a connection, as long as it is here."""

    def watch(self, topic: str, is_watched: bool) -> None:
        """`wake` tells arrivals of the topic, as long as this was called with True more often."""

    def begin_waits(self, monotonic_ms: int) -> None:
        """Pulls that wait since the last call wait since now. `wake` and `end_waits` do it too."""

    def wake(
        self, monotonic_ms: int
    ) -> (
        tuple[
            list[tuple[object, int, int, bytes]],
            list[tuple[int, int, int, int, list[tuple[int, int]], list[tuple[int, int, int]]]],
            list[tuple[object, object, int, int, int, int, list[int] | None]],
            list[tuple[str, int, int]],
        ]
        | None
    ):
        """Takes the engine's arrivals, and answers pulls that wait for them. None if nobody else
        has to know of it, or:

        `(peer, requests, bytes of its records that still wait, frames)` as from `release`;
        rows of the pulls that were answered, as `feed` has them; `(peer,
        command, next offset, deadline in monotonic ms, messages wanted, bytes wanted, tag hashes)`
        of each that has to go on elsewhere; `(topic, queue id, the queue's end)` of arrivals of
        watched topics, and of those by which a pull was given back.
        """

    def take_woken(
        self,
    ) -> list[tuple[int, int, int, int, list[tuple[int, int]], list[tuple[int, int, int]]]]:
        """Rows of the pulls that were answered in turns that ended natively, as from `wake`."""

    def end_waits(
        self, monotonic_ms: int
    ) -> (
        tuple[
            list[tuple[object, int, int, bytes]],
            list[tuple[int, int, int, int, list[tuple[int, int]], list[tuple[int, int, int]]]],
            list[tuple[object, object, int, int, int, int, list[int] | None]],
            list[tuple[str, int, int]],
        ]
        | None
    ):
        """Answers pulls whose time is over; as `wake`."""

    def refuse_polls(self, code: int, remark: str) -> None:
        """Answers all that wait with a code and a remark."""

    def take_polls_of_topic(
        self, topic: str
    ) -> list[tuple[object, object, int, int, int, int, list[int] | None]]:
        """Pulls of the topic wait here no longer; as they are given back by `wake`."""

    def take_polls_of_groups(
        self, groups: Sequence[str]
    ) -> list[tuple[object, object, int, int, int, int, list[int] | None]]:
        """The same of groups."""

@final
class SocketReader:
    """The receiving end of a connection: reads a chunk whenever the socket is readable.

    Sends at its beginning go to a lane, if there is one with room for them. Used by
    `pyromq.transport.stream`, whose `StreamOwner` says what the owner is called with.
    """

    def __new__(cls, socket: int, buffer: bytearray, owner: object) -> Self:
        """`socket` is its descriptor; chunks are read into `buffer`."""

    def ready(self) -> None:
        """Reads a chunk and has it dealt with; nothing if there is none."""

    def set_lane(self, lane: ExpressLane, number: int, size_max: int) -> None:
        """The connection's number on that lane, which takes sends while records of no more than
        `size_max` bytes wait. None are given to it before `set_room`."""

    def set_room(self, room: int) -> None:
        """How many sends of it may wait on the lane; 0: the owner gets all chunks."""

    def close(self) -> None:
        """Forgets owner and lane."""
