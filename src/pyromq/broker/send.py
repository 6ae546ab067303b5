"""Sending: may he, which queue, what kind of message; then append and keep the promise.

The checks run in Apache's order, so that a request with several faults is refused for the same one.
The common message is stored with the text it came with plus a constant suffix; only a message that
may hold a special property is looked at more closely (`kinds.py`).

Sources: processor.SendMessageProcessor, processor.AbstractSendMessageProcessor and util.HookUtils
of org.apache.rocketmq.broker 5.5.0.
"""

from __future__ import annotations

from typing import Final

from pyromq.api import Caller, SendReceiver, SendRequest, SendResult, StoredSend
from pyromq.broker.journal import Journal
from pyromq.broker.kinds import (
    Place,
    check_keys,
    refuse_delayed_batch,
    refuse_flags,
    resolve_special,
)
from pyromq.broker.remarks import FAQ
from pyromq.broker.retries import RandomBelow, Retries
from pyromq.broker.store_turn import StoreTurn
from pyromq.broker.topics import Topics
from pyromq.clock import Clock
from pyromq.config import BrokerConfig, Settings, StoreConfig
from pyromq.domain.attributes import CLEANUP_POLICY
from pyromq.domain.message import (
    INNER_BATCH_FLAGS,
    MULTI_TAGS_FLAG,
    TRANSACTION_FLAGS,
    offset_message_id_prefix,
)
from pyromq.domain.properties import (
    CLUSTER,
    MSG_REGION,
    PROPERTIES_LENGTH_MAX,
    PROPERTY_SEPARATOR,
    TRACE_ON,
    UNIQ_KEY,
    is_wait_waived,
    may_be_special,
    properties_text,
    unique_key_of,
    without_properties,
)
from pyromq.domain.topic import (
    FORBIDDEN_TO_SEND,
    PERM_WRITE,
    RETRY_PREFIX,
    TOPIC_LENGTH_MAX,
    TopicConfig,
    check_topic_name,
)
from pyromq.domain.unique_key import UniqueKeys
from pyromq.errors import (
    FlushTimedOut,
    InvalidParameter,
    MessageIllegal,
    NoPermission,
    RequestFailed,
    ServiceUnavailable,
    StoreBusy,
    StoreFailed,
    SystemBusy,
    TopicNotFound,
)
from pyromq.observe.counters import BrokerCounters
from pyromq.store.engine import Engine
from pyromq.turn import Turn

MULTI_TAG: Final = "MULTI_TAG"
"""Filter type of topics whose messages have several tags."""
TOPIC_SYS_FLAG_UNIT: Final = 1
TOPIC_SYS_FLAG_UNIT_SUBSCRIPTION: Final = 2


