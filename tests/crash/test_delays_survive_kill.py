"""SIGKILL while delayed messages are delivered: none is lost, and what was safe comes only once."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from pyromq.clock import SystemClock
from pyromq.store.metadata import Metadata
from tests.support.delayed import (
    Waiting,
    await_delivered,
    create_topic,
    delivered,
    delivered_count,
    send,
)
from tests.support.processes import retries
from tests.support.pyromq_server import PyromqServer

KILL_COUNT = 3
MESSAGES = 200
"""Between two kills."""
LEVELS = (1, 2)

pytestmark = [pytest.mark.crash, pytest.mark.timeout(120)]


def server(root: Path, mode: str) -> PyromqServer:
    settings = {"flushDiskType": mode, "messageDelayLevel": "1s 2s", "flushIntervalCommitLog": 200}
    words = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    return PyromqServer(
        "standalone", "--data-dir", root, "--namesrv-port", 0, "--broker-port", 0, *words
    )


def safe_offsets(root: Path) -> dict[int, int]:
    """What the journal of a killed process says; it is killed, too: nothing is closed cleanly."""
    metadata = Metadata.open_broker(root, sync_flush=True, clock=SystemClock())
    metadata._journal.close()
    return dict(metadata.tables.delay_offsets)


@pytest.mark.parametrize("mode", ["SYNC_FLUSH", "ASYNC_FLUSH"])
def test_each_acknowledged_message_is_delivered_and_what_was_safe_only_once(
    tmp_path: Path, mode: str
) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")  # noqa: T201 — shown when the test fails
    chance = random.Random(seed)
    root = tmp_path / "store"
    sent: list[Waiting] = []
    safe_since: dict[int, int] = {}
    """Message → time of the first kill at which it was safely delivered."""
    for kill in range(KILL_COUNT):
        with server(root, mode) as process:
            if not kill:
                create_topic(process.broker)
            before = delivered_count(process.broker)
            sent += send(process.broker, range(kill * MESSAGES, (kill + 1) * MESSAGES), LEVELS)
            await_delivered(process.broker, before + chance.randint(1, MESSAGES))
            process.kill()
        killed_ms = time.time_ns() // 1_000_000
        safe = safe_offsets(root)
        for message in sent:
            if message.queue_offset < safe.get(message.level, 0):
                safe_since.setdefault(message.number, killed_ms)

    with server(root, mode) as process:
        for _ in retries(20):
            copies = delivered(process.broker)
            if len(copies) == len(sent):
                break
        assert sorted(copies) == [message.number for message in sent]
        again = [
            number
            for number, since_ms in safe_since.items()
            if any(copy.store_timestamp_ms > since_ms for copy in copies[number])
        ]
        assert again == []
        count = delivered_count(process.broker)
        twice = count - len(sent)
        print(f"{mode}: {len(safe_since)} were safe at a kill, {twice} copies came again")  # noqa: T201
        assert twice < KILL_COUNT * MESSAGES
        process.stop()

    with server(root, mode) as process:
        last = send(process.broker, range(len(sent), len(sent) + 1), (1,))
        await_delivered(process.broker, count + len(last))
        assert delivered_count(process.broker) == count + len(last)
        assert safe_since, "some messages were safe"
