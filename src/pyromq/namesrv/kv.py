"""KvConfig: small texts by namespace and key, kept by the name server for tools and brokers.

Follows kvconfig.KVConfigManager of org.apache.rocketmq.namesrv 5.5.0, with two differences: a value
is answered only when it is durable, and an empty name is refused (brokers that are sent a table
with a null key stop working).
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Mapping
from typing import Final

from pyromq.config import NamesrvConfig, Settings
from pyromq.errors import (
    InvalidParameter,
    PyromqError,
    QueryNotFound,
    RequestFailed,
    ServiceUnavailable,
    StoreFailed,
)
from pyromq.store.metadata import Metadata
from pyromq.waiting import Latch

ORDER_TOPIC_NAMESPACE: Final = "ORDER_TOPIC_CONFIG"
"""`topic` → `broker-a:4;broker-b:4` for globally ordered topics."""
NAME_LENGTH_MAX: Final = 255
"""Of a namespace and of a key."""


class KvConfig:
    """Verbs over the journaled table. Belongs to the loop thread."""

    def __init__(
        self,
        config: Settings[NamesrvConfig],
        metadata: Metadata,
        request_end: Callable[[], None],
    ) -> None:
        self._config = config
        self._metadata = metadata
        self._request_end = request_end
        self._waiting: deque[tuple[int, Latch[None]]] = deque()
        """By rising sequence. As long as the requests in flight, which the door limits."""
        metadata.on_progress(self.release)

    async def put(self, namespace: str, key: str, value: str) -> None:
        """Stores a value; returns when it is durable."""
        self._check(namespace, key, value)
        self._check_alive()
        await self._durable(self._metadata.put_kv(namespace, key, value))

    async def delete(self, namespace: str, key: str) -> None:
        """Removes a value, if there is one; returns when that is durable."""
        self._check_alive()
        await self._durable(self._metadata.delete_kv(namespace, key))

    def find(self, namespace: str, key: str) -> str | None:
        return self._metadata.tables.kv.get(namespace, {}).get(key)

    def value(self, namespace: str, key: str) -> str:
        found = self.find(namespace, key)
        if found is None:
            raise QueryNotFound(f"No config item, Namespace: {namespace} Key: {key}")
        return found

    def table(self, namespace: str) -> Mapping[str, str] | None:
        """All keys and values of a namespace, None if there is no such namespace."""
        found = self._metadata.tables.kv.get(namespace)
        return None if found is None else dict(found)

    def write(self) -> None:
        """Part of the turn's end: writes the journal, lets go on what waited for it."""
        # A failed write is told by failure(): release() refuses everyone who waits.
        with contextlib.suppress(StoreFailed):
            self._metadata.write()
        self.release()

    def release(self) -> None:
        """The journal made progress, or failed."""
        failure = self._metadata.failure()
        commit = self._metadata.positions().commit
        while self._waiting and self._waiting[0][0] <= commit:
            self._waiting.popleft()[1].set(None)
        if failure is not None:
            self.fail_all(ServiceUnavailable(f"the name server cannot store: {failure}"))

    def fail_all(self, error: PyromqError) -> None:
        """Nobody will be told of success any more."""
        while self._waiting:
            self._waiting.popleft()[1].fail(error)

    async def _durable(self, sequence: int) -> None:
        if self._metadata.positions().commit < sequence:
            latch: Latch[None] = Latch()
            self._waiting.append((sequence, latch))
            self._request_end()
            await latch

    def _check(self, namespace: str, key: str, value: str) -> None:
        config = self._config.current
        if not namespace or not key:
            raise RequestFailed("namespace or key is null")
        for name, text in (("namespace", namespace), ("key", key)):
            if len(text) > NAME_LENGTH_MAX:
                raise InvalidParameter(
                    f"{name} has {len(text)} characters, may have {NAME_LENGTH_MAX}"
                )
        size = len(value.encode("utf-8", "surrogatepass"))
        if size > config.kv_value_size_max:
            raise InvalidParameter(f"value has {size} bytes, may have {config.kv_value_size_max}")
        kv = self._metadata.tables.kv
        is_new = key not in kv.get(namespace, {})
        if is_new and sum(map(len, kv.values())) >= config.kv_entry_count_max:
            raise RequestFailed(f"{config.kv_entry_count_max} entries are kept, no more are taken")

    def _check_alive(self) -> None:
        failure = self._metadata.failure()
        if failure is not None:
            raise ServiceUnavailable(f"the name server cannot store: {failure}")


__all__ = ["NAME_LENGTH_MAX", "ORDER_TOPIC_NAMESPACE", "KvConfig"]
