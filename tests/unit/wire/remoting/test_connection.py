"""The stream as a connection sees it: cut anywhere, bounded in memory, violated at one place."""

from __future__ import annotations

import struct
import tracemalloc
from collections.abc import Callable

import pytest

from pyromq.errors import ProtocolViolation
from pyromq.units import KIB, MIB
from pyromq.wire.remoting import frame
from pyromq.wire.remoting.connection import RemotingConnection
from pyromq.wire.remoting.frame import SERVER_LIMITS, Command, SerializeType, Split
from tests.unit.wire.samples import BINARY, BINARY_FRAME, SEND, SPLITTERS

both = pytest.mark.parametrize("splitter", SPLITTERS)


@both
def test_one_byte_at_a_time_gives_the_same_commands(splitter: Callable[..., Split]) -> None:
    data = frame.encode(SEND) + BINARY_FRAME + frame.encode(Command.request(1))
    connection = RemotingConnection(splitter=splitter)
    commands = [command for byte in data for command in connection.receive_data(bytes([byte]))]
    assert commands == [SEND, BINARY, Command.request(1)]
    assert connection.pending_bytes == connection.received_bytes_of_frame == 0


@both
@pytest.mark.parametrize("is_proven", [False, True])
def test_the_data_may_be_overwritten_after_the_call(
    splitter: Callable[..., Split], is_proven: bool
) -> None:
    data = frame.encode(SEND) * 3
    connection = RemotingConnection(splitter=splitter)
    connection.is_proven = is_proven
    shared = bytearray(100)
    commands = []
    for start in range(0, len(data), len(shared)):
        piece = data[start : start + len(shared)]
        shared[: len(piece)] = piece
        commands += connection.receive_data(memoryview(shared)[: len(piece)])
    assert commands == [SEND] * 3


@both
def test_commands_before_a_violation_are_served_and_nothing_after(
    splitter: Callable[..., Split],
) -> None:
    connection = RemotingConnection(splitter=splitter)
    broken = frame.encode(SEND) + struct.pack(">i", -5)
    assert connection.receive_data(broken + frame.encode(SEND)) == [SEND]
    assert isinstance(connection.violation, ProtocolViolation)
    assert str(connection.violation) == "frame length -5 is below 4"
    assert connection.receive_data(frame.encode(SEND)) == []
    assert connection.pending_bytes == 0


@both
@pytest.mark.parametrize("cut", range(1, 9))
def test_a_lying_prefix_in_pieces_is_caught_as_soon_as_it_is_complete(
    splitter: Callable[..., Split], cut: int
) -> None:
    connection = RemotingConnection(splitter=splitter)
    prefix = struct.pack(">ii", 1000, 9 << 24)
    connection.receive_data(prefix[:cut])
    assert (connection.violation is None) == (cut < 8)
    connection.receive_data(prefix[cut:])
    assert str(connection.violation) == "serialize type 9 is unknown"


@both
def test_an_unproven_connection_takes_no_more_memory_than_it_sent(
    splitter: Callable[..., Split],
) -> None:
    connection = RemotingConnection(splitter=splitter)
    head = struct.pack(">ii", 16 * MIB - 4, 100)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        connection.receive_data(head)
        for _ in range(16):
            connection.receive_data(bytes(4 * KIB))
        peak = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    assert connection.received_bytes_of_frame == 8 + 64 * KIB
    assert connection.pending_bytes <= 2 * connection.received_bytes_of_frame
    assert peak <= 4 * 64 * KIB


@both
def test_a_proven_connection_reserves_a_frame_at_once(splitter: Callable[..., Split]) -> None:
    connection = RemotingConnection(splitter=splitter)
    connection.is_proven = True
    data = frame.encode(Command.request(1, body=bytes(range(256)) * 4096))
    connection.receive_data(data[:100])
    assert connection.pending_bytes == len(data)
    assert connection.received_bytes_of_frame == 100
    assert connection.receive_data(data[100:])[0].body == bytes(range(256)) * 4096
    assert connection.pending_bytes == 0


@both
def test_a_lying_length_over_the_limit_costs_nothing(splitter: Callable[..., Split]) -> None:
    connection = RemotingConnection(splitter=splitter)
    connection.is_proven = True
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        connection.receive_data(struct.pack(">i", 0x7FFFFFFF) + bytes(100))
        peak = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    assert connection.violation is not None
    assert peak < 16 * KIB


@both
def test_becoming_proven_inside_a_frame_loses_nothing(splitter: Callable[..., Split]) -> None:
    connection = RemotingConnection(splitter=splitter)
    data = frame.encode(Command.request(1, body=bytes(50_000)))
    connection.receive_data(data[:20_000])
    connection.is_proven = True
    connection.receive_data(data[20_000:30_000])
    assert connection.receive_data(data[30_000:] + BINARY_FRAME) == [
        Command.request(1, body=bytes(50_000)),
        BINARY,
    ]


def test_sent_commands_come_out_in_order_and_once() -> None:
    connection = RemotingConnection()
    for command in (SEND, BINARY):
        connection.send(command)
    data = connection.data_to_send()
    assert data == frame.encode(SEND) + BINARY_FRAME
    assert connection.unsent_bytes == 0
    assert connection.data_to_send() == b""


def test_unsent_bytes_tell_the_queues_size() -> None:
    connection = RemotingConnection()
    connection.send(SEND)
    assert connection.unsent_bytes == len(frame.encode(SEND))


def test_a_command_that_cannot_be_written_leaves_the_queue_as_it_was() -> None:
    connection = RemotingConnection()
    connection.send(SEND)
    with pytest.raises(ValueError, match="200050"):
        connection.send(Command.request(200050, serialize_type=SerializeType.ROCKETMQ))
    assert connection.data_to_send() == frame.encode(SEND)


def test_two_connections_talk_to_each_other() -> None:
    client, server = RemotingConnection(), RemotingConnection(SERVER_LIMITS)
    client.send(SEND)
    (request,) = server.receive_data(client.data_to_send())
    server.send(Command.response_to(request, ext={"queueOffset": "1"}))
    (response,) = client.receive_data(server.data_to_send())
    assert (response.opaque, response.ext) == (SEND.opaque, {"queueOffset": "1"})
