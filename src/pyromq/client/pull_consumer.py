"""Consuming at the program's own pace: it names the queues, polls, and says how far it has come.

    async with PullConsumer("127.0.0.1:9876", "reports") as consumer:
        consumer.assign(await consumer.queues("Orders"))
        for message in await consumer.poll():
            ...
        await consumer.commit()

Each assigned queue is read ahead by one task of its own, up to 1000 messages or 100 MiB; `poll`
hands out what is there. `commit` stores how far `poll` has handed out; nothing else does, so what
was not committed comes again after a restart: at least once.

Source: impl.consumer.DefaultLitePullConsumerImpl of org.apache.rocketmq.client 5.5.0, in the mode
with assigned queues.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Iterable
from typing import Final, Self

from pyromq.client import offsets
from pyromq.client.errors import ClientClosed, ServerRefused
from pyromq.client.instance import ClientInstance, not_supported
from pyromq.client.message import ReceivedMessage
from pyromq.client.offsets import ConsumeFromWhere
from pyromq.client.pull import PULL_COUNT_MAX, SUSPEND_MS, Puller, PullStatus
from pyromq.codes import ResponseCode
from pyromq.domain.group import ConsumerData, Subscription, check_group_name
from pyromq.domain.route import MessageQueue
from pyromq.domain.subscription import TAG, parse_subscription
from pyromq.errors import InvalidParameter, PyromqError
from pyromq.units import MIB, QueueOffset
from pyromq.wire.remoting.frame import Command

AHEAD_COUNT_MAX: Final = 1_000
AHEAD_BYTES_MAX: Final = 100 * MIB
"""What is read ahead per queue: Apache's pullThresholdForQueue, pullThresholdSizeForQueue."""
RETRY_PAUSE_MS: Final = 1_000
BUSY_PAUSE_MS: Final = 20

_BUSY: Final = frozenset({ResponseCode.SYSTEM_BUSY, ResponseCode.FLOW_CONTROL})
_FATAL: Final = frozenset(
    {
        ResponseCode.NO_PERMISSION,
        ResponseCode.TOPIC_NOT_EXIST,
        ResponseCode.SUBSCRIPTION_PARSE_FAILED,
        ResponseCode.SUBSCRIPTION_GROUP_NOT_EXIST,
        ResponseCode.INVALID_PARAMETER,
    }
)
"""Answers that will not change by asking again soon; `poll` raises them."""

_log = logging.getLogger("pyromq.client")


class _Assigned:
    """One queue: how far it was read, what waits to be handed out, how far that was."""

    def __init__(self, queue: MessageQueue) -> None:
        self.queue = queue
        self.read_from: int | None = None
        """Next offset to pull; None until the group's offset was asked for."""
        self.handed_out: int | None = None
        """Behind the last message that `poll` returned, or that nobody wants; None at first."""
        self.ahead: deque[ReceivedMessage] = deque()
        self.ahead_bytes = 0
        self.failure: ServerRefused | None = None
        self.task: asyncio.Task[None] | None = None
        self.has_room = asyncio.Event()
        self.has_room.set()

    def jump(self, offset: int) -> None:
        self.read_from = self.handed_out = offset
        self.ahead.clear()
        self.ahead_bytes = 0
        self.failure = None
        self.has_room.set()

    def put(self, messages: list[ReceivedMessage], next_offset: int) -> None:
        self.read_from = next_offset
        for message in messages:
            self.ahead.append(message)
            self.ahead_bytes += message.size_bytes
        if not self.ahead:
            self.handed_out = next_offset
        if len(self.ahead) >= AHEAD_COUNT_MAX or self.ahead_bytes >= AHEAD_BYTES_MAX:
            self.has_room.clear()

    def take(self, count_max: int) -> list[ReceivedMessage]:
        taken: list[ReceivedMessage] = []
        while self.ahead and len(taken) < count_max:
            message = self.ahead.popleft()
            self.ahead_bytes -= message.size_bytes
            self.handed_out = message.queue_offset + 1
            taken.append(message)
        if not self.ahead and taken:
            # What was filtered out behind it is passed over with it.
            self.handed_out = self.read_from
        if len(self.ahead) < AHEAD_COUNT_MAX and self.ahead_bytes < AHEAD_BYTES_MAX:
            self.has_room.set()
        return taken


