"""Which sends need no decision: the rules of `send.py`, said beforehand to a door's express lane.
What may be said of pulls beforehand is in `pull.py`; when it changes is told here too.

`Sends.send` decides once per message. For an ordinary message to an ordinary topic each of its
answers depends on settings and on the topic alone, so they can be given in advance, and taken back
when settings or the topic change. Whatever is left out here takes the verb.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

from pyromq.api import ExpressDoor, ExpressTerms, ExpressTopic
from pyromq.broker.send import MULTI_TAG, stored_suffix
from pyromq.broker.store_turn import StoreTurn
from pyromq.broker.topics import Topics
from pyromq.config import BrokerConfig, Settings, StoreConfig
from pyromq.domain.attributes import CLEANUP_POLICY
from pyromq.domain.message import (
    INNER_BATCH_FLAGS,
    MULTI_TAGS_FLAG,
    TRANSACTION_FLAGS,
    offset_message_id_prefix,
)
from pyromq.domain.properties import PROPERTIES_LENGTH_MAX
from pyromq.domain.topic import (
    FORBIDDEN_TO_SEND,
    PERM_WRITE,
    RETRY_PREFIX,
    SCHEDULE_TOPIC,
    TOPIC_LENGTH_MAX,
)
from pyromq.errors import ServiceUnavailable
from pyromq.store.engine import Arrival, Engine
from pyromq.units import QueueOffset

_REFUSED_FLAGS: Final = TRANSACTION_FLAGS | INNER_BATCH_FLAGS


class Express:
    """Opens and closes the lane, and counts what it did."""

    def __init__(
        self,
        topics: Topics,
        store_turn: StoreTurn,
        settings: Settings[BrokerConfig],
        store_settings: Settings[StoreConfig],
        *,
        store_host: bytes,
    ) -> None:
        self._topic_table = topics.table
        self._kept_by = topics.kept_by
        self._store_turn = store_turn
        self._settings = settings
        self._body_size_max = store_settings.current.max_message_size_bytes
        self._id_prefix = offset_message_id_prefix(store_host)
        self._lane: ExpressDoor | None = None
        self._is_closed = False
        settings.on_change(self._settings_changed)
        store_settings.on_change(self._settings_changed)

    def add(self, lane: ExpressDoor) -> None:
        """From now on the lane's replies wait for the same positions as the verbs'."""
        assert self._lane is None, "a broker has one express lane"
        self._lane = self._store_turn.express = lane
        lane.watch(SCHEDULE_TOPIC, is_watched=True)
        lane.changed(None)

    def take_arrivals(self, engine: Engine, monotonic_ms: int) -> Sequence[Arrival]:
        """The engine's arrivals. A lane serves its own polls by them, and tells only those for
        which somebody waits elsewhere."""
        if self._lane is None:
            return engine.take_arrivals()
        return [
            Arrival(topic, queue_id, QueueOffset(max_offset))
            for topic, queue_id, max_offset in self._lane.wake(monotonic_ms)
        ]

    def close(self) -> None:
        """From now on nothing takes the lane any more; what waits on it is answered."""
        self._is_closed = True
        self.topics_changed(None)

    def topics_changed(self, topics: Collection[str] | None) -> None:
        """These topics, or all, came, changed or went."""
        if self._lane is not None:
            self._lane.changed(topics)
            self._lane.pullers_changed()

    def pullers_changed(self) -> None:
        """A group, a subscription, a topic or a reset came, changed or went."""
        if self._lane is not None:
            self._lane.pullers_changed()

    def terms(self) -> ExpressTerms | None:
        """See `ExpressApi.express_terms`."""
        settings = self._settings.current
        if self._is_closed or not settings.broker_permission & PERM_WRITE:
            return None
        return ExpressTerms(
            accept_from_ms=settings.start_accept_send_request_timestamp_ms,
            body_size_max=self._body_size_max,
            properties_size_max=PROPERTIES_LENGTH_MAX,
            refused_sys_flags=_REFUSED_FLAGS,
            added_properties=stored_suffix(settings),
            region_id=settings.region_id,
            is_traced=settings.trace_on,
            id_prefix=self._id_prefix,
        )

    def topic(self, topic: str) -> ExpressTopic | None:
        """See `ExpressApi.express_topic`."""
        config = self._topic_table.get(topic)
        if config is None or topic in FORBIDDEN_TO_SEND or topic.startswith(RETRY_PREFIX):
            return None
        if config.attributes.get(CLEANUP_POLICY) == "COMPACTION" or not self._is_kept(topic):
            return None
        return ExpressTopic(
            queue_count=max(config.write_queue_nums, config.read_queue_nums),
            added_sys_flag=MULTI_TAGS_FLAG if config.topic_filter_type == MULTI_TAG else 0,
            may_batch=len(topic) <= TOPIC_LENGTH_MAX,
        )

    def _is_kept(self, topic: str) -> bool:
        """Not while a power cut could still undo its creation."""
        try:
            return self._kept_by(topic) == 0
        except ServiceUnavailable:
            return False

    def _settings_changed(self, old: object, new: object) -> None:
        del old, new
        self.topics_changed(None)


__all__ = ["Express"]
