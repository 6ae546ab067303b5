"""The memory twin: what only it has, the controls that stand for a disk."""

from __future__ import annotations

import pytest

from pyromq.errors import StoreFailed
from pyromq.store.engine import ReadStatus
from pyromq.store.memory import MemoryEngine
from pyromq.units import LogOffset
from tests.support.engines import put, read, settings


def test_sync_flush_commits_when_flushed_and_says_so() -> None:
    engine = MemoryEngine(settings(sync_flush=True))
    told: list[int] = []
    engine.on_progress(lambda: told.append(engine.positions().commit))
    end = put(engine).end
    engine.write()
    assert engine.positions() == (end, end, 0, 0)
    assert read(engine).status is ReadStatus.NO_MESSAGE_IN_QUEUE
    engine.flush()
    assert told == [end]
    assert read(engine).message_count == 1


def test_a_failed_write_gives_queue_and_log_offsets_again() -> None:
    engine = MemoryEngine(settings())
    put(engine, body=b"kept")
    engine.write()
    lost = put(engine, body=b"lost", now_ms=1_800_000_000_000)
    engine.fail_next_write("no space", is_final=False)
    with pytest.raises(StoreFailed, match="no space"):
        engine.write()
    assert engine.failure() is None
    again = put(engine, body=b"next")
    assert (again.queue_offset, again.log_offset) == (lost.queue_offset, lost.log_offset)
    assert again.store_timestamp_ms < lost.store_timestamp_ms
    engine.write()
    assert b"lost" not in read(engine).body
    assert read(engine).message_count == 2


def test_a_failed_write_takes_the_blank_record_back_too() -> None:
    engine = MemoryEngine(settings(segment_size=300))
    put(engine, body=bytes(100))
    engine.write()
    end = engine.positions().written
    put(engine, body=bytes(100))
    engine.fail_next_write("no space", is_final=False)
    with pytest.raises(StoreFailed):
        engine.write()
    assert engine.positions().appended == end


def test_a_failed_write_makes_the_store_read_only() -> None:
    engine = MemoryEngine(settings())
    put(engine)
    engine.write()
    put(engine)
    engine.fail_next_write("input/output error")
    with pytest.raises(StoreFailed):
        engine.write()
    assert engine.failure() == "input/output error"
    with pytest.raises(StoreFailed, match="input/output error"):
        put(engine)
    engine.write()
    assert read(engine).message_count == 1


def test_a_failed_flush_never_commits_and_is_announced() -> None:
    engine = MemoryEngine(settings(sync_flush=True))
    told: list[str | None] = []
    engine.on_progress(lambda: told.append(engine.failure()))
    put(engine)
    engine.write()
    engine.fail_next_flush("input/output error")
    engine.flush()
    engine.flush()
    assert told == ["input/output error"] * 2
    assert engine.positions().commit == 0
    with pytest.raises(StoreFailed):
        put(engine)


def test_a_turn_appended_before_a_failed_flush_is_taken_back_at_its_write() -> None:
    engine = MemoryEngine(settings(sync_flush=True))
    put(engine)
    engine.write()
    put(engine)
    engine.fail_next_flush("input/output error")
    engine.flush()
    with pytest.raises(StoreFailed):
        engine.write()
    assert engine.positions().appended == engine.positions().written


def test_dropped_log_offsets_are_forgotten_with_their_turn() -> None:
    engine = MemoryEngine(settings())
    put(engine)
    engine.drop_topic("TopicTest")
    engine.fail_next_write("no space", is_final=False)
    with pytest.raises(StoreFailed):
        engine.write()
    put(engine)
    engine.write()
    assert read(engine).message_count == 1


def test_close_commits_what_is_left_and_then_takes_nothing() -> None:
    engine = MemoryEngine(settings(sync_flush=True))
    put(engine)
    engine.close()
    assert engine.record_at(LogOffset(0)) is not None
    with pytest.raises(StoreFailed, match="closed"):
        put(engine)
    engine.close()
