"""Queries: messages by key, by unique key and by where they are stored.

Source: processor.QueryMessageProcessor of org.apache.rocketmq.broker 5.5.0.
"""

from __future__ import annotations

from typing import Final

from pyromq.api import MessageQuery
from pyromq.config import Settings, StoreConfig
from pyromq.errors import RequestFailed, ServiceUnavailable, StoreFailed
from pyromq.store.engine import Engine
from pyromq.units import LogOffset

UNIQUE_KEY_COUNT: Final = 32
"""Messages a query by unique key gets at most, whatever it asks for (defaultQueryMaxNum)."""
TAG_MARK: Final = "T#"
"""Before a tag in the index, so that a key of the same name is another entry."""


class Queries:
    """Finds single messages."""

    def __init__(self, engine: Engine, store_settings: Settings[StoreConfig]) -> None:
        self._engine = engine
        self._store_settings = store_settings

    def by_key(
        self,
        topic: str,
        key: str,
        *,
        count_max: int,
        begin_ms: int,
        end_ms: int,
        is_unique_key: bool,
        is_tag: bool,
    ) -> MessageQuery:
        """What the index knows under that key; no records if it knows nothing.

        Tags are indexed beside keys, marked (IndexService.buildKey of org.apache.rocketmq.store).
        One who asks for both kinds at once is taken to mean the unique key.
        """
        if is_unique_key:
            count_max = UNIQUE_KEY_COUNT
        elif is_tag:
            key = TAG_MARK + key
        count_max = min(count_max, self._store_settings.current.max_msgs_num_batch)
        try:
            found = self._engine.query_key(
                topic, key, count_max=max(count_max, 0), begin_ms=begin_ms, end_ms=end_ms
            )
        except StoreFailed as error:
            raise ServiceUnavailable(f"the store cannot be read: {error}") from error
        return MessageQuery(
            records=found.records,
            index_last_timestamp_ms=found.index_last_timestamp_ms,
            index_last_log_offset=found.index_last_log_offset,
        )

    def at(self, log_offset: LogOffset) -> bytes:
        """The record that begins there."""
        try:
            record = None if log_offset < 0 else self._engine.record_at(log_offset)
        except StoreFailed as error:
            raise ServiceUnavailable(f"the store cannot be read: {error}") from error
        if record is None:
            raise RequestFailed(f"can not find message by the offset, {log_offset}")
        return record


__all__ = ["UNIQUE_KEY_COUNT", "Queries"]
