"""Background loops: what is due is done, each has a name, and none survives the stop."""

from __future__ import annotations

import asyncio

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
        "broker: commit timeouts",
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


async def test_a_chore_that_raises_is_reported_and_the_others_go_on() -> None:
    reported: list[str] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _loop, what: reported.append(what["message"]))
    count = 0
    enough = asyncio.Event()

    def work() -> None:
        nonlocal count
        count += 1
        if count == 3:
            enough.set()

    def fail() -> None:
        raise ZeroDivisionError

    cleanup = Cleanup(ManualClock(), [Chore("broken", 1, fail), Chore("works", 1, work)])
    cleanup.start()
    async with asyncio.timeout(5):
        await enough.wait()
    await cleanup.stop()
    loop.set_exception_handler(None)
    assert reported == ["broker: broken ended"]
