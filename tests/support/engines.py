"""One test over both engines: how to open them, fill them, and wait for their flusher."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Iterable
from pathlib import Path

from pyromq.store.engine import Appended, Engine, QueueRead, StoreSettings
from pyromq.store.memory import MemoryEngine
from pyromq.units import LogOffset, QueueOffset

ENGINE_KINDS = ("memory", "native")

STORE_HOST = bytes([127, 0, 0, 1]) + (10911).to_bytes(4, "big")
BORN_HOST = bytes([10, 0, 0, 1]) + (1234).to_bytes(4, "big")
BORN_HOST_V6 = bytes(15) + b"\1" + (1234).to_bytes(4, "big")

SETTLE_TIMEOUT_S = 10


def settings(root: Path | str = "", **changed: object) -> StoreSettings:
    """A small store: 64 KiB segments, 100 entries per queue file, 40 per index file."""
    small = StoreSettings(
        root=str(root),
        store_host=STORE_HOST,
        sync_flush=False,
        segment_size=64 << 10,
        consume_queue_file_size=100 * 20,
        index_slot_count=50,
        index_entry_count=40,
        message_size_max=16 << 10,
        reserve_ahead=64 << 10,
        delay_levels_ms=(1000, 5000, 10_000),
    )
    return small._replace(**changed)  # type: ignore[arg-type]  # names are checked by NamedTuple


def open_engine(kind: str, root: Path | str = "", **changed: object) -> Engine:
    """A new engine of the kind; the native one watches its flusher if a loop runs."""
    if kind == "memory":
        return MemoryEngine(settings(root, **changed))
    from pyromq.store import native

    engine = native.open_store(settings(root, **changed))
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return engine
    engine.start(loop)
    return engine


async def settle(engine: Engine) -> None:
    """Writes, and waits until everything appended is flushed or the store has failed."""
    engine.write()
    if isinstance(engine, MemoryEngine):
        engine.flush()
        return
    progress = asyncio.Event()
    engine.on_progress(progress.set)
    async with asyncio.timeout(SETTLE_TIMEOUT_S):
        while engine.positions().commit < engine.positions().appended and not engine.failure():
            await progress.wait()
            progress.clear()


def properties(**pairs: str) -> bytes:
    """Stored properties text; `_` in a name is kept, so UNIQ_KEY can be written as it is."""
    return "".join(f"{name}\x01{value}\x02" for name, value in pairs.items()).encode()


def put(
    engine: Engine,
    topic: str = "TopicTest",
    queue_id: int = 0,
    body: bytes = b"hello",
    *,
    now_ms: int = 1_700_000_000_000,
    sys_flag: int = 0,
    born_host: bytes = BORN_HOST,
    stored_properties: bytes | None = None,
    **pairs: str,
) -> Appended:
    """Appends one message; keyword pairs become its properties."""
    return engine.append(
        topic,
        queue_id,
        body,
        properties(**pairs) if stored_properties is None else stored_properties,
        flag=0,
        sys_flag=sys_flag,
        born_timestamp_ms=now_ms - 1,
        born_host=born_host,
        reconsume_times=0,
        prepared_transaction_offset=0,
        now_ms=now_ms,
    )


def batch(*items: tuple[bytes, bytes]) -> bytes:
    """A request batch of (body, properties) items, as MessageDecoder.encodeMessages makes it."""
    return b"".join(
        struct.pack(">iiiii", 22 + len(body) + len(props), 0, 0, 0, len(body))
        + body
        + struct.pack(">h", len(props))
        + props
        for body, props in items
    )


def put_batch(
    engine: Engine,
    encoded: bytes,
    topic: str = "TopicTest",
    queue_id: int = 0,
    *,
    sys_flag: int = 0,
    now_ms: int = 1_700_000_000_000,
) -> tuple[Appended, list[LogOffset]]:
    """Appends a request batch."""
    return engine.append_batch(
        topic,
        queue_id,
        encoded,
        sys_flag=sys_flag,
        born_timestamp_ms=now_ms - 1,
        born_host=BORN_HOST,
        reconsume_times=0,
        now_ms=now_ms,
    )


def read(
    engine: Engine,
    queue_offset: int = 0,
    topic: str = "TopicTest",
    queue_id: int = 0,
    *,
    count: int = 32,
    size: int = 256 << 10,
    tags: Iterable[int] | None = None,
) -> QueueRead:
    """Reads one queue with the limits of a normal pull."""
    return engine.read(
        topic,
        queue_id,
        QueueOffset(queue_offset),
        message_count_max=count,
        body_size_max=size,
        tag_hashes=None if tags is None else set(tags),
    )


def split_records(body: bytes) -> list[bytes]:
    """Records of a read, one by one."""
    records = []
    at = 0
    while at < len(body):
        size = int.from_bytes(body[at : at + 4], "big")
        records.append(body[at : at + size])
        at += size
    assert at == len(body), "records end where the body does"
    return records


__all__ = [
    "BORN_HOST",
    "BORN_HOST_V6",
    "ENGINE_KINDS",
    "STORE_HOST",
    "batch",
    "open_engine",
    "properties",
    "put",
    "put_batch",
    "read",
    "settings",
    "settle",
    "split_records",
]
