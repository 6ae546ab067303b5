"""Removing the oldest segments: what both engines promise, what the native one does to files."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from pyromq.errors import StoreFailed
from pyromq.store.engine import Boundary, Engine, LogSegment, ReadStatus
from pyromq.units import LogOffset, QueueOffset
from tests.support.engines import ENGINE_KINDS, batch, open_engine, put, put_batch, read

SEGMENT_SIZE = 64 << 10
NOW = 1_700_000_000_000
BODY = b"x" * 1000
WAIT_S = 10


@pytest.fixture(params=ENGINE_KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def fill(engine: Engine, segments: int, *, topic: str = "TopicTest") -> int:
    """Messages, one per ms, until the log is so many segments long; returns how many."""
    count = 0
    while engine.positions().written < segments * SEGMENT_SIZE:
        put(engine, topic, body=BODY, now_ms=NOW + count, KEYS=f"k{count}")
        engine.write()
        count += 1
    return count


def noted(engine: Engine, kind: str, root: Path) -> Engine:
    """The native engine lets nothing go that its next start needs, which it notes now and then; a
    clean stop does so too."""
    if kind == "memory":
        return engine
    engine.close()
    return open_engine(kind, root)


def wait_for_removals(engine: Engine) -> None:
    """Until the engine's thread is done."""
    deadline = time.monotonic() + WAIT_S
    while engine.removals_left().left:
        assert time.monotonic() < deadline, engine.removals_left()
        os.sched_yield()


def oldest(engine: Engine) -> LogSegment:
    segment = engine.oldest_segment()
    assert segment is not None
    return segment


def test_queues_begin_with_the_first_message_that_is_left(kind: str, tmp_path: Path) -> None:
    engine = open_engine(kind, tmp_path)
    count = fill(engine, 3)
    engine = noted(engine, kind, tmp_path)
    assert (oldest(engine).log_offset, oldest(engine).end) == (0, SEGMENT_SIZE)
    assert engine.remove_segment(LogOffset(0))

    assert engine.log_min() == SEGMENT_SIZE
    first, end = engine.queue_range("TopicTest", 0)
    assert 0 < first < count == end
    below = read(engine, first - 1)
    assert (below.status, below.next_offset) == (ReadStatus.OFFSET_TOO_SMALL, first)
    assert (below.min_offset, below.max_offset) == (first, end)
    found = read(engine, first, count=1)
    assert int.from_bytes(found.body[28:36]) == SEGMENT_SIZE
    assert engine.store_time("TopicTest", 0, QueueOffset(first - 1)) == -1
    assert engine.store_time("TopicTest", 0, first) == NOW + first
    assert engine.offset_by_time("TopicTest", 0, 0, Boundary.LOWER) == first
    assert engine.offset_by_time("TopicTest", 0, 0, Boundary.UPPER) == first
    assert engine.offset_by_time("TopicTest", 0, NOW + first + 3, Boundary.UPPER) == first + 3
    assert engine.record_at(LogOffset(0)) is None
    keys = [
        engine.query_key("TopicTest", f"k{n}", count_max=9, begin_ms=0, end_ms=NOW * 2).records
        for n in (0, first - 1, first)
    ]
    assert [len(records) for records in keys] == [0, 0, 1]
    assert put(engine).queue_offset == count


def test_the_segment_being_written_stays(kind: str, tmp_path: Path) -> None:
    engine = open_engine(kind, tmp_path)
    fill(engine, 2)
    engine = noted(engine, kind, tmp_path)
    while (segment := engine.oldest_segment()) is not None:
        assert engine.remove_segment(segment.log_offset)
    written = engine.positions().written
    # The last record, too, must be there for the next start.
    assert written - engine.log_min() <= 2 * SEGMENT_SIZE
    assert not engine.remove_segment(engine.log_min())
    first, end = engine.queue_range("TopicTest", 0)
    assert first < end
    assert read(engine, end - 1).message_count == 1


def test_only_the_oldest_segment_can_go(kind: str, tmp_path: Path) -> None:
    engine = open_engine(kind, tmp_path)
    fill(engine, 4)
    engine = noted(engine, kind, tmp_path)
    assert not engine.remove_segment(LogOffset(SEGMENT_SIZE))
    assert engine.log_min() == 0
    assert engine.remove_segment(LogOffset(0))
    assert not engine.remove_segment(LogOffset(0))
    assert engine.log_min() == SEGMENT_SIZE


def test_a_queue_of_which_nothing_is_left_keeps_its_end(kind: str, tmp_path: Path) -> None:
    engine = open_engine(kind, tmp_path)
    for _ in range(5):
        put(engine, "Quiet")
    fill(engine, 2)
    engine = noted(engine, kind, tmp_path)
    assert engine.remove_segment(LogOffset(0))
    assert engine.queue_range("Quiet", 0) == (5, 5)
    assert list(engine.queue_ids("Quiet")) == [0]
    assert read(engine, 0, "Quiet").status is ReadStatus.OFFSET_TOO_SMALL
    assert read(engine, 5, "Quiet").status is ReadStatus.OFFSET_OVERFLOW_ONE
    engine.remove_derived(0)
    wait_for_removals(engine)
    engine = noted(engine, kind, tmp_path)
    assert engine.queue_range("Quiet", 0) == (5, 5)
    assert put(engine, "Quiet").queue_offset == 5
    engine.write()
    assert read(engine, 5, "Quiet").message_count == 1


