"""`pyromq bench`: from the command line to rows, summary, JSON and report."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import secrets
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from pyromq.cli.bench.load import Load
from pyromq.cli.bench.meter import Meter
from pyromq.cli.bench.options import parse
from pyromq.cli.bench.pace import Pace
from pyromq.cli.bench.result import Result, result_of, summary_lines
from pyromq.cli.bench.run import Say, asked_for, rows, stopped_by_signals
from pyromq.errors import ConfigInvalid, PyromqError


def main(arguments: Sequence[str]) -> int:
    """Runs one load; returns the exit code: 0, or 1 if not one message got through. Raises
    ConfigInvalid."""
    options = parse(arguments, os.environ)
    if options.report and not Path(options.report).absolute().parent.is_dir():
        raise ConfigInvalid(f"--report {options.report}: there is no such directory")
    rows = sys.stderr if options.json else sys.stdout

    def say(line: str) -> None:
        rows.write(line + "\n")
        rows.flush()

    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            result = runner.run(_run(options, say))
    except PyromqError as error:
        sys.stderr.write(f"pyromq bench: {error}\n")
        return 1
    for line in summary_lines(result):
        say(line)
    if options.json:
        sys.stdout.write(json.dumps(result.json()) + "\n")
    if options.report:
        _write_report(Path(options.report), result)
    return 0 if result.messages else 1


async def _run(options: argparse.Namespace, say: Say) -> Result:
    if options.kind == "consumer":
        from pyromq.cli.bench.consuming import consume

        return await consume(options, say)
    return await _send(options, say)


async def _send(options: argparse.Namespace, say: Say) -> Result:
    from pyromq.cli.bench.sending import producer_of, request_of, source_of

    now = time.perf_counter
    async with producer_of(options) as producer:
        # The route is known before the clock starts, and that there is none is an error at once.
        await producer.queues(options.topic)
        request = request_of(options, producer, source_of(options, secrets.token_hex(4)))
        began_s = now()
        pace = Pace(
            began_s,
            batch_size=options.batch_size,
            rate=options.rate,
            count=options.count,
            duration_s=options.duration,
        )
        meter = Meter(began_s)
        load = Load(pace, meter, now)
        with stopped_by_signals(load.stop):
            async with rows(meter, options.interval / 1000, now, say):
                await load.run(request, options.workers)
    return result_of(
        meter,
        kind=options.kind,
        topic=options.topic,
        namesrv=options.namesrv,
        options=asked_for(options),
        latency_is=(
            "from when a message was due to its answer"
            if options.rate
            else "from a request to its answer"
        ),
    )


def _write_report(path: Path, result: Result) -> None:
    from pyromq.cli.bench.report import report_page

    when = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    path.write_text(report_page(result, when), encoding="utf-8")


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    try:
        import uvloop
    except ImportError:  # not made for this system
        return asyncio.new_event_loop
    return uvloop.new_event_loop


__all__ = ["main"]
