"""EIO of a real device under a real file system: what a restart makes of it.

ext4 on a loop device on a disk that refuses the sectors of one message. Its sync fails, the kernel
calls the pages clean and goes on showing them. The broker is killed and started again, with the
disk still broken or well, with the kernel's copy there or gone; then the power is cut, and what the
start served must be there. Needs root, FUSE, loop devices, nbdkit and nbdfuse, so it is no part of
`make test`:

    make device-error ERRORS=10
"""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from pyromq.codes import RequestCode
from tests.support.ledger import enter
from tests.support.processes import Answer, ServerFailed, ask
from tests.support.pyromq_server import PyromqServer
from tests.support.store_content import Content, pull_all
from tests.support.volatile_disk_device import VolatileDisk

ERRORS = int(os.environ.get("PYROMQ_DEVICE_ERRORS", "0"))
SEED = int(os.environ.get("PYROMQ_SEED", "0")) or random.randrange(1, 1 << 32)
TOPIC, GROUP = "device", "device-group"
BROKEN = b"THE-SECTOR-OF-THIS-IS-BROKEN"
MODES = ("SYNC_FLUSH", "ASYNC_FLUSH")

pytestmark = [pytest.mark.crash, pytest.mark.timeout(60 + 60 * ERRORS)]


def server(root: Path, mode: str) -> PyromqServer:
    sizes: dict[str, object] = {"mappedFileSizeCommitLog": 4 << 20, "flushDiskType": mode}
    sizes |= {"maxHashSlotNum": 5000, "maxIndexNum": 20_000, "flushIntervalCommitLog": 50}
    words = [word for key, value in sizes.items() for word in ("--set", f"{key}={value}")]
    doors = ("--namesrv-port", 0, "--broker-port", 0)
    return PyromqServer("standalone", "--data-dir", root / "store", *doors, *words)


def send(broker: str, body: bytes) -> Answer:
    ext = {"a": "device", "b": TOPIC, "c": "TBW102", "d": "4", "e": "0", "f": "0", "g": "1"}
    return ask(broker, RequestCode.SEND_MESSAGE_V2, ext | {"h": "0", "i": ""}, body)


def send_some(broker: str, chance: random.Random) -> list[bytes]:
    bodies = [chance.randbytes(chance.randint(1, 9_000)) for _ in range(chance.randint(5, 30))]
    assert [send(broker, body).code for body in bodies] == [0] * len(bodies)
    return bodies


def bodies_in(broker: str) -> list[bytes]:
    return [record.body for record in pull_all(broker, TOPIC, 0)]


def one_error(disk: VolatileDisk, mode: str, chance: random.Random, kept: list[bytes]) -> None:
    """One error on a store that holds `kept`, which grows by what is acknowledged."""
    lost = BROKEN + chance.randbytes(chance.randint(0, 20_000))
    tried = [lost]
    with disk:
        with server(disk.root, mode) as running:
            broker = running.broker
            if not kept:
                Content().put_topic(broker, TOPIC)
            assert bodies_in(broker) == kept
            kept += send_some(broker, chance)
            running.stop()  # so all of these were synced, in either mode
        with server(disk.root, mode) as running:
            broker = running.broker
            disk.fail_writes_of(BROKEN)
            answer = send(broker, lost)
            # With ASYNC_FLUSH it is acknowledged before the sync; then the broker only reads.
            assert (answer.code, mode) in {(14, MODES[0]), (0, MODES[1])}, answer
            while (answer := send(broker, b"after")).code == 0:
                tried.append(b"after")
                assert mode == MODES[1]
                assert len(tried) < 100_000
            assert answer.code == 14
            assert "Input/output error" in answer.remark
            running.kill()
        if (
            chance.random() < 0.4
        ):  # the disk is still broken: a start refuses, or says nothing false
            with pytest.raises(ServerFailed, match="Input/output error"):
                server(disk.root, mode).start()
        assert disk.heal(), "no write of the device failed"
        is_forgotten = chance.random() < 0.3
        if is_forgotten:  # the kernel's copy goes before anybody reads
            Path("/proc/sys/vm/drop_caches").write_text("1\n")
        with server(disk.root, mode) as running:
            found = bodies_in(running.broker)
            assert found[: len(kept)] == kept
            more = iter(tried)
            assert all(body in more for body in found[len(kept) :]), "bytes that nobody sent"
            if mode == MODES[1] and not is_forgotten:
                assert found == kept + tried, "what was acknowledged is written again"
            kept[:] = found
            kept += send_some(running.broker, chance)
            if mode == MODES[1]:
                running.stop()  # else the last moments may go with the power
            disk.cut_power(chance.randrange(1 << 30))
            running.kill()
    disk.check()
    with disk, server(disk.root, mode) as running:
        assert bodies_in(running.broker) == kept, "what was served is gone with the power"


if ERRORS:  # else it is no test at all: nothing is skipped

    def test_a_restart_after_an_error_of_the_device_serves_only_what_the_device_has(
        tmp_path: Path,
    ) -> None:
        chance = random.Random(SEED)
        print(f"PYROMQ_SEED={SEED}")  # noqa: T201 — shown when the test fails
        done = 0
        try:
            for number in range(ERRORS):
                folder = tmp_path / str(number)
                folder.mkdir()
                disk, kept = VolatileDisk(folder), list[bytes]()
                one_error(disk, MODES[number % 2], chance, kept)
                done += 1
        finally:
            enter("device-error", SEED, done, int(done != ERRORS))
