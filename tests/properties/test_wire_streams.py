"""Any cutting of a stream gives the same commands and the same end."""

from __future__ import annotations

from collections.abc import Callable

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from pyromq.wire.remoting import frame
from pyromq.wire.remoting.connection import RemotingConnection
from pyromq.wire.remoting.frame import Command, Split
from tests.properties.wire_strategies import COMMANDS
from tests.unit.wire.samples import SPLITTERS

TAILS = st.binary(max_size=20) | st.sampled_from(
    [b"", b"\xff\xff\xff\xff", b"\x00\x00\x00\x09\x07\x00\x00\x00"]
)


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    """`data` cut into pieces of these sizes, over and over."""
    parts, at, turn = [], 0, 0
    while at < len(data):
        size = cuts[turn % len(cuts)]
        parts.append(data[at : at + size])
        at += size
        turn += 1
    return parts


@pytest.mark.parametrize("splitter", SPLITTERS)
@settings(max_examples=150, deadline=None)
@given(
    commands=st.lists(COMMANDS, max_size=6),
    tail=TAILS,
    cuts=st.lists(st.integers(1, 70), min_size=1, max_size=8),
    is_proven=st.booleans(),
)
def test_any_cutting_gives_the_same_events(
    splitter: Callable[..., Split],
    commands: list[Command],
    tail: bytes,
    cuts: list[int],
    is_proven: bool,
) -> None:
    data = b"".join(map(frame.encode, commands)) + tail
    whole = frame.split(data)
    connection = RemotingConnection(splitter=splitter)
    connection.is_proven = is_proven
    received: list[Command] = []
    for piece in pieces(data, cuts):
        shared = bytearray(piece)
        received += connection.receive_data(shared)
        shared[:] = bytes(len(shared))
    assert received == whole.commands
    assert received[: len(commands)] == commands
    assert (None if connection.violation is None else str(connection.violation)) == whole.violation
    if whole.violation is None:
        assert connection.received_bytes_of_frame == len(data) - whole.consumed
        assert connection.pending_bytes <= max(whole.needed, 8) or not is_proven
    else:
        assert connection.pending_bytes == 0