class PullConsumer:
    """Reads assigned queues for a group. Use as `async with`, or `start` and `stop`."""

    def __init__(
        self,
        namesrv: str | Iterable[str],
        group: str,
        *,
        expression: str = "*",
        expression_type: str = TAG,
        consume_from: ConsumeFromWhere = ConsumeFromWhere.LAST_OFFSET,
        consume_timestamp_ms: int = 0,
        batch_size_max: int = PULL_COUNT_MAX,
        suspend_ms: int = SUSPEND_MS,
        instance: ClientInstance | None = None,
    ) -> None:
        """`expression` filters all queues: tags (`A || B`), or SQL92 with that `expression_type`.
        `consume_from`: for queues of which the group has no offset and that were not sought.

        Raises InvalidParameter, SubscriptionParseFailed, ConfigInvalid.
        """
        check_group_name(group)
        self.group = group
        parse_subscription("checked", expression, expression_type)
        self._expression = expression
        self._expression_type = expression_type
        self._consume_from = consume_from
        self._consume_timestamp_ms = consume_timestamp_ms
        self._instance = instance or ClientInstance(namesrv)
        self._owns_instance = instance is None
        self._puller = Puller(
            self._instance, group, count_max=batch_size_max, suspend_ms=suspend_ms
        )
        self._subscriptions: dict[str, Subscription] = {}
        self._assigned: dict[MessageQueue, _Assigned] = {}
        self._has_news = asyncio.Event()
        self._is_running = False
        self._turn = 0
        self._ending: set[asyncio.Task[None]] = set()
        """Readers that are no longer wanted."""

    @property
    def instance(self) -> ClientInstance:
        return self._instance

    async def start(self) -> None:
        if not self._is_running:
            await self._instance.start()
            self._instance.add_consumer(self)
            self._is_running = True

    async def stop(self) -> None:
        """Commits nothing: what was handed out and not committed comes again."""
        if not self._is_running:
            return
        await self._end_reading()
        self._is_running = False
        self._has_news.set()
        await self._instance.remove_consumer(self)
        if self._owns_instance:
            await self._instance.stop()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    # ── queues ──────────────────────────────────────────────────────────────────────────────────

    async def queues(self, topic: str) -> tuple[MessageQueue, ...]:
        """All readable queues of the topic. Raises RouteNotFound, NamesrvUnreachable."""
        return await self._instance.routes.readable_queues(topic)

    @property
    def assignment(self) -> tuple[MessageQueue, ...]:
        return tuple(self._assigned)

    def assign(self, queues: Iterable[MessageQueue]) -> None:
        """From now on exactly these queues are read; those that stay keep their position."""
        self._check_running()
        wanted = list(dict.fromkeys(queues))
        for queue in [queue for queue in self._assigned if queue not in set(wanted)]:
            self._end_reader(self._assigned.pop(queue))
        for queue in wanted:
            if queue not in self._assigned:
                if queue.topic not in self._subscriptions:
                    self._subscriptions[queue.topic] = parse_subscription(
                        queue.topic,
                        self._expression,
                        self._expression_type,
                        self._instance.clock.now_ms(),
                    )
                assigned = self._assigned[queue] = _Assigned(queue)
                self._begin_reader(assigned)
        self._instance.want_heartbeat()

    # ── positions ───────────────────────────────────────────────────────────────────────────────

    def seek(self, queue: MessageQueue, offset: int) -> None:
        """The next message of the queue is the one at `offset`. Raises InvalidParameter."""
        if offset < 0:
            raise InvalidParameter(f"offset {offset}: the first message of a queue has offset 0")
        assigned = self._get(queue)
        # Its pull may be held by the broker for a long time, and its answer is not wanted.
        self._end_reader(assigned)
        assigned.jump(offset)
        self._begin_reader(assigned)

    async def seek_to_begin(self, queue: MessageQueue) -> None:
        self.seek(queue, await offsets.min_offset(self._instance, queue))

    async def seek_to_end(self, queue: MessageQueue) -> None:
        self.seek(queue, await offsets.max_offset(self._instance, queue))

    async def seek_to_timestamp(self, queue: MessageQueue, timestamp_ms: int) -> None:
        """To the first message stored at that time (ms since 1970) or later."""
        self.seek(queue, await offsets.offset_by_time(self._instance, queue, timestamp_ms))

    def position(self, queue: MessageQueue) -> QueueOffset | None:
        """Behind the last message that `poll` returned; None before the first pull."""
        handed_out = self._get(queue).handed_out
        return None if handed_out is None else QueueOffset(handed_out)

    async def committed(self, queue: MessageQueue) -> QueueOffset | None:
        """Where the group goes on after a restart; None if it has never been anywhere."""
        return await offsets.committed_offset(self._instance, self.group, queue)

    async def commit(self, offset_of: dict[MessageQueue, int] | None = None) -> None:
        """Stores how far `poll` has handed out, or the given offsets; returns when brokers have
        them. Raises ServerRefused, PeerUnreachable, AnswerOverdue, RouteNotFound."""
        if offset_of is None:
            offset_of = {
                queue: assigned.handed_out
                for queue, assigned in self._assigned.items()
                if assigned.handed_out is not None
            }
        for queue, offset in offset_of.items():
            await offsets.commit_offset(self._instance, self.group, queue, offset)

    # ── reading ─────────────────────────────────────────────────────────────────────────────────

    async def poll(
        self, timeout_ms: int = 5_000, *, count_max: int = PULL_COUNT_MAX
    ) -> list[ReceivedMessage]:
        """Some messages of one queue, in order, as soon as there are any; none after the timeout.

        Raises ServerRefused where a broker refuses a queue for a reason that asking again will not
        change, ClientClosed.
        """
        self._check_running()
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_ms / 1000
        while True:
            found = self._take(count_max)
            if found:
                return found
            self._has_news.clear()
            try:
                async with asyncio.timeout_at(deadline):
                    await self._has_news.wait()
            except TimeoutError:
                return self._take(count_max)
            self._check_running()

    def _take(self, count_max: int) -> list[ReceivedMessage]:
        """Queues take turns."""
        queues = list(self._assigned.values())
        for index in range(len(queues)):
            assigned = queues[(self._turn + index) % len(queues)]
            if assigned.failure is not None:
                failure, assigned.failure = assigned.failure, None
                raise failure
            taken = assigned.take(count_max)
            if taken:
                self._turn += index + 1
                return taken
        return []

    def _begin_reader(self, assigned: _Assigned) -> None:
        queue = assigned.queue
        assigned.task = asyncio.get_running_loop().create_task(
            self._read(assigned), name=f"pull {queue.topic}/{queue.queue_id}"
        )

    def _end_reader(self, assigned: _Assigned) -> None:
        task, assigned.task = assigned.task, None
        if task is not None:
            task.cancel()
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)

    async def _read(self, assigned: _Assigned) -> None:
        """Reads one queue ahead until cancelled."""
        while True:
            pause_ms = 0
            try:
                await self._read_once(assigned)
            except ServerRefused as error:
                pause_ms = BUSY_PAUSE_MS if error.code in _BUSY else RETRY_PAUSE_MS
                if error.code in _FATAL:
                    assigned.failure = error
                    self._has_news.set()
                else:
                    _log.warning("pull: %s", error)
            except PyromqError as error:
                pause_ms = RETRY_PAUSE_MS
                _log.warning("pull: %s", error)
            if pause_ms:
                await asyncio.sleep(pause_ms / 1000)

    async def _read_once(self, assigned: _Assigned) -> None:
        await assigned.has_room.wait()
        queue = assigned.queue
        if assigned.read_from is None:
            start = await offsets.committed_offset(self._instance, self.group, queue)
            if start is None:
                start = await offsets.first_offset(
                    self._instance, queue, self._consume_from, self._consume_timestamp_ms
                )
            assigned.read_from = assigned.handed_out = start
        pulled = await self._puller.pull(
            queue, assigned.read_from, self._subscriptions[queue.topic]
        )
        if pulled.status is PullStatus.OFFSET_ILLEGAL:
            _log.warning(
                "%s/%d: offset %d is outside %d..%d, going on at %d",
                queue.topic,
                queue.queue_id,
                assigned.read_from,
                pulled.min_offset,
                pulled.max_offset,
                pulled.next_offset,
            )
        assigned.put(pulled.messages, pulled.next_offset)
        if pulled.messages:
            self._has_news.set()

    # ── as a member of its group ────────────────────────────────────────────────────────────────

    def consumer_data(self) -> ConsumerData:
        return ConsumerData(
            group_name=self.group,
            consume_type="CONSUME_ACTIVELY",
            consume_from_where=self._consume_from.value,
            subscription_data_set=list(self._subscriptions.values()),
        )

    def route_changed(self, topic: str) -> None:
        """Nothing: which queues are read is the program's choice."""

    def members_changed(self) -> None:
        """Nothing, likewise."""

    def serve(self, address: str, request: Command) -> Command | None:
        """No request of a broker concerns a consumer with assigned queues."""
        return not_supported(address, request)

    # ── small things ────────────────────────────────────────────────────────────────────────────

    def _get(self, queue: MessageQueue) -> _Assigned:
        assigned = self._assigned.get(queue)
        if assigned is None:
            raise InvalidParameter(f"{queue.topic}/{queue.queue_id} is not assigned: `assign` it")
        return assigned

    def _check_running(self) -> None:
        if not self._is_running:
            raise ClientClosed(f"consumer {self.group} was not started, or is stopped")

    async def _end_reading(self) -> None:
        self.assign(())
        await asyncio.gather(*self._ending, return_exceptions=True)


__all__ = ["PullConsumer"]
