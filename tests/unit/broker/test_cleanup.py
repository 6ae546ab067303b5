"""Background loops: what is due is done, each has a name, and none survives the stop."""

from __future__ import annotations

import asyncio

import pytest

from pyromq.broker.cleanup import Chore, Cleanup
from tests.support.brokers import BrokerInHand
from tests.support.clock import ManualClock


def test_a_chore_runs_when_its_time_has_come() -> None:
    clock, log = ManualClock(), list[str]()
    cleanup = Cleanup(
        clock,
        [
            Chore("fast", 100, lambda: log.append("fast")),
            Chore("slow", 1_000, lambda: log.append("slow")),
        ],
    )
    cleanup.run_due()
    assert log == []
    clock.advance(100)
    cleanup.run_due()
    cleanup.run_due()
    assert log == ["fast"]
    clock.advance(900)
    cleanup.run_due()
    assert log == ["fast", "fast", "slow"]


async def test_the_loops_have_names_and_end_with_the_broker() -> None:
    hand = BrokerInHand()
    hand.broker.start()
    names = {task.get_name() for task in asyncio.all_tasks()}
    assert {
        "broker: long poll deadlines",
        "broker: client expiry",
        "broker: rates",
    } <= names
    await hand.broker.stop()
    assert not any(task.get_name().startswith("broker: ") for task in asyncio.all_tasks())


async def test_a_started_chore_is_run_by_its_task() -> None:
    ran = asyncio.Event()
    cleanup = Cleanup(ManualClock(), [Chore("soon", 1, ran.set)])
    cleanup.start()
    async with asyncio.timeout(5):
        await ran.wait()
    await cleanup.stop()


async def test_a_chore_that_raises_is_told_of_once_and_runs_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    counts = {"broken": 0, "works": 0}
    enough = asyncio.Event()

    def count(name: str) -> None:
        counts[name] += 1
        if min(counts.values()) >= 3:
            enough.set()

    def fail() -> None:
        count("broken")
        raise ZeroDivisionError

    chores = [Chore("broken", 1, fail), Chore("works", 1, lambda: count("works"))]
    cleanup = Cleanup(ManualClock(), chores)
    cleanup.start()
    async with asyncio.timeout(5):
        await enough.wait()
    await cleanup.stop()
    assert [record.getMessage() for record in caplog.records] == [
        "broken failed; repetitions are not shown"
    ]
