"""A disk that really fills up: what is refused, what goes on, and how it ends."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import pytest

from pyromq.wire.record import decode_records
from tests.support.processes import Answer, ask, retries
from tests.support.pyromq_server import PyromqServer
from tests.support.small_disk import MIB, SmallDisk, small_disk

TOPIC = "heavy"
GROUP = "porters"
BODY_SIZE = 64 << 10
UNAVAILABLE = 14
RESUME_SECONDS = 2.0
REFUSED_COUNT = 20

pytestmark = [pytest.mark.crash, pytest.mark.timeout(120)]


def server(disk: SmallDisk, mode: str, **settings: object) -> PyromqServer:
    settings = {"flushDiskType": mode, "mappedFileSizeCommitLog": 16 * MIB, **settings}
    # The slots of an index file are written at the stop: 20 MB of the usual size.
    settings |= {"cleanFileForciblyEnable": "false", "maxHashSlotNum": 50_000}
    words = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    doors = ["--namesrv-port", 0, "--broker-port", 0]
    return PyromqServer("standalone", "--data-dir", disk.path / "store", *doors, *words)


def body_of(number: int) -> bytes:
    return number.to_bytes(8, "big") * (BODY_SIZE // 8)


def send(broker: str, number: int, *, delay: bool = False) -> Answer:
    properties = f"UNIQ_KEY\x01{number}\x02" + ("DELAY\x011\x02" if delay else "")
    fields = {"a": "PG", "b": TOPIC, "c": "TBW102", "d": "4", "e": "0", "f": "0", "g": "1"}
    return ask(broker, 310, fields | {"h": "0", "i": properties}, body_of(number))


def send_until_refused(broker: str, first: int) -> tuple[list[int], Answer]:
    """Messages from `first` on; those that were acknowledged, and the refusal that ended it.

    A refusal of what came too fast between two looks at the disk is not the end: the next look may
    find a little room."""
    acknowledged: list[int] = []
    for _ in range(10_000):
        answer = send(broker, first + len(acknowledged))
        if answer.code == 0:
            acknowledged.append(first + len(acknowledged))
        elif "nearly full" not in answer.remark:
            return acknowledged, answer
        else:
            assert answer.code == UNAVAILABLE
            assert "diskReserveBytes" in answer.remark
    raise AssertionError(f"no end after {len(acknowledged)} messages")


def stored(broker: str) -> list[int]:
    """All messages of the queue, in order, their bodies checked."""
    numbers: list[int] = []
    end = int(ask(broker, 30, {"topic": TOPIC, "queueId": "0"}).fields["offset"])
    while len(numbers) < end:
        fields = {
            "consumerGroup": GROUP, "topic": TOPIC, "queueId": "0", "maxMsgNums": "32",
            "queueOffset": str(len(numbers)), "sysFlag": "4", "commitOffset": "0",
            "suspendTimeoutMillis": "0", "subscription": "*", "subVersion": "0",
        }  # fmt: skip
        answer = ask(broker, 11, fields)
        assert answer.code == 0, answer
        for record in decode_records(answer.body):
            number = int.from_bytes(record.body[:8])
            assert record.body == body_of(number)
            numbers.append(number)
    return numbers


def commit(broker: str, offset: int) -> Answer:
    where = {"consumerGroup": GROUP, "topic": TOPIC, "queueId": "0"}
    return ask(broker, 15, where | {"commitOffset": str(offset)})


def committed(broker: str) -> int:
    where = {"consumerGroup": GROUP, "topic": TOPIC, "queueId": "0"}
    return int(ask(broker, 14, where).fields["offset"])


def topic_fields(name: str) -> dict[str, str]:
    return {
        "topic": name, "defaultTopic": "TBW102", "readQueueNums": "1", "writeQueueNums": "1",
        "perm": "6", "topicFilterType": "SINGLE_TAG", "topicSysFlag": "0", "order": "false",
    }  # fmt: skip


@pytest.mark.parametrize("mode", ["SYNC_FLUSH", "ASYNC_FLUSH"])
def test_messages_are_refused_in_time_and_everything_else_goes_on(
    tmp_path: Path, mode: str
) -> None:
    with small_disk(tmp_path / "disk", 48) as disk, server(disk, mode) as process:
        broker = process.broker
        assert ask(broker, 200, body=json.dumps({"groupName": GROUP}).encode()).code == 0
        acknowledged, refusal = send_until_refused(broker, 0)
        free = disk.free_bytes()
        assert refusal.code == UNAVAILABLE
        assert "diskReserveBytes" in refusal.remark
        assert str(disk.path / "store") in refusal.remark
        assert re.search(r"\d+ of 50331648 bytes free", refusal.remark), refusal.remark
        assert "No space left" not in refusal.remark
        assert free > 48 * MIB // 20  # half of the reserve, a tenth, at least
        assert len(acknowledged) * BODY_SIZE > 24 * MIB

        for number in range(REFUSED_COUNT):
            refusal = send(broker, 1_000_000 + number)
            assert (refusal.code, "the disk is " in refusal.remark) == (UNAVAILABLE, True)
            assert send(broker, 1_000_000 + number, delay=True).code == UNAVAILABLE
            assert commit(broker, number + 1).code == 0
        assert committed(broker) == REFUSED_COUNT
        given_back = {
            "group": GROUP, "offset": "0", "delayLevel": "1", "originTopic": TOPIC,
            "unitMode": "false", "maxReconsumeTimes": "3",
        }  # fmt: skip
        assert ask(broker, 36, given_back).code == UNAVAILABLE
        assert stored(broker) == acknowledged
        assert ask(broker, 17, topic_fields("light")).code == 0
        assert ask(broker, 215, {"topic": "light"}).code == 0

        disk.resize(64)
        began = time.monotonic()
        number = len(acknowledged)
        for _ in retries(RESUME_SECONDS):
            if send(broker, number).code == 0:
                break
        else:
            pytest.fail(f"not taken within {RESUME_SECONDS} s: {send(broker, number)}")
        assert time.monotonic() - began <= RESUME_SECONDS
        acknowledged.append(number)
        more, refusal = send_until_refused(broker, number + 1)
        assert refusal.code == UNAVAILABLE
        acknowledged += more
        assert stored(broker) == acknowledged

        process.kill()
        with server(disk, mode) as again:
            assert stored(again.broker) == acknowledged
            assert committed(again.broker) == REFUSED_COUNT
            again.stop()


@pytest.mark.parametrize("mode", ["SYNC_FLUSH", "ASYNC_FLUSH"])
def test_without_a_reserve_it_still_keeps_what_it_acknowledged(tmp_path: Path, mode: str) -> None:
    """ENOSPC itself: for the log, for the queues, and for the metadata journal."""
    with (
        small_disk(tmp_path / "disk", 48) as disk,
        server(disk, mode, diskReserveBytes=0) as process,
    ):
        broker = process.broker
        assert ask(broker, 200, body=json.dumps({"groupName": GROUP}).encode()).code == 0
        acknowledged, refusal = send_until_refused(broker, 0)
        assert refusal.code == UNAVAILABLE
        assert "No space left" in refusal.remark
        ballast = disk.fill("ballast")
        kept = 0
        while (answer := commit(broker, kept + 1)).code == 0:  # the journal's last page fills up
            kept += 1
            assert kept < 10_000
        assert answer.code == UNAVAILABLE, answer
        assert "No space left" in answer.remark
        for _ in range(REFUSED_COUNT):
            assert commit(broker, 1).code == UNAVAILABLE
            assert send(broker, 1_000_000).code == UNAVAILABLE
        assert stored(broker) == acknowledged

        ballast.unlink()
        disk.resize(64)
        number = len(acknowledged)
        for _ in retries(RESUME_SECONDS):
            if commit(broker, kept + 7).code == 0 and send(broker, number).code == 0:
                break
        else:
            pytest.fail(f"not taken: {commit(broker, kept + 7)}, {send(broker, number)}")
        acknowledged.append(number)
        assert committed(broker) == kept + 7
        assert stored(broker) == acknowledged

        process.kill()
        with server(disk, mode, diskReserveBytes=0) as again:
            assert stored(again.broker) == acknowledged
            assert committed(again.broker) == kept + 7
            again.stop()


def test_a_stop_that_finds_no_space_says_so_and_loses_nothing(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 48) as disk:
        process = server(disk, "SYNC_FLUSH", diskReserveBytes=0).start()
        try:
            acknowledged, _ = send_until_refused(process.broker, 0)
            ballast = disk.fill("ballast")
            assert process.process.stop() == 1
            assert "the next start completes" in process.process.tail()
            assert "Traceback" not in process.process.tail()
        finally:
            process.kill()
        ballast.unlink()
        disk.resize(64)
        with server(disk, "SYNC_FLUSH") as again:
            assert ask(again.broker, 200, body=json.dumps({"groupName": GROUP}).encode()).code == 0
            assert stored(again.broker) == acknowledged
            again.stop()
