"""A broker with its door over a store on disk, with or without the express lane.

Two of them are fed the same and compared: what clients were answered, byte for byte; what is in the
store's files; which arrivals were told; what was counted.
"""

from __future__ import annotations

import asyncio
import dataclasses
import select
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC
from pathlib import Path
from typing import Any, cast

from pyromq.api import Caller
from pyromq.broker import Broker
from pyromq.codes import RequestCode
from pyromq.config import BrokerConfig, Settings, StoreConfig
from pyromq.domain.topic import TopicConfig
from pyromq.domain.unique_key import UniqueKeys
from pyromq.errors import RequestRefused
from pyromq.frontends.remoting import (
    ExpressLane,
    RemotingDoor,
    RemotingPeers,
    begin_turn_of,
    broker_table,
)
from pyromq.frontends.remoting.messages import refused_send, send_request, sent
from pyromq.frontends.remoting.served import ServedConnection
from pyromq.frontends.remoting.table import Answer, Row
from pyromq.observe.meters import MINUTE
from pyromq.store.engine import Arrival, Positions
from pyromq.store.metadata import Metadata
from pyromq.store.native import NativeEngine
from pyromq.transport.connection import Peer
from pyromq.turn import Turn
from pyromq.units import HOUR_MS, LogOffset, QueueOffset
from pyromq.waiting import step
from pyromq.wire.remoting import frame
from pyromq.wire.remoting.headers import REQUEST_HEADERS
from pyromq.wire.remoting.headers.send import SendHeader, SendHeaderV2
from pyromq.wire.remoting.native import NativeLane, SocketReader, express_lane
from tests.support.clock import ManualClock
from tests.support.connections import ManualTurns
from tests.support.engines import STORE_HOST, settings

WRITE_TIMEOUT_S = 20

Plant = Callable[[NativeLane], Any]
"""Makes something of the native lane that has a planted fault."""


class RawOutput:
    """A door's way out that keeps frames as they were written."""

    def __init__(self, port: int) -> None:
        self.peer = Peer.of("::1" if port % 3 == 2 else "127.0.0.1", port)
        self.is_congested = False
        self.write_sizes: list[int] = []
        self.is_reading = True
        self.close_reason: str | None = None
        self._unread: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.write_sizes.append(len(data))
        self._unread.append(data)

    def read(self) -> list[bytes]:
        """The frames since the last look, as they came."""
        data, self._unread = b"".join(self._unread), []
        frames = []
        at = 0
        while at < len(data):
            size = 4 + int.from_bytes(data[at : at + 4])
            assert at + size <= len(data), "the last frame is whole"
            frames.append(data[at : at + size])
            at += size
        return frames

    def data(self) -> bytes:
        """What was written since the last look, whatever it is."""
        data, self._unread = b"".join(self._unread), []
        return data

    def drop(self) -> None:
        """Forgets everything that was written."""
        self._unread.clear()
        self.write_sizes.clear()

    @property
    def descriptor(self) -> int | None:
        """Nobody writes but by `write`."""
        return None

    @property
    def reader(self) -> SocketReader | None:
        """Nobody reads but the test."""
        return None

    def deliver(self, data: bytes, connection: ServedConnection) -> None:
        """What the client sends comes to the connection."""
        connection.receive(memoryview(data))

    def pause_reading(self) -> None:
        self.is_reading = False

    def resume_reading(self) -> None:
        self.is_reading = True

    def close(self, reason: str) -> None:
        self.close_reason = reason

    def take(self) -> list[bytes]:
        """The frames since the last look, by the number of their request."""
        return sorted(self.read(), key=lambda data: frame.split(data).commands[0].opaque)


RECEIVE_SIZE = 64 << 10
"""Of the buffer that a socket is read into."""


