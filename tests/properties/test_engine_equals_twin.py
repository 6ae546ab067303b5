"""The native engine does what the memory twin does, for any sequence of operations.

Sizes are tiny, so that a few dozen messages roll segments, queue files and index files. The
persister either never runs by itself (everything is served from memory until a restart) or all the
time (most of it comes from files), and a restart may happen anywhere.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
)

from pyromq.errors import MessageIllegal
from pyromq.store.engine import Boundary, Engine, StoreSettings
from pyromq.store.memory import MemoryEngine
from pyromq.store.native import NativeEngine, open_store
from pyromq.units import QueueOffset
from pyromq.wire.batch import BatchItem, encode_batch

NEVER_MS = 3_600_000
MEMORY = Path("/dev/shm")
"""Restarts sync a lot; in memory that costs nothing."""
HOST_V4 = b"\x7f\x00\x00\x01\x00\x00\x2a\x9f"
HOST_V6 = bytes(range(16)) + b"\x00\x00\x2a\x9f"
TOPICS = ("T", "SCHEDULE_TOPIC_XXXX", "L" * 130, "%RETRY%組")
KEYS = ("k1", "k2", "schlüssel", "鍵")
TAGS = ("TagA", "TagB", "")

topics = st.sampled_from(TOPICS)
queue_ids = st.sampled_from((0, 1, 5000))
bodies = st.binary(max_size=300)
hosts = st.sampled_from((HOST_V4, HOST_V6))
sys_flags = st.sampled_from((0, 0, 0, 1, 0x4, 0x8, 0xC, 0x30))
offsets = st.integers(-1, 60)
times = st.integers(-5, 4000)


@st.composite
def property_texts(draw: st.DrawFn) -> bytes:
    """Mostly well-formed properties, sometimes doubled or odd ones."""
    pairs = []
    if draw(st.booleans()):
        pairs.append(("UNIQ_KEY", draw(st.sampled_from(KEYS))))
    words = draw(st.lists(st.sampled_from(KEYS), max_size=3))
    if words:
        pairs.append(("KEYS", draw(st.sampled_from((" ", "  "))).join(words)))
    pairs.append(("TAGS", draw(st.sampled_from(TAGS))))
    level = draw(st.sampled_from((None, "1", "2", "9", "-1", "x")))
    if level is not None:
        pairs.append(("DELAY", level))
    if draw(st.booleans()):
        pairs.append(
            draw(st.sampled_from((("TAGS", "TagB"), ("TAGSX", "a"), ("", "v"), ("K", "v"))))
        )
    text = "\x02".join(f"{name}\x01{value}" for name, value in draw(st.permutations(pairs)))
    return (text + draw(st.sampled_from(("", "\x02")))).encode()


class EngineEqualsTwin(RuleBasedStateMachine):
    """One native store and one twin, fed the same."""

    def __init__(self) -> None:
        super().__init__()
        self.root = new_directory()
        self.now_ms = 1000
        self.native: NativeEngine
        self.twin: MemoryEngine
        self.settings: StoreSettings

    @initialize(
        sync_flush=st.booleans(),
        store_host=hosts,
        persist_ms=st.sampled_from((1, NEVER_MS)),
        index_enabled=st.sampled_from((True, True, False)),
    )
    def open(
        self, sync_flush: bool, store_host: bytes, persist_ms: int, index_enabled: bool
    ) -> None:
        self.settings = StoreSettings(
            root=self.root,
            store_host=store_host,
            sync_flush=sync_flush,
            segment_size=3000,
            consume_queue_file_size=140,
            index_slot_count=5,
            index_entry_count=12,
            index_enabled=index_enabled,
            flush_interval_ms=NEVER_MS,
            flush_interval_consume_queue_ms=persist_ms,
            message_size_max=1500,
            reserve_ahead=4096,
            delay_levels_ms=(1000, 5000),
        )
        self.native = open_store(self.settings)
        self.twin = MemoryEngine(self.settings)

    def both(self, call: Callable[[Engine], object]) -> None:
        """Calls both; answers, or refusals, must be equal."""
        assert answer(call, self.native) == answer(call, self.twin)

    @rule(
        topic=topics,
        queue_id=queue_ids,
        body=bodies,
        properties=property_texts(),
        sys_flag=sys_flags,
        born_host=hosts,
        step_ms=st.sampled_from((0, 0, 1, 700, -3000)),
    )
    def append(
        self,
        topic: str,
        queue_id: int,
        body: bytes,
        properties: bytes,
        sys_flag: int,
        born_host: bytes,
        step_ms: int,
    ) -> None:
        self.now_ms += step_ms
        self.both(
            lambda engine: engine.append(
                topic,
                queue_id,
                memoryview(body),
                properties,
                flag=7,
                sys_flag=sys_flag,
                born_timestamp_ms=5,
                born_host=born_host,
                reconsume_times=1,
                prepared_transaction_offset=9,
                now_ms=self.now_ms,
            )
        )

    @rule(size=st.sampled_from((1500, 1501, 1400)), properties_size=st.sampled_from((0, 32768)))
    def append_large(self, size: int, properties_size: int) -> None:
        self.both(
            lambda engine: engine.append(
                "T",
                0,
                bytes(size),
                b"x" * properties_size,
                flag=0,
                sys_flag=0,
                born_timestamp_ms=0,
                born_host=HOST_V4,
                reconsume_times=0,
                prepared_transaction_offset=0,
                now_ms=self.now_ms,
            )
        )

    @rule(
        topic=topics,
        queue_id=queue_ids,
        items=st.lists(
            st.builds(BatchItem, st.just(3), st.binary(max_size=100), property_texts()),
            min_size=1,
            max_size=5,
        ),
        cut=st.sampled_from((0, 0, 0, 1, 5)),
        sys_flag=st.sampled_from((0, 0, 0x4)),
    )
    def append_batch(
        self, topic: str, queue_id: int, items: list[BatchItem], cut: int, sys_flag: int
    ) -> None:
        batch = encode_batch(items)
        batch = batch[: len(batch) - cut]
        self.both(
            lambda engine: engine.append_batch(
                topic,
                queue_id,
                batch,
                sys_flag=sys_flag,
                born_timestamp_ms=5,
                born_host=HOST_V6,
                reconsume_times=0,
                now_ms=self.now_ms,
            )
        )

    @rule()
    def write(self) -> None:
        self.twin.write()
        self.native.write()
        self.settle()

    def settle(self) -> None:
        """With SYNC_FLUSH the flusher runs by itself: waits until it has caught up."""
        if self.settings.sync_flush:
            self.twin.flush()
            deadline = time.monotonic() + 20
            while self.native.positions().flushed < self.native.positions().written:
                assert time.monotonic() < deadline, "the flusher does not come"

    @rule(
        topic=topics,
        queue_id=queue_ids,
        offset=offsets,
        count=st.sampled_from((0, 1, 3, 32)),
        size=st.sampled_from((0, 200, 700, 100_000)),
        tags=st.sampled_from((None, (2598919,), (2598919, 2598920), (0,), ())),
    )
    def read(
        self,
        topic: str,
        queue_id: int,
        offset: int,
        count: int,
        size: int,
        tags: tuple[int, ...] | None,
    ) -> None:
        self.both(
            lambda engine: engine.read(
                topic,
                queue_id,
                QueueOffset(offset),
                message_count_max=count,
                body_size_max=size,
                tag_hashes=tags,
            )
        )

    @rule()
    def take_arrivals(self) -> None:
        assert self.native.take_arrivals() == self.twin.take_arrivals()

    @rule(topic=topics, queue_id=queue_ids, offset=offsets)
    def store_time(self, topic: str, queue_id: int, offset: int) -> None:
        self.both(lambda engine: engine.store_time(topic, queue_id, QueueOffset(offset)))

    @rule(topic=topics, queue_id=queue_ids, at=times, boundary=st.sampled_from(Boundary))
    def offset_by_time(self, topic: str, queue_id: int, at: int, boundary: Boundary) -> None:
        self.both(lambda engine: engine.offset_by_time(topic, queue_id, at, boundary))

    @rule(
        topic=topics,
        key=st.sampled_from((*KEYS, "T#TagA", "none")),
        count=st.sampled_from((1, 3, 64)),
        begin=times,
        length=st.sampled_from((0, 500, 100_000)),
    )
    def query_key(self, topic: str, key: str, count: int, begin: int, length: int) -> None:
        self.both(
            lambda engine: engine.query_key(
                topic, key, count_max=count, begin_ms=begin, end_ms=begin + length
            )
        )

    @rule(topic=topics)
    def drop_topic(self, topic: str) -> None:
        self.both(lambda engine: engine.drop_topic(topic))

    @rule(is_clean=st.booleans())
    def restart(self, is_clean: bool) -> None:
        """Nothing that was committed changes by a restart. A turn that was not written is written
        by a clean stop and lost by a crash; here it is written before."""
        self.write()
        self.native.take_arrivals()
        self.twin.take_arrivals()
        if is_clean:
            self.native.close()
            self.twin.flush()
            self.native = open_store(self.settings)
        else:
            copy = new_directory()
            # The notes first: a crash never leaves notes that are newer than what they speak of.
            shutil.copytree(f"{self.root}/pyromq", f"{copy}/pyromq")
            ignore = shutil.ignore_patterns("pyromq", "lock")
            shutil.copytree(self.root, copy, ignore=ignore, dirs_exist_ok=True)
            self.native.close()
            shutil.rmtree(self.root)
            self.root = copy
            self.settings = self.settings._replace(root=copy)
            self.native = open_store(self.settings)
            self.twin.flush()

    @rule(count=st.sampled_from((1, 1, 2, 9)))
    def remove_oldest(self, count: int) -> None:
        """Old segments go, and what was made from them; a clean stop lets all go that may."""
        self.restart(is_clean=True)
        for _ in range(count):
            oldest = self.twin.oldest_segment()
            found = self.native.oldest_segment()
            assert (oldest and oldest[:2]) == (found and found[:2])
            if oldest is not None:
                log_offset = oldest.log_offset
                self.both(lambda engine: engine.remove_segment(log_offset))  # noqa: B023
        self.native.remove_derived(0)
        deadline = time.monotonic() + 20
        while self.native.removals_left().left:
            assert time.monotonic() < deadline, self.native.removals_left()
        assert self.native.removals_left().failure is None

    @invariant()
    def positions_and_queues_are_equal(self) -> None:
        if not hasattr(self, "native"):
            return
        assert self.native.positions() == self.twin.positions()
        assert self.native.log_min() == self.twin.log_min()
        assert self.native.failure() is None
        for topic in TOPICS:
            assert self.native.queue_ids(topic) == self.twin.queue_ids(topic)
            for queue_id in (0, 1, 5000):
                wanted = self.twin.queue_range(topic, queue_id)
                assert self.native.queue_range(topic, queue_id) == wanted

    def teardown(self) -> None:
        if hasattr(self, "native"):
            self.native.close()
        shutil.rmtree(self.root, ignore_errors=True)


def new_directory() -> str:
    return tempfile.mkdtemp(prefix="pyromq-twin-", dir=MEMORY if MEMORY.is_dir() else None)


def answer(call: Callable[[Engine], object], engine: Engine) -> object:
    """What the call answers, or that it was refused."""
    try:
        return call(engine)
    except MessageIllegal:
        return MessageIllegal


TestEngineEqualsTwin = EngineEqualsTwin.TestCase
TestEngineEqualsTwin.settings = settings(
    max_examples=100,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
