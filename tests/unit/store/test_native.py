"""What only the native engine has: files, a lock, restarts, and a flusher that wakes the loop.

What both engines promise is tested in test_engine.py; recovery in depth in the Rust crate.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pyromq.errors import MessageIllegal, Occupied, StoreFailed
from pyromq.store.engine import Boundary, Damage, KeyQuery, Positions, QueueRange, ReadStatus
from pyromq.store.native import NativeEngine, open_store
from pyromq.units import LogOffset, QueueOffset
from tests.support.engines import batch, put, put_batch, read, settings, split_records

GOLDEN_UNIT = bytes.fromhex("0000000000000000 00000117 000000000027a807".replace(" ", ""))


def bodies(engine: NativeEngine, queue_id: int) -> list[bytes]:
    """Bodies of a queue in order."""
    found = []
    at = 0
    while (answer := read(engine, at, queue_id=queue_id, count=100)).message_count:
        for record in split_records(answer.body):
            size = int.from_bytes(record[84:88], "big")
            found.append(record[88 : 88 + size])
        at = answer.next_offset
    return found


def test_a_clean_stop_does_not_miss_abort(tmp_path: Path) -> None:
    """An Apache broker that our lock refused has removed it."""
    engine = open_store(settings(tmp_path))
    put(engine, body=b"kept")
    engine.write()
    (tmp_path / "abort").unlink()
    engine.close()
    assert bodies(open_store(settings(tmp_path)), 0) == [b"kept"]


def test_a_clean_stop_keeps_everything_and_removes_abort(tmp_path: Path) -> None:
    engine = open_store(settings(tmp_path))
    assert (tmp_path / "abort").read_text() == str(os.getpid())
    assert (tmp_path / "lock").read_bytes() == b"lock"
    for number in range(300):
        put(
            engine,
            queue_id=number % 3,
            body=b"%d" % number,
            now_ms=1000 + number,
            KEYS=f"k{number}",
        )
        engine.write()
    before = [bodies(engine, queue_id) for queue_id in range(3)]
    positions = engine.positions()
    engine.close()
    assert not (tmp_path / "abort").exists()

    engine = open_store(settings(tmp_path))
    assert engine.notes() == []
    assert [bodies(engine, queue_id) for queue_id in range(3)] == before
    assert engine.positions() == Positions(*[positions.written] * 4)
    assert engine.queue_ids("TopicTest") == [0, 1, 2]
    assert engine.queue_range("TopicTest", 2) == QueueRange(QueueOffset(0), QueueOffset(100))
    assert engine.store_time("TopicTest", 1, QueueOffset(33)) == 1100
    assert engine.offset_by_time("TopicTest", 1, 1100, Boundary.LOWER) == 33
    found = engine.query_key("TopicTest", "k7", count_max=9, begin_ms=0, end_ms=10_000)
    assert isinstance(found, KeyQuery)
    assert len(found.records) == 1
    assert found.records[0].endswith(b"KEYS\x01k7\x02")
    assert engine.take_arrivals() == []
    assert put(engine).queue_offset == 100
    engine.close()


def test_answers_are_the_named_tuples_of_the_protocol(tmp_path: Path) -> None:
    engine = open_store(settings(tmp_path))
    appended = put(engine, body=b"x")
    assert (appended.queue_offset, appended.log_offset, appended.end) == (0, 0, 92 + 9)
    first, offsets = put_batch(engine, batch((b"a", b""), (b"b", b"")))
    assert offsets[0] == first.log_offset == appended.end
    engine.write()
    (arrival,) = engine.take_arrivals()
    assert (arrival.topic, arrival.queue_id, arrival.max_offset) == ("TopicTest", 0, 3)
    answer = read(engine, 0)
    assert answer.status is ReadStatus.FOUND
    assert answer.message_count == 3
    assert engine.record_at(first.log_offset) == answer.body[appended.end : offsets[1]]
    assert engine.record_at(LogOffset(1)) is None
    engine.close()


def test_refusals_have_their_classes(tmp_path: Path) -> None:
    engine = open_store(settings(tmp_path, message_size_max=60))
    with pytest.raises(MessageIllegal, match="body of 61 bytes, at most 60"):
        put(engine, body=bytes(61))
    with pytest.raises(MessageIllegal, match="batch item 1: 3 bytes left"):
        put_batch(engine, batch((b"", b"")) + bytes(3))
    with pytest.raises(MessageIllegal, match="cannot name a directory"):
        put(engine, topic="../escape")
    with pytest.raises(MessageIllegal, match="queue id -1"):
        put(engine, queue_id=-1)
    assert engine.positions().appended == 0
    engine.close()
    with pytest.raises(StoreFailed, match="closed"):
        put(engine)


def test_a_settings_mistake_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="consume queue file size 30"):
        open_store(settings(tmp_path, consume_queue_file_size=30))


def test_queue_units_have_apaches_bytes(tmp_path: Path) -> None:
    engine = open_store(settings(tmp_path))
    body = bytes(279 - 91 - len("TopicTest") - len(b"TAGS\x01TagA\x02"))
    assert put(engine, queue_id=1, body=body, TAGS="TagA").end == 279
    engine.write()
    engine.close()
    units = (tmp_path / "consumequeue/TopicTest/1" / "0".zfill(20)).read_bytes()
    assert len(units) == 100 * 20
    assert units[:20] == GOLDEN_UNIT
    assert set(units[20:]) == {0}


@pytest.mark.parametrize("sync_flush", [True, False])
async def test_the_flusher_wakes_the_loop(tmp_path: Path, sync_flush: bool) -> None:
    engine = open_store(settings(tmp_path, sync_flush=sync_flush, flush_interval_ms=1))
    engine.start(asyncio.get_running_loop())
    progress = asyncio.Event()
    engine.on_progress(progress.set)
    end = put(engine).end
    engine.write()
    async with asyncio.timeout(10):
        while engine.positions().flushed < end:
            await progress.wait()
            progress.clear()
    assert engine.positions() == Positions(end, end, end, end)
    assert [arrival.max_offset for arrival in engine.take_arrivals()] == [1]
    engine.close()


def test_a_second_opening_is_refused_by_this_process_and_by_another(tmp_path: Path) -> None:
    engine = open_store(settings(tmp_path))
    with pytest.raises(Occupied, match=str(tmp_path)):
        open_store(settings(tmp_path))
    program = (
        "import sys\n"
        "from pyromq.errors import Occupied\n"
        "from pyromq.store.native import open_store\n"
        "from tests.support.engines import settings\n"
        "try:\n"
        "    open_store(settings(sys.argv[1]))\n"
        "except Occupied as error:\n"
        "    print(error)\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    other = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    assert str(tmp_path) in other.stdout
    engine.close()
    open_store(settings(tmp_path)).close()


WRITER = """
import select
import sys
from pyromq.store.native import open_store
from tests.support.engines import put, settings
engine = open_store(settings(sys.argv[1], sync_flush=sys.argv[2] == "sync"))
number = int(sys.argv[3])
while True:
    for _ in range(7):
        put(engine, queue_id=number % 2, body=b"%d" % number, KEYS=f"k{number}")
        number += 1
    engine.write()
    while engine.positions().commit < engine.positions().written:
        select.select([engine.descriptor()], [], [])
        engine.collect()
    print(number, flush=True)
