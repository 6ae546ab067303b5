"""Typed headers: every header type, and the rules by which text becomes values."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from pyromq.codes import RequestCode
from pyromq.errors import RequestFailed
from pyromq.wire.remoting import fields, native
from pyromq.wire.remoting.headers import (
    REQUEST_HEADERS,
    RESPONSE_HEADERS,
    decode_header,
    encode_ext,
)
from pyromq.wire.remoting.headers.clients import HeartbeatResponse, UnregisterClientHeader
from pyromq.wire.remoting.headers.namesrv import BrokerHeartbeatHeader, RegisterBrokerHeader
from pyromq.wire.remoting.headers.offsets import BoundaryType, MaxOffsetHeader, SearchOffsetHeader
from pyromq.wire.remoting.headers.pull import PullFlag, PullHeader, PullResponse
from pyromq.wire.remoting.headers.query import QueryMessageHeader
from pyromq.wire.remoting.headers.send import SendHeader, SendHeaderV2, SendResponse
from tests.unit.wire.samples import SEND_EXT

ALL_TYPES = sorted(
    {*REQUEST_HEADERS.values(), *RESPONSE_HEADERS.values()}, key=lambda header: header.__name__
)
encoders = pytest.mark.parametrize("encode", [fields.encode_ext, native.encode_ext])

NUMBERS_OF_THE_ISSUE = {
    10, 310, 320, 11, 361, 12, 14, 15, 17, 21, 29, 30, 31, 32, 33, 34, 35, 38, 40, 100, 101, 102,
    103, 104, 105, 201, 202, 203, 204, 205, 207, 215, 216, 217, 219, 224, 322, 327, 351, 352, 901,
    905,
}  # fmt: skip


def sample(header_type: type[msgspec.Struct], number: int) -> dict[str, str]:
    """A value for every field, by its type."""
    texts: dict[str, str] = {}
    for info in msgspec.structs.fields(header_type):
        text = str(info.type)
        if "bool" in text:
            texts[info.encode_name] = "true" if number % 2 else "false"
        elif "int" in text:
            texts[info.encode_name] = str(number)
        elif "Boundary" in text:
            texts[info.encode_name] = "UPPER"
        else:
            texts[info.encode_name] = f"text{number}"
    return texts


def test_every_code_with_fields_has_its_header() -> None:
    assert set(REQUEST_HEADERS) >= NUMBERS_OF_THE_ISSUE


@encoders
@pytest.mark.parametrize("header_type", ALL_TYPES, ids=lambda header: header.__name__)
def test_all_fields_of_every_header_survive_both_ways(
    encode: Any, header_type: type[msgspec.Struct]
) -> None:
    for number in (0, 1, -1, 2**31 - 1, -(2**31)):
        ext = sample(header_type, number)
        header = decode_header(header_type, ext)
        assert encode(header) == ext
        assert decode_header(header_type, {**ext, "lo": "true", "ns": "x"}) == header


@pytest.mark.parametrize("header_type", ALL_TYPES, ids=lambda header: header.__name__)
def test_a_missing_required_field_is_named(header_type: type[msgspec.Struct]) -> None:
    full = sample(header_type, 1)
    for info in msgspec.structs.fields(header_type):
        ext = {name: text for name, text in full.items() if name != info.encode_name}
        if info.required:
            message = f"{header_type.__name__}: the custom field <{info.encode_name}> is null"
            with pytest.raises(RequestFailed, match=message):
                decode_header(header_type, ext)
        else:
            decode_header(header_type, ext)


def test_a_send_decodes_from_one_letter_names() -> None:
    header = decode_header(SendHeaderV2, SEND_EXT)
    assert header.producer_group == "PG2"
    assert header.topic == "TopicTest"
    assert header.default_topic_queue_nums == 4
    assert header.born_timestamp == 1795222505090
    assert header.batch is False
    assert header.max_reconsume_times is None
    assert header.broker_name == "broker-a"


def test_both_send_headers_have_the_same_attributes() -> None:
    assert set(SendHeader.__struct_fields__) | {"broker_name"} == set(
        SendHeaderV2.__struct_fields__
    )


def test_inherited_spellings_are_on_the_wire_only() -> None:
    assert "proxyFrowardClientId" in PullHeader.__struct_encode_fields__
    assert "clientID" in UnregisterClientHeader.__struct_encode_fields__
    assert "heartbeatTimeoutMills" in BrokerHeartbeatHeader.__struct_encode_fields__
    assert "bodyCrc32" in RegisterBrokerHeader.__struct_encode_fields__
    assert "_UNIQUE_KEY_QUERY" in QueryMessageHeader.__struct_encode_fields__
    assert encode_ext(HeartbeatResponse()) == {
        "IS_SUPPORT_HEART_BEAT_V2": "true",
        "IS_SUB_CHANGE": "true",
    }


@pytest.mark.parametrize(
    ("text", "value"), [("5", 5), ("-5", -5), ("+5", 5), ("0005", 5), ("-0", 0), ("+0", 0)]
)
def test_numbers_are_read_as_java_reads_them(text: str, value: int) -> None:
    assert decode_header(MaxOffsetHeader, {"topic": "t", "queueId": text}).queue_id == value


@pytest.mark.parametrize("text", ["", " 5", "5 ", "0x5", "five", "5l", "2147483648", "-2147483649",
                                  "9" * 30, "9" * 5000, "1_0", "٣", "NaN"])  # fmt: skip
def test_what_is_no_32_bit_number_is_refused_by_name_and_value(text: str) -> None:
    with pytest.raises(RequestFailed) as refused:
        decode_header(MaxOffsetHeader, {"topic": "t", "queueId": text})
    message = str(refused.value)
    assert message.startswith("MaxOffsetHeader: the custom field <queueId> has the value ")
    assert repr(text[:64]) in message
    assert len(message) < 250


def test_64_bit_fields_take_what_32_bit_fields_do_not() -> None:
    ext = {"topic": "t", "queueId": "0", "timestamp": str(2**63 - 1)}
    assert decode_header(SearchOffsetHeader, ext).timestamp == 2**63 - 1
    with pytest.raises(RequestFailed, match="timestamp"):
        decode_header(SearchOffsetHeader, {**ext, "timestamp": str(2**63)})


@pytest.mark.parametrize(
    ("text", "value"),
    [("true", True), ("TRUE", True), ("True", True), ("false", False), ("1", False), ("", False),
     ("yes", False), ("null", False)],
)  # fmt: skip
def test_booleans_are_read_as_java_reads_them(text: str, value: bool) -> None:
    header = decode_header(MaxOffsetHeader, {"topic": "t", "queueId": "0", "committed": text})
    assert header.committed is value


def test_text_that_looks_like_another_type_stays_text() -> None:
    for text in ("null", "true", "17", ""):
        header = decode_header(MaxOffsetHeader, {"topic": text, "queueId": "0"})
        assert header.topic == text
        assert encode_ext(header)["topic"] == text


@pytest.mark.parametrize(
    ("text", "boundary"),
    [("lower", BoundaryType.LOWER), ("UPPER", BoundaryType.UPPER), ("uPPer", BoundaryType.UPPER),
     ("other", BoundaryType.LOWER), ("", BoundaryType.LOWER)],
)  # fmt: skip
def test_the_boundary_in_any_case(text: str, boundary: BoundaryType) -> None:
    ext = {"topic": "t", "queueId": "0", "timestamp": "1", "boundaryType": text}
    assert decode_header(SearchOffsetHeader, ext).boundary_type is boundary


@encoders
def test_what_is_none_is_left_out_and_flags_are_numbers(encode: Any) -> None:
    response = SendResponse(msg_id="7F", queue_id=1, queue_offset=2**40)
    assert encode(response) == {"msgId": "7F", "queueId": "1", "queueOffset": str(2**40)}
    pull = PullHeader(
        consumer_group="g",
        topic="t",
        queue_id=0,
        queue_offset=0,
        max_msg_nums=32,
        sys_flag=PullFlag.COMMIT_OFFSET | PullFlag.SUSPEND,
    )
    assert encode(pull)["sysFlag"] == "3"
    search = SearchOffsetHeader(
        topic="t", queue_id=0, timestamp=1, boundary_type=BoundaryType.UPPER
    )
    assert encode(search)["boundaryType"] == "UPPER"


@encoders
def test_a_value_no_header_field_holds_is_a_programming_error(encode: Any) -> None:
    class Odd(msgspec.Struct):
        value: Any

    with pytest.raises(TypeError, match="no header field holds a list"):
        encode(Odd([1]))
    assert encode(Odd(2**70)) == {"value": str(2**70)}


def test_a_captured_pull_and_its_answer() -> None:
    request = decode_header(
        PullHeader,
        {"queueId": "3", "maxMsgBytes": "262144", "maxMsgNums": "32", "sysFlag": "2",
         "suspendTimeoutMillis": "15000", "commitOffset": "0", "bname": "broker-a",
         "topic": "TopicTest", "queueOffset": "0", "expressionType": "TAG",
         "subVersion": "1795222506472", "consumerGroup": "CG2"},
    )  # fmt: skip
    assert (request.queue_id, request.max_msg_bytes, request.sub_version) == (
        3, 262144, 1795222506472,
    )  # fmt: skip
    response = PullResponse(
        suggest_which_broker_id=0, next_begin_offset=2, min_offset=0, max_offset=2,
        topic_sys_flag=0, group_sys_flag=0,
    )  # fmt: skip
    assert encode_ext(response) == {
        "suggestWhichBrokerId": "0", "groupSysFlag": "0", "nextBeginOffset": "2",
        "maxOffset": "2", "minOffset": "0", "topicSysFlag": "0",
    }  # fmt: skip


def test_the_table_knows_requests_by_plain_number() -> None:
    assert REQUEST_HEADERS[310] is REQUEST_HEADERS[RequestCode.SEND_MESSAGE_V2]
