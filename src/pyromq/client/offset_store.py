"""How far a group has come, kept by the brokers; or a client of a broadcasting group, kept here.

Sources: consumer.store.{RemoteBrokerOffsetStore,LocalFileOffsetStore,OffsetSerializeWrapper} of
org.apache.rocketmq.client 5.5.0.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from pyromq.client import offsets
from pyromq.client.instance import ClientInstance
from pyromq.domain.route import MessageQueue
from pyromq.errors import PyromqError
from pyromq.wire.remoting.bodies.resets import decode_reset_offsets, encode_reset_offsets

_log = logging.getLogger("pyromq.client")


class OffsetStore(Protocol):
    """Notes offsets in memory and persists them now and then."""

    async def read(self, queue: MessageQueue) -> int | None:
        """The persisted offset, None if there is none. Raises PyromqError."""

    def note(self, queue: MessageQueue, offset: int) -> None:
        """To be persisted."""

    def noted(self) -> dict[MessageQueue, int]:
        """All that were noted for queues that are not forgotten."""

    async def persist(self, queues: Iterable[MessageQueue] | None = None, /) -> None:
        """What changed since it was persisted. What fails is logged and stays to be persisted."""

    def forget(self, queue: MessageQueue) -> None:
        """The queue is another client's now."""


class _Noted:
    """What both kinds share."""

    def __init__(self) -> None:
        self._offsets: dict[MessageQueue, int] = {}
        self._changed: set[MessageQueue] = set()

    def note(self, queue: MessageQueue, offset: int) -> None:
        if self._offsets.get(queue) != offset:
            self._offsets[queue] = offset
            self._changed.add(queue)

    def noted(self) -> dict[MessageQueue, int]:
        return dict(self._offsets)


class BrokerOffsets(_Noted):
    """A clustering group's offsets: the broker of each queue keeps them."""

    def __init__(self, instance: ClientInstance, group: str) -> None:
        super().__init__()
        self._instance = instance
        self._group = group
        self._begun: set[tuple[str, str]] = set()
        """Topics, with the broker's name, of which the broker has some offset of the group."""

    async def read(self, queue: MessageQueue) -> int | None:
        return await offsets.committed_offset(self._instance, self._group, queue)

    async def persist(self, queues: Iterable[MessageQueue] | None = None, /) -> None:
        chosen = set(self._changed if queues is None else self._changed.intersection(queues))
        # One offset of a topic before its others: Apache's broker keeps only one of those that
        # begin a group's table of a topic at the same time (ConsumerOffsetManager.commitOffset of
        # org.apache.rocketmq.broker 5.5.0 looks and puts without a lock).
        first = {(queue.topic, queue.broker_name): queue for queue in chosen}
        first = {topic: queue for topic, queue in first.items() if topic not in self._begun}
        await asyncio.gather(*map(self._persist_one, first.values()))
        await asyncio.gather(*map(self._persist_one, chosen.difference(first.values())))

    async def _persist_one(self, queue: MessageQueue) -> None:
        offset = self._offsets[queue]
        try:
            await offsets.commit_offset(self._instance, self._group, queue, offset)
        except PyromqError as error:
            _log.warning("offset %d of %s not committed: %s", offset, queue, error)
            return
        self._begun.add((queue.topic, queue.broker_name))
        if self._offsets.get(queue) == offset:
            self._changed.discard(queue)

    def forget(self, queue: MessageQueue) -> None:
        self._offsets.pop(queue, None)
        self._changed.discard(queue)


class FileOffsets(_Noted):
    """A broadcasting client's own offsets, in Apache's file format.

    The file is replaced as a whole; what a crash takes is at most the last few seconds, which come
    again.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path
        self._stored: dict[MessageQueue, int] | None = None

    async def read(self, queue: MessageQueue) -> int | None:
        if self._stored is None:
            self._stored = await asyncio.to_thread(self._load)
        return self._stored.get(queue)

    def _load(self) -> dict[MessageQueue, int]:
        try:
            return decode_reset_offsets(self._path.read_bytes())
        except FileNotFoundError:
            return {}
        except (OSError, PyromqError) as error:
            _log.warning("%s is not readable, the offsets in it are lost: %s", self._path, error)
            return {}

    async def persist(self, _: Iterable[MessageQueue] | None = None, /) -> None:
        """All of them, as they share one file."""
        if not self._changed:
            return
        self._changed.clear()
        stored = {**(self._stored or {}), **self._offsets}
        try:
            await asyncio.to_thread(self._save, encode_reset_offsets(stored))
        except OSError as error:
            self._changed.update(self._offsets)
            _log.warning("%s not written: %s", self._path, error)
            return
        self._stored = stored

    def _save(self, data: bytes) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        fresh = self._path.with_suffix(".tmp")
        with fresh.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self._path)

    def forget(self, queue: MessageQueue) -> None:
        """It stays in the file: the queue may come back."""
        self._offsets.pop(queue, None)
        self._changed.discard(queue)


def local_offsets_path(client_id: str, group: str) -> Path:
    """Where Apache's clients keep the file."""
    return Path.home() / ".rocketmq_offsets" / client_id / group / "offsets.json"


__all__ = ["BrokerOffsets", "FileOffsets", "OffsetStore", "local_offsets_path"]
