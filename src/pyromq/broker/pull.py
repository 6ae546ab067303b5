"""Pulling: may he, what does he want, what is there; and if there is nothing, wait for it.

The checks run in Apache's order and run again when a parked pull is woken: in the meantime group,
topic or subscription may have changed.

Sources: processor.PullMessageProcessor and processor.DefaultPullMessageResultHandler of
org.apache.rocketmq.broker 5.5.0.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from pyromq.api import (
    Caller,
    ExpressParked,
    ExpressPull,
    ExpressPulled,
    PullRequest,
    PullResult,
    PullStatus,
)
from pyromq.broker.clients import Clients
from pyromq.broker.groups import Groups
from pyromq.broker.offsets import Offsets
from pyromq.broker.parked import ParkedPolls, Poll
from pyromq.broker.remarks import FAQ, shown
from pyromq.broker.topics import Topics
from pyromq.clock import Clock
from pyromq.config import BrokerConfig, Settings, StoreConfig
from pyromq.domain.group import GroupConfig
from pyromq.domain.subscription import TAG, is_tag_type, parse_subscription, tag_hashes
from pyromq.domain.topic import PERM_READ, TopicConfig
from pyromq.errors import (
    GroupNotFound,
    InvalidParameter,
    PullForbidden,
    RequestFailed,
    RequestRefused,
    ServiceUnavailable,
    StoreFailed,
    SubscriptionNotFound,
    SubscriptionNotLatest,
    TopicNotFound,
)
from pyromq.observe.counters import BrokerCounters
from pyromq.store.engine import Engine, QueueRead, ReadStatus
from pyromq.units import MINUTE_MS, QueueOffset

SUSPEND_TIMEOUT_MAX_MS: Final = 10 * MINUTE_MS
"""Longest hold of a pull, whatever its client asks for; it gets code 19 then and asks again."""
PARSED_FILTERS_MAX: Final = 10_000
"""Filter texts of pulls kept with their tag hashes; all are forgotten when there are more."""

# What forbids a pull (ForbiddenType of org.apache.rocketmq.remoting.protocol 5.5.0).
BROKER_FORBIDDEN: Final = 1
GROUP_FORBIDDEN: Final = 2
TOPIC_FORBIDDEN: Final = 3
BROADCASTING_FORBIDDEN: Final = 4
SUBSCRIPTION_FORBIDDEN: Final = 5

_STATUS_OF: Final = {
    ReadStatus.FOUND: PullStatus.FOUND,
    ReadStatus.NO_MATCHED_MESSAGE: PullStatus.RETRY_IMMEDIATELY,
    ReadStatus.NO_MATCHED_LOGIC_QUEUE: PullStatus.NOT_FOUND,
    ReadStatus.NO_MESSAGE_IN_QUEUE: PullStatus.NOT_FOUND,
    ReadStatus.OFFSET_OVERFLOW_ONE: PullStatus.NOT_FOUND,
    ReadStatus.OFFSET_OVERFLOW_BADLY: PullStatus.OFFSET_MOVED,
    ReadStatus.OFFSET_TOO_SMALL: PullStatus.OFFSET_MOVED,
}
INT_MAX: Final = (1 << 31) - 1
LONG_MAX: Final = (1 << 63) - 1
_NOBODY: Final = Caller(connection_id=0, address="", host=bytes(8))

_EMPTY_QUEUE: Final = (ReadStatus.NO_MATCHED_LOGIC_QUEUE, ReadStatus.NO_MESSAGE_IN_QUEUE)


class _Wanted(NamedTuple):
    """What a pull may have, after all checks."""

    topic: TopicConfig
    group: GroupConfig
    tag_hashes: frozenset[int] | None
    message_count_max: int
    body_size_max: int


class Pulls:
    """Reads messages for consumers."""

    def __init__(
        self,
        engine: Engine,
        topics: Topics,
        groups: Groups,
        clients: Clients,
        offsets: Offsets,
        parked: ParkedPolls,
        settings: Settings[BrokerConfig],
        store_settings: Settings[StoreConfig],
        clock: Clock,
        counters: BrokerCounters,
        *,
        broker_ip: str,
    ) -> None:
        self._engine = engine
        self._topic_table = topics.table
        self._groups = groups
        self._consumers = clients.consumers
        self._offsets = offsets
        self._parked = parked
        self._settings = settings
        self._store_settings = store_settings
        self._clock = clock
        self._counters = counters
        self._broker_ip = broker_ip
        self._filters: dict[str, frozenset[int] | None] = {}

    async def pull(self, caller: Caller, request: PullRequest) -> PullResult:
        """Messages from `queue_offset` on; may take as long as the client is ready to wait."""
        wanted = self._check(caller, request)
        moved_to = self._offsets.moved_by_reset(caller, request)
        if moved_to is not None:
            return self._reset(request, wanted, moved_to)
        read = self._read(request, wanted, request.queue_offset)
        status = _status(read, request.queue_offset)
        group, topic, queue_id = request.consumer_group, request.topic, request.queue_id
        self._offsets.note_pulled(group, topic, queue_id, read.next_offset)
        if request.commit_offset is not None:
            self._offsets.note_commit(
                caller, group, topic, queue_id, request.commit_offset, read.max_offset
            )
        if status is PullStatus.NOT_FOUND and request.may_suspend:
            return await self._wait(caller, request, self._poll(caller, request, wanted))
        return self._result(request, read, status, wanted)

    async def _wait(self, caller: Caller, request: PullRequest, poll: Poll) -> PullResult:
        """What becomes of a pull that found nothing, whenever that is known."""
        return self._look_again(caller, request, poll, await self._parked.park(poll))

    def _look_again(
        self, caller: Caller, request: PullRequest, poll: Poll, found: QueueRead | None
    ) -> PullResult:
        """A pull has waited long enough; `found` is what it was offered, if anything."""
        wanted = self._check(caller, request)
        moved_to = self._offsets.moved_by_reset(caller, request)
        if moved_to is not None:
            return self._reset(request, wanted, moved_to)
        read = found or self._read(request, wanted, poll.queue_offset)
        status = _status(read, poll.queue_offset)
        if status is PullStatus.NOT_FOUND and poll.queue_offset > request.queue_offset:
            # Messages came that were not wanted: the client goes on behind them.
            status = PullStatus.RETRY_IMMEDIATELY
            read = read._replace(status=ReadStatus.NO_MATCHED_MESSAGE)
        self._offsets.note_pulled(
            request.consumer_group, request.topic, request.queue_id, read.next_offset
        )
        return self._result(request, read, status, wanted)

    # --- reading --------------------------------------------------------------------------------

    def _read(self, request: PullRequest, wanted: _Wanted, offset: QueueOffset) -> QueueRead:
        try:
            return self._engine.read(
                request.topic,
                request.queue_id,
                offset,
                message_count_max=wanted.message_count_max,
                body_size_max=wanted.body_size_max,
                tag_hashes=wanted.tag_hashes,
            )
        except StoreFailed as error:
            raise ServiceUnavailable(f"the store cannot be read: {error}") from error

    def _poll(self, caller: Caller, request: PullRequest, wanted: _Wanted) -> Poll:
        hold_min_ms, hold_max_ms = self._hold_ms()
        timeout_ms = min(max(request.suspend_timeout_ms, hold_min_ms), hold_max_ms)
        return Poll(
            request.topic,
            request.queue_id,
            request.queue_offset,
            message_count_max=wanted.message_count_max,
            body_size_max=wanted.body_size_max,
            tag_hashes=wanted.tag_hashes,
            group=request.consumer_group,
            connection_id=caller.connection_id,
            deadline_ms=self._clock.monotonic_ms() + timeout_ms,
        )

    def _hold_ms(self) -> tuple[int, int]:
        """How long a poll waits at least and at most, whatever it asks for."""
        settings = self._settings.current
        if settings.long_polling_enable:
            return 0, SUSPEND_TIMEOUT_MAX_MS
        return settings.short_polling_time_ms, settings.short_polling_time_ms

    def _reset(self, request: PullRequest, wanted: _Wanted, moved_to: QueueOffset) -> PullResult:
        """Somebody set the group's offset: its client goes on there. What it commits with this
        pull is of the time before."""
        min_offset, max_offset = self._offsets.range(request.topic, request.queue_id)
        return PullResult(
            status=PullStatus.OFFSET_MOVED,
            remark="OFFSET_RESET",
            next_begin_offset=moved_to,
            min_offset=min_offset,
            max_offset=max_offset,
            topic_sys_flag=wanted.topic.topic_sys_flag,
            group_sys_flag=wanted.group.group_sys_flag,
        )

    def _result(
        self, request: PullRequest, read: QueueRead, status: PullStatus, wanted: _Wanted
    ) -> PullResult:
        if read.message_count:
            self._count_found(
                request.topic, request.consumer_group, read.message_count, len(read.body)
            )
        else:
            self._counters.miss_count += 1
        return PullResult(
            status=status,
            remark=read.status.value,
            next_begin_offset=read.next_offset,
            min_offset=read.min_offset,
            max_offset=read.max_offset,
            body=read.body,
            message_count=read.message_count,
            suggest_which_broker_id=0,
            topic_sys_flag=wanted.topic.topic_sys_flag,
            group_sys_flag=wanted.group.group_sys_flag,
        )

    def _count_found(
        self, topic: str, group: str, message_count: int, size: int, request_count: int = 1
    ) -> None:
        counters = self._counters
        counters.found_count += request_count
        counters.transferred_count += message_count
        counters.transferred_size += size
        counters.group_gets.add(f"{topic}@{group}", message_count, size, request_count)

    # --- the express lane -----------------------------------------------------------------------

    def express(self, topic: str, group: str, text: str | None) -> ExpressPull | None:
        """See `ExpressApi.express_pull`. The same checks as of a pull, of what can be said before
        it comes; while any offset is being reset, each pull must ask whether it is its own."""
        if group not in self._groups.table or self._offsets.has_resets:
            return None
        request = PullRequest(
            consumer_group=group,
            topic=topic,
            queue_id=0,
            queue_offset=QueueOffset(0),
            message_count_max=INT_MAX,
            body_size_max=None,
            subscription=text,
            expression_type=TAG,
        )
        try:
            wanted = self._check(_NOBODY, request)
        except RequestRefused:
            return None
        hold_min_ms, hold_max_ms = self._hold_ms()
        sub_version = LONG_MAX
        if text is None:
            sub_version = self._consumers[group].subscriptions[topic].subscription.sub_version
        return ExpressPull(
            queue_count=wanted.topic.read_queue_nums,
            tag_hashes=wanted.tag_hashes,
            sub_version=sub_version,
            message_count_max=wanted.message_count_max,
            body_size_max=wanted.body_size_max,
            topic_sys_flag=wanted.topic.topic_sys_flag,
            group_sys_flag=wanted.group.group_sys_flag,
            hold_min_ms=hold_min_ms,
            hold_max_ms=hold_max_ms,
        )

    def express_pulled(self, caller: Caller, pulled: ExpressPulled) -> None:
        """See `ExpressApi.express_pulled`: what `pull` does beside its answer."""
        topic, group, request_count, message_count, size, places, commits = pulled
        offsets = self._offsets
        offsets.note_all_pulled(group, topic, places)
        for queue_id, offset, end in commits:
            offsets.note_commit(caller, group, topic, queue_id, offset, end)
        if message_count:
            self._count_found(topic, group, message_count, size, request_count)
        else:
            self._counters.miss_count += request_count

    async def pull_parked(
        self, caller: Caller, request: PullRequest, parked: ExpressParked
    ) -> PullResult:
        """See `ExpressApi.pull_parked`."""
        poll = Poll(
            request.topic,
            request.queue_id,
            parked.queue_offset,
            message_count_max=parked.message_count_max,
            body_size_max=parked.body_size_max,
            tag_hashes=parked.tag_hashes,
            group=request.consumer_group,
            connection_id=caller.connection_id,
            deadline_ms=parked.deadline_ms,
        )
        if parked.deadline_ms == 0:
            return self._look_again(caller, request, poll, None)
        return await self._wait(caller, request, poll)

    # --- the checks -----------------------------------------------------------------------------

    def _check(self, caller: Caller, request: PullRequest) -> _Wanted:
        settings = self._settings.current
        if not settings.broker_permission & PERM_READ:
            raise PullForbidden(
                f"the broker[{self._broker_ip}] pulling message is forbidden", BROKER_FORBIDDEN
            )
        if request.is_lite and not settings.lite_pull_message_enable:
            raise PullForbidden(
                f"the broker[{self._broker_ip}] for lite pull consumer is forbidden",
                BROKER_FORBIDDEN,
            )
        group, _ = self._groups.find(request.consumer_group)
        if group is None:
            raise GroupNotFound(
                f"subscription group [{shown(request.consumer_group)}] does not exist, {FAQ}"
            )
        if not group.consume_enable:
            raise PullForbidden(
                f"subscription group no permission, {request.consumer_group}", GROUP_FORBIDDEN
            )
        topic = self._topic_table.get(request.topic)
        if topic is None:
            raise TopicNotFound(
                f"topic[{shown(request.topic)}] not exist, apply first please! {FAQ}"
            )
        if not topic.is_readable:
            raise PullForbidden(
                f"the topic[{request.topic}] pulling message is forbidden", TOPIC_FORBIDDEN
            )
        if not 0 <= request.queue_id < topic.read_queue_nums:
            raise InvalidParameter(
                f"queueId[{request.queue_id}] is illegal, topic:[{request.topic}] "
                f"topicConfig.readQueueNums:[{topic.read_queue_nums}] "
                f"consumer:[/{caller.address}]"
            )
        hashes = (
            self._subscribed(request, group)
            if request.subscription is None
            else self._filter(request, request.subscription)
        )
        store = self._store_settings.current
        size_max = store.max_transfer_bytes_on_message_in_memory
        if request.body_size_max is not None and request.body_size_max > 0:
            size_max = min(size_max, request.body_size_max)
        return _Wanted(
            topic,
            group,
            hashes,
            max(min(request.message_count_max, store.max_transfer_count_on_message_in_memory), 1),
            size_max,
        )

    def _filter(self, request: PullRequest, text: str) -> frozenset[int] | None:
        """By the pull's own filter text."""
        if not is_tag_type(request.expression_type):
            parse_subscription(request.topic, text, request.expression_type)
            raise _no_property_filter(request.expression_type)
        filters = self._filters
        if text in filters:
            return filters[text]
        hashes = tag_hashes(parse_subscription(request.topic, text))
        if len(filters) >= PARSED_FILTERS_MAX:
            filters.clear()
        filters[text] = hashes
        return hashes

    def _subscribed(self, request: PullRequest, group: GroupConfig) -> frozenset[int] | None:
        """By what the group's heartbeats said."""
        name = request.consumer_group
        consumers = self._consumers.get(name)
        if consumers is None:
            raise SubscriptionNotFound(f"the consumer's group info not exist{FAQ}")
        if not group.consume_broadcast_enable and consumers.is_broadcasting:
            raise PullForbidden(
                f"the consumer group[{name}] can not consume by broadcast way",
                BROADCASTING_FORBIDDEN,
            )
        if self._groups.is_forbidden_to_read(name, request.topic):
            raise PullForbidden(
                f"the consumer group[{name}] is forbidden for topic[{request.topic}]",
                SUBSCRIPTION_FORBIDDEN,
            )
        subscribed = consumers.subscriptions.get(request.topic)
        if subscribed is None:
            raise SubscriptionNotFound(f"the consumer's subscription not exist{FAQ}")
        subscription = subscribed.subscription
        if subscription.sub_version < request.subscription_version:
            raise SubscriptionNotLatest("the consumer's subscription not latest")
        if not is_tag_type(subscription.expression_type):
            raise _no_property_filter(subscription.expression_type)
        return subscribed.tag_hashes


def _status(read: QueueRead, offset: QueueOffset) -> PullStatus:
    if offset != 0 and read.status in _EMPTY_QUEUE:
        return PullStatus.OFFSET_MOVED
    return _STATUS_OF[read.status]


def _no_property_filter(expression_type: str) -> RequestFailed:
    return RequestFailed(
        f"The broker does not support consumer to filter message by {shown(expression_type)}"
    )


__all__ = ["PARSED_FILTERS_MAX", "SUSPEND_TIMEOUT_MAX_MS", "Pulls"]
