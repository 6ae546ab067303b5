"""`pyromq store check` names damage of what is derived and of metadata; `repair` mends it."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pyromq.app.main import main
from pyromq.clock import SystemClock
from pyromq.store.metadata import Metadata
from pyromq.store.native import open_store
from tests.support.store_command import (
    COUNT,
    QUEUES,
    SIZES,
    VECTORS,
    command,
    findings,
    flip,
    make_store,
    options,
    own,
    places,
    served,
    tree,
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make_store(tmp_path / "store")


def cut_queue_file(root: Path) -> str:
    path = root / "consumequeue" / "plain" / "1" / f"{0:020}"
    os.truncate(path, 1000)
    return "queue-size"


def flip_unit(root: Path) -> str:
    flip(root / "consumequeue" / "plain" / "0" / f"{0:020}", 20 * 7 + 5)
    return "queue-wrong"


def flip_tag(root: Path) -> str:
    flip(root / "consumequeue" / "other" / "0" / f"{0:020}", 20 * 9 + 17)
    return "queue-wrong"


def remove_queue(root: Path) -> str:
    shutil.rmtree(root / "consumequeue" / "other")
    return "queue-missing"


def remove_queue_file(root: Path) -> str:
    (root / "consumequeue" / "plain" / "0" / f"{0:020}").unlink()
    return "queue-file-missing"


def zero_units(root: Path) -> str:
    with (root / "consumequeue" / "plain" / "0" / f"{0:020}").open("r+b") as file:
        file.seek(20 * 50)
        file.write(bytes(20 * 10))
    return "queue-wrong"


def add_unit(root: Path) -> str:
    path = root / "consumequeue" / "plain" / "0" / f"{2000:020}"
    with path.open("r+b") as file:
        file.seek(20 * 90)
        file.write((1 << 20).to_bytes(8, "big") + (100).to_bytes(4, "big") + bytes(8))
    return "queue-ahead"


def swap_queues(root: Path) -> str:
    directory = root / "consumequeue" / "plain"
    (directory / "0").rename(directory / "x")
    (directory / "1").rename(directory / "0")
    (directory / "x").rename(directory / "1")
    return "queue-wrong"


def add_stray(root: Path) -> str:
    (root / "consumequeue" / "plain" / "0" / "core").write_bytes(b"x")
    return "queue-stray-file"


def stray_in_log(root: Path) -> str:
    (root / "commitlog" / "notes.txt").write_bytes(b"x")
    return "stray-file"


def index_of(root: Path, number: int = 0) -> Path:
    return sorted((root / "index").iterdir())[number]


def flip_index_entry(root: Path) -> str:
    flip(index_of(root), 40 + 4 * 50 + 20 * 5 + 9)
    return "index-wrong"


def flip_slot(root: Path) -> str:
    flip(index_of(root), 40 + 4 * 3 + 2)
    return "index-slots"


def flip_chain(root: Path) -> str:
    flip(index_of(root), 40 + 4 * 50 + 20 * 5 + 19)
    return "index-chain"


def index_header(root: Path) -> str:
    flip(index_of(root), 36)
    return "index-header"


def remove_index_file(root: Path) -> str:
    index_of(root, 2).unlink()
    return "index-behind"


def cut_index(root: Path) -> str:
    os.truncate(index_of(root, 1), 100)
    return "index-size"


def cut_checkpoint(root: Path) -> str:
    os.truncate(root / "checkpoint", 10)
    return "checkpoint"


def remove_checkpoint(root: Path) -> str:
    (root / "checkpoint").unlink()
    return "checkpoint"


def flip_marker(root: Path) -> str:
    for at in (30, 512 + 30):
        flip(root / "pyromq" / "dispatch", at)
    return "marker"


def flip_notes(root: Path) -> str:
    flip(root / "pyromq" / "queues", 25)
    return "queue-notes"


def flip_journal(root: Path) -> str:
    flip(next((root / "pyromq").glob("metadata.*.journal")), 60)
    return "metadata-damaged"


def flip_snapshot(root: Path) -> str:
    flip(next((root / "pyromq").glob("metadata.*.snapshot")), 70)
    return "metadata-damaged"


def unreadable_config(root: Path) -> str:
    path = root / "config" / "topics.json"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b'{"topicConfigTable":{')
    return "config-unreadable"


def torn_tail(root: Path) -> str:
    path = max((root / "commitlog").iterdir())
    last = len(path.read_bytes().rstrip(b"\0")) - 1
    with path.open("r+b") as file:
        file.seek(last + 1)
        file.write((300).to_bytes(4, "big") + b"\xda\xa3\x20\xa7" + b"torn")
    return "torn-tail"


def crc_file(root: Path) -> Path:
    return root / "pyromq" / "crc" / f"{0:020}"


def flip_checksum(root: Path) -> str:
    flip(crc_file(root), 4096 + 12 * 5 + 6)
    return "crc-damaged"


def cut_checksums(root: Path) -> str:
    with crc_file(root).open("r+b") as file:
        file.truncate(4096 + 12 * 5)
    return "crc-digest"


def flip_seal(root: Path) -> str:
    flip(crc_file(root), 64 + 50)
    return "crc-digest"


def add_checksums(root: Path) -> str:
    shutil.copy(crc_file(root), crc_file(root).with_name(f"{99 << 16:020}"))
    return "crc-stray"


DERIVED: list[Callable[[Path], str]] = [
    cut_queue_file,
    flip_unit,
    flip_checksum,
    cut_checksums,
    flip_seal,
    add_checksums,
    flip_tag,
    remove_queue,
    remove_queue_file,
    zero_units,
    add_unit,
    swap_queues,
    add_stray,
    stray_in_log,
    flip_index_entry,
    flip_slot,
    flip_chain,
    index_header,
    remove_index_file,
    cut_index,
    cut_checkpoint,
    remove_checkpoint,
    flip_marker,
    flip_notes,
    flip_journal,
    unreadable_config,
    torn_tail,
]


@pytest.mark.parametrize("damage", DERIVED)
def test_damage_of_what_is_derived_is_named_and_mended(
    damage: Callable[[Path], str], root: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = served(root)
    assert sum(map(len, before.values())) == COUNT
    kind = damage(root)
    code, said, _ = command(capfd, "check", root)
    assert code == 1
    assert kind in {one["kind"] for one in findings(said)}
    assert all(one["lost"] and one["mends"] and one["file"] for one in findings(said))

    code, said, _ = command(capfd, "repair", root, "--yes")
    # A unit behind the log's end may stand for a message that was there.
    assert (code, places(said, root)) == (int(kind == "queue-ahead"), [])
    code, said, _ = command(capfd, "check", root)
    assert (code, places(said, root)) == (0, [])
    assert served(root) == before
    engine = open_store(own(root))
    for number in range(COUNT):
        topic = QUEUES[number % 3][0]
        answer = engine.query_key(topic, f"k{number}", count_max=9, begin_ms=0, end_ms=1 << 50)
        assert len(answer.records) == 1
    engine.close()
    metadata = Metadata.open_broker(root, sync_flush=True, clock=SystemClock())
    assert {"plain", "other"} <= set(metadata.tables.topics)
    metadata._journal.close()
    code, said, _ = command(capfd, "check", root)
    assert (code, places(said, root)) == (0, [])


def test_findings_name_the_place(root: Path, capfd: pytest.CaptureFixture[str]) -> None:
    flip_unit(root)
    flip_slot(root)
    index = str(index_of(root).relative_to(root))
    _, said, _ = command(capfd, "check", root)
    assert places(said, root) == [
        ("queue-wrong", f"consumequeue/plain/0/{0:020}", 140),
        ("index-slots", index, 52),
    ]
    assert findings(said)[0]["topic"] == "plain"
    assert findings(said)[0]["queue_id"] == 0
    assert findings(said)[0]["count"] == 1


def test_nothing_is_deleted_by_repair(root: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = root / "consumequeue" / "plain" / "0" / f"{0:020}"
    flip_unit(root)
    flip_journal(root)
    damaged = path.read_bytes()
    journal = next((root / "pyromq").glob("metadata.*.journal"))
    entries = journal.read_bytes()
    code, said, _ = command(capfd, "repair", root, "--yes")
    assert code == 0
    moved = Path(str(said["moved_to"]))
    assert (moved / path.relative_to(root)).read_bytes() == damaged
    assert (moved / "pyromq" / journal.name).read_bytes() == entries


def test_repair_of_a_sound_store_does_nothing(
    root: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = tree(root)
    code, said, _ = command(capfd, "repair", root, "--yes")
    assert (code, said["done"]) == (0, [])
    assert tree(root) == before


def test_repair_asks_for_yes_where_nobody_can_be_asked(
    root: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    flip_unit(root)
    before = tree(root)
    with Path(os.devnull).open() as nobody:
        monkeypatch.setattr(sys, "stdin", nobody)
        assert main(["store", "repair", str(root), *options(SIZES)]) == 2
    assert "--yes" in capfd.readouterr().err
    assert tree(root) == before


def test_metadata_without_anything_readable_is_beyond_repair(
    root: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for path in (root / "pyromq").glob("metadata.*"):
        path.unlink()
    unreadable_config(root)
    code, said, _ = command(capfd, "check", root)
    assert code == 4
    assert ("metadata-gone", "config/topics.json", 0) in places(said, root)
    code, said, _ = command(capfd, "repair", root, "--yes")
    assert code == 4


def test_files_of_a_newer_version_are_left_alone(
    root: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = root / "pyromq" / "queues"
    data = path.read_bytes()
    path.write_bytes(data[:8] + bytes([0, 0, 0, 9, 0, 0, 0, 9]) + data[16:])
    before = tree(root)
    code, said, _ = command(capfd, "repair", root, "--yes")
    assert code == 4
    assert places(said, root) == [("newer-format", "pyromq/queues", 0)]
    assert tree(root) == before


def test_with_both_snapshots_damaged_the_projection_is_used(
    root: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    flip_snapshot(root)
    config = json.loads((VECTORS / "stopped" / "files" / "config" / "topics.json").read_text())
    table = config["topicConfigTable"]
    table["shown"] = {**next(iter(table.values())), "topicName": "shown"}
    (root / "config").mkdir(exist_ok=True)
    (root / "config" / "topics.json").write_text(json.dumps(config))
    code, said, _ = command(capfd, "repair", root, "--yes")
    assert (code, places(said, root)) == (0, [])
    metadata = Metadata.open_broker(root, sync_flush=True, clock=SystemClock())
    assert {"shown", "plain", "other"} <= set(metadata.tables.topics)
    metadata._journal.close()
