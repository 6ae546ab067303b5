"""What one message costs the native engine: append, write, read, in µs of CPU of the whole process.

    python bench/micro_engine.py [--count 300000] [--turn 64] [--body 128] [--directory DIR]

Bodies, keys and tags as in the load generator: 128 bytes, UNIQ_KEY, KEYS, TAGS, so three index
entries a message. "append" is the caller's thread alone between two writes; "all" is user and
system time of every thread, flusher and persister included. Medians of the rounds after the first.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

from pyromq.store.engine import StoreSettings
from pyromq.store.native import NativeEngine, open_store
from pyromq.units import QueueOffset

HOST = bytes([127, 0, 0, 1]) + (10911).to_bytes(4, "big")
QUEUE_COUNT = 4
PULL_COUNT = 32
ROUNDS = 4


def properties(number: int) -> bytes:
    """As long as a Java client's."""
    return (
        f"UNIQ_KEY\x01FD00000000000000000000000000000253EB30946E{number:016X}\x02"
        f"KEYS\x01OrderID{number}\x02TAGS\x01TagA\x02WAIT\x01true\x02CLUSTER\x01DefaultCluster\x02"
    ).encode()


def append_all(
    engine: NativeEngine, texts: list[bytes], body: bytes, turn: int
) -> tuple[float, float]:
    """µs a message: appending alone, and everything."""
    append = engine.append
    now_ms = time.time_ns() // 1_000_000
    appending = 0
    all_before = time.process_time_ns()
    for first in range(0, len(texts), turn):
        before = time.thread_time_ns()
        for number, text in enumerate(texts[first : first + turn]):
            append(
                "TopicTest",
                number % QUEUE_COUNT,
                body,
                text,
                flag=0,
                sys_flag=0,
                born_timestamp_ms=now_ms,
                born_host=HOST,
                reconsume_times=0,
                prepared_transaction_offset=0,
                now_ms=now_ms,
            )
        appending += time.thread_time_ns() - before
        engine.write()
    everything = time.process_time_ns() - all_before
    return appending / len(texts) / 1000, everything / len(texts) / 1000


def read_all(engine: NativeEngine) -> float:
    """µs a message: every queue from its beginning, in pulls of 32."""
    count = 0
    before = time.process_time_ns()
    for queue_id in range(QUEUE_COUNT):
        at = QueueOffset(0)
        while True:
            answer = engine.read(
                "TopicTest",
                queue_id,
                at,
                message_count_max=PULL_COUNT,
                body_size_max=1 << 18,
                tag_hashes=None,
            )
            if not answer.message_count:
                break
            count += answer.message_count
            at = answer.next_offset
    return (time.process_time_ns() - before) / count / 1000


def one_round(directory: Path, count: int, turn: int, body: bytes, sync: bool) -> list[float]:
    settings = StoreSettings(root=str(directory), store_host=HOST, sync_flush=sync)
    texts = [properties(number) for number in range(count)]
    engine = open_store(settings)
    appending, everything = append_all(engine, texts, body, turn)
    while engine.positions().commit < engine.positions().written:
        time.sleep(0.001)
    reading = read_all(engine)
    before = time.process_time_ns()
    engine.close()
    closing = (time.process_time_ns() - before) / count / 1000
    return [appending, everything, reading, closing]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--count", type=int, default=300_000)
    parser.add_argument("--turn", type=int, default=64)
    parser.add_argument("--body", type=int, default=128)
    parser.add_argument("--sync", action="store_true")
    parser.add_argument("--directory", default=None)
    given = parser.parse_args()
    rounds = []
    for _ in range(ROUNDS):
        with tempfile.TemporaryDirectory(dir=given.directory) as directory:
            body = bytes(given.body)
            rounds.append(one_round(Path(directory), given.count, given.turn, body, given.sync))
    names = ("append", "append + write, all", "read", "close")
    for name, values in zip(names, zip(*rounds[1:], strict=True), strict=True):
        sys.stdout.write(f"{name:22}{statistics.median(values):7.3f} µs a message\n")


if __name__ == "__main__":
    main()
