"""SIGKILL at random moments: every acknowledged change of the metadata is there afterwards."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest

from pyromq.clock import SystemClock
from pyromq.store.metadata import Metadata
from pyromq.store.projection import OFFSETS, TOPICS
from pyromq.store.tables import Tables
from tests.support.metadata_writer import QUEUE_COUNT, TOPIC_COUNT

CYCLE_COUNT = 20
LINE_COUNT_MAX = 60

pytestmark = pytest.mark.crash


def write_and_kill(root: Path, mode: str, line_count: int) -> int:
    """Runs the writer, kills it after that many acknowledgements; returns the last one."""
    command = [sys.executable, "-m", "tests.support.metadata_writer", str(root), mode]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        lines = [writer.stdout.readline() for _ in range(line_count)]
        writer.kill()
        lines += writer.stdout.readlines()
    whole = [line for line in lines if line.endswith("\n")]
    assert len(whole) >= line_count, "the writer ended by itself"
    return int(whole[-1])


def read_tables(root: Path) -> Tables:
    """What a start finds; it is killed, too: nothing is closed cleanly."""
    metadata = Metadata.open_broker(root, sync_flush=True, clock=SystemClock())
    metadata._journal.close()
    return metadata.tables


def check(tables: Tables, acknowledged: int) -> None:
    """All of turn `acknowledged` is there; of the next turn anything may be."""
    following = acknowledged + 1
    for queue_id in range(QUEUE_COUNT):
        assert tables.offset("g", "T", queue_id) in (acknowledged, following)
    for n in range(max(1, following - TOPIC_COUNT + 1), following):
        queue_count = tables.topics[f"t{n % TOPIC_COUNT}"].read_queue_nums
        assert queue_count in (n, following)
    kv = {int(key) for key in tables.kv["n"]}
    assert kv in ({acknowledged}, {acknowledged, following}, {following})


@pytest.mark.parametrize("mode", ["sync", "async"])
@pytest.mark.timeout(180)
def test_everything_acknowledged_is_there_after_each_kill(tmp_path: Path, mode: str) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")  # noqa: T201 — shown when the test fails
    chance = random.Random(seed)
    root = tmp_path / "store"
    before = 0
    for _ in range(CYCLE_COUNT):
        acknowledged = write_and_kill(root, mode, chance.randint(1, LINE_COUNT_MAX))
        assert acknowledged > before
        check(read_tables(root), acknowledged)
        before = acknowledged
    generations = sorted((root / "pyromq").glob("metadata.*.snapshot"))
    assert 1 <= len(generations) <= 2
    assert generations[-1].name > "metadata.0000000001.snapshot"


def test_a_projection_cut_short_beside_a_killed_writer_is_ignored(tmp_path: Path) -> None:
    root = tmp_path / "store"
    for _ in range(3):
        acknowledged = write_and_kill(root, "sync", LINE_COUNT_MAX)
        for name in (TOPICS, OFFSETS):
            path = root / name
            if path.exists():  # killed between two renames, the file may be on its way
                path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        check(read_tables(root), acknowledged)


def test_a_file_apache_wrote_after_a_kill_is_taken_the_rest_is_ours(tmp_path: Path) -> None:
    root = tmp_path / "store"
    acknowledged = write_and_kill(root, "sync", LINE_COUNT_MAX)
    (root / TOPICS).write_text(
        '{"dataVersion":{"counter":1,"stateVersion":0,"timestamp":1},"topicConfigTable":{"Apache":'
        '{"attributes":{},"order":false,"perm":4,"readQueueNums":2,"topicFilterType":"SINGLE_TAG",'
        '"topicName":"Apache","topicSysFlag":0,"writeQueueNums":2}}}'
    )
    tables = read_tables(root)
    assert list(tables.topics) == ["Apache"]
    assert tables.topics["Apache"].perm == 4
    assert tables.offset("g", "T", 0) in (acknowledged, acknowledged + 1)
    assert read_tables(root).topics == tables.topics
