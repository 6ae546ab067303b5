"""Alarms: they ring once their time has come, and the loop is not woken for anything else."""

from __future__ import annotations

import asyncio

from pyromq.broker.alarm import Alarm
from pyromq.broker.cleanup import Cleanup
from pyromq.clock import SystemClock
from tests.support.clock import ManualClock


class Bell:
    """An alarm on a clock in hand, and how often it rang."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.count = 0
        self.rung = asyncio.Event()
        self.again_in_ms: int | None = None
        self.alarm = Alarm(self.clock, self.ring)

    def ring(self) -> None:
        self.count += 1
        self.rung.set()
        if self.again_in_ms is not None:
            self.set_in(self.again_in_ms)

    def set_in(self, wait_ms: int) -> None:
        self.alarm.set(self.clock.monotonic_ms() + wait_ms)

    def after(self, duration_ms: int) -> int:
        self.clock.advance(duration_ms)
        self.alarm.run_due()
        return self.count


def test_it_rings_once_at_its_time() -> None:
    bell = Bell()
    bell.set_in(100)
    assert bell.after(99) == 0
    assert bell.after(1) == 1
    assert bell.alarm.due_ms is None
    assert bell.after(1_000) == 1


def test_another_time_replaces_the_first_and_none_ends_it() -> None:
    bell = Bell()
    bell.set_in(100)
    bell.set_in(500)
    assert bell.after(499) == 0
    bell.alarm.set(None)
    assert bell.after(1_000) == 0


def test_whoever_is_rung_may_set_it_again() -> None:
    bell = Bell()
    bell.again_in_ms = 10
    bell.set_in(10)
    assert [bell.after(10) for _ in range(3)] == [1, 2, 3]


async def test_the_loop_rings_it_while_the_broker_lives() -> None:
    rung = asyncio.Event()
    alarm = Alarm(SystemClock(), rung.set)
    cleanup = Cleanup(ManualClock(), [], [alarm])
    alarm.set(SystemClock().monotonic_ms() + 5)
    cleanup.start()
    async with asyncio.timeout(5):
        await rung.wait()
        rung.clear()
        alarm.set(0)
        await rung.wait()
    await cleanup.stop()
    rung.clear()
    alarm.set(1)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not rung.is_set()


async def test_a_loop_that_wakes_too_early_waits_for_the_clock() -> None:
    """The clock in hand does not move while the loop's timer runs out."""
    bell = Bell()
    bell.set_in(1)
    bell.alarm.start()
    woken = asyncio.Event()
    asyncio.get_running_loop().call_later(0.02, woken.set)
    async with asyncio.timeout(5):
        await woken.wait()
    assert bell.count == 0
    assert bell.alarm.due_ms is not None
    bell.clock.advance(1)
    async with asyncio.timeout(5):
        await bell.rung.wait()
    bell.alarm.stop()
    assert bell.count == 1
