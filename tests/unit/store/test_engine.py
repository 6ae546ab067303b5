"""The engine contract: what both engines must do, one test over both."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from pyromq.errors import MessageIllegal
from pyromq.store.engine import Boundary, Engine, ReadStatus
from pyromq.units import LogOffset, QueueOffset
from tests.support.engines import (
    BORN_HOST_V6,
    ENGINE_KINDS,
    batch,
    open_engine,
    put,
    put_batch,
    read,
    settle,
    split_records,
)

TAG_A = 2598919
TAG_B = 2598920
NOW = 1_700_000_000_000


@pytest.fixture(params=ENGINE_KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def engine(kind: str, tmp_path: Path) -> Engine:
    return open_engine(kind, tmp_path / "store")


def test_record_has_the_bytes_of_the_reference_classes(kind: str, tmp_path: Path) -> None:
    engine = open_engine(kind, tmp_path / "store")
    for _ in range(42):
        put(engine, "TopicTest", 3, b"", now_ms=1)
    engine.append(
        "TopicTest",
        3,
        b"Hello",
        b"KEYS\x01k1 k2\x02TAGS\x01TagA\x02",
        flag=0,
        sys_flag=0,
        born_timestamp_ms=NOW,
        born_host=bytes([10, 0, 0, 1, 0, 0, 4, 210]),
        reconsume_times=0,
        prepared_transaction_offset=0,
        now_ms=NOW + 1,
    )
    engine.write()
    found = read(engine, 42, queue_id=3)
    log_offset = 42 * (91 + len("TopicTest"))
    assert found.body.hex() == (
        "0000007edaa320a777d189820000000300000000000000000000002a"
        + f"{log_offset:016x}"
        + "000000000000018bcfe568000a000001000004d20000018bcfe568017f00000100002a9f"
        "0000000000000000000000000000000548656c6c6f09546f706963546573740015"
        "4b455953016b31206b320254414753015461674102"
    )


def test_nothing_is_readable_before_the_turn_is_written(engine: Engine) -> None:
    appended = put(engine)
    assert engine.positions().appended == appended.end
    assert engine.positions().commit == 0
    assert read(engine).status is ReadStatus.NO_MESSAGE_IN_QUEUE
    assert engine.queue_range("TopicTest", 0) == (0, 0)
    assert engine.record_at(LogOffset(0)) is None
    assert engine.take_arrivals() == []

    engine.write()
    assert engine.positions().commit == appended.end
    assert read(engine).message_count == 1
    assert engine.queue_range("TopicTest", 0) == (0, 1)
    assert engine.take_arrivals() == [("TopicTest", 0, 1)]
    assert engine.take_arrivals() == []


async def test_with_sync_flush_nothing_is_readable_before_the_sync(
    kind: str, tmp_path: Path
) -> None:
    engine = open_engine(kind, tmp_path / "store", sync_flush=True)
    appended = put(engine)
    await settle(engine)
    assert engine.positions() == (appended.end,) * 4
    assert read(engine).message_count == 1
    engine.close()


def test_queue_offsets_count_per_topic_and_queue(engine: Engine) -> None:
    offsets = [
        put(engine, topic, queue_id).queue_offset
        for topic, queue_id in [("A", 0), ("A", 0), ("A", 1), ("B", 0), ("A", 0)]
    ]
    assert offsets == [0, 1, 0, 0, 2]
    engine.write()
    assert list(engine.queue_ids("A")) == [0, 1]
    assert list(engine.queue_ids("C")) == []


def test_store_time_never_decreases(engine: Engine) -> None:
    times = [put(engine, now_ms=now).store_timestamp_ms for now in (NOW, NOW - 5, NOW + 1)]
    assert times == [NOW, NOW, NOW + 1]
    engine.write()
    assert [engine.store_time("TopicTest", 0, QueueOffset(n)) for n in (0, 1, 2, 3)] == [*times, -1]


@pytest.mark.parametrize(
    ("offset", "status", "next_offset"),
    [
        (-1, ReadStatus.OFFSET_TOO_SMALL, 0),
        (0, ReadStatus.FOUND, 3),
        (2, ReadStatus.FOUND, 3),
        (3, ReadStatus.OFFSET_OVERFLOW_ONE, 3),
        (4, ReadStatus.OFFSET_OVERFLOW_BADLY, 3),
    ],
)
def test_read_answers_offsets_outside_the_queue_as_apache(
    engine: Engine, offset: int, status: ReadStatus, next_offset: int
) -> None:
    for _ in range(3):
        put(engine)
    engine.write()
    found = read(engine, offset)
    assert (found.status, found.next_offset) == (status, next_offset)
    assert (found.min_offset, found.max_offset) == (0, 3)


def test_unknown_queue_reads_as_an_empty_one(engine: Engine) -> None:
    found = read(engine, 7, "Nobody")
    assert (found.status, found.next_offset) == (ReadStatus.NO_MESSAGE_IN_QUEUE, 0)


def test_read_stops_at_the_count_and_at_the_size(engine: Engine) -> None:
    for _ in range(10):
        put(engine, body=bytes(100))
    engine.write()
    assert read(engine, count=4).next_offset == 4
    size = len(read(engine, count=1).body)
    assert read(engine, size=3 * size).message_count == 3
    assert read(engine, size=3 * size - 1).message_count == 2
    assert read(engine, size=1).message_count == 1


def test_read_with_tags_returns_only_their_records_and_goes_on_behind_the_others(
    engine: Engine,
) -> None:
    for tag in ("TagA", "TagB", "TagB", "TagA", "TagB"):
        put(engine, TAGS=tag)
    put(engine)
    engine.write()
    found = read(engine, tags=[TAG_A])
    assert (found.status, found.message_count, found.next_offset) == (ReadStatus.FOUND, 2, 6)
    nothing = read(engine, 4, tags=[TAG_A])
    assert (nothing.status, nothing.next_offset) == (ReadStatus.NO_MATCHED_MESSAGE, 6)
    assert read(engine, tags=[]).status is ReadStatus.NO_MATCHED_MESSAGE
    assert read(engine, tags=[0]).next_offset == 6
    assert read(engine, tags=[TAG_A, TAG_B, 0]).message_count == 6


def test_read_with_tags_scans_800_entries_or_as_many_as_asked_for(
    kind: str, tmp_path: Path
) -> None:
    engine = open_engine(kind, tmp_path / "store", segment_size=1 << 20)
    for _ in range(1000):
        put(engine, body=b"")
    put(engine, body=b"", TAGS="TagA")
    engine.write()
    assert read(engine, tags=[TAG_A]).next_offset == 800
    assert read(engine, 800, tags=[TAG_A]).message_count == 1
    assert read(engine, count=900, tags=[TAG_A]).next_offset == 900


def test_a_message_that_does_not_fit_goes_to_the_next_segment(engine: Engine) -> None:
    ends = [put(engine, body=bytes(5000)) for _ in range(20)]
    engine.write()
    begins = [one.log_offset for one in ends]
    size = ends[0].end
    per_segment = ((64 << 10) - 8) // size
    assert begins[per_segment] == 64 << 10
    assert engine.record_at(begins[per_segment]) is not None
    assert engine.record_at(ends[per_segment - 1].end) is None  # the blank record is none
    assert len(split_records(read(engine).body)) == 20


def test_a_message_that_just_leaves_room_for_a_blank_stays_in_its_segment(
    kind: str, tmp_path: Path
) -> None:
    size = 91 + len("TopicTest") + 500
    roomy = open_engine(kind, tmp_path / "roomy", segment_size=2 * size + 8)
    tight = open_engine(kind, tmp_path / "tight", segment_size=2 * size + 7)
    assert [put(roomy, body=bytes(500)).log_offset for _ in range(2)] == [0, size]
    assert [put(tight, body=bytes(500)).log_offset for _ in range(2)] == [0, 2 * size + 7]


def test_batch_items_are_consecutive_and_share_a_segment(engine: Engine) -> None:
    put(engine)
    appended, log_offsets = put_batch(engine, batch((b"a", b""), (b"bb", b"TAGS\x01TagA\x02")))
    engine.write()
    assert appended.queue_offset == 1
    assert appended.log_offset == log_offsets[0]
    records = split_records(read(engine, 1).body)
    assert [engine.record_at(offset) for offset in log_offsets] == records
    assert appended.end == log_offsets[1] + len(records[1])
    assert read(engine, tags=[TAG_A]).message_count == 1

    big = batch(*[(bytes(3000), b"")] * 5)
    for _ in range(10):
        _, places = put_batch(engine, big)
        assert places[0] >> 16 == places[-1] >> 16


@pytest.mark.parametrize(
    "bad",
    [
        b"",
        batch((b"abc", b""))[:-1],
        batch((b"abc", b"")) + b"\0",
        batch((b"abc", b"")) + batch((b"x", b""))[:21],
        struct.pack(">iiiii", 22, 0, 0, 0, -1) + b"\0\0",
        struct.pack(">iiiii", 22, 0, 0, 0, 0x7FFFFFFF) + b"\0\0",
        struct.pack(">iiiii", 22, 0, 0, 0, 0) + b"\xff\xff",
        struct.pack(">iiiii", 22, 0, 0, 0, 0) + b"\x7f\xff",
    ],
)
def test_a_batch_that_does_not_parse_to_its_last_byte_is_refused_whole(
    engine: Engine, bad: bytes
) -> None:
    good = batch((b"first", b""))
    for encoded in (bad, good + bad if bad else bad):
        with pytest.raises(MessageIllegal):
            put_batch(engine, encoded)
    assert engine.positions().appended == 0
    assert put(engine).queue_offset == 0


def test_limits_are_inclusive(kind: str, tmp_path: Path) -> None:
    engine = open_engine(kind, tmp_path / "store", message_size_max=1000, segment_size=128 << 10)
    put(engine, body=bytes(1000), stored_properties=bytes(32_767))
    with pytest.raises(MessageIllegal):
        put(engine, body=bytes(1001))
    with pytest.raises(MessageIllegal):
        put(engine, stored_properties=bytes(32_768))
    with pytest.raises(MessageIllegal):
        put_batch(engine, batch((bytes(979), b"")))
    put_batch(engine, batch((bytes(978), b"")))


def test_a_record_larger_than_a_segment_is_refused(kind: str, tmp_path: Path) -> None:
    engine = open_engine(kind, tmp_path / "store", segment_size=4096)
    put(engine, body=bytes(4096 - 8 - 100))
    with pytest.raises(MessageIllegal):
        put(engine, body=bytes(4096 - 7 - 100))
    assert engine.positions().appended == 4096 - 8


@pytest.mark.parametrize(("sys_flag", "is_queued"), [(0x4, False), (0x8, True), (0xC, False)])
def test_half_and_rolled_back_messages_enter_no_queue(
    engine: Engine, sys_flag: int, is_queued: bool
) -> None:
    put(engine)
    appended = put(engine, sys_flag=sys_flag, KEYS="k")
    engine.write()
    assert appended.queue_offset == int(is_queued)
    assert engine.queue_range("TopicTest", 0).max_offset == 1 + is_queued
    assert engine.record_at(appended.log_offset) is not None
    found = engine.query_key("TopicTest", "k", count_max=9, begin_ms=0, end_ms=NOW * 2)
    assert len(found.records) == (sys_flag != 0xC)


def test_long_topic_and_ipv6_host_change_the_record(engine: Engine) -> None:
    put(engine, "T" * 128, body=b"", sys_flag=0x20, born_host=BORN_HOST_V6)
    engine.write()
    record = engine.record_at(LogOffset(0))
    assert record is not None
    assert len(record) == 92 + 12 + 128
    assert record[4:8].hex() == "daa320ab"
    assert int.from_bytes(record[36:40], "big") == 0x10


@pytest.mark.parametrize(
    ("level", "deliver_after_ms"), [("1", 1000), ("3", 10_000), ("99", 10_000)]
)
def test_schedule_topic_queues_carry_the_deliver_time(
    engine: Engine, level: str, deliver_after_ms: int
) -> None:
    deliver = NOW + deliver_after_ms
    low = (deliver + (1 << 31)) % (1 << 32) - (1 << 31)
    put(engine, "SCHEDULE_TOPIC_XXXX", DELAY=level, TAGS="TagA")
    engine.write()
    assert read(engine, 0, "SCHEDULE_TOPIC_XXXX", tags=[low]).message_count == 1
    assert read(engine, 0, "SCHEDULE_TOPIC_XXXX", tags=[TAG_A]).message_count == 0


def test_delay_level_counts_in_the_schedule_topic_only(engine: Engine) -> None:
    put(engine, DELAY="1", TAGS="TagA")
    put(engine, "SCHEDULE_TOPIC_XXXX", DELAY="0", TAGS="TagA")
    put(engine, "SCHEDULE_TOPIC_XXXX", DELAY="soon", TAGS="TagA")
    engine.write()
    assert read(engine, tags=[TAG_A]).message_count == 1
    assert read(engine, 0, "SCHEDULE_TOPIC_XXXX", tags=[TAG_A]).message_count == 2


@pytest.mark.parametrize(
    ("time", "lower", "upper"),
    [(NOW - 1, 0, 0), (NOW, 0, 1), (NOW + 5, 2, 1), (NOW + 10, 2, 3), (NOW + 11, 4, 3)],
)
def test_offset_by_time_takes_the_boundary(
    engine: Engine, time: int, lower: int, upper: int
) -> None:
    for now in (NOW, NOW, NOW + 10, NOW + 10):
        put(engine, now_ms=now)
    engine.write()
    assert engine.offset_by_time("TopicTest", 0, time, Boundary.LOWER) == lower
    assert engine.offset_by_time("TopicTest", 0, time, Boundary.UPPER) == upper


def test_offset_by_time_in_an_empty_queue_is_its_minimum(engine: Engine) -> None:
    assert engine.offset_by_time("TopicTest", 0, NOW, Boundary.LOWER) == 0
    assert engine.offset_by_time("TopicTest", 0, NOW, Boundary.UPPER) == 0


def test_keys_unique_key_and_tag_are_found_oldest_first(engine: Engine) -> None:
    first = put(engine, KEYS="k1 k2", UNIQ_KEY="u1", TAGS="TagA")
    second = put(engine, KEYS=" k2 ", now_ms=NOW + 3000)
    put(engine, "Other", KEYS="k2", now_ms=NOW + 3000)
    engine.write()

    def find(key: str, count: int = 32, begin: int = 0, end: int = NOW * 2) -> list[bytes]:
        found = engine.query_key("TopicTest", key, count_max=count, begin_ms=begin, end_ms=end)
        return found.records

    old, new = engine.record_at(first.log_offset), engine.record_at(second.log_offset)
    assert find("k2") == [old, new]
    assert find("k2", count=1) == [new]
    assert find("k1") == find("u1") == find("T#TagA") == [old]
    assert find("TagA") == []
    assert find("k2", begin=NOW + 2000) == [new]
    assert find("k2", end=NOW + 2000) == [old]


@pytest.mark.parametrize(
    ("stored", "found"),
    [
        (b"KEYS\x01a", "a"),
        (b"KEYS\x01a\x02KEYS\x01b\x02", "b"),
        (b"KEYS\x01\x02KEYS\x01a\x02", "a"),
        (b"KEYS\x01a\x02KEYS\x01\x02", "a"),
        (b"\x01x\x02KEYS\x02KEYS\x01a\x02", "a"),
        (b"XKEYS\x01b\x02KEYS\x01a\x01b\x02", "a\x01b"),
        ("KEYS\x01ü😀\x02".encode(), "ü😀"),
        (b"KEYS\x01\xff\x02", "\ufffd"),
    ],
)
def test_properties_are_read_as_the_reference_reads_them(
    engine: Engine, stored: bytes, found: str
) -> None:
    put(engine, stored_properties=stored)
    engine.write()
    for key in ("a", "b", "a\x01b", "ü😀", "\ufffd"):
        query = engine.query_key("TopicTest", key, count_max=9, begin_ms=0, end_ms=NOW * 2)
        assert len(query.records) == (key == found)


def test_keys_are_found_across_index_files(engine: Engine) -> None:
    places = [put(engine, KEYS=f"k{n % 7}", now_ms=NOW + n * 1000) for n in range(200)]
    engine.write()
    found = engine.query_key("TopicTest", "k3", count_max=64, begin_ms=0, end_ms=NOW * 2)
    assert found.records == [engine.record_at(p.log_offset) for p in places[3::7]]
    assert found.index_last_timestamp_ms == NOW + 199_000
    assert found.index_last_log_offset == places[-1].log_offset


def test_index_can_be_switched_off(kind: str, tmp_path: Path) -> None:
    engine = open_engine(kind, tmp_path / "store", index_enabled=False)
    put(engine, KEYS="k")
    engine.write()
    found = engine.query_key("TopicTest", "k", count_max=9, begin_ms=0, end_ms=NOW * 2)
    assert found == ([], 0, 0)


def test_a_dropped_topic_starts_again_at_zero(engine: Engine) -> None:
    put(engine)
    put(engine, "Other")
    engine.write()
    engine.take_arrivals()
    engine.drop_topic("TopicTest")
    assert list(engine.queue_ids("TopicTest")) == []
    assert read(engine).status is ReadStatus.NO_MESSAGE_IN_QUEUE
    assert put(engine).queue_offset == 0
    engine.write()
    assert read(engine).message_count == 1
    assert engine.queue_range("Other", 0) == (0, 1)
    assert engine.take_arrivals() == [("TopicTest", 0, 1)]


def test_what_waits_for_its_commit_does_not_bring_a_dropped_topic_back(engine: Engine) -> None:
    put(engine)
    engine.drop_topic("TopicTest")
    put(engine, body=b"new")
    engine.write()
    found = read(engine)
    assert (found.message_count, found.max_offset) == (1, 1)
    assert b"new" in found.body


def test_writing_nothing_is_nothing(engine: Engine) -> None:
    engine.write()
    assert engine.positions() == (0, 0, 0, 0)
    assert engine.failure() is None
