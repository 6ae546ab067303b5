"""Measures a broker, and Apache's beside it, with the native load generator in bench/load.

Run from the repository's root: `.venv/bin/python -m bench.measure --label NAME [--servers …]`.
Four parts: `load` (throughput, CPU per message, latency), `ready` (time from the command to
serving), `memory` (idle and after load) and `restart` (after kill -9 with a log of a given size).
The result is a Markdown page in bench/results/ that says how it was measured.

New data stays under a bound, because first-touch cost of page cache grows after a few gigabytes
(it would be charged to whoever writes last).
"""

from __future__ import annotations

import datetime
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bench.loads import MeasureFailed, build_generator
from bench.machine import file_system
from bench.options import parse
from bench.parts import Measurement
from bench.report import page
from bench.servers import servers_named
from tests.support.processes import ServerFailed

RESULTS = Path(__file__).parent / "results"


def main(arguments: Sequence[str]) -> int:
    options = parse(arguments)
    build_generator()
    with tempfile.TemporaryDirectory(prefix="measure-") as name:
        root = Path(name).resolve()
        disk = file_system(root, Path("/proc/mounts").read_text())
        servers = servers_named(
            options.servers, root, options.settings, is_ephemeral=options.is_ephemeral
        )
        measurement = Measurement(options, servers)
        try:
            measurement.run()
        except (MeasureFailed, ServerFailed) as failed:
            print(f"measure: {failed}", file=sys.stderr)
            return 1
        finally:
            for server in servers:
                server.clear()
    text = page(
        options,
        versions=[server.version for server in servers],
        sections=measurement.sections,
        stored_messages=measurement.stored_messages,
        file_system=disk,
    )
    today = datetime.datetime.now(datetime.UTC).date()
    result = RESULTS / f"{today:%Y-%m-%d}-{options.label}.md"
    result.parent.mkdir(exist_ok=True)
    result.write_text(text)
    print(f"bench/results/{result.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
