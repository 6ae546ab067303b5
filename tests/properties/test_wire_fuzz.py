"""Seeded mutation of frames, headers, batches, records, bodies and dialect text.

Whatever comes in: no error but the documented ones, no memory beyond a multiple of the input, the
native twin equal to the reference. A failure names its seed; set PYROMQ_FUZZ_SEED to replay it and
PYROMQ_FUZZ_SECONDS to search longer than `make test` does.
"""

from __future__ import annotations

import os
import random
import struct
import sys
import time
import tracemalloc
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pyromq.errors import MessageIllegal, ProtocolViolation, RequestFailed
from pyromq.units import MIB
from pyromq.wire import batch, dialect, haproxy, record
from pyromq.wire.batch import BatchItem
from pyromq.wire.remoting import frame, native
from pyromq.wire.remoting.bodies import clients, groups, registration, routes, topics
from pyromq.wire.remoting.connection import RemotingConnection
from pyromq.wire.remoting.frame import Command, SerializeType
from pyromq.wire.remoting.headers import REQUEST_HEADERS, decode_header
from tests.unit.wire.remoting.bodies.test_bodies import VECTORS as BODIES
from tests.unit.wire.remoting.bodies.test_bodies import compressed
from tests.unit.wire.samples import BINARY_FRAME, SEND, SEND_EXT, SEND_HEADER, raw_frame

SECONDS_ALL = float(os.environ.get("PYROMQ_FUZZ_SECONDS", "18"))
SEED = int(os.environ.get("PYROMQ_FUZZ_SEED", random.SystemRandom().randrange(1 << 32)))
TARGET_COUNT = 6
HANG_SECONDS = 1.0
MEMORY_FACTOR = 16
MEMORY_FREE = 4 * MIB
"""What interpreter and test themselves may take beside MEMORY_FACTOR × input."""

pytestmark = [pytest.mark.fuzz, pytest.mark.timeout(SECONDS_ALL + 60)]

_CAPTURED = [
    path.read_bytes()
    for path in sorted((Path(__file__).parents[1] / "vectors" / "remoting").glob("*.bin"))
]
_DEEP = [b"[" * 5_000, b'{"a":' * 5_000, b"{" * 5_000, b'{"a":' + b"[" * 300 + b"]" * 300 + b"}"]
_SLOW = [
    b'"' + b'\\"' * 50_000,
    b"{" + b" " * 100_000 + b"1",
    b"{1" * 50_000,
    b"{" + b"1" * 100_000,
    b"[" + b'"",' * 30_000,
]
"""Texts on which a careless scanner takes quadratic time."""
_NUMBERS = [-1, 0, 1, 3, 4, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, -(1 << 31)]
_TOKENS = [b'"', b"'", b"{", b"}", b"[", b"]", b":", b",", b"\\", b"\\u", b"\\ud800", b"\xff",
           b"\xed\xa0\x80", b"\xf0\x9f\x98\x80", b"\x00", b"\x01", b"\x02", b"null", b"true", b"-",
           b"1e999", b"9" * 80, b"  ", b"\r\n"]  # fmt: skip


def mutate(rng: random.Random, sample: bytes, others: list[bytes]) -> bytes:
    """A few random edits: flips, lengths, tokens, cuts, splices, repeats."""
    data = bytearray(sample)
    for _ in range(rng.choice([1, 1, 2, 3, 8])):
        at = rng.randrange(len(data) + 1)
        match rng.randrange(8):
            case 0 if data:
                data[at % len(data)] ^= 1 << rng.randrange(8)
            case 1:
                data[at : at + 4] = struct.pack(">i", rng.choice(_NUMBERS))
            case 2:
                data[at : at + 2] = struct.pack(">i", rng.choice(_NUMBERS))[2:]
            case 3:
                data[at:at] = rng.choice(_TOKENS)
            case 4:
                del data[at : at + rng.choice([1, 2, 4, 50])]
            case 5:
                other = rng.choice(others)
                start = rng.randrange(len(other) + 1)
                data[at:at] = other[start : start + rng.choice([1, 8, 200])]
            case 6:
                data[at:at] = data[at : at + rng.choice([1, 4, 40])] * rng.choice([2, 16])
            case _:
                del data[at:]
    return bytes(data)


def run(name: str, samples: list[bytes], check: Callable[[random.Random, bytes], None]) -> None:
    """The samples themselves, then mutants until this target's share of time is over."""
    for sample in samples:
        check(random.Random(name), sample)
    deadline = time.monotonic() + SECONDS_ALL / TARGET_COUNT
    seed = SEED
    while seed == SEED or time.monotonic() < deadline:
        rng = random.Random(f"{name}:{seed}")
        data = mutate(rng, rng.choice(samples), samples)
        start = time.monotonic()
        try:
            check(rng, data)
        except Exception as error:
            raise AssertionError(f"PYROMQ_FUZZ_SEED={seed}, {name}: {data!r}") from error
        assert time.monotonic() - start < HANG_SECONDS, f"PYROMQ_FUZZ_SEED={seed}, {name}: slow"
        seed += 1
    sys.stdout.write(f"{name}: {seed - SEED} inputs from PYROMQ_FUZZ_SEED={SEED}\n")


def outcome(function: Callable[[Any], object], data: object) -> object:
    try:
        return function(data)
    except (MessageIllegal, RequestFailed, ProtocolViolation) as error:
        return type(error), str(error)


