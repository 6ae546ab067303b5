"""`pyromq store export`: what it gives, skips and counts."""

from __future__ import annotations

import base64
import json
import shutil
from pathlib import Path

import pytest

from pyromq.clock import SystemClock
from pyromq.store.export import message_of
from pyromq.store.metadata import Metadata
from pyromq.store.native import open_store
from tests.support.store_command import (
    COUNT,
    QUEUES,
    body_of,
    command,
    flip,
    log_file,
    make_store,
    own,
    places,
    records_of_log,
    served,
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make_store(tmp_path / "store")


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
