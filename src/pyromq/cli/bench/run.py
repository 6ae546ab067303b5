"""What all kinds of runs have in common: rows while they last, and an end by Ctrl-C."""

from __future__ import annotations

import argparse
import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Final

from pyromq.cli.bench.meter import Meter
from pyromq.cli.bench.result import HEADER, row_line

Say = Callable[[str], None]

HEADER_EVERY: Final = 30
"""Rows between two repetitions of the head, so that it stays on a screen."""

_ELSEWHERE: Final = frozenset({"kind", "topic", "namesrv", "json", "report"})
"""Options that have their own place in a result, or are no part of what was asked for."""


@asynccontextmanager
async def rows(
    meter: Meter, interval_s: float, now: Callable[[], float], say: Say
) -> AsyncIterator[None]:
    """Says a row for every interval of the block, and one for what is left at its end."""
    done = asyncio.Event()

    async def tick() -> None:
        said = 0
        while not done.is_set():
            try:
                # By the clock, not by what the last row left: else the rows drift.
                due_s = meter.began_s + (said + 1) * interval_s
                async with asyncio.timeout(max(0.0, due_s - now())):
                    await done.wait()
            except TimeoutError:
                pass
            if done.is_set() and not meter.has_news and (said or has_failed):
                return
            if said % HEADER_EVERY == 0:
                say(HEADER)
            say(row_line(meter.end_interval(now())))
            said += 1

    has_failed = False
    ticking = asyncio.create_task(tick(), name="bench rows")
    try:
        yield
    except BaseException:
        has_failed = True
        raise
    finally:
        done.set()
        await ticking


@contextmanager
def stopped_by_signals(stop: Callable[[], None]) -> Iterator[None]:
    """SIGINT and SIGTERM call `stop`, which lets the run end with its results; a second one is
    left to the system."""
    loop = asyncio.get_running_loop()
    numbers = (signal.SIGINT, signal.SIGTERM)

    def first() -> None:
        for number in numbers:
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_DFL)
        stop()

    for number in numbers:
        loop.add_signal_handler(number, first)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


def asked_for(options: argparse.Namespace) -> dict[str, object]:
    """The options of a run, for its result."""
    return {name: value for name, value in sorted(vars(options).items()) if name not in _ELSEWHERE}


__all__ = ["HEADER_EVERY", "Say", "asked_for", "rows", "stopped_by_signals"]
