"""Frames and headers, by the reference and by its native twin."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest

from pyromq.codes import LanguageCode
from pyromq.wire.remoting import frame, native
from pyromq.wire.remoting.frame import CLIENT_LIMITS, Command, FrameLimits, SerializeType, Split
from tests.unit.wire.samples import (
    BINARY,
    BINARY_FRAME,
    SEND,
    SEND_HEADER,
    SPLITTERS,
    binary_header,
    ext_part,
    json_frame,
    raw_frame,
)

Splitter = Callable[..., Split]
both = pytest.mark.parametrize("split", SPLITTERS)
encoders = pytest.mark.parametrize("encode_head", [frame.encode_head, native.encode_head])


def only(split: Splitter, data: bytes) -> Command:
    commands, consumed, needed, violation = split(data)
    assert violation is None
    assert (consumed, needed, len(commands)) == (len(data), 0, 1)
    return commands[0]


def violation(split: Splitter, data: bytes, limits: FrameLimits = frame.SERVER_LIMITS) -> str:
    found = split(data, limits)
    assert found.commands == []
    assert found.consumed == 0
    assert found.violation is not None
    return found.violation


@both
def test_a_java_clients_send_decodes(split: Splitter) -> None:
    assert only(split, raw_frame(SEND_HEADER, b"Hello MetaQ")) == SEND


@encoders
def test_a_request_is_written_byte_for_byte_as_java_writes_it(
    encode_head: Callable[[Command], bytes],
) -> None:
    assert encode_head(SEND) + SEND.body == raw_frame(SEND_HEADER, b"Hello MetaQ")


@both
def test_the_binary_vector_decodes(split: Splitter) -> None:
    assert only(split, BINARY_FRAME) == BINARY


@encoders
def test_the_binary_vector_is_written_byte_for_byte(
    encode_head: Callable[[Command], bytes],
) -> None:
    assert encode_head(BINARY) + BINARY.body == BINARY_FRAME


@encoders
@pytest.mark.parametrize("serialize_type", list(SerializeType))
def test_a_response_carries_its_requests_number_and_form(
    encode_head: Callable[[Command], bytes], serialize_type: SerializeType
) -> None:
    request = Command.request(11, opaque=-7, serialize_type=serialize_type)
    response = Command.response_to(request, 17, {"k": "中"}, b"body", remark='no "topic"\n\x1f')
    decoded = only(frame.split, encode_head(response) + b"body")
    assert decoded == response
    assert decoded.is_response
    assert (decoded.opaque, decoded.serialize_type) == (-7, serialize_type)


def test_a_response_without_remark_and_fields_is_written_as_apache_writes_it() -> None:
    response = Command.response_to(Command.request(34, opaque=76))
    assert frame.encode(response)[8:] == (
        b'{"code":0,"flag":1,"language":"JAVA","opaque":76,'
        b'"serializeTypeCurrentRPC":"JSON","version":513}'
    )


@both
def test_oneway_and_response_are_flag_bits(split: Splitter) -> None:
    oneway = only(split, frame.encode(Command.request(15, oneway=True)))
    assert oneway.is_oneway
    assert not oneway.is_response


@both
def test_several_frames_and_the_begin_of_the_next(split: Splitter) -> None:
    data = frame.encode(SEND) + BINARY_FRAME + frame.encode(SEND)
    cut = len(data) - 5
    commands, consumed, needed, broken = split(data[:cut])
    assert (commands, broken) == ([SEND, BINARY], None)
    assert needed == len(data) - consumed
    assert split(data[consumed : consumed + 3]).needed == 0


@both
@pytest.mark.parametrize("wrap", [bytes, bytearray, memoryview])
def test_any_buffer_is_taken_and_bodies_are_owned(
    split: Splitter, wrap: Callable[[bytearray], bytes]
) -> None:
    data = bytearray(frame.encode(SEND))
    command = split(wrap(data)).commands[0]
    data[:] = bytes(len(data))
    assert command.body == b"Hello MetaQ"
    assert type(command.body) is bytes
    assert command == SEND


# ── lengths ──────────────────────────────────────────────────────────────────────────────────────


@both
@pytest.mark.parametrize(
    ("prefix", "text"),
    [
        (struct.pack(">i", -1), "frame length -1 is below 4"),
        (struct.pack(">i", 0), "frame length 0 is below 4"),
        (struct.pack(">i", 3), "frame length 3 is below 4"),
        (struct.pack(">i", 0x7FFFFFFF), "frame length 2147483647 is over the limit of 16777212"),
        (struct.pack(">i", 16777213), "frame length 16777213 is over the limit of 16777212"),
        (struct.pack(">ii", 9, 7 << 24), "serialize type 7 is unknown"),
        (struct.pack(">ii", 9, -1), "serialize type -1 is unknown"),
        (struct.pack(">ii", 9, 6), "header length 6 does not fit a frame of length 9"),
        (struct.pack(">ii", 70000, 65537), "header length 65537 is over the limit of 65536"),
    ],
)
def test_a_lying_prefix_ends_the_stream_before_anything_follows_it(
    split: Splitter, prefix: bytes, text: str
) -> None:
    assert violation(split, prefix) == text
    found = split(frame.encode(SEND) + prefix)
    assert (found.commands, found.violation) == ([SEND], text)


@both
def test_the_largest_frame_is_accepted(split: Splitter) -> None:
    body = bytes(frame.FRAME_SIZE_MAX - 8 - len(SEND_HEADER))
    data = raw_frame(SEND_HEADER, body)
    assert len(data) == frame.FRAME_SIZE_MAX
    assert only(split, data).body == body


@both
def test_a_client_accepts_the_long_header_of_a_batch_answer(split: Splitter) -> None:
    answer = Command.request(0, {"msgId": "x" * 200_000})
    data = frame.encode(answer)
    assert "over the limit of 65536" in violation(split, data)
    assert split(data, CLIENT_LIMITS).commands == [answer]


# ── headers in other hands ───────────────────────────────────────────────────────────────────────


@both
def test_numbers_and_booleans_as_field_values_are_taken_as_text(split: Splitter) -> None:
    ext = {"queueId": 3, "offset": -1.5, "unitMode": True, "order": False, "topic": "T"}
    assert only(split, json_frame(code=11, extFields=ext)).ext == {
        "queueId": "3", "offset": "-1.5", "unitMode": "true", "order": "false", "topic": "T",
    }  # fmt: skip


@both
def test_null_fields_are_absent(split: Splitter) -> None:
    command = only(split, json_frame(code=11, extFields={"a": None, "b": "1"}, remark=None))
    assert command.ext == {"b": "1"}
    assert command.remark is None
    assert only(split, json_frame(code=11, extFields=None)).ext == {}


@both
def test_unknown_members_missing_members_and_white_space_are_accepted(split: Splitter) -> None:
    header = '\n{ "opaque" : 5 , "new" : [ {} , 1 ] , "code" : 105 ,\t"remark" : "" } \r\n'
    command = only(split, raw_frame(header))
    assert command == Command(105, 5, version=0, remark="")


@both
@pytest.mark.parametrize(
    ("language", "expected"),
    [
        ('"GO"', LanguageCode.GO),
        ('"NODE_JS"', LanguageCode.NODE_JS),
        ('"COBOL"', LanguageCode.OTHER),
        ('"G\\u004f"', LanguageCode.GO),
        ("1", LanguageCode.CPP),
        ("99", LanguageCode.OTHER),
        ("null", LanguageCode.JAVA),
    ],
)
def test_languages_by_name_or_number(
    split: Splitter, language: str, expected: LanguageCode
) -> None:
    command = only(split, raw_frame(f'{{"code":1,"language":{language}}}'))
    assert command.language is expected


@both
def test_fastjson_accepts_more_than_json(split: Splitter) -> None:
    header = "{'code':'12','opaque':+7,'flag':1.0,'version':01,}"
    command = only(split, raw_frame(header))
    assert (command.code, command.opaque, command.flag, command.version) == (12, 7, 1, 1)
    assert only(split, raw_frame('{"remark":"a\tb","extFields":{1:"x"}}')).ext == {"1": "x"}


@both
def test_a_lone_surrogate_becomes_a_question_mark(split: Splitter) -> None:
    command = only(
        split, raw_frame('{"code":1,"extFields":{"a":"x\\ud800y","b":"\\ud83d\\ude00"}}')
    )
    assert command.ext == {"a": "x?y", "b": "😀"}
    assert only(split, frame.encode(command)).ext == command.ext


@both
@pytest.mark.parametrize(
    ("header", "text"),
    [
        ("", "JSON header unreadable: expected a value at position 0"),
        ("[]", "JSON header is not an object"),
        ("null", "JSON header is not an object"),
        ('{"code":1', "JSON header unreadable: expected ',' or '}' at position 9"),
        ('{"code":1}x', "JSON header unreadable: text goes on behind the value at position 10"),
        ('{"code":"ten"}', "header member code is no number"),
        ('{"code":[1]}', "header member code is no number"),
        ('{"code":1e99}', "header member code is no number"),
        ('{"code":NaN}', "header member code is no number"),
        ('{"opaque":2147483648}', "header member opaque = 2147483648 does not fit 32 bits"),
        ('{"flag":-2147483649}', "header member flag = -2147483649 does not fit 32 bits"),
        ('{"language":[]}', "header member language is no name"),
        ('{"extFields":[]}', "header member extFields is not an object"),
        ('{"extFields":"x"}', "header member extFields is not an object"),
        ('{"extFields":{"a":{"b":1}}}', "header field 'a' is not text"),
        ('{"remark":["x"]}', "header field 'remark' is not text"),
        (
            '{"x":' + "[" * 17 + "]" * 17 + "}",
            "JSON header unreadable: nested deeper than 16 at position 20",
        ),
    ],
)
def test_an_unreadable_json_header_ends_the_stream(split: Splitter, header: str, text: str) -> None:
    assert violation(split, raw_frame(header, b"body")) == text


@both
@pytest.mark.parametrize("size", [1_000, 30_000, 65_000])
def test_deep_json_is_refused_without_a_deep_stack(split: Splitter, size: int) -> None:
    for header in ('{"x":' + "[" * size, '{"extFields":' + '{"a":' * (size // 5), "{" * size):
        assert "nested deeper than 16" in violation(split, raw_frame(header))


@both
def test_invalid_utf8_in_a_json_header_ends_the_stream(split: Splitter) -> None:
    header = b'{"code":1,"extFields":{"a":"\xff\xfe"}}'
    assert (
        violation(split, raw_frame(header))
        == "JSON header unreadable: invalid UTF-8 at position 28"
    )


@both
@pytest.mark.parametrize("serialize_type", list(SerializeType))
def test_too_many_fields_end_the_stream(split: Splitter, serialize_type: SerializeType) -> None:
    fields = {f"f{number}": "x" for number in range(256)}
    command = Command.request(1, fields, serialize_type=serialize_type)
    assert only(split, frame.encode(command)) == command
    fields["one more"] = "x"
    text = violation(split, frame.encode(command))
    assert text == "257 header fields are over the limit of 256"


def _fixed(remark_size: int, ext_size: int) -> bytes:
    """A binary header that ends behind its two lengths."""
    return struct.pack(">hbhiiii", 1, 0, 1, 1, 0, remark_size, ext_size)


# ── the binary form ──────────────────────────────────────────────────────────────────────────────


@both
def test_empty_names_and_values_are_absent_as_apache_reads_them_as_null(split: Splitter) -> None:
    ext = ext_part(b"a", b"1") + ext_part(b"b", b"") + ext_part(b"", b"x") + ext_part(b"a", b"")
    assert only(split, raw_frame(binary_header(ext + ext_part(b"c", b"3")), b"", 1)).ext == {
        "c": "3"
    }


@both
def test_codes_and_versions_are_signed_16_bit_numbers(split: Splitter) -> None:
    assert only(split, raw_frame(binary_header(code=-15486), b"", 1)).code == -15486


@both
def test_an_unknown_language_number_is_other(split: Splitter) -> None:
    for number in (-1, 14, 127):
        command = only(split, raw_frame(binary_header(language=number), b"", 1))
        assert command.language is LanguageCode.OTHER


@both
def test_invalid_utf8_in_a_binary_header_is_replaced_as_java_does(split: Splitter) -> None:
    header = binary_header(ext_part(b"k\xff", b"v\xf0\x9f\x98"), remark=b"\xe4\xb8")
    command = only(split, raw_frame(header, b"", 1))
    assert (command.ext, command.remark) == ({"k�": "v�"}, "�")


@both
@pytest.mark.parametrize(
    ("header", "text"),
    [
        (b"", "binary header of 0 bytes is cut short"),
        (binary_header()[:20], "binary header of 20 bytes is cut short"),
        (
            _fixed(9, 0),
            "remark length 9 does not fit a header of 21",
        ),
        (
            _fixed(-1, 0),
            "remark length -1 does not fit a header of 21",
        ),
        (binary_header() + b"x", "extFields length 0 where 1 bytes follow"),
        (_fixed(0, 5), "extFields length 5 where 0 bytes follow"),
        (_fixed(0, -5), "extFields length -5 where 0 bytes follow"),
        (binary_header(b"\x00"), "extFields are cut short"),
        (binary_header(b"\x00\x05ab"), "field length 5 where 2 bytes follow"),
        (binary_header(b"\xff\xffab"), "field length -1 where 2 bytes follow"),
        (binary_header(b"\x00\x01a\x00\x00"), "extFields are cut short"),
        (
            binary_header(b"\x00\x01a\x7f\xff\xff\xff"),
            "field length 2147483647 where 0 bytes follow",
        ),
    ],
)
def test_an_unreadable_binary_header_ends_the_stream(
    split: Splitter, header: bytes, text: str
) -> None:
    assert violation(split, raw_frame(header, b"body", 1)) == text


@encoders
def test_a_binary_header_cannot_carry_a_pop_code(encode_head: Callable[[Command], bytes]) -> None:
    request = Command.request(200050, serialize_type=SerializeType.ROCKETMQ)
    with pytest.raises(ValueError, match=r"code 200050: a ROCKETMQ header carries -32768..32767"):
        encode_head(request)


@encoders
def test_a_name_too_long_for_the_binary_form_is_refused(
    encode_head: Callable[[Command], bytes],
) -> None:
    request = Command.request(1, {"n" * 32768: ""}, serialize_type=SerializeType.ROCKETMQ)
    with pytest.raises(ValueError, match="header field name of 32768 bytes"):
        encode_head(request)


@encoders
def test_a_header_beyond_24_bits_is_refused(encode_head: Callable[[Command], bytes]) -> None:
    with pytest.raises(ValueError, match="a frame carries 16777215"):
        encode_head(Command.request(1, {"k": "x" * (1 << 24)}))


def test_both_twins_know_the_same_languages() -> None:
    for language in LanguageCode:
        for serialize_type in SerializeType:
            command = Command(1, language=language, serialize_type=serialize_type)
            assert native.split(native.encode_head(command)).commands == [command]


@both
def test_headers_of_one_kind_do_not_share_their_fields(split: Splitter) -> None:
    """The native twin copies the shape of an earlier header; nothing else may come along."""
    texts = ["a1b2", "a3c4", "a5b6", "b7a8"]
    shapes = [{text[0]: text[1], text[2]: text[3]} for text in texts]
    commands = [Command.request(310, shape) for shape in shapes]
    found = split(b"".join(map(frame.encode, commands))).commands
    assert [command.ext for command in found] == shapes
    assert [list(command.ext) for command in found] == [list(shape) for shape in shapes]
    found[0].ext["a"] = "changed"
    found[0].ext["new"] = "x"
    assert split(b"".join(map(frame.encode, commands))).commands == commands
    repeated = split(raw_frame('{"code":310,"extFields":{"a":"1","a":"2"}}')).commands
    assert repeated[0].ext == {"a": "2"}
