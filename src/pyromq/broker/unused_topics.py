"""Queues that belong to no topic any more (code 316).

A topic that is deleted here takes its queues with it. Left-overs come with a store that Apache's
broker wrote, when its topics.json was lost or edited.

Source: DefaultMessageStore.cleanUnusedTopic of org.apache.rocketmq.store 5.5.0.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Final

from pyromq.broker.topics import Topics
from pyromq.config import Settings, StoreConfig
from pyromq.errors import ServiceUnavailable, StoreFailed
from pyromq.store.engine import Engine

_QUEUE_FOLDER: Final = "consumequeue"
_LIGHT_TOPIC_PREFIX: Final = "%LMQ%"
"""Queues of light messages have no topic of their own."""

_log = logging.getLogger(__name__)


class UnusedTopics:
    """Finds and drops them."""

    def __init__(
        self, engine: Engine, topics: Topics, store_settings: Settings[StoreConfig]
    ) -> None:
        self._engine = engine
        self._topics = topics
        self._store_settings = store_settings

    def clean(self) -> int:
        """Drops the queues of topics that do not exist; returns of how many topics."""
        names = [name for name in self._stored() if self._is_unused(name)]
        for name in names:
            try:
                self._engine.drop_topic(name)
            except StoreFailed as error:
                raise ServiceUnavailable(
                    f"the queues of topic[{name}], which does not exist, cannot be dropped: {error}"
                ) from error
            _log.warning("the queues of topic %r are dropped: it does not exist", name)
        return len(names)

    def _stored(self) -> list[str]:
        """Topics that have queues on the disk."""
        folder: Path = self._store_settings.current.root / _QUEUE_FOLDER
        try:
            return sorted(each.name for each in folder.iterdir() if each.is_dir())
        except FileNotFoundError:
            return []  # no topic has a queue, or none is on a disk
        except OSError as error:
            raise ServiceUnavailable(f"{folder.name} cannot be read: {error.strerror}") from error

    def _is_unused(self, name: str) -> bool:
        return not (
            name in self._topics.table
            or self._topics.is_system(name)
            or name.startswith(_LIGHT_TOPIC_PREFIX)
        )


__all__ = ["UnusedTopics"]
