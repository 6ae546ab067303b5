"""Measures pyromq and Apache RocketMQ under the same loads: `make bench`, README.md tells how.

Run from the repository's root: `.venv/bin/python -m bench.measure [--works …] [--seconds …]`.
The result is a Markdown page in bench/results/ that says how it was measured, and a picture of it
in docs/.
"""

from __future__ import annotations

import functools
import shlex
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from bench import run_brokers, run_flow, run_java, run_loads, run_starts, run_topics
from bench.life import Measurement, say
from bench.loads import build_generator
from bench.machine import file_system, machine_class, touch_memory
from bench.options import Options, parse
from bench.picture import bars, picture
from bench.report import Page, commit, heading, today
from bench.works import ASYNC, WORKS

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "bench" / "results"
PICTURE = ROOT / "docs" / "bench.svg"

_OTHERS: dict[str, Callable[[Measurement], None]] = {
    "ready": run_starts.ready,
    "memory": run_starts.memory,
    "topics": run_topics.run,
    "flow": run_flow.flow,
    "cold": run_flow.cold,
    "brokers": run_brokers.run,
    "java": run_java.run,
    "restart": run_starts.restart,
}


def page_name(options: Options, commit_name: str) -> str:
    """Date, machine class and commit, unless a label was given; without the ending."""
    if options.label:
        return f"{today()}-{options.label}"
    return f"{today()}-{machine_class()}-{commit_name.replace(' with changes', '-changed')}"


def begun(options: Options, root: Path, arguments: Sequence[str]) -> Page:
    """The page before anything was measured."""
    disk = file_system(root, Path("/proc/mounts").read_text())
    nothing = Page("", [], len)
    servers = Measurement(options, root, nothing, 0).made(ASYNC)
    name = page_name(options, commit())
    result = RESULTS / f"{name}.md"
    result.parent.mkdir(exist_ok=True)
    lines = heading(
        versions=[server.version for server in servers],
        settings=options.settings,
        rounds=options.rounds,
        run_seconds=options.run,
        warm_up=options.warm_up,
        file_system=disk,
        command=f"make bench ARGS={shlex.quote(' '.join(arguments))}"
        if arguments
        else "make bench",
    )
    return Page(name, lines, result.write_text)


def main(arguments: Sequence[str]) -> int:
    options = parse(arguments)
    # So that servers are ended and limits put back also when it is told to stop.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    started = time.monotonic()
    build_generator()
    with tempfile.TemporaryDirectory(prefix="measure-") as name:
        root = Path(name).resolve()
        page = begun(options, root, arguments)
        say(f"memory touched in {touch_memory(options.touch_gib):.1f} s")
        measurement = Measurement(options, root, page, started + options.seconds)
        for work in WORKS:
            if work not in options.works:
                continue
            if work in _OTHERS:
                measurement.attempt(work, functools.partial(_OTHERS[work], measurement))
            else:
                run_loads.run(measurement, work)
    page.heading = [*page.heading, f"All of it took {time.monotonic() - started:,.0f} s."]
    page.write()
    if rows := bars(page.comparisons):
        PICTURE.write_text(picture(f"pyromq and Apache RocketMQ, {page.title}", rows))
    print(f"bench/results/{page.title}.md")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