"""


@pytest.mark.crash
@pytest.mark.parametrize("mode", ["sync", "async"])
def test_a_killed_process_loses_nothing_that_was_committed(tmp_path: Path, mode: str) -> None:
    total = 0
    for _ in range(3):
        command = [sys.executable, "-c", WRITER, str(tmp_path), mode, str(total)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            lines = [writer.stdout.readline() for _ in range(40)]
            writer.send_signal(signal.SIGKILL)
            lines += writer.stdout.readlines()
        committed = max(int(line) for line in lines if line.endswith("\n"))
        assert (tmp_path / "abort").exists()
        engine = open_store(settings(tmp_path))
        shown = bodies(engine, 0) + bodies(engine, 1)
        total = len(shown)
        assert total >= committed
        assert sorted(int(body) for body in shown) == list(range(total))
        for key in (f"k{total - 1}", "k0"):
            found = engine.query_key("TopicTest", key, count_max=64, begin_ms=0, end_ms=1 << 50)
            assert any(f"KEYS\x01{key}\x02".encode() in record for record in found.records)
        engine.close()


def test_a_torn_tail_is_cut_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    engine = open_store(settings(tmp_path, flush_interval_ms=1 << 30))
    put(engine, body=b"whole")
    start = put(engine, body=b"torn").log_offset
    engine.write()
    killed = tmp_path / "killed"
    shutil.copytree(tmp_path, killed)  # what a power cut leaves: nothing vouches for any of it
    engine.close()
    log = killed / "commitlog" / "0".zfill(20)
    content = bytearray(log.read_bytes())
    content[start + 60 :] = bytes(len(content) - start - 60)
    log.write_bytes(content)
    shutil.rmtree(killed / "pyromq")
    with caplog.at_level(logging.WARNING):
        engine = open_store(settings(killed))
    assert "incomplete record at byte" in caplog.text
    assert engine.queue_range("TopicTest", 0).max_offset == 1
    assert engine.positions().written == start
    assert engine.damage() == Damage(0, [])
    engine.close()


def test_damage_before_valid_records_is_passed_over_and_nothing_is_cut(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    engine = open_store(settings(tmp_path))
    places = [put(engine, body=b"%d" % number) for number in range(5)]
    engine.write()
    engine.close()
    (tmp_path / "abort").write_text("1")
    log = tmp_path / "commitlog" / "0".zfill(20)
    content = bytearray(log.read_bytes())
    content[places[1].log_offset + 88] ^= 1
    log.write_bytes(content)
    shutil.rmtree(tmp_path / "consumequeue")
    with caplog.at_level(logging.WARNING):
        engine = open_store(settings(tmp_path))
    assert f"{log}: byte {places[1].log_offset}: body checksum differs" in caplog.text
    assert engine.damage() == Damage(1, [(places[1].log_offset, places[2].log_offset)])
    assert bodies(engine, 0) == [b"0", b"2", b"3", b"4"]
    assert put(engine).queue_offset == 5
    engine.write()
    engine.close()
    assert log.read_bytes()[: places[4].end] == bytes(content[: places[4].end])


def test_a_record_damaged_while_running_is_passed_over_and_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    engine = open_store(settings(tmp_path))
    places = [put(engine, body=b"%d" % number) for number in range(5)]
    engine.write()
    log = tmp_path / "commitlog" / "0".zfill(20)
    with log.open("r+b") as file:
        file.seek(places[2].log_offset + 4)
        file.write(bytes(4))  # its magic number
    for _ in range(2):
        read = engine.read(
            "TopicTest",
            0,
            QueueOffset(1),
            message_count_max=2,
            body_size_max=1 << 20,
            tag_hashes=None,
        )
        assert (read.status, read.message_count, read.next_offset) == (ReadStatus.FOUND, 1, 3)
    assert bodies(engine, 0) == [b"0", b"1", b"3", b"4"]
    told = [record for record in caplog.records if "is damaged and passed over" in record.message]
    assert len(told) == 1
    assert told[0].levelno == logging.ERROR
    assert f"{log}: byte {places[2].log_offset}: wrong magic: message 2 of TopicTest/0" in (
        told[0].message
    )
    assert engine.damage() == Damage(1, [])
    assert engine.record_at(places[2].log_offset) is None
    assert engine.store_time("TopicTest", 0, QueueOffset(2)) == -1
    engine.close()


def test_a_dropped_topic_leaves_no_files(tmp_path: Path) -> None:
    engine = open_store(settings(tmp_path))
    put(engine)
    engine.write()
    engine.close()
    engine = open_store(settings(tmp_path))
    assert (tmp_path / "consumequeue/TopicTest/0").is_dir()
    engine.drop_topic("TopicTest")
    assert not (tmp_path / "consumequeue/TopicTest").exists()
    engine.drop_topic("TopicTest")
    engine.close()
    engine = open_store(settings(tmp_path))
    assert engine.queue_ids("TopicTest") == []
    assert put(engine).queue_offset == 0
    engine.close()
