"""The transport on real loopback sockets, with a clock that the test moves."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import struct
from collections.abc import AsyncIterator, Callable

import pytest

from pyromq.errors import ConfigInvalid, Occupied
from pyromq.transport import Listener, Outlet, Transport, TransportLimits
from tests.support.clock import ManualClock
from tests.support.connections import WAIT_SECONDS, EchoConnection, frame


class House:
    """A transport with one echoing door and whoever came to it."""

    def __init__(self, **limits: int) -> None:
        self.clock = ManualClock()
        self.transport = Transport(self.clock, TransportLimits(**limits))
        self.connections: list[EchoConnection] = []
        self.came = asyncio.Event()
        self.writers: list[asyncio.StreamWriter] = []
        self.listener: Listener = self.transport.bind("127.0.0.1", 0, self._connect)
        self.transport.start()

    def _connect(self, outlet: Outlet) -> EchoConnection:
        connection = EchoConnection(outlet)
        self.connections.append(connection)
        self.came.set()
        return connection

    async def client(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.listener.port)
        self.writers.append(writer)
        return reader, writer

    async def served(self, count: int = 1) -> EchoConnection:
        """The newest connection, once `count` have come."""
        async with asyncio.timeout(WAIT_SECONDS):
            while len(self.connections) < count:
                self.came.clear()
                await self.came.wait()
        return self.connections[-1]

    def sweep(self, after_ms: int) -> None:
        self.clock.advance(after_ms)
        self.transport.sweep()


@contextlib.asynccontextmanager
async def house(**limits: int) -> AsyncIterator[House]:
    it = House(**limits)
    try:
        yield it
    finally:
        await leave(*it.writers)
        await it.transport.stop(drain_ms=2_000)


async def ended(reader: asyncio.StreamReader) -> bytes:
    """All that still comes, up to the end of the connection."""
    rest = b""
    async with asyncio.timeout(WAIT_SECONDS):
        with contextlib.suppress(ConnectionError):
            while chunk := await reader.read(65_536):
                rest += chunk
    return rest


async def turned(is_true: Callable[[], bool]) -> None:
    """Lets the loop turn until it is so."""
    async with asyncio.timeout(WAIT_SECONDS):
        while not is_true():  # noqa: ASYNC110 — nothing announces it
            await asyncio.sleep(0)


async def leave(*writers: asyncio.StreamWriter) -> None:
    for writer in writers:
        writer.transport.abort()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def test_frames_are_answered_and_the_peer_is_named() -> None:
    async with house() as it:
        reader, writer = await it.client()
        writer.write(frame(b"one") + frame(b"two"))
        assert await reader.readexactly(14) == frame(b"one") + frame(b"two")
        connection = await it.served()
        port = writer.get_extra_info("sockname")[1]
        assert connection.outlet.peer.address == f"127.0.0.1:{port}"
        assert connection.outlet.peer.host == bytes([127, 0, 0, 1]) + struct.pack(">i", port)
        await leave(writer)
        await connection.until(lambda c: c.close_reason is not None)
        assert connection.close_reason == "closed by the peer"
        assert it.transport.connection_count == 0


async def test_a_port_in_use_is_occupied_even_before_anyone_accepts() -> None:
    first = Transport(ManualClock())
    listener = first.bind("127.0.0.1", 0, EchoConnection)
    with pytest.raises(Occupied, match=f"127.0.0.1:{listener.port}"):
        Transport(ManualClock()).bind("127.0.0.1", listener.port, EchoConnection)
    first.stop_accepting()


async def test_a_host_that_is_not_ours_is_a_configuration_error() -> None:
    with pytest.raises(ConfigInvalid, match=r"192\.0\.2\.1"):
        Transport(ManualClock()).bind("192.0.2.1", 0, EchoConnection)
    with pytest.raises(ConfigInvalid, match=r"no\.such\.host\.invalid"):
        Transport(ManualClock()).bind("no.such.host.invalid", 0, EchoConnection)


async def test_connections_wait_in_the_backlog_until_start() -> None:
    clock = ManualClock()
    transport = Transport(clock)
    listener = transport.bind("127.0.0.1", 0, EchoConnection)
    reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
    writer.write(frame(b"early"))
    transport.start()
    assert await reader.readexactly(9) == frame(b"early")
    await leave(writer)
    await transport.stop(drain_ms=2_000)


async def test_an_ipv6_address_is_bound_and_named() -> None:
    transport = Transport(ManualClock())
    connections: list[EchoConnection] = []

    def connect(outlet: Outlet) -> EchoConnection:
        connections.append(EchoConnection(outlet))
        return connections[-1]

    listener = transport.bind("::1", 0, connect)
    assert listener.address == f"[::1]:{listener.port}"
    transport.start()
    reader, writer = await asyncio.open_connection("::1", listener.port)
    writer.write(frame(b"six"))
    assert await reader.readexactly(7) == frame(b"six")
    peer = connections[0].outlet.peer
    port = writer.get_extra_info("sockname")[1]
    assert peer.address == f"[::1]:{port}"
    assert peer.host == bytes(15) + b"\x01" + port.to_bytes(4)
    await leave(writer)
    await transport.stop(drain_ms=2_000)


async def test_a_frame_may_come_in_any_pieces() -> None:
    async with house() as it:
        reader, writer = await it.client()
        for byte in frame(b"piecemeal"):
            writer.write(bytes([byte]))
            await writer.drain()
        assert await reader.readexactly(13) == frame(b"piecemeal")
        await leave(writer)


async def test_a_large_frame_passes_the_shared_buffer_in_chunks() -> None:
    async with house(receive_buffer_size=4_096) as it:
        payload = bytes(range(256)) * 400
        reader, writer = await it.client()
        writer.write(frame(payload))
        assert await reader.readexactly(len(payload) + 4) == frame(payload)
        await leave(writer)


async def test_a_tls_client_hello_is_refused_with_a_log_line(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with house() as it:
        reader, writer = await it.client()
        writer.write(b"\x16\x03\x01\x02\x00")
        assert await ended(reader) == b""
        assert "TLS is not configured" in caplog.text
        assert not it.connections
        await leave(writer)


@pytest.mark.parametrize(
    ("header", "address"),
    [
        (b"PROXY TCP4 10.1.2.3 10.9.9.9 5555 10911\r\n", "10.1.2.3:5555"),
        (
            b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\x0a\x01\x02\x03\x0a\x09\x09\x09\x15\xb3\x2a\x9f",
            "10.1.2.3:5555",
        ),
        (b"PROXY TCP6 2001:db8::7 ::1 5555 10911\r\n", "[2001:db8::7]:5555"),
        (b"PROXY UNKNOWN\r\n", None),
    ],
)
@pytest.mark.parametrize("is_split", [False, True])
async def test_behind_haproxy_the_client_is_the_peer(
    header: bytes, address: str | None, is_split: bool
) -> None:
    async with house() as it:
        reader, writer = await it.client()
        pieces = [bytes([byte]) for byte in header] if is_split else [header]
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)
        writer.write(frame(b"hi"))
        assert await reader.readexactly(6) == frame(b"hi")
        own = "127.0.0.1:{}".format(writer.get_extra_info("sockname")[1])
        assert (await it.served()).outlet.peer.address == (address or own)
        await leave(writer)
    assert it.transport.connection_count == 0


async def test_half_a_haproxy_header_and_nonsense_is_closed() -> None:
    async with house() as it:
        reader, writer = await it.client()
        writer.write(b"PROXY ")
        await writer.drain()
        writer.write(b"NONSENSE\r\n")
        assert await ended(reader) == b""
        assert not it.connections
        await leave(writer)


async def test_who_says_nothing_is_closed_at_the_greeting_deadline() -> None:
    async with house(greeting_timeout_ms=10_000) as it:
        reader, writer = await it.client()
        await turned(lambda: it.transport.connection_count == 1)
        it.sweep(9_000)
        assert it.transport.connection_count == 1
        it.sweep(1_001)
        assert await ended(reader) == b""
        assert it.transport.connection_count == 0
        await leave(writer)


async def test_a_port_probe_leaves_no_trace(caplog: pytest.LogCaptureFixture) -> None:
    async with house() as it:
        _, writer = await it.client()
        await turned(lambda: it.transport.connection_count == 1)
        await leave(writer)
        await turned(lambda: it.transport.connection_count == 0)
    assert not caplog.records
    assert not it.connections


async def test_a_first_frame_that_never_ends_is_closed_at_the_greeting_deadline() -> None:
    async with house(greeting_timeout_ms=10_000) as it:
        reader, writer = await it.client()
        writer.write(frame(b"x" * 100)[:50])
        connection = await it.served()
        await connection.until(lambda c: len(c.received) == 50)
        it.sweep(10_001)
        assert await ended(reader) == b""
        assert connection.close_reason == "no whole frame within 10000 ms"
        assert it.transport.budget.total == 0
        await leave(writer)


async def test_a_later_frame_that_stalls_is_closed_after_the_grace() -> None:
    async with house(stall_grace_ms=10_000, frame_rate_min=1_024) as it:
        reader, writer = await it.client()
        writer.write(frame(b"first") + frame(b"y" * 1_000_000)[:5_000])
        connection = await it.served()
        await connection.until(lambda c: len(c.received) == 5_000)
        it.sweep(1_000)  # seen inside the frame from here on
        it.sweep(9_000)
        assert connection.close_reason is None
        it.sweep(1_100)
        await connection.until(lambda c: c.close_reason is not None)
        assert "stalled inside a frame" in str(connection.close_reason)
        await ended(reader)
        await leave(writer)


async def test_a_slow_frame_that_keeps_the_pace_is_left_alone() -> None:
    async with house(stall_grace_ms=10_000, frame_rate_min=1_024) as it:
        reader, writer = await it.client()
        writer.write(frame(b"first") + frame(b"y" * 100_000)[:20_000])
        connection = await it.served()
        await connection.until(lambda c: len(c.received) == 20_000)
        it.sweep(1_000)
        writer.write(frame(b"y" * 100_000)[20_000:40_000])
        await connection.until(lambda c: len(c.received) == 40_000)
        it.sweep(11_000)
        assert connection.close_reason is None
        writer.write(frame(b"y" * 100_000)[40_000:])
        assert await reader.readexactly(9) == frame(b"first")
        assert await reader.readexactly(100_004) == frame(b"y" * 100_000)
        await leave(writer)


async def test_a_frame_that_we_do_not_read_does_not_stall() -> None:
    async with house(stall_grace_ms=10_000) as it:
        reader, writer = await it.client()
        writer.write(frame(b"first") + frame(b"y" * 1_000)[:500])
        connection = await it.served()
        await connection.until(lambda c: len(c.received) == 500)
        it.sweep(1_000)
        connection.outlet.pause_reading()
        for _ in range(30):
            it.sweep(1_000)
        connection.outlet.resume_reading()
        it.sweep(1_000)
        it.sweep(9_000)
        assert connection.close_reason is None
        writer.write(frame(b"y" * 1_000)[500:])
        assert await reader.readexactly(9 + 1_004) == frame(b"first") + frame(b"y" * 1_000)
        await leave(writer)


async def test_an_idle_connection_is_closed_and_a_busy_one_is_not() -> None:
    async with house(idle_timeout_ms=120_000) as it:
        idle_reader, idle_writer = await it.client()
        idle_writer.write(frame(b"a"))
        await idle_reader.readexactly(5)
        reader, writer = await it.client()
        writer.write(frame(b"b"))
        await reader.readexactly(5)
        for _ in range(4):
            it.sweep(40_000)
            writer.write(frame(b"b"))
            assert await reader.readexactly(5) == frame(b"b")
        assert await ended(idle_reader) == b""
        assert it.connections[0].close_reason == "idle for 120 s"
        assert it.connections[1].close_reason is None
        await leave(idle_writer, writer)


async def test_who_is_served_by_a_lane_alone_is_not_idle() -> None:
    async with house(idle_timeout_ms=120_000) as it:
        reader, writer = await it.client()
        writer.write(frame(b"a"))
        await reader.readexactly(5)
        connection = await it.served()
        for _ in range(4):
            connection.received_frame_count += 1  # its reader gave it away without a word
            it.sweep(40_000)
        assert [connection.close_reason] == [None]
        for _ in range(3):
            it.sweep(40_000)
        assert await ended(reader) == b""
        assert connection.close_reason == "idle for 120 s"
        await leave(writer)


def is_free(outlet: Outlet) -> bool:
    """Whether somebody else may write to its socket."""
    return outlet.descriptor is not None


async def test_a_peer_that_does_not_read_is_not_read_until_it_does() -> None:
    async with house(outgoing_high=65_536, outgoing_low=16_384) as it:
        reader, writer = await it.client()
        writer.write(frame(b"hello"))
        assert await reader.readexactly(9) == frame(b"hello")
        connection = await it.served()
        payload = b"z" * 100_000
        asked = 0
        async with asyncio.timeout(WAIT_SECONDS):
            while connection.outlet.unsent_bytes <= 65_536:
                connection.outlet.write(frame(payload))
                asked += 1
                await asyncio.sleep(0)
        assert not is_free(connection.outlet), "somebody would write into the middle"
        writer.write(frame(b"one more"))
        await writer.drain()
        for _ in range(100):
            await asyncio.sleep(0)
        assert connection.frames == [b"hello"], (
            "read on although the peer does not take its answers"
        )
        for _ in range(asked):
            await reader.readexactly(100_004)
        assert await reader.readexactly(12) == frame(b"one more")
        assert connection.drained_count >= 1
        assert is_free(connection.outlet)
        connection.outlet.close("the end")
        assert not is_free(connection.outlet)
        await leave(writer)


async def test_a_peer_that_lets_answers_pile_up_is_given_up() -> None:
    async with house(outgoing_max=1_000_000) as it:
        reader, writer = await it.client()
        writer.write(frame(b"hello"))
        await reader.readexactly(9)
        connection = await it.served()
        for _ in range(300):
            connection.outlet.write(bytes(100_000))
        await connection.until(lambda c: c.close_reason is not None)
        assert connection.close_reason == "does not read its answers"
        await leave(writer)


async def test_all_answers_together_are_bounded_and_who_lets_most_pile_up_goes_first() -> None:
    async with house(outgoing_total_max=20_000_000, outgoing_max=100_000_000) as it:
        hoarders: list[EchoConnection] = []
        for _ in range(3):
            reader, writer = await it.client()
            writer.write(frame(b"hello"))
            await reader.readexactly(9)
            hoarders.append(await it.served(len(hoarders) + 1))
        honest_reader, honest = await it.client()
        honest.write(frame(b"hello"))
        await honest_reader.readexactly(9)
        for number in range(100):
            for size, hoarder in zip((200_000, 300_000, 100_000), hoarders, strict=True):
                if hoarder.close_reason is None:
                    hoarder.outlet.write(bytes(size))
            assert it.transport.unsent_total <= 20_300_000
            if number % 10 == 0:
                honest.write(frame(b"still here"))
                assert await honest_reader.readexactly(14) == frame(b"still here")
        await hoarders[1].until(lambda c: c.close_reason is not None)
        assert hoarders[1].close_reason == "answers to all peers hold over 20000000 bytes"
        assert it.connections[3].close_reason is None
    assert it.transport.unsent_total == 0


async def test_output_that_nobody_takes_counts_as_idle() -> None:
    async with house(idle_timeout_ms=120_000) as it:
        reader, writer = await it.client()
        writer.write(frame(b"hello"))
        await reader.readexactly(9)
        connection = await it.served()
        connection.outlet.write(bytes(30_000_000))
        it.sweep(60_000)
        it.sweep(60_000)
        it.sweep(60_000)
        await connection.until(lambda c: c.close_reason is not None)
        assert "idle" in str(connection.close_reason)
        await leave(writer)


async def test_a_door_that_has_enough_to_do_is_not_given_more() -> None:
    async with house() as it:
        reader, writer = await it.client()
        writer.write(frame(b"a"))
        await reader.readexactly(5)
        connection = await it.served()
        connection.outlet.pause_reading()
        writer.write(frame(b"b"))
        await writer.drain()
        for _ in range(100):
            await asyncio.sleep(0)
        assert connection.frames == [b"a"]
        connection.outlet.resume_reading()
        assert await reader.readexactly(5) == frame(b"b")
        await leave(writer)


async def test_unproven_connections_share_a_budget_and_the_greediest_goes_first() -> None:
    async with house(unproven_bytes_max=100_000) as it:
        honest_reader, honest = await it.client()
        honest.write(frame(b"m" * 40_000)[:20_000])
        await (await it.served(1)).until(lambda c: len(c.received) == 20_000)
        greedy_reader, greedy = await it.client()
        greedy.write(frame(b"g" * 1_000_000)[:90_000])
        connection = await it.served(2)
        await connection.until(lambda c: c.close_reason is not None)
        assert "without a served request" in str(connection.close_reason)
        honest.write(frame(b"m" * 40_000)[20_000:])
        assert await honest_reader.readexactly(40_004) == frame(b"m" * 40_000)
        assert it.transport.budget.total == 0
        await ended(greedy_reader)
        await leave(honest, greedy)


async def test_proven_connections_have_a_larger_budget() -> None:
    async with house(unproven_bytes_max=10_000, pending_bytes_max=100_000) as it:
        reader, writer = await it.client()
        writer.write(frame(b"hello"))
        await reader.readexactly(9)
        connection = await it.served()
        connection.is_proven = True
        writer.write(frame(b"p" * 200_000)[:50_000])
        await connection.until(lambda c: len(c.received) == 50_000)
        assert connection.close_reason is None
        assert it.transport.budget.unproven == 0
        assert it.transport.budget.total == 50_000
        writer.write(b"p" * 60_000)
        await connection.until(lambda c: c.close_reason is not None)
        await leave(writer)


async def test_connections_over_the_limit_are_refused_and_others_go_on() -> None:
    async with house(connection_count_max=2) as it:
        first = await it.client()
        second = await it.client()
        for reader, writer in (first, second):
            writer.write(frame(b"in"))
            assert await reader.readexactly(6) == frame(b"in")
        third = await it.client()
        assert await ended(third[0]) == b""
        first[1].write(frame(b"still"))
        assert await first[0].readexactly(9) == frame(b"still")
        await leave(second[1], third[1])
        await it.connections[1].until(lambda c: c.close_reason is not None)
        fourth = await it.client()
        fourth[1].write(frame(b"now"))
        assert await fourth[0].readexactly(7) == frame(b"now")
        await leave(first[1], fourth[1])


async def test_accepting_rests_while_descriptors_run_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with house() as it:
        real = it.listener.socket

        class Exhausted:
            """The listening socket of a process without descriptors."""

            def accept(self) -> tuple[socket.socket, object]:
                raise OSError(errno.EMFILE, "Too many open files")

            def __getattr__(self, name: str) -> object:
                return getattr(real, name)

        it.listener.socket = Exhausted()  # type: ignore[assignment]
        reader, writer = await it.client()
        writer.write(frame(b"later"))
        await turned(lambda: bool(it.transport._resting_listeners))
        it.listener.socket = real
        it.sweep(1_000)
        assert await reader.readexactly(9) == frame(b"later")
        await leave(writer)


async def test_stop_sends_what_was_written_and_then_closes() -> None:
    async with house() as it:
        reader, writer = await it.client()
        writer.write(frame(b"hello"))
        await reader.readexactly(9)
        connection = await it.served()
        connection.outlet.write(b"last words" * 100_000)
        stopping = asyncio.ensure_future(it.transport.stop(drain_ms=5_000))
        assert await ended(reader) == b"last words" * 100_000
        await stopping
        assert connection.close_reason == "the server stops"
        with pytest.raises(OSError, match=r"refused|Connect call failed"):
            await it.client()
        await leave(writer)


async def test_stop_does_not_wait_for_a_peer_that_does_not_read() -> None:
    async with house() as it:
        reader, writer = await it.client()
        writer.write(frame(b"hello"))
        await reader.readexactly(9)
        connection = await it.served()
        connection.outlet.write(bytes(30_000_000))
        async with asyncio.timeout(WAIT_SECONDS):
            await it.transport.stop(drain_ms=50)
        assert connection.close_reason is not None
        await leave(writer)


async def test_a_flood_of_incidents_is_counted_not_told(caplog: pytest.LogCaptureFixture) -> None:
    async with house(incident_lines_per_sweep=3) as it:
        for index in range(10):
            it.transport.report("incident %d", index)
        it.transport.sweep()
    lines = [record.getMessage() for record in caplog.records]
    assert lines == [
        "incident 0",
        "incident 1",
        "incident 2",
        "7 more connection incidents not shown",
    ]


class FaultyConnection(EchoConnection):
    """Has a fault with each chunk that begins with `x`."""

    def receive(self, data: memoryview) -> None:
        if bytes(data[:1]) == b"x":
            raise ZeroDivisionError("a fault of ours")
        super().receive(data)


async def test_who_met_a_fault_of_ours_is_not_gone_on_with(
    caplog: pytest.LogCaptureFixture,
) -> None:
    transport = Transport(ManualClock())
    made: list[FaultyConnection] = []

    def connect(outlet: Outlet) -> FaultyConnection:
        made.append(FaultyConnection(outlet))
        return made[-1]

    listener = transport.bind("127.0.0.1", 0, connect)
    transport.start()
    reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
    writer.write(b"x")
    assert await ended(reader) == b""
    assert made[0].close_reason == "its bytes could not be dealt with"
    assert "ZeroDivisionError" in caplog.text
    await leave(writer)
    await transport.stop(drain_ms=2_000)
