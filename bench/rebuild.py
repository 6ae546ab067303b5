"""How soon the broker is ready with much log, and how long queues and index take to be made anew.

Run from the repository's root: `.venv/bin/python -m bench.rebuild [--log-mib 1024]`. Needs the load
generator (`make bench` builds it).

One store is filled; each line is a kill -9, maybe the removal of queue or index files, and a start.
The second figure is how long the rebuild went on after READY, as the runtime info tells. At the end
every message is pulled and its CRC checked.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from bench.loads import SCENARIOS, STORED_EXTRA, MeasureFailed, rmqload
from bench.servers import Pyromq
from pyromq.codes import RequestCode
from tests.support.processes import ask

REBUILD_SECONDS_MAX = 600.0
LOOK_SECONDS = 0.05
BODY = 128


def rebuilt(address: str) -> float:
    """Seconds until nothing is rebuilt any more."""
    began = time.monotonic()
    while True:
        answer = ask(address, RequestCode.GET_BROKER_RUNTIME_INFO)
        seconds = time.monotonic() - began
        if json.loads(answer.body)["table"]["storeRebuildPercent"] == "100":
            return seconds
        if seconds > REBUILD_SECONDS_MAX:
            raise MeasureFailed(f"not rebuilt in {REBUILD_SECONDS_MAX:g} s")
        time.sleep(LOOK_SECONDS)


def measure(log_mib: int, root: Path) -> None:
    server = Pyromq(root, ["flushDiskType=ASYNC_FLUSH"], is_ephemeral=False)
    count = (log_mib << 20) // (BODY + STORED_EXTRA)
    try:
        server.start()
        fill = (*SCENARIOS["batches"].arguments, f"--body={BODY}", f"--count={count}")
        sent = rmqload(server, fill)
        store = next(root.rglob("commitlog")).parent
        one_queue = next(path for path in (store / "consumequeue").glob("*/0") if _size(path))
        cases: Sequence[tuple[str, Sequence[Path]]] = (
            ("kill -9 only", ()),
            ("index removed", (store / "index",)),
            ("one queue removed", (one_queue,)),
            ("all queues and index removed", (store / "consumequeue", store / "index")),
        )
        print(f"{sent['messages']} messages, {server.version}")
        print(f"{'':30} {'READY s':>8} {'rebuilt after s':>16}")
        for name, gone in cases:
            server.kill()
            for directory in gone:
                shutil.rmtree(directory)
            ready = server.start()
            print(f"{name:30} {ready:8.2f} {rebuilt(server.address):16.2f}", flush=True)
        read = rmqload(server, (*SCENARIOS["pulls"].arguments, "--check-crc"))
        if read["messages"] != sent["messages"]:
            raise MeasureFailed(f"{sent['messages']} were confirmed, {read['messages']} are there")
    finally:
        server.clear()


def _size(directory: Path) -> int:
    return sum(path.stat().st_blocks for path in directory.iterdir())


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--log-mib", type=int, default=1024)
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="pyromq-bench-") as directory:
        measure(chosen.log_mib, Path(directory))
    return 0


if __name__ == "__main__":
    sys.exit(main())
