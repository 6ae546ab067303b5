"""Telling repeated messages apart: a listener that runs once per key, as far as that is possible.

    store = SqliteMarkers("billing.db")
    consumer = PushConsumer(namesrv, "billing", deduplicated(store, scope="billing")(on_message))

What it guarantees, exactly:

1. A message is never lost by it. Its key is marked only after the listener has returned; if the
   listener raises, or the process dies while it runs, there is no marker and it runs again.
2. Once the marker is stored, the listener is not called for that key again while the marker is kept
   (memory: so many keys; SQLite and Redis: so long).
3. Within one process two messages with the same key do not run at the same time.

What remains, so that the listener runs twice for one key:

- the process dies, or the store fails, after the listener's effect and before the marker is stored;
- two processes get messages with the same key at the same time (a queue that changes hands, two
  sends of one business key in two queues);
- the marker is older than the store keeps it, or the store's own crash took it: a power cut may
  take the last moments of `SqliteMarkers`, and Redis keeps what its persistence is set to.

So it is at least once with rare repetitions. Exactly once needs the effect and the marker in one
transaction: use the effect's own database, with the key as a unique column.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import sqlite3
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol, Self

from pyromq.client.consumption import Listener
from pyromq.client.message import ReceivedMessage
from pyromq.errors import PyromqError

if TYPE_CHECKING:
    from redis.asyncio import Redis

KEPT_MS: Final = 7 * 24 * 3_600_000
"""A week: longer than a broker keeps messages by default (three days)."""
COUNT_MAX: Final = 100_000
_PURGE_EVERY: Final = 1_000

Key = Callable[[ReceivedMessage], str | None]
"""What makes two messages the same; None: the message is not told apart from others."""


class MarkerStore(Protocol):
    """Remembers keys of consumed messages."""

    async def has(self, key: str) -> bool:
        """Whether the key is marked. What it raises makes the message come again."""

    async def add(self, key: str) -> None:
        """Marks it; when it returns, the marker is stored as safely as the store stores."""


class MarkersMissing(PyromqError):
    """The Redis library is not installed."""


def deduplicated(
    store: MarkerStore, *, key: Key | None = None, scope: str = ""
) -> Callable[[Listener], Callable[[ReceivedMessage], Awaitable[None]]]:
    """Makes a listener that passes over messages whose key is marked in `store`.

    `key`: the producer's message id unless given; that stays the same when a send is tried again
    and when a message is given back, but not when a program sends the same thing anew: for that use
    a business key, such as `lambda message: message.keys[0]`. `scope`: groups that share a store
    need different ones, usually the group's name.
    """
    key_of = key or _message_id

    def wrap(listener: Listener) -> Callable[[ReceivedMessage], Awaitable[None]]:
        turns = _Turns()

        @functools.wraps(listener, updated=())
        async def listen(message: ReceivedMessage) -> None:
            own = key_of(message)
            if own is None:
                await _call(listener, message)
                return
            marker = f"{scope}\x00{own}"
            async with turns.of(marker):
                if not await store.has(marker):
                    await _call(listener, message)
                    await store.add(marker)

        return listen

    return wrap


class _Turns:
    """One after another for each key; keeps nothing of keys that nobody waits for."""

    def __init__(self) -> None:
        self._locks: dict[str, asyncio.Lock] = {}
        self._users: dict[str, int] = {}

    @contextlib.asynccontextmanager
    async def of(self, key: str) -> AsyncIterator[None]:
        lock = self._locks.setdefault(key, asyncio.Lock())
        self._users[key] = self._users.get(key, 0) + 1
        try:
            async with lock:
                yield
        finally:
            self._users[key] -= 1
            if not self._users[key]:
                del self._users[key], self._locks[key]


async def _call(listener: Listener, message: ReceivedMessage) -> None:
    if inspect.iscoroutinefunction(listener):
        await listener(message)
        return
    result = await asyncio.to_thread(listener, message)
    if inspect.isawaitable(result):
        await result


def _message_id(message: ReceivedMessage) -> str:
    return message.message_id


class MemoryMarkers:
    """The last so many keys, in this process: for tests, and against repetitions of a moment."""

    def __init__(self, count_max: int = COUNT_MAX) -> None:
        self._keys: OrderedDict[str, None] = OrderedDict()
        self._count_max = count_max

    async def has(self, key: str) -> bool:
        return key in self._keys

    async def add(self, key: str) -> None:
        self._keys[key] = None
        self._keys.move_to_end(key)
        while len(self._keys) > self._count_max:
            self._keys.popitem(last=False)


class SqliteMarkers:
    """Keys in an SQLite file, kept for a week; processes of one machine may share it.

    One thread writes, with a transaction per marker in WAL mode. A crash of the process loses none;
    a power cut may lose the last of them, unless `synchronous="FULL"`.
    """

    def __init__(
        self, path: str | Path, *, kept_ms: int = KEPT_MS, synchronous: str = "NORMAL"
    ) -> None:
        if synchronous not in ("NORMAL", "FULL"):
            raise ValueError(f"synchronous {synchronous!r}: NORMAL or FULL")
        self._path = str(path)
        self._kept_ms = kept_ms
        self._synchronous = synchronous
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="markers")
        self._connection: sqlite3.Connection | None = None
        self._added_count = 0

    async def has(self, key: str) -> bool:
        return await self._run(self._has, key)

    async def add(self, key: str) -> None:
        await self._run(self._add, key)

    async def close(self) -> None:
        """Closes the file; markers stay in it."""
        await self._run(self._close, "")
        self._thread.shutdown()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _run(self, work: Callable[[str], bool], key: str) -> bool:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, key)

    def _opened(self) -> sqlite3.Connection:
        if self._connection is None:
            connection = sqlite3.connect(self._path, isolation_level=None, timeout=30)
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute(f"PRAGMA synchronous={self._synchronous}")
            connection.execute(
                "CREATE TABLE IF NOT EXISTS markers"
                " (key TEXT PRIMARY KEY, marked_ms INTEGER NOT NULL) WITHOUT ROWID"
            )
            connection.execute("CREATE INDEX IF NOT EXISTS by_age ON markers (marked_ms)")
            self._connection = connection
        return self._connection

    def _has(self, key: str) -> bool:
        row = self._opened().execute("SELECT marked_ms FROM markers WHERE key = ?", (key,))
        found = row.fetchone()
        return found is not None and found[0] > _now_ms() - self._kept_ms

    def _add(self, key: str) -> bool:
        connection = self._opened()
        connection.execute("INSERT OR REPLACE INTO markers VALUES (?, ?)", (key, _now_ms()))
        if self._added_count % _PURGE_EVERY == 0:
            oldest = _now_ms() - self._kept_ms
            connection.execute("DELETE FROM markers WHERE marked_ms <= ?", (oldest,))
        self._added_count += 1
        return True

    def _close(self, _: str) -> bool:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        return True


class RedisMarkers:
    """Keys in Redis (`pip install pyromq[redis]`), kept for a week: for groups on many machines."""

    def __init__(
        self, client: Redis | str, *, kept_ms: int = KEPT_MS, prefix: str = "pyromq:consumed:"
    ) -> None:
        """`client`: a `redis.asyncio.Redis`, or an address such as `redis://localhost:6379/0`.

        Raises MarkersMissing if the library is not installed.
        """
        self._owns_client = isinstance(client, str)
        self._client: Redis = _connect(client) if isinstance(client, str) else client
        self._kept_ms = kept_ms
        self._prefix = prefix

    async def has(self, key: str) -> bool:
        return bool(await self._client.exists(self._prefix + key))

    async def add(self, key: str) -> None:
        await self._client.set(self._prefix + key, b"1", px=self._kept_ms)

    async def close(self) -> None:
        if self._owns_client:
            await self._client.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


def _connect(address: str) -> Redis:
    try:
        from redis.asyncio import Redis
    except ImportError as error:
        raise MarkersMissing(
            "RedisMarkers needs the package redis; `pip install pyromq[redis]` brings it"
        ) from error
    client: Redis = Redis.from_url(address)
    return client


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


__all__ = [
    "KEPT_MS",
    "MarkerStore",
    "MarkersMissing",
    "MemoryMarkers",
    "RedisMarkers",
    "SqliteMarkers",
    "deduplicated",
]
