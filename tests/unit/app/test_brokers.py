"""The supervision of brokers: pauses between lives, and lives that a toy process leads."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from pyromq.app.brokers import (
    PAUSE_MAX_MS,
    PAUSE_MIN_MS,
    RestartPause,
    SupervisedBroker,
    how_it_ended,
)
from pyromq.app.row import PlannedBroker
from pyromq.clock import SystemClock
from tests.support.connections import WAIT_SECONDS

TOY = """
import pathlib, sys
lives = pathlib.Path(sys.argv[1])
lives.write_text(lives.read_text() + sys.argv[2] + "\\n" if lives.exists() else sys.argv[2] + "\\n")
count = len(lives.read_text().split())
if count < int(sys.argv[3]):
    sys.exit(count)
print("READY broker=127.0.0.1:4711", flush=True)
sys.stdin.read()
"""


def test_pauses_double_up_to_the_longest_and_a_life_that_lasted_begins_anew() -> None:
    pause = RestartPause()
    assert [pause.after(0) for _ in range(8)] == [
        500, 1000, 2000, 4000, 8000, 16_000, PAUSE_MAX_MS, PAUSE_MAX_MS,
    ]  # fmt: skip
    assert pause.after(PAUSE_MAX_MS - 1) == PAUSE_MAX_MS
    assert pause.after(PAUSE_MAX_MS) == PAUSE_MIN_MS
    assert pause.after(0) == 1000


def test_an_end_is_told_by_its_signal_or_its_code() -> None:
    assert how_it_ended(-9) == "was ended by SIGKILL"
    assert how_it_ended(3) == "ended with exit code 3"


class Supervised:
    """A supervised toy: each life writes its port down; it is READY from the given life on."""

    def __init__(self, tmp_path: Path, ready_from: int) -> None:
        self.lives = tmp_path / "lives"
        self.broker = SupervisedBroker(
            PlannedBroker("broker-b", 0, tmp_path, 0),
            lambda _, port: [
                sys.executable, "-c", TOY, str(self.lives), str(port), str(ready_from),
            ],
            SystemClock(),
        )  # fmt: skip

    def ports(self) -> Sequence[str]:
        return self.lives.read_text().split()


async def test_what_cannot_start_is_named_and_tried_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    it = Supervised(tmp_path, ready_from=2)
    it.broker.start()
    await asyncio.wait_for(it.broker.was_ready.wait(), WAIT_SECONDS)
    await it.broker.stop()
    (told,) = [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
    assert told.startswith("broker-b (process ")
    assert told.endswith("ended with exit code 1 before it was ready; started again in 0.5 s")
    assert it.broker.address == "127.0.0.1:4711"


async def test_a_killed_one_comes_back_at_the_port_it_had(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    it = Supervised(tmp_path, ready_from=1)
    it.broker.start()
    await asyncio.wait_for(it.broker.was_ready.wait(), WAIT_SECONDS)
    it.broker.was_ready.clear()
    pid = int(caplog.records[-1].getMessage().split()[-1].rstrip(")"))
    os.kill(pid, signal.SIGKILL)
    await asyncio.wait_for(it.broker.was_ready.wait(), WAIT_SECONDS)
    await it.broker.stop()
    assert list(it.ports()) == ["0", "4711"]
    assert "was ended by SIGKILL; started again in 0.5 s" in caplog.text


async def test_a_command_that_does_not_exist_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    told = asyncio.Event()

    class Watch(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            told.set()

    watch = Watch(logging.ERROR)
    logging.getLogger("pyromq.app").addHandler(watch)
    broker = SupervisedBroker(
        PlannedBroker("broker-c", 0, tmp_path, 0),
        lambda _, __: [str(tmp_path / "nothing")],
        SystemClock(),
    )
    broker.start()
    try:
        await asyncio.wait_for(told.wait(), WAIT_SECONDS)
    finally:
        logging.getLogger("pyromq.app").removeHandler(watch)
    await broker.stop()
    assert "broker-c cannot be started: No such file or directory" in caplog.text


async def test_a_stop_before_the_start_and_one_during_a_pause_end_at_once(tmp_path: Path) -> None:
    it = Supervised(tmp_path, ready_from=1_000)
    await it.broker.stop()
    again = Supervised(tmp_path, ready_from=1_000)
    again.broker.start()
    await asyncio.sleep(0)
    async with asyncio.timeout(WAIT_SECONDS):
        await again.broker.stop()
    assert not again.broker.was_ready.is_set()
