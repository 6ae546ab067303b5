"""`pyromq store check` and `repair` on a damaged commit log."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.support.store_command import (
    COUNT,
    QUEUES,
    command,
    findings,
    flip,
    log_file,
    make_store,
    places,
    records_of_log,
    served,
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make_store(tmp_path / "store")


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
