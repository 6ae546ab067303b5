"""A log whose last segment is gone: no offset is given again, whatever is still there to tell."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pyromq.store.native import open_store
from pyromq.units import QueueOffset
from tests.support.engines import put, read
from tests.support.store_command import QUEUES, log_file, make_store, own

LATE = b"after the loss"


def ends(root: Path) -> dict[tuple[str, int], QueueOffset]:
    engine = open_store(own(root))
    found = {queue: engine.queue_range(*queue).max_offset for queue in QUEUES}
    engine.close()
    return found


@pytest.mark.parametrize(
    "more",
    [
        (),
        ("abort",),
        ("consumequeue",),
        ("abort", "consumequeue"),
        ("checkpoint",),
        ("pyromq/dispatch",),
        ("pyromq/queues",),
    ],
    ids=" and ".join,
)
def test_places_of_a_lost_last_segment_are_not_given_again(
    more: tuple[str, ...], tmp_path: Path
) -> None:
    """`more`: what else is wrong; `abort` is there as after a kill, the others are gone."""
    root = make_store(tmp_path / "store")
    before = ends(root)
    last = max(int(path.name) for path in (root / "commitlog").iterdir() if any(path.read_bytes()))
    log_file(root, last >> 16).unlink()
    for name in more:
        path = root / name
        if name == "abort":
            path.touch()
        elif path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    engine = open_store(own(root))
    for topic, queue_id in QUEUES:
        place = put(engine, topic, queue_id, LATE, now_ms=9_000)
        assert place.queue_offset >= before[topic, queue_id], "given to a lost message"
    engine.write()
    for topic, queue_id in QUEUES:
        assert LATE in read(engine, before[topic, queue_id], topic, queue_id).body
    engine.close()
