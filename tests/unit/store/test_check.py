"""`pyromq store check`, `repair` and `export` on stores of our engine and of Apache's broker."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pyromq.app.main import main
from pyromq.clock import SystemClock
from pyromq.store.export import message_of
from pyromq.store.metadata import Metadata
from pyromq.store.native import open_store
from tests.support.engines import put
from tests.support.processes import child_environment
from tests.support.store_command import (
    APACHE_SIZES,
    COUNT,
    QUEUES,
    SIZES,
    VECTORS,
    body_of,
    command,
    findings,
    flip,
    log_file,
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


# --- sound stores -------------------------------------------------------------------------------


def test_check_is_silent_on_a_store_of_ours_and_changes_nothing(
    root: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = tree(root)
    code, said, err = command(capfd, "check", root)
    assert (code, findings(said), err) == (0, [], "")
    assert said["message_count"] == COUNT
    assert tree(root) == before


@pytest.mark.parametrize("kind", ["stopped", "killed"])
def test_check_is_silent_on_apaches_stores_and_changes_nothing(
    kind: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "store"
    shutil.copytree(VECTORS / kind / "files", root)
    before = tree(root)
    code, said, err = command(capfd, "check", root, sizes=APACHE_SIZES)
    assert (code, err) == (0, "")
    notes = ["unclean-stop"] if kind == "killed" else []
    assert [one["kind"] for one in findings(said)] == notes
    assert said["message_count"] == 710
    assert tree(root) == before


def test_check_and_dry_run_change_nothing_of_a_damaged_store(
    root: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    flip(log_file(root, 0), 500)
    flip(root / "consumequeue" / "plain" / "0" / f"{0:020}", 4)
    flip(next((root / "index").iterdir()), 50)
    before = tree(root)
    code, _, _ = command(capfd, "check", root)
    assert code == 1
    code, said, _ = command(capfd, "repair", root, "--dry-run")
    assert code == 1
    assert said["plan"] == ["make anew from the log: consume queue plain/0, the index"]
    assert tree(root) == before


def test_a_store_in_use_is_left_alone(root: Path) -> None:
    engine = open_store(own(root))
    try:
        for verb in (["check"], ["repair", "--yes"], ["repair", "--dry-run"], ["export"]):
            done = subprocess.run(
                [sys.executable, "-m", "pyromq", "store", verb[0], str(root), *verb[1:]],
                env=child_environment(),
                capture_output=True,
                text=True,
                timeout=20,
                check=False,
            )
            assert (done.returncode, done.stdout) == (3, "")
            assert "in use" in done.stderr
    finally:
        engine.close()


@pytest.mark.parametrize(
    "words",
    [
        ["store", "check", "nowhere"],
        ["store", "mend", "."],
        ["store"],
        ["store", "export", "{root}", "--from", "yesterday"],
        ["store", "export", "{root}", "--output", "{root}/lock"],
        ["store", "check", "{root}", "--set", "maxIndexNum=x"],
    ],
)
def test_bad_arguments_end_with_2(
    words: list[str], root: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main([word.format(root=root) for word in words]) == 2
    assert capfd.readouterr().err.startswith("pyromq: ")


# --- damage of what is derived ------------------------------------------------------------------


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


# --- damage of the log --------------------------------------------------------------------------


def records_of_log(root: Path) -> list[tuple[int, int]]:
    """(log offset, size) of each record, by the sizes they say."""
    found = []
    for path in sorted((root / "commitlog").iterdir()):
        data, base, at = path.read_bytes(), int(path.name), 0
        while int.from_bytes(data[at : at + 4], "big") and data[at + 4 : at + 5] != b"\xcb":
            size = int.from_bytes(data[at : at + 4], "big")
            found.append((base + at, size))
            at += size
    return found


def test_a_bad_record_is_named_with_what_apache_would_cut(
    root: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    log = records_of_log(root)
    assert len(log) == COUNT
    at, size = log[100]
    flip(log_file(root, 0), at + 90)
    code, said, _ = command(capfd, "check", root)
    assert code == 1
    assert places(said, root) == [("bad-record", f"commitlog/{0:020}", at)]
    assert findings(said)[0]["size_bytes"] == size
    assert findings(said)[0]["count"] == 1
    topic, queue_id = QUEUES[100 % 3]
    lost = {"topic": topic, "queue_id": queue_id, "queue_offset": 33, "log_offset": at}
    assert said["lost_messages"] == [lost]
    assert said["message_count"] == COUNT - 1
    assert said["apache_cuts_messages"] == COUNT - 101
    assert said["apache_cuts_bytes"] == sum(size for _, size in log[101:])


def test_every_bad_place_is_found_whatever_byte_is_hit(
    root: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Sizes, checksum, positions, times, hosts, properties; a segment's last and first record."""
    log = records_of_log(root)
    segment = 64 << 10
    last = max(n for n, (at, _) in enumerate(log) if at < segment)
    chosen = {10: 0, 30: 2, 50: 5, 70: 9, 90: 33, last: 6, last + 1: 0}
    chosen |= {110: 12, 120: 45, 130: 53, 140: 58, 150: log[150][1] - 2}
    for number, byte in chosen.items():
        at = log[number][0]
        flip(log_file(root, at // segment), at % segment + byte)
    code, said, _ = command(capfd, "check", root)
    assert code == 1
    bad = [one for one in findings(said) if one["kind"] == "bad-record"]
    assert [(Path(str(one["file"])).name, one["byte"], one["size_bytes"]) for one in bad] == [
        (f"{log[n][0] // segment * segment:020}", log[n][0] % segment, log[n][1])
        for n in sorted(chosen)
    ]
    assert [one["kind"] for one in findings(said) if one["kind"] != "bad-record"] == []


def test_queues_are_made_anew_around_a_bad_record(
    root: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    at, _ = records_of_log(root)[100]
    flip(log_file(root, 0), at + 90)
    whole = (root / "consumequeue" / "plain" / "1" / f"{0:020}").read_bytes()
    shutil.rmtree(root / "consumequeue" / "plain")
    code, said, _ = command(capfd, "repair", root, "--yes")
    assert code == 1
    assert places(said, root) == [("bad-record", f"commitlog/{0:020}", at)]
    rebuilt = (root / "consumequeue" / "plain" / "1" / f"{0:020}").read_bytes()
    hole = slice(33 * 20, 34 * 20)
    assert rebuilt[: hole.start] + rebuilt[hole.stop :] == whole[: hole.start] + whole[hole.stop :]
    assert int.from_bytes(rebuilt[hole][:8], "big") == at


def test_a_missing_segment_is_replaced_by_an_empty_one(
    root: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    log_file(root, 1).unlink()
    code, said, _ = command(capfd, "check", root)
    assert code == 1
    assert ("segment-missing", f"commitlog/{1 << 16:020}", 0) in places(said, root)
    code, said, _ = command(capfd, "repair", root, "--yes")
    assert code == 1
    assert {kind for kind, _, _ in places(said, root)} == {"bad-record"}
    assert log_file(root, 1).read_bytes() == bytes(64 << 10)


def test_without_the_last_segment_queues_keep_their_length(
    root: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = served(root)
    last = records_of_log(root)[-1][0] >> 16
    log_file(root, last).unlink()
    code, said, _ = command(capfd, "check", root)
    assert code == 1
    code, said, _ = command(capfd, "repair", root, "--yes")
    assert (code, places(said, root)) == (1, [])
    for (topic, queue_id), known in before.items():
        directory = root / "consumequeue" / topic / str(queue_id)
        units = b"".join(path.read_bytes() for path in sorted(directory.iterdir()))
        written = [units[at : at + 20] for at in range(0, len(units), 20) if any(units[at:][:20])]
        assert len(written) == len(known)


def test_a_cut_segment_gets_its_length_back(root: Path, capfd: pytest.CaptureFixture[str]) -> None:
    os.truncate(log_file(root, 0), 30_000)
    kept = log_file(root, 0).read_bytes()
    code, said, _ = command(capfd, "check", root)
    assert code == 1
    assert ("segment-size", f"commitlog/{0:020}", 30_000) in places(said, root)
    code, said, _ = command(capfd, "repair", root, "--yes")
    assert code == 1
    assert [kind for kind, _, _ in places(said, root)] == ["bad-record"]
    assert log_file(root, 0).read_bytes() == kept + bytes((64 << 10) - 30_000)


# --- metadata -----------------------------------------------------------------------------------


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


# --- export -------------------------------------------------------------------------------------


def test_export_equals_what_pulls_give(root: Path, capfd: pytest.CaptureFixture[str]) -> None:
    pulled = [message_of(record) for records in served(root).values() for record in records]
    code, said, err = command(capfd, "export", root)
    assert code == 0
    lines = [json.loads(line) for line in said["lines"]]  # type: ignore[attr-defined]
    expected = sorted(pulled, key=lambda message: message.log_offset)
    assert [line["log_offset"] for line in lines] == [one.log_offset for one in expected]
    for number, line in enumerate(lines):
        topic, queue_id = QUEUES[number % 3]
        assert (line["topic"], line["queue_id"]) == (topic, queue_id)
        assert line["queue_offset"] == number // 3
        assert (line["tags"], line["keys"]) == (f"T{number % 2}", [f"k{number}"])
        assert line["store_time_ms"] == 1000 + number
        body = line.get("body")
        text = body.encode() if body is not None else base64.b64decode(line["body_base64"])
        assert text == body_of(number)
    assert json.loads(err)["messages"] == COUNT


def test_export_selects_skips_and_counts(
    root: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    at, size = records_of_log(root)[101]  # of topic other
    flip(log_file(root, 0), at + 90)
    shutil.rmtree(root / "consumequeue")
    output = tmp_path / "messages"
    words = ("--topic", "other", "--from", "1090", "--to", "1970-01-01T00:00:01.120")
    code, _, err = command(capfd, "export", root, *words, "--output", str(output))
    assert code == 1
    lines = [json.loads(line) for line in output.read_text().splitlines()]
    assert [line["store_time_ms"] for line in lines] == [
        1000 + number for number in range(90, 120) if number % 3 == 2 and number != 101
    ]
    assert json.loads(err) == {
        "messages": 9,
        "bad_regions": 1,
        "bad_bytes": size,
        "messages_of_deleted_topics": 0,
    }


def test_messages_of_a_deleted_topic_are_no_finding_and_stay_out(
    root: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    engine = open_store(own(root))
    engine.drop_topic("other")
    engine.close()
    metadata = Metadata.open_broker(root, sync_flush=True, clock=SystemClock())
    metadata.delete_topic("other")
    metadata.write()
    metadata._journal.close()
    code, said, _ = command(capfd, "check", root)
    assert (code, places(said, root)) == (0, [])
    code, said, err = command(capfd, "export", root)
    assert (code, json.loads(err)["messages_of_deleted_topics"]) == (0, COUNT // 3)
    assert not any('"topic":"other"' in line for line in said["lines"])  # type: ignore[attr-defined]


def test_what_a_killed_broker_left_is_no_finding(root: Path, tmp_path: Path) -> None:
    killed = tmp_path / "killed"
    engine = open_store(own(root))
    for number in range(30):
        put(engine, "plain", 0, b"late", now_ms=9000 + number, KEYS=f"late{number}")
    engine.write()
    shutil.copytree(root, killed)
    engine.close()
    done = subprocess.run(
        [sys.executable, "-m", "pyromq", "store", "check", str(killed), *options(SIZES)],
        env=child_environment(),
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "unclean-stop" in done.stdout
    assert f"{COUNT + 30} messages" in done.stdout