class Sends:
    """Stores messages."""

    def __init__(
        self,
        engine: Engine,
        topics: Topics,
        retries: Retries,
        journal: Journal,
        store_turn: StoreTurn,
        settings: Settings[BrokerConfig],
        store_settings: Settings[StoreConfig],
        clock: Clock,
        turn: Turn,
        counters: BrokerCounters,
        *,
        store_host: bytes,
        broker_ip: str,
        unique_keys: UniqueKeys,
        random_below: RandomBelow,
    ) -> None:
        self._engine = engine
        self._topics = topics
        self._topic_table = topics.table
        self._kept_by = topics.kept_by
        self._retries = retries
        self._journal = journal
        self._committed = store_turn.committed
        self._written = store_turn.written
        self._append = engine.append
        self._request_end = turn.request_end
        self._settings = settings
        self._body_size_max = store_settings.current.max_message_size_bytes
        self._delay_level_count = len(store_settings.current.delay_levels_ms)
        self._clock = clock
        self._counters = counters
        self.message_id_prefix = offset_message_id_prefix(store_host)
        self._broker_ip = broker_ip
        self._unique_keys = unique_keys
        self._random_below = random_below
        self.is_closed = False
        """Nothing is stored any more."""
        self._suffix_of: BrokerConfig | None = None
        self._suffix = ""

    def close(self) -> None:
        """From now on nothing is stored any more."""
        self.is_closed = True

    # --- the verbs ------------------------------------------------------------------------------

    async def send(self, caller: Caller, request: SendRequest) -> SendResult:
        """Stores one message; returns when its promise holds."""
        return await self.finish(request, self.store(caller, request))

    def store(self, caller: Caller, request: SendRequest) -> StoredSend:
        """Stores one message, whose promise is then still to be kept.

        Written flat: it runs once per message, and calls are what Python pays most for.
        """
        settings = self._settings.current
        now_ms = self._clock.now_ms()
        config, sequence = self.checked_topic(caller, request, settings, now_ms)
        topic = config.topic_name
        queue_id = request.queue_id
        if queue_id < 0:
            queue_id = self.random_queue(config)
        stored_queue_id = queue_id
        properties = request.properties
        is_ordinary = request.is_ordinary
        unique_key = request.unique_key if is_ordinary else unique_key_of(properties)
        if unique_key is None:
            unique_key = self._unique_keys.next(now_ms)
            properties = f"{UNIQ_KEY}\x01{unique_key}\x02{without_properties(properties, UNIQ_KEY)}"
        is_retry = topic.startswith(RETRY_PREFIX)
        if is_retry or (not is_ordinary and may_be_special(properties)):
            place = Place(topic, queue_id, sequence)
            if is_retry:
                place = self._retries.place_of_resent(caller, request, place)
            properties, place = resolve_special(
                request,
                config,
                properties,
                place,
                delay_level_count=self._delay_level_count,
            )
            topic, stored_queue_id, sequence, _, told_queue_id = place
            queue_id = stored_queue_id if told_queue_id is None else told_queue_id
            is_ordinary = False
        sys_flag = request.sys_flag
        if sys_flag & (TRANSACTION_FLAGS | INNER_BATCH_FLAGS):
            refuse_flags(sys_flag)
        if config.attributes and config.attributes.get(CLEANUP_POLICY) == "COMPACTION":
            check_keys(properties)
        if config.topic_filter_type == MULTI_TAG:
            sys_flag |= MULTI_TAGS_FLAG
        if settings is not self._suffix_of:
            self._suffix = stored_suffix(settings)
            self._suffix_of = settings
        if properties[-1] != PROPERTY_SEPARATOR:
            properties += PROPERTY_SEPARATOR
        stored = (properties + self._suffix).encode("utf-8", "replace")
        body = request.body
        if not 0 < len(body) <= self._body_size_max or len(stored) > PROPERTIES_LENGTH_MAX:
            raise self._illegal_size(body, stored)

        try:
            queue_offset, log_offset, end, _ = self._append(
                topic,
                stored_queue_id,
                body,
                stored,
                request.flag,
                sys_flag,
                request.born_timestamp_ms,
                caller.host,
                request.reconsume_times,
                0,
                now_ms,
            )
        except StoreFailed as error:
            raise self._unavailable(error) from error
        self._request_end()
        is_waived = request.is_waived if is_ordinary else is_wait_waived(properties)
        return StoredSend(
            topic,
            queue_id,
            queue_offset,
            log_offset,
            end,
            unique_key,
            is_waived or request.is_oneway,
            settings.region_id,
            settings.trace_on,
            sequence,
        )

    async def finish(self, request: SendRequest, stored: StoredSend) -> SendResult:
        """Waits until the promise of a message just stored holds."""
        # Positions given to a gate rise: take the place in the journal's queue before waiting.
        topic_kept = self._journal.kept(stored.sequence) if stored.sequence else None
        is_late = False
        try:
            if stored.is_waived:
                await self._written.until(stored.end)
            else:
                await self._committed.until(stored.end)
        except FlushTimedOut:
            is_late = True
        if topic_kept is not None:
            await topic_kept
            if not request.is_oneway:
                # Who sent to a new topic may look for its route, or start a consumer, at once.
                await self._topics.announced()
        self._counters.count_puts(stored.topic, 1, stored.end - stored.log_offset)
        return SendResult(
            msg_id=f"{self.message_id_prefix}{stored.log_offset:016X}",
            queue_id=stored.queue_id,
            queue_offset=stored.queue_offset,
            transaction_id=stored.unique_key,
            region_id=stored.region_id,
            is_traced=stored.is_traced,
            is_sync_late=is_late,
        )

    def hold(self, stored: StoredSend, answer: bytes, receiver: SendReceiver) -> None:
        """The same without a coroutine, for what waits for nothing else."""
        assert not stored.sequence, "a message that waits for its topic is not held"
        gate = self._written if stored.is_waived else self._committed
        gate.hold(stored, answer, receiver)

    async def send_batch(self, caller: Caller, request: SendRequest) -> SendResult:
        """Stores the items of a batch, all or none, with consecutive queue offsets.

        Items are stored with the properties they came with: as in Apache, region, cluster and
        trace switch are not added to them.
        """
        settings = self._settings.current
        now_ms = self._clock.now_ms()
        config, sequence = self.checked_topic(caller, request, settings, now_ms)
        queue_id = request.queue_id
        if queue_id < 0:
            queue_id = self.random_queue(config)
        topic = config.topic_name
        if len(topic) > TOPIC_LENGTH_MAX:
            raise MessageIllegal(f"message topic length too long {len(topic)}")
        if topic.startswith(RETRY_PREFIX):
            raise MessageIllegal(f"batch request does not support retry group {topic}")
        properties = request.properties
        if may_be_special(properties):
            refuse_delayed_batch(properties)
            resolve_special(
                request,
                config,
                properties,
                Place(topic, queue_id, sequence),
                delay_level_count=self._delay_level_count,
            )
        if request.sys_flag & (TRANSACTION_FLAGS | INNER_BATCH_FLAGS):
            refuse_flags(request.sys_flag)
        if not 0 < len(request.body) <= self._body_size_max:
            raise self._illegal_size(request.body, b"")
        sys_flag = request.sys_flag
        if config.topic_filter_type == MULTI_TAG:
            sys_flag |= MULTI_TAGS_FLAG

        try:
            appended, log_offsets = self._engine.append_batch(
                topic,
                queue_id,
                request.body,
                sys_flag=sys_flag,
                born_timestamp_ms=request.born_timestamp_ms,
                born_host=caller.host,
                reconsume_times=request.reconsume_times,
                now_ms=now_ms,
            )
        except StoreFailed as error:
            raise self._unavailable(error) from error
        self._request_end()
        topic_kept = self._journal.kept(sequence) if sequence else None
        is_late = False
        try:
            if request.is_oneway or is_wait_waived(properties):
                await self._written.until(appended.end)
            else:
                await self._committed.until(appended.end)
        except FlushTimedOut:
            is_late = True
        if topic_kept is not None:
            await topic_kept
            if not request.is_oneway:
                # Who sent to a new topic may look for its route, or start a consumer, at once.
                await self._topics.announced()

        counters = self._counters
        counters.put_count += len(log_offsets)
        counters.put_size += appended.end - appended.log_offset
        counters.topic_puts.add(topic, len(log_offsets), appended.end - appended.log_offset)
        prefix = self.message_id_prefix
        return SendResult(
            msg_id=",".join([f"{prefix}{log_offset:016X}" for log_offset in log_offsets]),
            queue_id=queue_id,
            queue_offset=appended.queue_offset,
            transaction_id=unique_key_of(properties) or "",
            region_id=settings.region_id,
            is_traced=settings.trace_on,
            is_sync_late=is_late,
        )

    # --- the checks -----------------------------------------------------------------------------

    def checked_topic(
        self, caller: Caller, request: SendRequest, settings: BrokerConfig, now_ms: int
    ) -> tuple[TopicConfig, int]:
        """The topic's settings, and the journal sequence to wait for if it was created just now."""
        if now_ms < settings.start_accept_send_request_timestamp_ms:
            raise RequestFailed(
                f"broker unable to service, until {settings.start_accept_send_request_timestamp_ms}"
            )
        if self.is_closed:
            raise self._unavailable("the broker is shutting down")
        topic = request.topic
        config = self._topic_table.get(topic)
        if not settings.broker_permission & PERM_WRITE and config is not None and config.order:
            raise NoPermission(f"the broker[{self._broker_ip}] sending message is forbidden")
        if topic in FORBIDDEN_TO_SEND:
            raise NoPermission(f"Sending message to topic[{topic}] is forbidden.")
        if config is None:
            config, sequence = self._create_topic(request)
        else:
            sequence = self._kept_by(topic)
        if (
            request.queue_id >= config.write_queue_nums
            and request.queue_id >= config.read_queue_nums
        ):
            raise InvalidParameter(
                f"request queueId[{request.queue_id}] is illegal, {config} "
                f"Producer: {caller.address}"
            )
        return config, sequence

    def _create_topic(self, request: SendRequest) -> tuple[TopicConfig, int]:
        topic = request.topic
        check_topic_name(topic)
        is_retry = topic.startswith(RETRY_PREFIX)
        sys_flag = 0
        if request.unit_mode:
            sys_flag = TOPIC_SYS_FLAG_UNIT_SUBSCRIPTION if is_retry else TOPIC_SYS_FLAG_UNIT
        sequence = self._topics.create_for_send(
            topic, request.default_topic, request.default_topic_queue_nums, sys_flag
        )
        if sequence is None and is_retry:
            sequence = self._topics.create_if_absent(topic, 1, sys_flag=sys_flag)
        if sequence is None:
            raise TopicNotFound(f"topic[{topic}] not exist, apply first please!{FAQ}")
        return self._topic_table[topic], sequence

    def random_queue(self, config: TopicConfig) -> int:
        if config.write_queue_nums < 1:
            raise InvalidParameter(f"request queueId[-1] is illegal, {config}")
        return self._random_below(config.write_queue_nums)

    def _illegal_size(self, body: bytes, properties: bytes) -> MessageIllegal:
        return MessageIllegal(
            "the message is illegal, maybe msg body or properties length not matched. "
            f"msg body length limit {self._body_size_max}B, msg properties length limit 32KB."
            f" It has a body of {len(body)}B and properties of {len(properties)}B."
        )

    def _unavailable(self, reason: object) -> ServiceUnavailable | SystemBusy:
        self._counters.put_failed_count += 1
        if isinstance(reason, StoreBusy):
            # Where Apache says [PC_SYNCHRONIZED]: MessageStore.isOSPageCacheBusy.
            return SystemBusy(f"broker busy: {reason}")
        return ServiceUnavailable(f"service not available now: {reason}")


def stored_suffix(settings: BrokerConfig) -> str:
    """What the broker adds to each message's properties."""
    return properties_text(
        {
            MSG_REGION: settings.region_id,
            TRACE_ON: "true" if settings.trace_on else "false",
            CLUSTER: settings.broker_cluster_name,
        }
    )


__all__ = ["MULTI_TAG", "Sends", "stored_suffix"]
