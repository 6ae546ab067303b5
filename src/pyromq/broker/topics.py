"""Topics: which exist, who may create them, and what goes with one that is deleted.

A deletion is kept in the journal before the store drops the topic's queues: what a client was not
told is deleted must not have lost its messages after a kill. Until the queues are gone the journal
calls the topic doomed. So a deletion that was interrupted is finished at the next start, or before
a new topic gets the name.

Source: topic.TopicConfigManager and the topic part of processor.AdminBrokerProcessor of
org.apache.rocketmq.broker 5.5.0.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final

import msgspec

from pyromq.broker.journal import Journal
from pyromq.broker.parked import ParkedPolls
from pyromq.broker.remarks import shown
from pyromq.config import BrokerConfig, Settings
from pyromq.domain.attributes import (
    CLEANUP_POLICY,
    MESSAGE_TYPE,
    QUEUE_TYPE,
    RESERVE_TIME,
    TOPIC_ATTRIBUTES,
    altered_attributes,
)
from pyromq.domain.topic import (
    AUTO_CREATE_TOPIC_KEY_TOPIC,
    PERM_INHERIT,
    PERM_PRIORITY,
    PERM_READ,
    PERM_WRITE,
    QUEUE_COUNT_MAX,
    SYSTEM_TOPICS,
    TOPIC_COUNT_MAX,
    TopicConfig,
    check_topic_name,
    is_system_topic,
    pop_retry_topics,
    start_topics,
)
from pyromq.domain.version import DataVersion
from pyromq.errors import (
    InvalidParameter,
    RequestFailed,
    ServiceUnavailable,
    StoreFailed,
    SystemBusy,
    TopicNotFound,
)
from pyromq.store.engine import Engine
from pyromq.store.metadata import Metadata
from pyromq.waiting import Latch

_log = logging.getLogger(__name__)

_READ_WRITE: Final = PERM_READ | PERM_WRITE

TopicsChanged = Callable[[Sequence[str]], None]
"""Told the names of topics that came, changed or went: the broker registers anew."""
UntilAnnounced = Callable[[], Latch[None]]
"""Set when the name servers have heard of every change so far: who was told that his topic exists
asks them for its route next."""


class Topics:
    """The topics of this broker."""

    def __init__(
        self,
        metadata: Metadata,
        journal: Journal,
        engine: Engine,
        parked: ParkedPolls,
        settings: Settings[BrokerConfig],
        on_changed: TopicsChanged,
        until_announced: UntilAnnounced,
    ) -> None:
        self._metadata = metadata
        self._journal = journal
        self._engine = engine
        self._parked = parked
        self._settings = settings
        self._on_changed = on_changed
        self._until_announced = until_announced
        self._own_names: frozenset[str] = frozenset()
        self._creations: dict[str, int] = {}
        """New topics that a power cut could still undo: the journal's sequence of their start."""
        self._deletions: dict[str, int] = {}
        """Doomed topics of this life of the process: the journal's sequence of their deletion."""
        self.table: Mapping[str, TopicConfig] = metadata.tables.topics
        """By name; read it freely."""

    def create_missing_system_topics(self) -> None:
        """What Apache's brokers have from their first start on; what exists is left as it is."""
        broker = self._settings.current
        topics = start_topics(
            cluster_name=broker.broker_cluster_name,
            broker_name=broker.broker_name,
            default_queue_nums=broker.default_topic_queue_nums,
            is_auto_create=broker.auto_create_topic_enable,
            is_cluster_topic_open=broker.cluster_topic_enable,
            is_broker_topic_open=broker.broker_topic_enable,
            trace_topic=broker.msg_trace_topic_name if broker.trace_topic_enable else None,
        )
        self._own_names = frozenset(config.topic_name for config in topics)
        for config in topics:
            if config.topic_name not in self.table:
                self._journal.change(self._metadata.put_topic, config)

    def is_system(self, topic: str) -> bool:
        return topic in self._own_names or is_system_topic(topic)

    def is_order(self, topic: str) -> bool:
        config = self.table.get(topic)
        return config is not None and config.order

    def kept_by(self, topic: str) -> int:
        """The journal sequence to wait for before a promise rests on an existing topic: 0 but for a
        topic that somebody else has created just now. Raises ServiceUnavailable if it cannot be
        kept any more."""
        creations = self._creations
        if not creations or topic not in creations:
            return 0
        if self._journal.is_kept(creations[topic]):
            self._creations = {
                name: sequence
                for name, sequence in creations.items()
                if not self._journal.is_kept(sequence)
            }
            return 0
        failure = self._metadata.failure()
        if failure is not None:
            raise ServiceUnavailable(f"topic[{shown(topic)}] cannot be kept: {failure}")
        return self._journal.newest

    def announced(self) -> Latch[None]:
        """Set when the name servers know every topic so far. As Apache's broker, which answers a
        send that created a topic when it has registered it (registerSingleTopicAll)."""
        return self._until_announced()

    def create_for_send(
        self, topic: str, default_topic: str, queue_nums: int, sys_flag: int
    ) -> int | None:
        """Creates an unknown topic in the image of `default_topic` if that one allows it.

        Returns the journal sequence to wait for, None if the topic must not be created.
        """
        image = self.table.get(default_topic)
        if image is None or not image.is_inherited:
            return None
        if (
            default_topic == AUTO_CREATE_TOPIC_KEY_TOPIC
            and not self._settings.current.auto_create_topic_enable
        ):
            return None
        count = min(queue_nums, image.write_queue_nums, QUEUE_COUNT_MAX)
        if count < 1:
            raise InvalidParameter(
                f"topic[{topic}] cannot be created with defaultTopicQueueNums[{queue_nums}], "
                "at least 1 is needed"
            )
        return self._create(
            TopicConfig(
                topic_name=topic,
                read_queue_nums=count,
                write_queue_nums=count,
                perm=image.perm & ~PERM_INHERIT,
                topic_filter_type=image.topic_filter_type,
                topic_sys_flag=sys_flag,
            )
        )

    def create_if_absent(
        self, topic: str, queue_nums: int, *, sys_flag: int = 0, is_order: bool = False
    ) -> int:
        """A retry or dead letter topic: readable, writable, created on demand.

        Returns the journal sequence to wait for, 0 if there is nothing to wait for.
        """
        config = self.table.get(topic)
        if config is None:
            return self._create(
                TopicConfig(
                    topic_name=topic,
                    read_queue_nums=queue_nums,
                    write_queue_nums=queue_nums,
                    perm=_READ_WRITE,
                    topic_sys_flag=sys_flag,
                    order=is_order,
                )
            )
        if config.order != is_order:
            return self._replace(msgspec.structs.replace(config, order=is_order))
        return 0

    def take_order_topics(self, names: Collection[str]) -> None:
        """Topics that the name servers know as ordered across brokers are ordered here too.

        Others stay as they are: a topic may be made ordered at the broker alone.
        """
        for name in names:
            config = self.table.get(name)
            if config is not None and not config.order:
                self._replace(msgspec.structs.replace(config, order=True))

    async def announce_all(self) -> None:
        """What the broker allows has changed, and with it what each topic does: name servers take
        that only with a new version of the topics. Returns when they have heard."""
        if self.table:
            # The only change that makes a version is one of a topic: to what it is.
            sequence = self._journal.change(
                self._metadata.put_topic, next(iter(self.table.values()))
            )
            self._on_changed(list(self.table))
            await self._journal.kept(sequence)
        await self._until_announced()

    async def put(self, config: TopicConfig) -> None:
        """Creates or changes a topic. The attributes are changes: their keys carry `+` or `-`."""
        await self.put_all([config])

    async def put_all(self, configs: Sequence[TopicConfig]) -> None:
        """Creates or changes topics: all of them, or none if one cannot be."""
        finals = [self._checked(config) for config in configs]
        new = {config.topic_name for config in finals if config.topic_name not in self.table}
        self._check_room(new)
        for topic in new:
            self._finish_deletion(topic)
        sequence = 0
        for config in finals:
            if config != self.table.get(config.topic_name):
                sequence = self._replace(config)
        if not sequence:
            return
        kept = self._journal.kept(sequence)
        # Who waits for their messages may have to ask elsewhere, or not at all.
        for config in finals:
            self._parked.wake_topic(config.topic_name)
        await kept
        await self._until_announced()

    def _checked(self, config: TopicConfig) -> TopicConfig:
        """What the topic will be."""
        topic = config.topic_name
        check_topic_name(topic)
        self._check_not_system(topic)
        _check_queue_nums("readQueueNums", config.read_queue_nums)
        _check_queue_nums("writeQueueNums", config.write_queue_nums)
        if not 0 <= config.perm < PERM_PRIORITY:
            raise InvalidParameter(
                f"perm[{config.perm}] is illegal, accepted is 0 to {PERM_PRIORITY - 1}"
            )
        if (
            config.attributes.get("+" + MESSAGE_TYPE) == "MIXED"
            and not self._settings.current.enable_mixed_message_type
        ):
            raise InvalidParameter("MIXED message type is not supported.")
        old = self.table.get(topic)
        attributes = altered_attributes(
            None if old is None else old.attributes, config.attributes, TOPIC_ATTRIBUTES
        )
        _check_supported(config.attributes)
        return msgspec.structs.replace(config, attributes=attributes)

    async def delete(self, topic: str) -> None:
        """Removes a topic, its queues, its offsets, and its groups' POP retry topics."""
        if not topic or topic.isspace():
            raise InvalidParameter("The specified topic is blank.")
        self._check_not_system(topic)
        doomed = [topic]
        if self._settings.current.clear_retry_topic_when_delete_topic:
            for group in self._metadata.tables.groups_of_topic(topic):
                doomed += [name for name in pop_retry_topics(topic, group) if name in self.table]
        sequence = 0
        for name in doomed:
            self._journal.change(self._metadata.delete_topic, name)
            sequence = self._journal.change(self._metadata.drop_offsets, topic=name)
        for name in doomed:
            if name in self._metadata.tables.doomed_topics:
                self._deletions[name] = sequence
        self._on_changed(doomed)
        try:
            await self._journal.kept(sequence)
            for name in doomed:
                self._drop_queues(name)
        finally:
            for name in doomed:
                self._parked.wake_topic(name)

    def finish_deletions(self) -> None:
        """At the start: drops what deletions of an earlier life of the process have left."""
        for name in list(self._metadata.tables.doomed_topics):
            try:
                self._drop_queues(name)
            except ServiceUnavailable as error:
                _log.error("%s; it is tried again before the name is used", error)

    def _drop_queues(self, topic: str) -> None:
        """Drops what a deleted topic left in the store, unless the name is in use again."""
        if topic in self.table:
            return
        try:
            self._engine.drop_topic(topic)
        except StoreFailed as error:
            raise ServiceUnavailable(
                f"topic[{shown(topic)}] is deleted, its queues cannot be dropped: {error}"
            ) from error
        self._deletions.pop(topic, None)
        if topic in self._metadata.tables.doomed_topics:
            self._journal.change(self._metadata.note_queues_dropped, topic)

    def config(self, topic: str) -> TopicConfig:
        config = self.table.get(topic)
        if config is None:
            raise TopicNotFound(f"No topic in this broker. topic: {shown(topic)}")
        return config

    def all(self) -> tuple[DataVersion, Mapping[str, TopicConfig]]:
        tables = self._metadata.tables
        return tables.topics_version, tables.topics

    def system_names(self) -> Sequence[str]:
        return sorted(SYSTEM_TOPICS | self._own_names)

    def _create(self, config: TopicConfig) -> int:
        topic = config.topic_name
        self._check_room((topic,))
        self._finish_deletion(topic)
        return self._replace(config)

    def _check_room(self, new: Collection[str]) -> None:
        if new and len(self.table) + len(new) > TOPIC_COUNT_MAX:
            raise RequestFailed(
                f"topic[{shown(next(iter(new)))}] cannot be created: "
                f"the broker has {len(self.table)} topics of {TOPIC_COUNT_MAX}, the most it takes"
            )

    def _finish_deletion(self, topic: str) -> None:
        """Before a new topic gets the name: the queues of an old one of that name must be gone."""
        if topic in self._metadata.tables.doomed_topics:
            if not self._journal.is_kept(self._deletions.get(topic, 0)):
                raise SystemBusy(f"topic[{shown(topic)}] is being deleted, try again")
            self._drop_queues(topic)

    def _replace(self, config: TopicConfig) -> int:
        is_new = config.topic_name not in self.table
        sequence = self._journal.change(self._metadata.put_topic, config)
        if is_new:
            self._creations[config.topic_name] = sequence
        self._on_changed([config.topic_name])
        return sequence

    def _check_not_system(self, topic: str) -> None:
        if self._settings.current.validate_system_topic_when_update_topic and self.is_system(topic):
            raise InvalidParameter(f"The topic[{shown(topic)}] is conflict with system topic.")


def _check_queue_nums(name: str, value: int) -> None:
    if not 1 <= value <= QUEUE_COUNT_MAX:
        raise InvalidParameter(f"{name}[{value}] is illegal, accepted is 1 to {QUEUE_COUNT_MAX}")


def _check_supported(changes: Mapping[str, str]) -> None:
    """Refuses attributes that promise what is not built yet."""
    for name, value in ((QUEUE_TYPE, "BatchCQ"), (CLEANUP_POLICY, "COMPACTION")):
        if changes.get("+" + name) == value:
            raise RequestFailed(f"the attribute {name}={value} is not supported yet")
    if any(key[1:] == RESERVE_TIME for key in changes):
        raise RequestFailed("Update topic reserveTime not supported")


__all__ = ["Topics", "TopicsChanged", "UntilAnnounced"]
