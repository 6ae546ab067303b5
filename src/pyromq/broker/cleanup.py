"""The broker's background loops: one owner, one name each, cancelled and awaited at the end.

A chore is a plain function that does what is due by the clock and returns; the loop around it only
decides how often it is asked. So tests advance a clock and call `run_due` instead of sleeping. Work
whose next time is known has an alarm instead, which is started and stopped here too.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import NamedTuple

from pyromq.broker.alarm import Alarm
from pyromq.clock import Clock

_log = logging.getLogger(__name__)


class Chore(NamedTuple):
    """Something to be done every `interval_ms`."""

    name: str
    interval_ms: int
    run: Callable[[], None]


class Cleanup:
    """Runs chores, each in its own task once started, and alarms."""

    def __init__(self, clock: Clock, chores: Sequence[Chore], alarms: Sequence[Alarm] = ()) -> None:
        self._clock = clock
        self._chores = tuple(chores)
        self._alarms = tuple(alarms)
        self._due_ms = [clock.monotonic_ms() + chore.interval_ms for chore in self._chores]
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Needs a running loop."""
        assert not self._tasks, "started once"
        for chore in self._chores:
            task = asyncio.create_task(_loop(chore), name=f"broker: {chore.name}")
            self._tasks.append(task)
        for alarm in self._alarms:
            alarm.start()

    async def stop(self) -> None:
        for alarm in self._alarms:
            alarm.stop()
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.gather(*tasks, return_exceptions=True)

    def run_due(self) -> None:
        """Runs now, each once, the chores and alarms whose time has come by the clock."""
        now_ms = self._clock.monotonic_ms()
        for index, chore in enumerate(self._chores):
            if now_ms >= self._due_ms[index]:
                self._due_ms[index] = now_ms + chore.interval_ms
                chore.run()
        for alarm in self._alarms:
            alarm.run_due()


async def _loop(chore: Chore) -> None:
    is_told = False
    while True:
        await asyncio.sleep(chore.interval_ms / 1000)
        try:
            chore.run()
        except Exception as error:  # noqa: BLE001 — a mistake in this program must not end a chore
            if not is_told:
                is_told = True
                _log.error("%s failed; repetitions are not shown", chore.name, exc_info=error)


__all__ = ["Chore", "Cleanup"]
