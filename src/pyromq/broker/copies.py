"""Copies of delayed messages: a stored record is taken apart and appended where it wants to go.

Flag, sysFlag, born time and host, reconsume times and properties stay what they are; REAL_TOPIC,
REAL_QID and DELAY are among these, as in Apache. So is a topic that was deleted meanwhile: the
message is stored in it all the same, for whoever creates it again.

Unlike Apache's, a message whose queue nobody reads any more comes to another one of its topic. And
one that cannot be stored any more does not stop those behind it for ever: it is passed over, stays
where it is in the log, and the server's log tells of it.

Source: schedule.ScheduleMessageService (messageTimeUp) of org.apache.rocketmq.broker 5.5.0.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Final

from pyromq.broker.remarks import shown
from pyromq.domain.delay import real_place
from pyromq.domain.topic import SCHEDULE_TOPIC, TRANS_HALF_TOPIC, TopicConfig
from pyromq.errors import MessageIllegal
from pyromq.observe.counters import BrokerCounters
from pyromq.store.engine import Engine
from pyromq.units import LogOffset
from pyromq.wire.record import content_at

TOLD_MAX: Final = 1_000
"""Different complaints that are logged, each once."""

_UNREACHABLE: Final = frozenset({SCHEDULE_TOPIC, TRANS_HALF_TOPIC})
"""Topics a message cannot wait for: it would wait for ever."""

_log = logging.getLogger(__name__)


class Copies:
    """Appends copies of what is due."""

    def __init__(
        self, engine: Engine, topics: Mapping[str, TopicConfig], counters: BrokerCounters
    ) -> None:
        self._engine = engine
        self._topics = topics
        self._counters = counters
        self._told: set[str] = set()

    def append_due(
        self, data: bytes, due_ms: int, now_ms: int, ends: list[LogOffset]
    ) -> int | None:
        """Appends copies of the records in `data` that were stored at `due_ms` or before, in order.

        Adds to `ends`, for each record it is done with, where the log ends with its copy. Returns
        the store time of the first record that is not due, None if it came to no such one. Raises
        StoreFailed. Written flat: it runs once per delayed message.
        """
        engine, topics = self._engine, self._topics
        view = memoryview(data)
        end = engine.positions().appended
        count = size = at = 0
        while at < len(data):
            try:
                at, flag, sys_flag, born_ms, born_host, store_ms, times, body, properties = (
                    content_at(data, view, at)
                )
            except MessageIllegal as error:
                self._pass_over(error)
                ends.append(end)
                break  # where the next one begins is not known, the queue has to tell
            if store_ms > due_ms:
                self._count(count, size)
                return store_ms
            try:
                topic, queue_id = real_place(properties)
                config = topics.get(topic)
                if config is None or topic in _UNREACHABLE:
                    self._check_odd(topic)
                elif queue_id >= config.read_queue_nums > 0:
                    queue_id %= config.read_queue_nums
                _, log_offset, end, _ = engine.append(
                    topic,
                    queue_id,
                    body,
                    properties,
                    flag=flag,
                    sys_flag=sys_flag,
                    born_timestamp_ms=born_ms,
                    born_host=born_host,
                    reconsume_times=times,
                    prepared_transaction_offset=0,
                    now_ms=now_ms,
                )
                count += 1
                size += end - log_offset
            except MessageIllegal as error:
                self._pass_over(error)
            ends.append(end)
        self._count(count, size)
        return None

    def _count(self, count: int, size: int) -> None:
        self._counters.put_count += count
        self._counters.put_size += size

    def _check_odd(self, topic: str) -> None:
        """A topic that does not exist, or one that nothing can wait for."""
        if topic in _UNREACHABLE:
            raise MessageIllegal(f"it waits for a place in {topic}")
        self._tell(
            f"topic[{shown(topic)}] does not exist any more: delayed messages are stored in it all "
            "the same"
        )

    def _pass_over(self, reason: MessageIllegal) -> None:
        self._tell(f"a delayed message cannot be delivered and stays where it is: {reason}")

    def _tell(self, text: str) -> None:
        """Logs each complaint once."""
        if text not in self._told and len(self._told) < TOLD_MAX:
            self._told.add(text)
            _log.warning("%s", text)


__all__ = ["TOLD_MAX", "Copies"]
