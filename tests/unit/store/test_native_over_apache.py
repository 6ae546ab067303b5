"""Store directories that a real Apache broker 5.5.0 left, stopped and killed, opened by our engine.

What is rebuilt from Apache's log must have the bytes that Apache itself gave it.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from pyromq.store.engine import Boundary
from pyromq.store.native import NativeEngine, open_store
from pyromq.units import QueueOffset
from tests.support.engines import read, settings, split_records

VECTORS = Path(__file__).parents[2] / "vectors" / "store"
KINDS = ("stopped", "killed")
QUEUES = (("plain", 0), ("plain", 1), ("packed", 0))


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def root(kind: str, tmp_path: Path) -> Path:
    shutil.copytree(VECTORS / kind / "files", tmp_path / "store")
    return tmp_path / "store"


def said_by_apache(kind: str) -> dict[str, Any]:
    answers: dict[str, Any] = json.loads((VECTORS / kind / "store.json").read_text())
    return answers


def open_apache(root: Path) -> NativeEngine:
    return open_store(
        settings(
            root,
            segment_size=64 << 10,
            consume_queue_file_size=300 * 20,
            index_slot_count=100,
            index_entry_count=400,
            message_size_max=64 << 10,
        )
    )


def all_records(engine: NativeEngine) -> dict[tuple[str, int], list[bytes]]:
    found = {}
    for topic, queue_id in QUEUES:
        records: list[bytes] = []
        while (answer := read(engine, len(records), topic, queue_id)).message_count:
            records += split_records(answer.body)
        found[topic, queue_id] = records
    return found


def queue_files(root: Path) -> dict[str, bytes]:
    directory = root / "consumequeue"
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }


def index_files(root: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted((root / "index").iterdir())]


def test_every_message_is_served(root: Path, kind: str) -> None:
    engine = open_apache(root)
    apache = said_by_apache(kind)
    for topic, queue_id in QUEUES:
        said = apache["offsets"][topic][queue_id]
        assert engine.queue_range(topic, queue_id) == (said["min"], said["max"])
        earliest = engine.store_time(topic, queue_id, QueueOffset(said["min"]))
        assert earliest == said["earliest_store_time"]
        late = engine.offset_by_time(topic, queue_id, 1 << 50, Boundary.LOWER)
        assert late == said["by_time_now"]
    assert [len(records) for records in all_records(engine).values()] == [
        apache["offsets"][topic][queue_id]["max"] for topic, queue_id in QUEUES
    ]
    for number in (0, 1, 299, 300, 500, 699):
        key = f"plain-{number}"
        found = engine.query_key("plain", key, count_max=64, begin_ms=0, end_ms=1 << 50)
        assert len(found.records) == 1
        assert f"KEYS\x01{key}\x02".encode() in found.records[0]
    key = apache["first unique key"]
    found = engine.query_key("plain", key, count_max=64, begin_ms=0, end_ms=1 << 50)
    assert len(found.records) == 1
    engine.close()


def test_it_is_the_same_after_our_own_stop_and_start(root: Path) -> None:
    queues, index = queue_files(root), index_files(root)
    engine = open_apache(root)
    before = all_records(engine)
    engine.close()
    assert queue_files(root) == queues
    assert index_files(root) == index
    engine = open_apache(root)
    assert engine.notes() == []
    assert all_records(engine) == before
    engine.close()


def test_rebuilt_queues_and_index_have_apaches_bytes(tmp_path: Path) -> None:
    root = tmp_path / "store"
    shutil.copytree(VECTORS / "stopped" / "files", root)
    queues, index = queue_files(root), index_files(root)
    shutil.rmtree(root / "consumequeue")
    shutil.rmtree(root / "index")
    open_apache(root).close()
    assert queue_files(root) == queues
    assert index_files(root) == index
