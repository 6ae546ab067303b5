"""Power cuts of a real file system: ext4 on a loop device on a disk that forgets unflushed writes.

Producers send and a group commits offsets until the power is cut at a random acknowledgement. Then
the broker is killed, the file system is mounted again from what had reached the disk, and
everything acknowledged must be there. Needs root, FUSE, loop devices, nbdkit and nbdfuse, so it is
no part of `make test`:

    make power-cut CUTS=30
"""

from __future__ import annotations

import os
import random
import threading
from pathlib import Path

import pytest

from pyromq.codes import RequestCode
from tests.support.ledger import enter
from tests.support.processes import ask
from tests.support.pyromq_server import PyromqServer
from tests.support.store_content import QUEUES, Content, pull_all
from tests.support.volatile_disk_device import VolatileDisk

CUTS = int(os.environ.get("PYROMQ_POWER_CUTS", "0"))
SEED = int(os.environ.get("PYROMQ_SEED", "0")) or random.randrange(1, 1 << 32)
TOPIC = "power"
GROUP = "power-group"
PRODUCERS = 4

pytestmark = [pytest.mark.crash, pytest.mark.timeout(60 + 60 * CUTS)]


class Load:
    """Producers and a consumer's commits; each remembers what was acknowledged, until one fails."""

    def __init__(self, address: str, first: int) -> None:
        self.address = address
        self.acknowledged: dict[tuple[int, int], bytes] = {}
        """(queue, offset) → body."""
        self.tried: set[bytes] = set()
        self.committed = [-1] * QUEUES
        self.tried_commits: list[set[int]] = [set() for _ in range(QUEUES)]
        self._first = first
        self._acks = threading.Semaphore(0)
        self._threads = [
            threading.Thread(target=self._produce, args=(number,)) for number in range(PRODUCERS)
        ] + [threading.Thread(target=self._commit)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def await_acks(self, count: int) -> None:
        for _ in range(count):
            assert self._acks.acquire(timeout=30), "the broker stopped to acknowledge"

    def end(self) -> None:
        """Waits until every thread has met its failure."""
        for thread in self._threads:
            thread.join(30)
            assert not thread.is_alive()

    def _produce(self, producer: int) -> None:
        number = 0
        while True:
            queue = number % QUEUES
            body = f"{self._first} {producer} {number} ".encode() * (1 + number % 200)
            ext = {"a": "power", "b": TOPIC, "c": "TBW102", "d": str(QUEUES), "e": str(queue)}
            ext |= {"f": "0", "g": "1", "h": "0", "i": f"KEYS\x01{producer}-{number}\x02"}
            self.tried.add(body)
            try:
                answer = ask(self.address, RequestCode.SEND_MESSAGE_V2, ext, body)
            except OSError:
                return
            if answer.code != 0:
                return
            self.acknowledged[queue, int(answer.fields["queueOffset"])] = body
            self._acks.release()
            number += 1

    def _commit(self) -> None:
        offset = self._first
        while True:
            offset += 1
            for queue in range(QUEUES):
                ext = {"consumerGroup": GROUP, "topic": TOPIC, "queueId": str(queue)}
                self.tried_commits[queue].add(offset)
                try:
                    answer = ask(
                        self.address,
                        RequestCode.UPDATE_CONSUMER_OFFSET,
                        ext | {"commitOffset": str(offset)},
                    )
                except OSError:
                    return
                if answer.code != 0:
                    return
                self.committed[queue] = offset


def server(root: Path) -> PyromqServer:
    sizes = {"mappedFileSizeCommitLog": 4 * 1024 * 1024, "mappedFileSizeConsumeQueue": 40_000}
    sizes |= {"maxHashSlotNum": 5000, "maxIndexNum": 20_000}
    words = [word for key, value in sizes.items() for word in ("--set", f"{key}={value}")]
    doors = ("--namesrv-port", 0, "--broker-port", 0)
    return PyromqServer("standalone", "--data-dir", root / "store", *doors, *words)


def check(address: str, loads: list[Load]) -> None:
    """Every acknowledged message is in its place, nothing is there that nobody sent, and the
    group's offsets are the last ones acknowledged, or later ones that were tried."""
    wanted: dict[tuple[int, int], bytes] = {}
    tried: set[bytes] = set()
    for load in loads:
        assert not wanted.keys() & load.acknowledged.keys(), "an offset was given out twice"
        wanted |= load.acknowledged
        tried |= load.tried
    found = {
        (queue, int(record.queue_offset)): record.body
        for queue in range(QUEUES)
        for record in pull_all(address, TOPIC, queue)
    }
    lost = {place for place, body in wanted.items() if found.get(place) != body}
    assert not lost, f"{len(lost)} of {len(wanted)} acknowledged messages were lost"
    assert set(found.values()) <= tried
    for queue in range(QUEUES):
        fields = {"consumerGroup": GROUP, "topic": TOPIC, "queueId": str(queue)}
        answer = ask(address, RequestCode.QUERY_CONSUMER_OFFSET, fields)
        offset = int(answer.fields.get("offset", -1))
        # A cut may come before a queue's first commit: then the one before that cut counts.
        kept = max(load.committed[queue] for load in loads)
        assert offset >= kept
        if kept >= 0 or offset > 0:
            assert any(offset in load.tried_commits[queue] for load in loads)


if CUTS:  # else it is no test at all: nothing is skipped

    def test_everything_acknowledged_outlives_power_cuts_of_a_real_file_system(
        tmp_path: Path,
    ) -> None:
        chance = random.Random(SEED)
        print(f"PYROMQ_SEED={SEED}")  # noqa: T201 — shown when the test fails
        disk = VolatileDisk(tmp_path)
        loads: list[Load] = []
        done = 0
        try:
            for cut in range(CUTS):
                with disk, server(disk.root) as running:
                    if cut == 0:
                        content = Content()
                        content.put_topic(running.broker, TOPIC)
                        content.put_group(running.broker, GROUP, 3)
                    else:
                        check(running.broker, loads)
                    load = Load(running.broker, 1_000_000 * cut)
                    load.start()
                    load.await_acks(chance.randint(1, 400))
                    disk.cut_power(chance.randrange(1 << 30))
                    load.end()
                    running.kill()
                    loads.append(load)
                disk.check()
                done += 1
            with disk, server(disk.root) as running:
                check(running.broker, loads)
        finally:
            enter("power-cut", SEED, done, int(done != CUTS))