class WatchedReader:
    """A reader that finds the native lane behind what a test planted before it."""

    def __init__(self, reader: SocketReader) -> None:
        self._reader = reader

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reader, name)

    def set_lane(self, lane: Any, number: int, size_max: int) -> None:
        self._reader.set_lane(getattr(lane, "native", lane), number, size_max)


class SocketOutput(RawOutput):
    """A way out that has a socket, which the native lane may read and write; what the socket does
    not take waits here, in its order, until `flush`."""

    def __init__(self, port: int) -> None:
        super().__init__(port)
        self.socket, self.client = socket.socketpair()
        for end in (self.socket, self.client):
            end.setblocking(False)
        self.waiting = bytearray()
        self._buffer = bytearray(RECEIVE_SIZE)
        self._reader = SocketReader(self.socket.fileno(), self._buffer, self)
        self._connection: ServedConnection | None = None

    @property
    def reader(self) -> SocketReader | None:
        return cast(SocketReader, WatchedReader(self._reader))

    def deliver(self, data: bytes, connection: ServedConnection) -> None:
        self._connection = connection
        rest = memoryview(data)
        while rest:
            rest = rest[self.client.send(rest) :]
            self._reader.ready()

    def received(self, start: int, end: int) -> None:
        assert self._connection is not None
        self._connection.receive(memoryview(self._buffer)[start:end])

    @property
    def descriptor(self) -> int | None:
        return None if self.waiting else self.socket.fileno()

    def write(self, data: bytes) -> None:
        self.write_sizes.append(len(data))
        self.waiting += data
        self.flush()

    def flush(self) -> None:
        """Writes what the socket takes."""
        with suppress(BlockingIOError):
            while self.waiting:
                del self.waiting[: self.socket.send(self.waiting)]

    def read(self) -> list[bytes]:
        while True:
            try:
                self._unread.append(self.client.recv(1 << 20))
            except BlockingIOError:
                if not self.waiting:
                    return super().read()
                self.flush()

    def drop(self) -> None:
        self.read()
        super().drop()

    def end(self) -> None:
        """Closes both ends."""
        self._reader.close()
        self.socket.close()
        self.client.close()


class WatchedEngine(NativeEngine):
    """Notes which arrivals it told; says, if asked to, that syncs are slow or have failed."""

    arrivals: list[Arrival]
    held_commit: LogOffset | None = None
    """The commit that is told, although it is further."""
    told_failure: str | None = None

    @property
    def is_pretending(self) -> bool:
        return self.held_commit is not None or self.told_failure is not None

    def positions(self) -> Positions:
        now = super().positions()
        return now if self.held_commit is None else now._replace(commit=self.held_commit)

    def failure(self) -> str | None:
        return self.told_failure or super().failure()

    def fileno(self) -> int:
        """Readable when its threads have news."""
        return self.descriptor()

    def progress(self) -> None:
        """Takes the news, as the loop would."""
        self._progress()

    def take_arrivals(self) -> list[Arrival]:
        arrivals = super().take_arrivals()
        self.arrivals += arrivals
        return arrivals


class WatchedLane(ExpressLane):
    """Notes which arrivals it told."""

    arrivals: list[Arrival]

    def wake(self, monotonic_ms: int) -> Sequence[tuple[str, int, int]]:
        told = super().wake(monotonic_ms)
        self.arrivals += [Arrival(topic, at, QueueOffset(end)) for topic, at, end in told]
        return told


