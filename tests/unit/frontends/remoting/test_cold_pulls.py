"""Pulls of messages that are not in memory: on the lane they wait for the device, and say the same.

Where the file system keeps all files in memory (tmpfs) nothing waits, and the answers must be the
same all the more.
"""

from __future__ import annotations

import os
import select
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.lane_house import split_answers
from tests.unit.frontends.remoting.test_polls import FOUND, Pair


class ColdPair(Pair):
    """Messages of a queue on disk, of which no page is in memory."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.send(1, count=20, size=5_000)
        for house in self.houses:
            for path in house.root.glob("commitlog/*"):
                with path.open("rb") as file:
                    os.fdatasync(file.fileno())
                    os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        (log,) = self.lane.root.glob("commitlog/00000000000000000000")
        self.is_cold = is_cold(log)

    def await_device(self) -> None:
        """Until nobody waits for it any more."""
        while self.on_lane:
            ready, _, _ = select.select([self.lane.engine], [], [], 10)
            assert ready, "nothing came"
            self.lane.engine.progress()
            self.lane.end_turn()


def is_cold(path: Path) -> bool:
    with path.open("rb") as file:
        try:
            os.preadv(file.fileno(), [bytearray(4096)], 0, os.RWF_NOWAIT)
        except BlockingIOError:
            return True
        except OSError:  # not every file system can tell
            pass
    return False


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[ColdPair]:
    made = ColdPair(tmp_path)
    yield made
    for house in made.houses:
        house.close()


def test_a_pull_from_disk_gets_what_one_from_memory_gets(pair: ColdPair) -> None:
    pair.give(pair.poll(1, sysFlag="1", commitOffset="3"), pair.poll(1, offset=15, sysFlag="0"))
    assert pair.on_lane == (2 if pair.is_cold else 0)
    pair.await_device()
    answers = {answer.opaque: answer for answer in pair.answers()}
    assert {answer.code for answer in answers.values()} == {FOUND}
    assert [answer.ext["nextBeginOffset"] for answer in answers.values()] == ["20", "20"]


def test_a_send_does_not_wait_for_a_pull_from_disk(pair: ColdPair) -> None:
    pair.give(pair.poll(1, sysFlag="0"))
    assert pair.on_lane == (1 if pair.is_cold else 0)
    command = pair.traffic.send(1, b="TopicTest", e="0")
    pair.give(command, client=2)
    pair.end_turn()
    for house in pair.houses:
        assert len(house.outputs[2].read()) == 1
    pair.await_device()
    assert pair.codes() == [FOUND]


def test_a_stop_refuses_who_waits_for_the_device(pair: ColdPair) -> None:
    pair.give(pair.poll(1, sysFlag="0"))
    pair.lane.stop()
    assert pair.on_lane == 0
    (answer,) = split_answers(pair.lane.answers()[0])
    is_refused = (answer.code, answer.remark) == (14, "the broker is shutting down")
    assert is_refused if pair.is_cold else answer.code == FOUND