def test_appends_behind_a_limit_are_refused_with_its_reason(kind: str, tmp_path: Path) -> None:
    engine = open_engine(kind, tmp_path)
    end = put(engine).end
    engine.limit_appends(LogOffset(2 * end), "no room here")
    assert put(engine).end == 2 * end
    with pytest.raises(StoreFailed, match="no room here"):
        put(engine)
    with pytest.raises(StoreFailed, match="no room here"):
        put_batch(engine, batch((b"a", b""), (b"b", b"")))
    engine.write()
    assert engine.failure() is None
    assert read(engine).message_count == 2
    engine.limit_appends(LogOffset(2 * end), None)
    assert put(engine).queue_offset == 2


# --- files, so the native engine only ------------------------------------------------------------


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_files_whose_records_are_gone_go_too(tmp_path: Path) -> None:
    engine = open_engine("native", tmp_path)
    count = fill(engine, 8)  # 100 units in a queue file, 40 entries in an index file
    engine = noted(engine, "native", tmp_path)
    queue_dir, index_dir = tmp_path / "consumequeue/TopicTest/0", tmp_path / "index"
    queue_files, index_files = names(queue_dir), names(index_dir)
    for _ in range(5):
        assert engine.remove_segment(oldest(engine).log_offset)
    engine.remove_derived(0)
    wait_for_removals(engine)

    assert names(tmp_path / "commitlog")[0] == f"{5 * SEGMENT_SIZE:020}"
    first = engine.queue_range("TopicTest", 0).min_offset
    assert names(queue_dir) == queue_files[first // 100 :]
    assert 0 < len(names(index_dir)) < len(index_files)
    assert names(index_dir) == index_files[-len(names(index_dir)) :]
    records = engine.query_key(
        "TopicTest", f"k{first}", count_max=9, begin_ms=0, end_ms=NOW * 2
    ).records
    assert len(records) == 1

    engine = noted(engine, "native", tmp_path)
    assert engine.queue_range("TopicTest", 0) == (first, count)
    assert read(engine, first, count=1).message_count == 1
    engine.close()


@pytest.mark.parametrize("gone", ["segments", "queues", "index"])
def test_a_start_finds_its_way_after_a_stop_between_the_removals(gone: str, tmp_path: Path) -> None:
    """The order is segments, queue files, index files; killed after each."""
    engine = open_engine("native", tmp_path)
    count = fill(engine, 8)
    engine.close()
    for name in names(tmp_path / "commitlog")[:5]:
        (tmp_path / "commitlog" / name).unlink()
    if gone != "segments":
        (tmp_path / "consumequeue/TopicTest/0" / f"{0:020}").unlink()
    if gone == "index":
        (tmp_path / "index" / names(tmp_path / "index")[0]).unlink()
    (tmp_path / "abort").write_text("1")

    engine = open_engine("native", tmp_path)
    assert engine.log_min() == 5 * SEGMENT_SIZE
    first, end = engine.queue_range("TopicTest", 0)
    assert (read(engine, first, count=1).message_count, end) == (1, count)
    assert int.from_bytes(read(engine, first, count=1).body[28:36]) == 5 * SEGMENT_SIZE
    found = engine.query_key(
        "TopicTest", f"k{first}", count_max=9, begin_ms=0, end_ms=NOW * 2
    ).records
    assert len(found) == 1
    engine.close()


def test_a_segment_that_cannot_be_removed_is_tried_again_before_the_next(tmp_path: Path) -> None:
    engine = open_engine("native", tmp_path)
    fill(engine, 4)
    engine = noted(engine, "native", tmp_path)
    stubborn = tmp_path / "commitlog" / f"{0:020}"
    content = stubborn.read_bytes()
    stubborn.unlink()
    stubborn.mkdir()  # a directory cannot be unlinked, not even by root
    assert engine.remove_segment(LogOffset(0))
    assert engine.remove_segment(LogOffset(SEGMENT_SIZE))
    deadline = time.monotonic() + WAIT_S
    while engine.removals_left().failure is None:
        assert time.monotonic() < deadline
        os.sched_yield()
    assert engine.removals_left().left == 2
    assert f"{SEGMENT_SIZE:020}" in names(tmp_path / "commitlog")  # no hole in the log

    stubborn.rmdir()
    stubborn.write_bytes(content)
    wait_for_removals(engine)
    assert engine.removals_left().failure is None
    assert names(tmp_path / "commitlog")[0] == f"{2 * SEGMENT_SIZE:020}"
    engine.close()


def test_when_a_segment_was_written_last_is_the_time_of_its_file(tmp_path: Path) -> None:
    engine = open_engine("native", tmp_path)
    fill(engine, 2)
    engine = noted(engine, "native", tmp_path)
    os.utime(tmp_path / "commitlog" / f"{0:020}", (1_600_000_000, 1_600_000_000.25))
    assert oldest(engine).modified_ms == 1_600_000_000_250
    engine.close()


def test_a_topic_dropped_and_made_anew_keeps_its_files(tmp_path: Path) -> None:
    engine = open_engine("native", tmp_path)
    fill(engine, 8)
    engine = noted(engine, "native", tmp_path)
    for _ in range(5):
        assert engine.remove_segment(oldest(engine).log_offset)
    engine.remove_derived(0)
    engine.drop_topic("TopicTest")
    put(engine, body=b"new")
    engine.write()
    wait_for_removals(engine)
    engine.close()
    engine = open_engine("native", tmp_path)
    assert engine.queue_range("TopicTest", 0) == (0, 1)
    assert b"new" in read(engine).body
    engine.close()