class LaneHouse:
    """One broker; time and turns move by hand."""

    def __init__(
        self,
        root: Path,
        *,
        has_lane: bool,
        plant: Plant = lambda native: native,
        sync_flush: bool = False,
        clients: int = 3,
        has_small_files: bool = True,
        is_disk_slow: bool = False,
        has_sockets: bool = False,
        has_held_answers: bool = True,
        **broker: Any,
    ) -> None:
        """`is_disk_slow`: from the second turn on its writes are the writer's thread's.
        `has_sockets`: the native lane may write to its clients by itself.
        `has_held_answers`: else each send is a coroutine that awaits its promise, and its fields
        and its answer go through dictionaries of text; only without the lane."""
        self.has_sockets = has_sockets
        self.root = root
        self.is_disk_slow = is_disk_slow
        self.clock = ManualClock()
        files = settings(
            root,
            sync_flush=sync_flush,
            slow_write_ms=0 if is_disk_slow else HOUR_MS,
        )
        if is_disk_slow:  # whether a slow disk makes the next segment in time is chance
            files = files._replace(segment_size=16 << 20)
        if not has_small_files:
            files = files._replace(
                segment_size=1 << 30,
                consume_queue_file_size=300_000 * 20,
                index_slot_count=5_000_000,
                index_entry_count=20_000_000,
            )
        self.engine = WatchedEngine(files)
        self.engine.arrivals = []
        self.metadata = Metadata.in_memory(clock=self.clock, sync_flush=sync_flush)
        self.turns = ManualTurns()
        self.settings = Settings(BrokerConfig(**broker))
        turn = Turn(self.turns.call_soon)
        self.engine.on_progress(turn.end)
        self.broker = Broker(
            engine=self.engine,
            metadata=self.metadata,
            settings=self.settings,
            store_settings=Settings(
                StoreConfig(
                    max_message_size_bytes=16 << 10,
                    max_transfer_count_on_message_in_memory=1000,
                    mapped_file_size_commit_log_bytes=files.segment_size,
                )
            ),
            clock=self.clock,
            turn=turn,
            store_host=STORE_HOST,
            random_below=lambda bound: bound - 1,
            unique_keys=UniqueKeys(STORE_HOST[:4], 4711, 0xCAFE, UTC),
        )
        self.lane: WatchedLane | None = None
        if has_lane:
            begin_turn = begin_turn_of(self.clock, turn)
            native = cast(NativeLane, plant(express_lane(self.engine, begin_turn)))
            self.lane = WatchedLane(native, self.broker, self.clock, turn)
            self.lane.arrivals = []
            self.broker.add_express(self.lane)
        table = dict(broker_table(self.broker))
        if not has_held_answers:
            assert not has_lane
            table |= awaiting_rows(self.broker)
        self.door = RemotingDoor(
            "broker",
            table,
            turn,
            call_soon=self.turns.call_soon,
            call_later=self.turns.call_later,
            connection_lost=self.broker.connection_lost,
            lane=self.lane,
        )
        self.broker.add_peers(RemotingPeers(self.door))
        turn.set_stages([*self.broker.stages(), self.door.flush], self._end_short)
        self.turn = turn
        self.broker.open()
        self.end_turn()
        self.outputs: list[RawOutput] = []
        self.connections: list[ServedConnection] = []
        for number in range(clients):
            self.connect(40_000 + number)

    def _end_short(self) -> bool:
        """What the engine only pretends, native code does not see."""
        return not self.engine.is_pretending and self.broker.end_short()

    def connect(self, port: int) -> int:
        """A new client's number."""
        self.outputs.append(SocketOutput(port) if self.has_sockets else RawOutput(port))
        self.connections.append(self.door.connect(self.outputs[-1]))
        return len(self.outputs) - 1

    def create_topic(self, name: str, queue_nums: int = 4, **changed: Any) -> None:
        config = TopicConfig(
            topic_name=name, read_queue_nums=queue_nums, write_queue_nums=queue_nums, **changed
        )
        done: list[None] = []
        step(self.broker.put_topic(config), done.append, _raise)
        self.end_turn()
        assert done, "the topic is kept"

    @property
    def taken_count(self) -> int:
        """Sends that the lane has taken."""
        return 0 if self.lane is None else self.lane.native.taken_by_all()

    def configure(self, **changed: Any) -> None:
        self.settings.replace(dataclasses.replace(self.settings.current, **changed))

    def receive(self, client: int, data: bytes) -> None:
        self.outputs[client].deliver(data, self.connections[client])

    def end_turn(self) -> None:
        """Ends the turn, and those that its end asks for; on a slow disk until everything that can
        be written is written and told."""
        self.turns.run()
        if not self.is_disk_slow:
            return
        while self._is_writing:
            news, _, _ = select.select([self.engine], [], [], WRITE_TIMEOUT_S)
            assert news, "the writer does not tell that it is done"
            self.engine.progress()
            self.turns.run()
        self.turn.end()
        self.turns.run()

    @property
    def _is_writing(self) -> bool:
        now = self.engine.positions()
        return now.written < now.appended and self.engine.failure() is None

    def advance(self, duration_ms: int) -> None:
        self.clock.advance(duration_ms)
        self.broker.cleanup.run_due()
        self.end_turn()

    def stop(self) -> None:
        """The broker stops, and with it whatever waits."""
        asyncio.run(self.broker.stop())
        self.end_turn()

    def answers(self) -> list[list[bytes]]:
        """What each client was told since the last look."""
        return [output.take() for output in self.outputs]

    def close_reasons(self) -> list[str | None]:
        """Why clients were sent away."""
        return [output.close_reason for output in self.outputs]

    def counted(self) -> dict[str, object]:
        """Everything that was counted."""
        counters = self.broker.counters
        self.clock.advance(1000)
        counters.sample(self.clock.now_ms(), self.clock.monotonic_ms())
        now_ms = self.clock.monotonic_ms()
        names = [
            "put_count", "put_size", "put_failed_count", "put_time_max_ms", "put_times",
            "found_count", "miss_count", "transferred_count", "transferred_size",
            "lower_commit_count",
        ]  # fmt: skip
        result: dict[str, object] = {name: getattr(counters, name) for name in names}
        for meters in ("topic_puts", "group_gets", "totals"):
            table = getattr(counters, meters)
            for name in table._meters:
                reading = table.messages(name, MINUTE, now_ms), table.sizes(name, MINUTE, now_ms)
                result[f"{meters} {name}"] = reading
        return result

    def offsets(self) -> bytes:
        """What groups committed and pulled."""
        return self.broker.all_consumer_offsets()

    def close(self) -> None:
        """The clients leave, and the store is closed; once more is no fault."""
        for connection in self.connections:
            connection.closed("the server stops")
        self.connections.clear()
        for output in self.outputs:
            if isinstance(output, SocketOutput):
                output.end()
        self.engine.close()

    def files(self) -> dict[str, bytes]:
        """Apache's files of the closed store, and the checksums beside its log, without a segment
        made ahead by its thread."""
        found = {
            str(path.relative_to(self.root)): path.read_bytes()
            for folder in ("commitlog", "consumequeue", "index", "pyromq/crc")
            for path in sorted((self.root / folder).rglob("*"))
            if path.is_file()
        }
        return {name: content for name, content in found.items() if any(content)}


def awaiting_rows(broker: Broker) -> dict[int, Row]:
    """Sends as verbs that await what they promise."""

    async def send(
        caller: Caller, header: SendHeader | SendHeaderV2, command: frame.Command
    ) -> Answer:
        request = send_request(header, command)
        verb = broker.send_batch if request.is_batch else broker.send
        try:
            return sent(await verb(caller, request))
        except RequestRefused as error:
            return refused_send(broker, error)

    return {
        code: Row(REQUEST_HEADERS[code], None, send)
        for code in (
            RequestCode.SEND_MESSAGE,
            RequestCode.SEND_MESSAGE_V2,
            RequestCode.SEND_BATCH_MESSAGE,
        )
    }


def _raise(error: Exception) -> None:
    raise error


def split_answers(frames: Sequence[bytes]) -> list[frame.Command]:
    return [frame.split(data).commands[0] for data in frames]


__all__ = ["LaneHouse", "Plant", "RawOutput", "SocketOutput", "split_answers"]
