"""Deduplication: what it promises, with each store, and what it does when things fail."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import fakeredis
import pytest

from pyromq.client.dedup import (
    MarkersMissing,
    MarkerStore,
    MemoryMarkers,
    RedisMarkers,
    SqliteMarkers,
    deduplicated,
)
from pyromq.client.message import ReceivedMessage
from pyromq.domain.route import MessageQueue
from pyromq.units import QueueOffset
from pyromq.wire.record import Record


def message(key: str, offset: int = 0) -> ReceivedMessage:
    record = Record("T", b"x", properties=f"UNIQ_KEY\x01{key}\x02KEYS\x01order-{key}\x02".encode())
    return ReceivedMessage("T", b"x", MessageQueue("a", 0, "T"), QueueOffset(offset), record)


@pytest.fixture(params=["memory", "sqlite", "redis"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[MarkerStore]:
    if request.param == "memory":
        yield MemoryMarkers()
    elif request.param == "sqlite":
        async with SqliteMarkers(tmp_path / "markers.db") as markers:
            yield markers
    else:
        client = fakeredis.FakeAsyncRedis()
        yield RedisMarkers(client)
        await client.aclose()


async def test_a_message_that_was_consumed_is_passed_over(store: MarkerStore) -> None:
    consumed: list[str] = []

    @deduplicated(store)
    async def listen(message: ReceivedMessage) -> None:
        consumed.append(message.message_id)

    for key in ("a", "b", "a", "b", "c"):
        await listen(message(key))
    assert consumed == ["a", "b", "c"]


async def test_a_message_that_failed_is_not_marked(store: MarkerStore) -> None:
    calls: list[str] = []

    @deduplicated(store)
    async def listen(message: ReceivedMessage) -> None:
        calls.append(message.message_id)
        if len(calls) == 1:
            raise ValueError("the first time")

    with pytest.raises(ValueError, match="the first time"):
        await listen(message("a"))
    await listen(message("a"))
    await listen(message("a"))
    assert calls == ["a", "a"]


async def test_the_same_key_never_runs_twice_at_a_time(store: MarkerStore) -> None:
    running = 0
    consumed: list[int] = []

    @deduplicated(store)
    async def listen(message: ReceivedMessage) -> None:
        nonlocal running
        running += 1
        assert running == 1
        await asyncio.sleep(0)
        running -= 1
        if message.queue_offset < 2:
            raise ValueError("these fail")
        consumed.append(message.queue_offset)

    done = await asyncio.gather(
        *(listen(message("a", offset)) for offset in range(8)), return_exceptions=True
    )
    assert [type(result) for result in done[:2]] == [ValueError, ValueError]
    assert consumed == [2]


async def test_groups_with_scopes_of_their_own_share_a_store(store: MarkerStore) -> None:
    consumed: list[str] = []

    def one(scope: str) -> object:
        async def listen(message: ReceivedMessage) -> None:
            consumed.append(scope)

        return deduplicated(store, scope=scope)(listen)

    first, second = one("first"), one("second")
    for listen in (first, second, first, second):
        await listen(message("a"))  # type: ignore[operator]
    assert consumed == ["first", "second"]


async def test_a_key_of_the_programs_own_and_a_plain_listener() -> None:
    consumed: list[str] = []

    @deduplicated(MemoryMarkers(), key=lambda message: message.keys[0])
    def listen(message: ReceivedMessage) -> None:
        consumed.append(message.keys[0])

    await listen(message("a"))
    await listen(message("a"))
    assert consumed == ["order-a"]


async def test_a_message_without_a_key_is_always_consumed() -> None:
    consumed: list[str] = []

    @deduplicated(MemoryMarkers(), key=lambda _: None)
    async def listen(message: ReceivedMessage) -> None:
        consumed.append(message.message_id)

    await listen(message("a"))
    await listen(message("a"))
    assert consumed == ["a", "a"]


class Broken(MemoryMarkers):
    """Fails where it is told to."""

    def __init__(self, where: str) -> None:
        super().__init__()
        self.where = where

    async def has(self, key: str) -> bool:
        if self.where == "has":
            raise OSError("the store is away")
        return await super().has(key)

    async def add(self, key: str) -> None:
        if self.where == "add":
            raise OSError("the store is away")
        await super().add(key)


@pytest.mark.parametrize(("where", "effects"), [("has", 0), ("add", 1)])
async def test_with_a_broken_store_the_message_comes_again(where: str, effects: int) -> None:
    consumed: list[str] = []
    store = Broken(where)

    @deduplicated(store)
    async def listen(message: ReceivedMessage) -> None:
        consumed.append(message.message_id)

    with pytest.raises(OSError, match="away"):
        await listen(message("a"))
    assert len(consumed) == effects
    store.where = "nowhere"
    await listen(message("a"))
    assert len(consumed) == effects + 1


async def test_memory_keeps_the_newest_keys() -> None:
    store = MemoryMarkers(2)
    for key in ("a", "b", "a", "c"):
        await store.add(key)
    assert [await store.has(key) for key in ("a", "b", "c")] == [True, False, True]


async def test_sqlite_markers_are_there_for_the_next_process_and_go_with_time(
    tmp_path: Path,
) -> None:
    path = tmp_path / "markers.db"
    async with SqliteMarkers(path) as first, SqliteMarkers(path) as beside:
        await first.add("a")
        assert await beside.has("a")
    async with SqliteMarkers(path) as second:
        assert await second.has("a")
    async with SqliteMarkers(path, kept_ms=-1) as third:
        assert not await third.has("a")
        await third.add("b")
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT count(*) FROM markers").fetchone() == (0,)
    connection.close()


async def test_redis_markers_have_a_life_time() -> None:
    client = fakeredis.FakeAsyncRedis()
    await RedisMarkers(client, kept_ms=60_000).add("a")
    assert 0 < await client.pttl("pyromq:consumed:a") <= 60_000
    await client.aclose()


def test_without_the_redis_library_the_way_to_get_it_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "redis.asyncio", None)
    with pytest.raises(MarkersMissing, match=r"pip install pyromq\[redis\]"):
        RedisMarkers("redis://127.0.0.1:1")
