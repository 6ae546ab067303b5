"""Records, properties, ids, hosts, by the reference and its native twin."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from pyromq.errors import InvalidParameter, MessageIllegal
from pyromq.units import LogOffset, QueueOffset
from pyromq.wire import record
from pyromq.wire.record import Record
from pyromq.wire.remoting import native

decoders = pytest.mark.parametrize("decode", [record.decode_records, native.decode_records])

VECTOR = bytes.fromhex(
    "0000007edaa320a777d189820000000300000000000000000000002a00000000000003e800000000"
    "0000018bcfe568000a000001000004d20000018bcfe568017f00000100002a9f000000000000000000000000"
    "0000000548656c6c6f09546f70696354657374"
    "00154b455953016b31206b320254414753015461674102"
)
RECORD = Record(
    topic="TopicTest",
    body=b"Hello",
    queue_id=3,
    queue_offset=QueueOffset(42),
    log_offset=LogOffset(1000),
    born_timestamp_ms=1700000000000,
    born_host=record.encode_host("10.0.0.1", 1234),
    store_timestamp_ms=1700000000001,
    store_host=record.encode_host("127.0.0.1", 10911),
    properties=b"KEYS\x01k1 k2\x02TAGS\x01TagA\x02",
    body_crc=2010220930,
)
V6 = record.encode_host("2001:db8::1", 65535)

Decode = Callable[[bytes], list[Record]]


@decoders
def test_the_reference_record_is_read(decode: Decode) -> None:
    assert decode(VECTOR) == [RECORD]
    assert decode(VECTOR * 3) == [RECORD] * 3
    assert decode(b"") == []


def test_the_reference_record_is_written_byte_for_byte() -> None:
    assert record.encode_record(RECORD) == VECTOR
    assert record.encode_record(msgspec.structs.replace(RECORD, body_crc=None)) == VECTOR


@decoders
@pytest.mark.parametrize("topic", ["", "t" * 127, "t" * 128, "t" * 255, "%RETRY%" + "中" * 50])
@pytest.mark.parametrize("born_host", [bytes(8), V6])
@pytest.mark.parametrize("store_host", [bytes(8), V6])
def test_both_versions_and_both_address_families(
    decode: Decode, topic: str, born_host: bytes, store_host: bytes
) -> None:
    stored = msgspec.structs.replace(
        RECORD, topic=topic, born_host=born_host, store_host=store_host, sys_flag=0x331
    )
    data = record.encode_record(stored)
    flags = 0x301 | (0x10 if born_host == V6 else 0) | (0x20 if store_host == V6 else 0)
    assert decode(data) == [msgspec.structs.replace(stored, sys_flag=flags)]
    magic = int.from_bytes(data[4:8], signed=True)
    assert magic == (record.MAGIC_V1 if len(topic.encode()) <= 127 else record.MAGIC_V2)


@pytest.mark.parametrize("topic", ["", "t" * 127, "t" * 128, "%RETRY%" + "中" * 50])
@pytest.mark.parametrize("born_host", [bytes(8), V6])
@pytest.mark.parametrize("store_host", [bytes(8), V6])
@pytest.mark.parametrize("body", [b"", b"x" * 100_000])
def test_the_content_of_a_record_is_what_another_record_keeps_of_it(
    topic: str, born_host: bytes, store_host: bytes, body: bytes
) -> None:
    stored = msgspec.structs.replace(
        RECORD,
        topic=topic,
        body=body,
        born_host=born_host,
        store_host=store_host,
        flag=-7,
        sys_flag=0x301,
        reconsume_times=3,
        properties=bytes(32_767),
        body_crc=None,
    )
    data = VECTOR + record.encode_record(stored)
    end, flag, sys_flag, born_ms, host, store_ms, times, content, properties = record.content_at(
        data, memoryview(data), len(VECTOR)
    )
    decoded = record.decode_record(data[len(VECTOR) :])
    assert end == len(data)
    assert (flag, sys_flag) == (decoded.flag, decoded.sys_flag)
    assert (born_ms, host) == (decoded.born_timestamp_ms, decoded.born_host)
    assert (store_ms, times) == (decoded.store_timestamp_ms, decoded.reconsume_times)
    assert (bytes(content), properties) == (decoded.body, decoded.properties)


@pytest.mark.parametrize("topic", ["TopicTest", "t" * 128])
def test_the_content_of_a_record_with_a_damaged_body_is_refused(topic: str) -> None:
    stored = msgspec.structs.replace(RECORD, topic=topic, body=b"body", body_crc=None)
    data = record.encode_record(stored)
    at = data.index(b"body")
    damaged = data[:at] + b"\x63" + data[at + 1 :]
    with pytest.raises(MessageIllegal, match="its CRC does not fit"):
        record.content_at(damaged, memoryview(damaged), 0)


def test_the_content_of_a_record_that_is_none_is_refused() -> None:
    cut = [VECTOR[:end] for end in range(len(VECTOR))]
    changed = [VECTOR[:at] + b"\xff" + VECTOR[at + 1 :] for at in (0, 4, 39, 84, 93, 103)]
    for data in [*cut, *changed]:
        with pytest.raises(MessageIllegal):
            record.content_at(data, memoryview(data), 0)


@decoders
def test_a_record_cut_anywhere_is_refused(decode: Decode) -> None:
    for end in range(1, len(VECTOR)):
        with pytest.raises(MessageIllegal):
            decode(VECTOR[:end])


@decoders
@pytest.mark.parametrize(
    ("place", "value", "text"),
    [
        (0, -1, "record size -1"),
        (0, 90, "record size 90"),
        (0, 125, "bytes where|size 125"),
        (0, 127, "record size 127 where 126 bytes follow"),
        (4, record.MAGIC_BLANK, "record magic 0xcbd43194 is unknown"),
        (84, -1, "part of -1 bytes"),
        (84, 0x7FFFFFFF, "part of 2147483647 bytes"),
        (84, 4, "part of"),
    ],
)
def test_a_lying_length_is_refused(decode: Decode, place: int, value: int, text: str) -> None:
    data = VECTOR[:place] + value.to_bytes(4, signed=True) + VECTOR[place + 4 :]
    with pytest.raises(MessageIllegal, match=text):
        decode(data)


@decoders
def test_a_record_longer_than_its_parts_is_refused(decode: Decode) -> None:
    data = (127).to_bytes(4) + VECTOR[4:] + b"x"
    with pytest.raises(MessageIllegal, match="record size 127 where its parts take 126"):
        decode(data)


@decoders
def test_invalid_utf8_in_a_topic_is_replaced(decode: Decode) -> None:
    data = VECTOR.replace(b"TopicTest", b"Topic\xff\xfest")
    assert decode(data)[0].topic == "Topic��st"


def test_one_record_and_nothing_more() -> None:
    assert record.decode_record(VECTOR) == RECORD
    with pytest.raises(MessageIllegal, match="record of 126 bytes in 127"):
        record.decode_record(VECTOR + b"x")


def test_properties_and_topics_over_the_limit_are_not_written() -> None:
    with pytest.raises(MessageIllegal, match="properties of 32768 bytes"):
        record.encode_record(Record("t", b"", properties=bytes(32768)))
    with pytest.raises(MessageIllegal, match="topic of 32768 bytes"):
        record.encode_record(Record("t" * 32768, b""))


@pytest.mark.parametrize(
    ("text", "properties"),
    [
        ("", {}),
        ("a\x01b\x02", {"a": "b"}),
        ("a\x01b", {"a": "b"}),
        ("a\x01\x02b\x01c\x02", {"b": "c"}),
        ("\x01x\x02b\x01c\x02", {"b": "c"}),
        ("ab\x02b\x01c\x02\x02\x02", {"b": "c"}),
        ("a\x01b\x01c\x02", {"a": "b\x01c"}),
        ("a\x01b\x02a\x01c\x02", {"a": "c"}),
        ("KEYS\x01k1 k2\x02", {"KEYS": "k1 k2"}),
    ],
)
def test_properties_are_read_as_java_reads_them(text: str, properties: dict[str, str]) -> None:
    assert record.parse_properties(text) == properties


def test_properties_are_written_with_both_separators() -> None:
    assert record.properties_text({"KEYS": "k1 k2", "TAGS": "TagA"}) == (
        "KEYS\x01k1 k2\x02TAGS\x01TagA\x02"
    )


@pytest.mark.parametrize(
    ("tag", "code"), [("TagA", 2598919), ("TagB", 2598920), ("中文", 646394), ("", 0)]
)
def test_the_tag_hash_is_javas(tag: str, code: int) -> None:
    assert record.tag_hash(tag) == code


def test_message_ids_of_both_families() -> None:
    assert RECORD.message_id == "7F00000100002A9F00000000000003E8"
    for host in (RECORD.store_host, V6):
        message_id = record.encode_message_id(host, 2**62)
        assert record.decode_message_id(message_id) == (host, 2**62)
        assert record.decode_message_id(message_id.lower()) == (host, 2**62)


@pytest.mark.parametrize("text", ["", "7F", "x" * 32, "7F" * 15, "7F " * 16, "7F" * 20, "7F" * 999])
def test_what_is_no_message_id_is_refused(text: str) -> None:
    with pytest.raises(InvalidParameter, match="is not the hex of"):
        record.decode_message_id(text)


@pytest.mark.parametrize(("ip", "size"), [("10.0.0.1", 8), ("2001:db8::1", 20)])
def test_hosts_of_both_families(ip: str, size: int) -> None:
    host = record.encode_host(ip, 1234)
    assert len(host) == size
    assert record.decode_host(host) == (ip, 1234)
