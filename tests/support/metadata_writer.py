"""A process that changes metadata for ever and says what it was promised; made to be killed.

    python -m tests.support.metadata_writer ROOT sync|async

One turn per number n: topic `t<n mod 5>` gets n queues, four queues get offset n, a KV entry comes
and those before go (usually one; a kill inside a write may have left more). When the journal says
the turn is committed, `n` is a line on stdout. The journal's generations are made tiny and the
projection is written all the time, so that kills hit those too.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from pyromq.clock import SystemClock
from pyromq.domain.topic import TopicConfig
from pyromq.store.journal import Journal
from pyromq.store.metadata import Metadata

TOPIC_COUNT = 5
QUEUE_COUNT = 4
JOURNAL_SIZE = 6000


def change(metadata: Metadata, n: int) -> int:
    """Turn n; returns the sequence to wait for."""
    metadata.put_topic(TopicConfig(topic_name=f"t{n % TOPIC_COUNT}", read_queue_nums=n))
    metadata.put_kv("n", str(n), "v")
    for queue_id in range(QUEUE_COUNT):
        metadata.commit_offset("g", "T", queue_id, n)
    sequence = metadata.delete_kv("n", str(n - 1))
    for key in [key for key in metadata.tables.kv["n"] if key != str(n)]:
        sequence = metadata.delete_kv("n", key)
    return sequence


def newest(metadata: Metadata) -> int:
    """The last turn the tables know anything of."""
    numbers = [int(key) for key in metadata.tables.kv.get("n", {})]
    return max([metadata.tables.offset("g", "T", 0), *numbers, 0])


async def main(root: Path, is_sync: bool) -> None:
    metadata = Metadata.open_broker(root, sync_flush=is_sync, clock=SystemClock())
    journal = metadata._journal
    assert isinstance(journal, Journal)
    journal._size_min = journal._size_limit = JOURNAL_SIZE
    progress = asyncio.Event()
    metadata.on_progress(progress.set)
    metadata.start(asyncio.get_running_loop().call_soon_threadsafe)
    projection = asyncio.create_task(metadata.project())
    n = newest(metadata)
    while True:
        n += 1
        sequence = change(metadata, n)
        metadata.write()
        while metadata.positions().commit < sequence:
            await progress.wait()
            progress.clear()
        print(n, flush=True)  # noqa: T201 — the parent reads it
        if projection.done():
            projection.result()
            projection = asyncio.create_task(metadata.project())
        await asyncio.sleep(0)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2] == "sync"))
