"""What the wire layer costs per frame: `python bench/micro_wire.py`.

Prints µs per operation, the best of several rounds, for the native twin and for the reference. The
frames are a Java client's send (431 bytes with JSON header) and its answer, in chunks of 64.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pyromq import _native
from pyromq.wire import batch, record
from pyromq.wire.batch import BatchItem
from pyromq.wire.remoting import fields, frame, native
from pyromq.wire.remoting.connection import RemotingConnection
from pyromq.wire.remoting.frame import Command, SerializeType
from pyromq.wire.remoting.headers import decode_header
from pyromq.wire.remoting.headers.send import SendHeaderV2, SendResponse
from tests.unit.wire.samples import SEND, SEND_EXT

ROUNDS = 9
ROUND_SECONDS = 0.05
CHUNK = 64

Task = Callable[[], object]


def measure(task: Task, per_call: int) -> float:
    """µs per operation: the best round, as other processes only ever add."""
    task()
    best = float("inf")
    for _ in range(ROUNDS):
        calls = 0
        start = time.perf_counter()
        while (spent := time.perf_counter() - start) < ROUND_SECONDS:
            task()
            calls += 1
        best = min(best, spent / calls)
    return best / per_call * 1e6


def _send(serialize_type: SerializeType) -> Command:
    return Command.request(310, SEND_EXT, SEND.body, opaque=3, serialize_type=serialize_type)


Row = tuple[str, Task, Task | None, int]


def rows_of(serialize_type: SerializeType, response: SendResponse) -> list[Row]:
    """A send and its answer in one form of header: native, reference."""
    request = _send(serialize_type)
    chunk = frame.encode(request) * CHUNK
    answer = Command.response_to(request, 0, fields.encode_ext(response))
    name = serialize_type.name
    return [
        (f"{name}: send frame → Command", lambda: native.split(chunk),
         lambda: frame.split(chunk), CHUNK),
        (f"{name}: the same through a connection",
         lambda: RemotingConnection().receive_data(chunk),
         lambda: RemotingConnection(splitter=frame.split).receive_data(chunk), CHUNK),
        (f"{name}: answer Command → head", lambda: native.encode_head(answer),
         lambda: frame.encode_head(answer), 1),
        (f"{name}: typed answer → head",
         lambda: native.encode_head(
             Command.response_to(request, 0, native.encode_ext(response))),
         lambda: frame.encode_head(
             Command.response_to(request, 0, fields.encode_ext(response))), 1),
    ]  # fmt: skip


def main() -> None:
    response = SendResponse(
        msg_id="7F0000010000847700000000000020AE",
        queue_id=0,
        queue_offset=1,
        transaction_id="FD000000000000000000000000000002573E30946E0967319E800000",
    )
    rows = [row for kind in SerializeType for row in rows_of(kind, response)]
    items = batch.encode_batch([BatchItem(0, bytes(128), b"TAGS\x01TagA\x02")] * 32)
    stored = record.Record("TopicTest", bytes(128), properties=b"TAGS\x01TagA\x02" * 8)
    records = record.encode_record(stored) * 32
    rows += [
        ("fields → SendHeaderV2", lambda: decode_header(SendHeaderV2, SEND_EXT), None, 1),
        ("SendResponse → fields", lambda: native.encode_ext(response),
         lambda: fields.encode_ext(response), 1),
        ("message of a batch of 32", lambda: native.decode_batch(items),
         lambda: batch.decode_batch(items), 32),
        ("record of a pull of 32", lambda: native.decode_records(records),
         lambda: record.decode_records(records), 32),
    ]  # fmt: skip
    print(f"native build: {_native.build_profile()}")
    print(f"{'µs per operation':44}{'native':>10}{'reference':>12}")
    for name, fast, slow, per_call in rows:
        reference = "" if slow is None else f"{measure(slow, per_call):12.2f}"
        print(f"{name:44}{measure(fast, per_call):10.2f}{reference:>12}")


if __name__ == "__main__":
    main()
