"""The native twin decides as the reference does, on good, odd and broken input alike."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import hypothesis.strategies as st
from hypothesis import example, given, settings

from pyromq.api import SendRequest, SendResult
from pyromq.domain.properties import is_wait_waived, may_be_special, unique_key_of
from pyromq.errors import PyromqError
from pyromq.frontends.remoting.messages import send_request, sent
from pyromq.units import QueueOffset
from pyromq.wire import batch, dialect, record
from pyromq.wire.remoting import frame, native
from pyromq.wire.remoting.frame import CLIENT_LIMITS, SERVER_LIMITS, Command, SerializeType
from pyromq.wire.remoting.headers import decode_header
from pyromq.wire.remoting.headers.send import SendHeader, SendHeaderV2
from tests.properties.wire_strategies import COMMANDS, I32, I64, JSON_HEADERS
from tests.unit.wire.samples import BINARY_FRAME, SEND_EXT, SEND_HEADER, raw_frame


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


_split_sends = native.splitter_of_sends(SendRequest)
_LONG_NAMES = {
    "a": "producerGroup", "b": "topic", "c": "defaultTopic", "d": "defaultTopicQueueNums",
    "e": "queueId", "f": "sysFlag", "g": "bornTimestamp", "h": "flag", "i": "properties",
    "j": "reconsumeTimes", "k": "unitMode", "l": "maxReconsumeTimes", "m": "batch",
}  # fmt: skip
_FIELD_VALUES = st.sampled_from(
    ["0", "1", "-1", "007", "+3", "5.0", "1e3", "2147483648", "9223372036854775807", "true",
     "TRUE", "false", "null", "TopicTest", "中", "x" * 70]
)  # fmt: skip
_PROPERTIES = st.lists(
    st.sampled_from(
        ["TAGS\x01a\x02", "WAIT\x01true\x02", "WAIT\x01false\x02", "WAIT\x01False\x02",
         "WAIT\x01\x02", "UNIQ_KEY\x01k1\x02", "UNIQ_KEY\x01k2\x02", "UNIQ_KEY\x01",
         "MY_UNIQ_KEY\x01k\x02",
         "DELAY\x013\x02", "TIMER_DELAY_MS\x013\x02", "TRACE_ON\x01true\x02", "é",
         "KEYS\x01a b\x02"]
    ),
    min_size=1,
    max_size=5,
).map("".join)  # fmt: skip


@st.composite
def _sends(draw: st.DrawFn) -> Command:
    """Mostly as clients make them, some with odd fields, some without one."""
    ext = dict(SEND_EXT, l="16")
    ext["i"] = draw(_PROPERTIES)
    for name in draw(st.lists(st.sampled_from(sorted(ext)), max_size=2)):
        ext[name] = draw(_FIELD_VALUES)
    for name in draw(st.lists(st.sampled_from("abijklmn"), max_size=2)):
        ext.pop(name, None)
    code = draw(st.sampled_from([10, 310, 320]))
    if code == 10:
        ext = {_LONG_NAMES.get(name, name): value for name, value in ext.items()}
    return Command(
        code,
        draw(I32),
        draw(st.sampled_from([0, 2])),
        ext=ext,
        body=draw(st.binary(max_size=9)),
        serialize_type=draw(st.sampled_from(SerializeType)),
    )


@settings(max_examples=400, deadline=None)
@given(st.lists(_sends(), min_size=1, max_size=4))
def test_typed_sends_say_what_their_fields_say(sends: list[Command]) -> None:
    data = b"".join(map(frame.encode, sends))
    typed, plain = _split_sends(data, SERVER_LIMITS), frame.split(data)
    assert typed[1:] == plain[1:]
    for one, other in zip(typed.commands, plain.commands, strict=True):
        request = one.typed
        if request is None:
            assert one == other
            continue
        assert isinstance(request, SendRequest)
        assert (one.ext, one.body) == ({}, other.body)
        one.typed, one.ext = None, other.ext
        assert one == other
        header_type: type[SendHeader | SendHeaderV2]
        header_type = SendHeader if other.code == 10 else SendHeaderV2
        expected = send_request(decode_header(header_type, other.ext), other)
        if request.is_ordinary:
            text = expected.properties
            assert not may_be_special(text)
            assert request.unique_key == unique_key_of(text)
            assert request.is_waived == is_wait_waived(text)
        for name in SendRequest.__struct_fields__[:-3]:
            assert getattr(request, name) == getattr(expected, name), name


def test_the_sends_of_todays_clients_come_typed() -> None:
    for form in SerializeType:
        for code, names in ((310, {}), (10, _LONG_NAMES)):
            ext = {names.get(name, name): value for name, value in SEND_EXT.items()}
            sent_so = Command(code, ext=ext, body=b"b", serialize_type=form)
            (command,) = _split_sends(frame.encode(sent_so), SERVER_LIMITS).commands
            assert isinstance(command.typed, SendRequest)
            assert command.typed.is_ordinary


def test_an_answer_with_the_code_of_a_send_is_no_send() -> None:
    answer = Command(310, flag=1, ext=dict(SEND_EXT))
    (command,) = _split_sends(frame.encode(answer), SERVER_LIMITS).commands
    assert command.typed is None
    assert command.ext == SEND_EXT


_TEXTS = st.text(max_size=40) | st.sampled_from(['"\\\x00', "中😀", "Default\nRegion"])


@settings(max_examples=300, deadline=None)
@given(
    I32,
    st.sampled_from(SerializeType),
    I32,
    I64,
    st.integers(0, 1 << 62),
    _TEXTS,
    _TEXTS,
    st.booleans(),
)
def test_answers_to_sends_are_written_alike(
    opaque: int,
    form: SerializeType,
    queue_id: int,
    queue_offset: int,
    log_offset: int,
    unique_key: str,
    region_id: str,
    is_traced: bool,
) -> None:
    prefix = "7F00000100002A9F"
    answer = sent(
        SendResult(
            msg_id=f"{prefix}{log_offset:016X}",
            queue_id=queue_id,
            queue_offset=QueueOffset(queue_offset),
            transaction_id=unique_key,
            region_id=region_id,
            is_traced=is_traced,
        )
    )
    request = Command(310, opaque, serialize_type=form)
    expected = frame.encode(Command.response_to(request, answer.code, answer.ext))
    marks = {name: answer.ext[name] for name in ("MSG_REGION", "TRACE_ON")}
    write = native.send_answers(prefix, marks).write
    assert write(form, opaque, queue_id, queue_offset, log_offset, unique_key) == expected
