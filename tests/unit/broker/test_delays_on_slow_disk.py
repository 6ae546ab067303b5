"""Delayed messages while the disk is slow: a copy that is still being written is not a lost one."""

from __future__ import annotations

from pathlib import Path

import pytest

from pyromq.wire.remoting.frame import encode
from tests.support.lane_house import LaneHouse
from tests.support.lane_traffic import Traffic

COUNT = 40
"""The writer is sometimes done before anybody looks: not so many times."""


def test_a_copy_that_the_disk_is_slow_to_take_is_made_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    house = LaneHouse(tmp_path, has_lane=False, is_disk_slow=True)
    house.create_topic("TopicTest", 1)
    traffic = Traffic()
    for n in range(COUNT):
        properties = f"UNIQ_KEY\x01ID{n}\x02DELAY\x011\x02"
        house.receive(0, encode(traffic.send(0, b="TopicTest", e="0", i=properties)))
        house.end_turn()
        for _ in range(3):  # a copy that is taken for lost is made again within them
            house.advance(1_000)
    assert house.engine.queue_range("TopicTest", 0).max_offset == COUNT
    assert "held back" not in caplog.text
    house.close()