def _frames() -> list[bytes]:
    binary = Command.request(310, SEND_EXT, b"body", serialize_type=SerializeType.ROCKETMQ)
    deep = [raw_frame(text) for text in _DEEP]
    odd = raw_frame("{'code':1,'extFields':{'a':1,'b':true,'c':null},'x':[{}]}", b"b")
    return [frame.encode(SEND), BINARY_FRAME, frame.encode(binary), odd, *deep, *_CAPTURED]


def test_streams_of_broken_frames() -> None:
    samples = _frames()

    def check(rng: random.Random, data: bytes) -> None:
        data += rng.choice([b"", rng.choice(samples)])
        whole = frame.split(data)
        assert native.split(data) == whole
        connection = RemotingConnection()
        received: list[Command] = []
        at = 0
        while at < len(data):
            size = rng.choice([1, 3, 8, 100, 5_000])
            received += connection.receive_data(data[at : at + size])
            at += size
        assert received == whole.commands
        assert (str(connection.violation) if connection.violation else None) == whole.violation
        assert connection.pending_bytes <= 2 * len(data)
        for command in received:
            header_type = REQUEST_HEADERS.get(command.code)
            if header_type is not None:
                outcome(partial(decode_header, header_type), command.ext)

    run("streams", samples, check)


def test_broken_headers() -> None:
    def check(rng: random.Random, data: bytes) -> None:
        for serialize_type in SerializeType:
            whole = raw_frame(data[:100_000], b"b", serialize_type)
            found = frame.split(whole)
            assert native.split(whole) == found
            for command in found.commands:
                assert native.encode_head(command) == frame.encode_head(command)

    headers = [SEND_HEADER, *_DEEP]
    headers += [data[8:] for data in _frames() if data[4] == 1]
    run("headers", headers, check)


def test_broken_batches() -> None:
    items = [BatchItem(n, b"b" * n, b"p" * n) for n in range(5)]

    def check(rng: random.Random, data: bytes) -> None:
        found = outcome(batch.decode_batch, data)
        assert outcome(native.decode_batch, data) == found
        if isinstance(found, list):
            assert len(batch.encode_batch(found)) == len(data)

    run("batches", [batch.encode_batch(items), batch.encode_batch(items[:1]) * 3], check)


def test_broken_records() -> None:
    stored = record.Record("TopicTest", b"Hello", properties=b"TAGS\x01TagA\x02KEYS\x01k\x02")
    long = msgspec.structs.replace(stored, topic="t" * 200, born_host=bytes(20))

    def check(rng: random.Random, data: bytes) -> None:
        found = outcome(record.decode_records, data)
        assert outcome(native.decode_records, data) == found
        if isinstance(found, list):
            for item in found:
                record.parse_properties(item.properties.decode("utf-8", "replace"))
                assert item.message_id

    run("records", [record.encode_record(stored), record.encode_record(long) * 2], check)


def test_broken_bodies_and_dialect() -> None:
    decoders: list[Callable[[bytes], object]] = [
        routes.decode_topic_route, routes.decode_cluster_info, routes.decode_kv_table,
        clients.decode_heartbeat, clients.decode_consumer_connections, topics.decode_topic_table,
        topics.decode_topic_stats, groups.decode_group_table, groups.decode_group_config,
        groups.decode_offset_table,
        lambda body: registration.decode_register_broker(
            body, compressed=False, broker_version=513
        ),
    ]  # fmt: skip
    texts = [text for _, _, text, _, _ in BODIES]

    def check(rng: random.Random, data: bytes) -> None:
        for decode in rng.sample(decoders, 3):
            outcome(decode, data)
        try:
            tree = dialect.read(data)
        except dialect.DialectError:
            return
        assert repr(dialect._read_tolerantly(data, dialect.DEPTH_MAX)) == repr(tree)
        try:
            text = dialect.encode(tree)
        except UnicodeEncodeError as error:
            raise AssertionError("the reader let a surrogate through") from error
        assert repr(dialect.read(text, depth_max=100)) == repr(tree)

    run("bodies", [*texts, *_DEEP, *_SLOW], check)


def test_broken_compressed_registrations_and_proxy_headers() -> None:
    plain = zlib.decompress(compressed(struct.pack(">i", 0)))
    v2 = b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c" + bytes(12)
    bomb = zlib.compress(bytes(3 * MIB), 9)

    def check(rng: random.Random, data: bytes) -> None:
        outcome(haproxy.parse_proxy_header, data)
        for body in (data, zlib.compress(data, 1)):
            outcome(
                lambda body: registration.decode_register_broker(
                    body, compressed=True, broker_version=rng.choice([401, 513])
                ),
                body,
            )

    run(
        "registrations",
        [plain, compressed(), bomb, v2, b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2\r\n"],
        check,
    )


def test_memory_stays_a_multiple_of_the_input() -> None:
    rng = random.Random(f"memory:{SEED}")
    samples = [*_frames(), raw_frame('{"extFields":{' + '"a":"b",' * 5_000 + '"a":"b"}}')]
    for number in range(200):
        data = (
            mutate(rng, rng.choice(samples), samples) if number >= len(samples) else samples[number]
        )
        tracemalloc.start()
        try:
            frame.split(data)
            RemotingConnection().receive_data(data)
            outcome(batch.decode_batch, data)
            outcome(record.decode_records, data)
            outcome(clients.decode_heartbeat, data)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak <= MEMORY_FACTOR * len(data) + MEMORY_FREE, f"seed {SEED}, number {number}"
