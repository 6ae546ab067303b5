"""Marks of reset offsets: which queues of a group have one, and who was told.

The marks are in the journal: a reset that was acknowledged reaches the clients also if the broker
restarts first. In Apache they are in memory only, and clients that survive its restart go on as if
nothing had been reset. Who was told is forgotten at a restart; he is told once more then.

Source: offset.ConsumerOffsetManager of org.apache.rocketmq.broker 5.5.0 (resetOffsetTable).
"""

from __future__ import annotations

from collections.abc import Mapping

from pyromq.broker.journal import Journal
from pyromq.domain.offsets import must_be_told
from pyromq.errors import ServiceUnavailable
from pyromq.store.metadata import Metadata
from pyromq.store.tables import offset_key
from pyromq.units import QueueOffset


class ResetMarks:
    """The reset offsets that groups have not adopted yet."""

    def __init__(self, metadata: Metadata, journal: Journal) -> None:
        self._metadata = metadata
        self._journal = journal
        self._told: dict[tuple[str, int], int] = {}
        """(`topic@group`, queue id) → connection that was told. At most one for each mark that was
        there at the last reset: what vanished in another way is forgotten with the next one."""

    def reset(
        self, group: str, topic: str, offsets: Mapping[int, QueueOffset], *, is_marked: bool
    ) -> int:
        """Resets these queues; returns the journal sequence to wait for."""
        key = offset_key(topic, group)
        sequence = self._journal.change(
            self._metadata.reset_offsets, group, topic, dict(offsets), is_marked=is_marked
        )
        marks = self._metadata.tables.resets
        self._told = {
            (name, queue_id): connection_id
            for (name, queue_id), connection_id in self._told.items()
            if queue_id in marks.get(name, ()) and not (name == key and queue_id in offsets)
        }
        return sequence

    def tell(
        self, connection_id: int, group: str, topic: str, queue_id: int, queue_offset: int
    ) -> QueueOffset | None:
        """The offset that a pull of the queue must be answered with, None if it may be served."""
        marks = self._metadata.tables.resets
        if not marks:
            return None
        key = offset_key(topic, group)
        offset = marks.get(key, {}).get(queue_id)
        if offset is None:
            return None
        if must_be_told(offset, self._told.get((key, queue_id)), connection_id, queue_offset):
            self._told[key, queue_id] = connection_id
            return QueueOffset(offset)
        self._end(group, topic, queue_id)
        return None

    def is_commit_void(self, group: str, topic: str, queue_id: int) -> bool:
        """Whether a commit tells of the time before a reset; one that follows it ends the mark."""
        marks = self._metadata.tables.resets
        if not marks:
            return False
        key = offset_key(topic, group)
        if queue_id not in marks.get(key, ()):
            return False
        if (key, queue_id) not in self._told:
            return True
        self._end(group, topic, queue_id)
        return False

    def _end(self, group: str, topic: str, queue_id: int) -> None:
        try:
            self._journal.change(self._metadata.adopt_resets, group, topic, [queue_id])
        except ServiceUnavailable:
            # The mark stays, and so does who was told: clients are served all the same.
            return
        self._told.pop((offset_key(topic, group), queue_id), None)


__all__ = ["ResetMarks"]
