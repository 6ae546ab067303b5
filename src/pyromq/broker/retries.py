"""Retries as verbs: messages given back by their place, and those sent again.

A message given back is stored again for its group only: in `%RETRY%group` after a delay, or in
`%DLQ%group`. Unlike in Apache, which answers once it is written, the answer waits for the commit:
the consumer goes on behind the message as soon as it has one. And unlike there the retry topic
keeps its `order`, of which only heartbeats know, and no message goes to a queue that it lacks.

Source: processor.AbstractSendMessageProcessor (consumerSendMsgBack) and
processor.SendMessageProcessor (handleRetryAndDLQ) of org.apache.rocketmq.broker 5.5.0.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from pyromq.api import Caller, SendBackRequest, SendRequest
from pyromq.broker.clients import TOPIC_SYS_FLAG_UNIT_SUBSCRIPTION
from pyromq.broker.groups import Groups
from pyromq.broker.journal import Journal
from pyromq.broker.kinds import Place
from pyromq.broker.locks import Locks
from pyromq.broker.remarks import FAQ, shown
from pyromq.broker.store_turn import StoreTurn
from pyromq.broker.topics import Topics
from pyromq.clock import Clock
from pyromq.config import BrokerConfig, Settings, StoreConfig
from pyromq.domain.delay import delayed_place
from pyromq.domain.group import GroupConfig
from pyromq.domain.properties import RETRY_TOPIC, property_value
from pyromq.domain.retry import (
    NO_DELAY,
    delay_level_of_retry,
    group_of_retry_topic,
    is_dead_when_sent_again,
    is_dead_when_sent_back,
    may_be_given_back,
    reconsume_times_max,
    sent_back_properties,
)
from pyromq.domain.topic import (
    DLQ_QUEUE_NUMS,
    PERM_WRITE,
    TopicConfig,
    dlq_topic,
    retry_topic,
)
from pyromq.errors import (
    GroupNotFound,
    NoPermission,
    RequestFailed,
    ServiceUnavailable,
    StoreFailed,
)
from pyromq.observe.counters import BrokerCounters
from pyromq.store.engine import Engine
from pyromq.turn import Turn
from pyromq.units import LogOffset
from pyromq.wire.record import Record, decode_record

RECONSUME_TIMES_MAX: Final = (1 << 31) - 1
"""What a record can hold; a client may claim it at once."""

RandomBelow = Callable[[int], int]
"""A number from 0 up to, not including, the argument."""


class Retries:
    """Where messages go that could not be consumed."""

    def __init__(
        self,
        engine: Engine,
        topics: Topics,
        groups: Groups,
        locks: Locks,
        journal: Journal,
        store_turn: StoreTurn,
        settings: Settings[BrokerConfig],
        store_settings: Settings[StoreConfig],
        clock: Clock,
        turn: Turn,
        counters: BrokerCounters,
        *,
        broker_ip: str,
        random_below: RandomBelow,
    ) -> None:
        self._engine = engine
        self._topics = topics
        self._groups = groups
        self._locks = locks
        self._journal = journal
        self._until_committed = store_turn.committed.until
        self._settings = settings
        self._store_settings = store_settings
        self._clock = clock
        self._request_end = turn.request_end
        self._counters = counters
        self._broker_ip = broker_ip
        self._random_below = random_below
        self._is_closed = False

    def close(self) -> None:
        """From now on nothing is stored any more."""
        self._is_closed = True

    async def send_back(self, caller: Caller, request: SendBackRequest) -> None:
        """Stores the message again; returns when the commit covers it."""
        if self._is_closed:
            raise self._unavailable("the broker is shutting down")
        group, sequence = self._group(request.group)
        if not self._settings.current.broker_permission & PERM_WRITE:
            raise NoPermission(f"the broker[{self._broker_ip}] sending message is forbidden")
        if group.retry_queue_nums < 1:
            return  # the group wants no message twice
        topic, created = self._topic(
            retry_topic(group.group_name),
            group.retry_queue_nums,
            sys_flag=TOPIC_SYS_FLAG_UNIT_SUBSCRIPTION if request.unit_mode else 0,
        )
        sequence = max(sequence, created)
        if not topic.perm & PERM_WRITE:
            raise NoPermission(f"the topic[{topic.topic_name}] sending message is forbidden")
        record = self._record(request.log_offset)

        times_max = reconsume_times_max(group, caller.version, request.max_reconsume_times)
        level = NO_DELAY
        if is_dead_when_sent_back(record.reconsume_times, times_max, request.delay_level):
            place = self._dead_letter_place(group.group_name, sequence)
        else:
            level = delay_level_of_retry(record.reconsume_times, request.delay_level)
            queue_nums = min(group.retry_queue_nums, topic.write_queue_nums, topic.read_queue_nums)
            queue_id = self._random_below(max(queue_nums, 1))
            place = Place(topic.topic_name, queue_id, sequence)
        await self._store(record, place, level)
        self._count_send_back(record, group.group_name)

    def place_of_resent(self, caller: Caller, request: SendRequest, place: Place) -> Place:
        """Where a message goes that a client sent to a retry topic: there, or to the dead letters.

        Raises GroupNotFound.
        """
        group, created = self._group(group_of_retry_topic(request.topic))
        sequence = max(place.sequence, created)
        is_dead = is_dead_when_sent_again(
            request.reconsume_times,
            reconsume_times_max(group, caller.version, request.max_reconsume_times),
            is_consumed_in_order=self._locks.is_any_held(group.group_name),
        )
        if is_dead:
            return self._dead_letter_place(group.group_name, sequence)
        return place._replace(sequence=sequence)

    async def _store(self, record: Record, place: Place, delay_level: int) -> None:
        text = sent_back_properties(
            record.properties.decode("utf-8", "surrogateescape"),
            record.topic,
            record.message_id,
            delay_level,
        )
        topic, queue_id = place.topic, place.queue_id
        if delay_level > 0:
            level_count = len(self._store_settings.current.delay_levels_ms)
            topic, queue_id, text = delayed_place(topic, queue_id, text, delay_level, level_count)
        try:
            appended = self._engine.append(
                topic,
                queue_id,
                record.body,
                text.encode("utf-8", "surrogateescape"),
                flag=record.flag,
                sys_flag=record.sys_flag,
                born_timestamp_ms=record.born_timestamp_ms,
                born_host=record.born_host,
                reconsume_times=min(record.reconsume_times + 1, RECONSUME_TIMES_MAX),
                prepared_transaction_offset=0,
                now_ms=self._clock.now_ms(),
            )
        except StoreFailed as error:
            raise self._unavailable(error) from error
        self._request_end()
        # Positions given to a gate rise: take the place in the journal's queue before waiting.
        kept = self._journal.kept(place.sequence) if place.sequence else None
        await self._until_committed(appended.end)
        if kept is not None:
            await kept
        size = appended.end - appended.log_offset
        self._counters.put_count += 1
        self._counters.put_size += size
        self._counters.topic_puts.add(topic, 1, size)

    def _count_send_back(self, record: Record, group: str) -> None:
        text = record.properties.decode("utf-8", "replace")
        topic = property_value(text, RETRY_TOPIC) or record.topic
        self._counters.send_backs.add(f"{topic}@{group}", 1, len(record.body))

    def _group(self, name: str) -> tuple[GroupConfig, int]:
        """The group, and the journal sequence to wait for if it was created just now."""
        group, created = self._groups.find(name)
        if group is None:
            raise GroupNotFound(f"subscription group not exist, {shown(name)} {FAQ}")
        return group, created

    def _topic(self, name: str, queue_nums: int, *, sys_flag: int = 0) -> tuple[TopicConfig, int]:
        """A retry or dead letter topic as it is, or created now; and the sequence to wait for."""
        config = self._topics.table.get(name)
        if config is not None:
            return config, self._topics.kept_by(name)
        sequence = self._topics.create_if_absent(name, queue_nums, sys_flag=sys_flag)
        return self._topics.table[name], sequence

    def _dead_letter_place(self, group: str, sequence: int) -> Place:
        topic, created = self._topic(dlq_topic(group), DLQ_QUEUE_NUMS)
        queue_id = self._random_below(DLQ_QUEUE_NUMS)
        return Place(topic.topic_name, queue_id, max(sequence, created), is_dead_letter=True)

    def _record(self, log_offset: LogOffset) -> Record:
        """The committed record that begins exactly there. Raises RequestFailed if none does, or if
        it is none that consumers get."""
        try:
            data = None if log_offset < 0 else self._engine.record_at(log_offset)
        except StoreFailed as error:
            raise ServiceUnavailable(f"the store cannot be read: {error}") from error
        record = None if data is None else decode_record(data)
        if record is None or not may_be_given_back(record.topic, record.sys_flag):
            raise RequestFailed(f"look message by offset failed, {log_offset}")
        return record

    def _unavailable(self, reason: object) -> ServiceUnavailable:
        self._counters.put_failed_count += 1
        return ServiceUnavailable(f"service not available now: {reason}")


__all__ = ["RandomBelow", "Retries"]
