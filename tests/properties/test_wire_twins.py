"""The native twin decides as the reference does, on good, odd and broken input alike."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import hypothesis.strategies as st
from hypothesis import example, given, settings

from pyromq.errors import PyromqError
from pyromq.wire import batch, dialect, record
from pyromq.wire.remoting import frame, native
from pyromq.wire.remoting.frame import CLIENT_LIMITS, SERVER_LIMITS
from tests.properties.wire_strategies import COMMANDS, JSON_HEADERS
from tests.unit.wire.samples import BINARY_FRAME, SEND_HEADER, raw_frame


def outcome(function: Callable[[bytes], object], data: bytes) -> object:
    """The result, or the error with its text."""
    try:
        return function(data)
    except PyromqError as error:
        return type(error), str(error)


def assert_same_split(data: bytes) -> None:
    for limits in (SERVER_LIMITS, CLIENT_LIMITS):
        assert native.split(data, limits) == frame.split(data, limits)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=80))
@example(b"")
@example(BINARY_FRAME)
def test_any_bytes_split_alike(data: bytes) -> None:
    assert_same_split(data)
    assert_same_split(raw_frame(data, b"body", 0))
    assert_same_split(raw_frame(data, b"body", 1))


@settings(max_examples=300, deadline=None)
@given(JSON_HEADERS, st.booleans())
def test_any_members_decode_alike(header: dict[str, Any], is_standard: bool) -> None:
    text = dialect.encode(header, standard=is_standard)
    assert_same_split(raw_frame(text))
    assert_same_split(raw_frame(json.dumps(json.loads(dialect.encode(header, standard=True)))))


_PIECES = [b'"', b"\\u", b"{", b"\xff"]


@st.composite
def _mutated(draw: st.DrawFn, frames: list[bytes]) -> bytes:
    data = bytearray(draw(st.sampled_from(frames)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        kind = draw(st.integers(0, 3))
        if kind == 0 and at < len(data):
            data[at] = draw(st.integers(0, 255))
        elif kind == 1:
            data[at:at] = draw(
                st.binary(max_size=6) | st.sampled_from([b'"', b"\\u", b"{", b"\xff"])
            )
        elif kind == 2:
            del data[at : at + draw(st.integers(1, 20))]
        else:
            data[at : at + 4] = draw(st.sampled_from([b"\xff" * 4, b"\x7f\xff\xff\xff", bytes(4)]))
    return bytes(data)


@settings(max_examples=400, deadline=None)
@given(_mutated([raw_frame(SEND_HEADER, b"Hello"), BINARY_FRAME, BINARY_FRAME * 2]))
def test_mutated_frames_split_alike(data: bytes) -> None:
    assert_same_split(data)


@settings(max_examples=200, deadline=None)
@given(_mutated([SEND_HEADER]))
def test_mutated_headers_decode_alike(header: bytes) -> None:
    assert_same_split(raw_frame(header, b"x"))


@settings(max_examples=100, deadline=None)
@given(st.lists(COMMANDS, max_size=4), st.integers(0, 300))
def test_plain_and_odd_frames_in_one_chunk_split_alike(
    commands: list[frame.Command], cut: int
) -> None:
    odd = raw_frame('{"code":9,"extFields":{"n":1},"new":[]}')
    data = odd.join(map(frame.encode, commands)) + odd
    assert_same_split(data[: len(data) - cut] if cut < len(data) else data)


_BATCH = bytes.fromhex(
    "0000002c00000000000000000000000000000002486900145741495401747275650254414753015461674102"
)


@settings(max_examples=200, deadline=None)
@given(_mutated([_BATCH, _BATCH * 3]) | st.binary(max_size=80))
def test_any_batch_is_judged_alike(data: bytes) -> None:
    assert outcome(native.decode_batch, data) == outcome(batch.decode_batch, data)


_RECORD = record.encode_record(
    record.Record("TopicTest", b"Hello", properties=b"TAGS\x01TagA\x02", born_host=bytes(20))
)


@settings(max_examples=200, deadline=None)
@given(_mutated([_RECORD, _RECORD * 2]) | st.binary(max_size=120))
def test_any_record_is_judged_alike(data: bytes) -> None:
    assert outcome(native.decode_records, data) == outcome(record.decode_records, data)
