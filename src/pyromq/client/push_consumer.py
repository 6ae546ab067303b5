"""Consuming as messages come: a listener is called, the group's members share the queues.

    async def on_message(message: ReceivedMessage) -> None:
        ...

    consumer = PushConsumer("127.0.0.1:9876", "billing", on_message)
    consumer.subscribe("Orders", "new || changed")
    async with consumer:
        await asyncio.Event().wait()

At least once: a message whose listener returned may come again (a crash, a member that leaves, a
lost connection); one whose listener raised comes again after 10 s, 30 s, 1 min … 2 h, 16 times,
and is then a dead letter in `%DLQ%group`. `pyromq.client.dedup` tells repetitions apart.

Ordered: `ordered=True` consumes each queue one message after the other, under a lock that the
broker gives to one member at a time; a message that fails is tried again in place.

Broadcasting: every consumer gets all messages; offsets are kept in a file of the client; what fails
is not tried again.

Source: impl.consumer.{DefaultMQPushConsumerImpl,RebalanceImpl,RebalancePushImpl} of
org.apache.rocketmq.client 5.5.0.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Iterable, Sequence
from enum import Enum
from pathlib import Path
from typing import Any, Final, Self

from pyromq.client import offsets
from pyromq.client.assignment import Assignment
from pyromq.client.concurrent import ConcurrentWork
from pyromq.client.consumption import CONSUME_TIMEOUT_MS, Listener, ListenerCalls
from pyromq.client.errors import ClientClosed
from pyromq.client.given_back import give_back, send_again
from pyromq.client.hooks import ConsumeHook
from pyromq.client.instance import ClientInstance, not_supported
from pyromq.client.message import ReceivedMessage, received
from pyromq.client.offset_store import (
    BrokerOffsets,
    FileOffsets,
    OffsetStore,
    local_offsets_path,
)
from pyromq.client.offsets import ConsumeFromWhere
from pyromq.client.ordered import OrderedWork
from pyromq.client.pull import PULL_COUNT_MAX, SUSPEND_MS, Puller
from pyromq.client.queue_locks import RENEW_INTERVAL_MS, QueueLocks
from pyromq.client.queue_reader import HELD_BYTES_MAX, HELD_COUNT_MAX, SPAN_MAX, QueueReader
from pyromq.client.running import in_hand, result_name
from pyromq.codes import VERSION_DESCRIPTION, RequestCode
from pyromq.domain.group import ConsumerData, Subscription, check_group_name
from pyromq.domain.rebalance import Allocation, averagely
from pyromq.domain.route import MessageQueue
from pyromq.domain.subscription import SUB_ALL, TAG, parse_subscription
from pyromq.domain.topic import check_topic_name, retry_topic
from pyromq.errors import PyromqError, RequestFailed
from pyromq.units import MINUTE_MS
from pyromq.wire.remoting.bodies.resets import decode_reset_offsets, encode_own_status
from pyromq.wire.remoting.bodies.running import (
    DirectResult,
    encode_direct_result,
    encode_running_info,
)
from pyromq.wire.remoting.fields import decode_header
from pyromq.wire.remoting.frame import Command
from pyromq.wire.remoting.headers.relays import ConsumeDirectlyHeader
from pyromq.wire.remoting.headers.resets import ResetOffsetHeader

WORKERS: Final = 20
PERSIST_INTERVAL_MS: Final = 5_000
RECONSUME_TIMES_MAX: Final = 16
STOP_TIMEOUT_MS: Final = 30_000

_log = logging.getLogger("pyromq.client")


class MessageModel(Enum):
    """Whether a group's members share the messages or each get all of them."""

    CLUSTERING = "CLUSTERING"
    BROADCASTING = "BROADCASTING"


class PushConsumer:
    """A member of a consumer group. Use as `async with`, or `start` and `stop`."""

    def __init__(
        self,
        namesrv: str | Iterable[str],
        group: str,
        listener: Listener,
        *,
        ordered: bool = False,
        model: MessageModel = MessageModel.CLUSTERING,
        consume_from: ConsumeFromWhere = ConsumeFromWhere.LAST_OFFSET,
        consume_timestamp_ms: int | None = None,
        workers: int = WORKERS,
        max_reconsume_times: int | None = None,
        consume_timeout_ms: int = CONSUME_TIMEOUT_MS,
        pull_count_max: int = PULL_COUNT_MAX,
        held_count_max: int = HELD_COUNT_MAX,
        held_bytes_max: int = HELD_BYTES_MAX,
        suspend_ms: int = SUSPEND_MS,
        stop_timeout_ms: int = STOP_TIMEOUT_MS,
        allocation: Allocation = averagely,
        instance: ClientInstance | None = None,
        offsets_path: Path | None = None,
        hooks: Sequence[ConsumeHook] = (),
    ) -> None:
        """`listener` is an `async def` or a plain function (run in a thread); see
        `pyromq.client.consumption`. `workers`: listeners at a time. `held_count_max` and
        `held_bytes_max` bound what is read ahead per queue. `max_reconsume_times`: 16, ordered
        without end. `consume_timestamp_ms` (with ConsumeFromWhere.TIMESTAMP): half an hour ago.
        `offsets_path`: the file of a broadcasting client, else Apache's place below the home
        directory. Raises InvalidParameter, ConfigInvalid.
        """
        check_group_name(group)
        self.group = group
        self._is_ordered = ordered
        self._is_broadcast = model is MessageModel.BROADCASTING
        self._model = model
        self._consume_from = consume_from
        self._consume_timestamp_ms = consume_timestamp_ms
        self._times_max = max_reconsume_times
        self._limits = (held_count_max, held_bytes_max, None if ordered else SPAN_MAX)
        self._stop_timeout_ms = stop_timeout_ms
        self._allocation = allocation
        self._offsets_path = offsets_path
        # Its file of offsets is found by the client id, so that must not change with the process.
        name = "DEFAULT" if self._is_broadcast else None
        self._instance = instance or ClientInstance(namesrv, instance_name=name)
        self._owns_instance = instance is None
        self._subscriptions: dict[str, Subscription] = {}
        self._puller = Puller(
            self._instance, group, count_max=pull_count_max, suspend_ms=suspend_ms
        )
        self._calls = ListenerCalls(
            self._instance,
            group,
            listener,
            timeout_ms=consume_timeout_ms,
            threads_max=workers,
            hooks=hooks,
        )
        self._workers = workers
        self._locks = QueueLocks(self._instance, group)
        self._work = self._make_work(workers)
        self._offsets: OffsetStore = BrokerOffsets(self._instance, group)
        self._assignment = Assignment(self)
        self._tasks: list[asyncio.Task[None]] = []
        self._asides: set[asyncio.Task[None]] = set()
        self._is_running = False
        self._started_ms = 0
        self._has_given_back = False

    def _make_work(self, workers: int) -> ConcurrentWork | OrderedWork:
        if self._is_ordered:
            return OrderedWork(
                self._calls,
                at_a_time=workers,
                reconsume_times_max=self._times_max,
                give_up=self._give_up,
                is_locked=self._may_consume,
                lost_lock=self._lost_lock,
            )
        back = None if self._is_broadcast else self._give_back
        return ConcurrentWork(self._calls, workers=workers, give_back=back)

    @property
    def instance(self) -> ClientInstance:
        return self._instance

    @property
    def assignment(self) -> tuple[MessageQueue, ...]:
        """The queues that are this member's now."""
        return self._assignment.queues

    # ── subscriptions ───────────────────────────────────────────────────────────────────────────

    def subscribe(self, topic: str, expression: str = SUB_ALL, expression_type: str = TAG) -> None:
        """Before or after the start. All members of a group must subscribe to the same.

        Raises InvalidParameter, SubscriptionParseFailed.
        """
        check_topic_name(topic)
        self._subscriptions[topic] = parse_subscription(
            topic, expression, expression_type, self._instance.clock.now_ms()
        )
        self._subscriptions_changed()

    def unsubscribe(self, topic: str) -> None:
        self._subscriptions.pop(topic, None)
        self._subscriptions_changed()

    def _subscriptions_changed(self) -> None:
        if self._is_running:
            self._instance.want_heartbeat()
            self._assignment.want()

    # ── life ────────────────────────────────────────────────────────────────────────────────────

    async def start(self) -> None:
        """Returns when the queues were shared out a first time. What is not there yet (a name
        server, a topic) is told in the log and tried again."""
        if self._is_running:
            return
        await self._instance.start()
        if self._is_broadcast:
            path = self._offsets_path or local_offsets_path(self._instance.client_id, self.group)
            self._offsets = FileOffsets(path)
        else:
            topic = retry_topic(self.group)
            self._subscriptions[topic] = parse_subscription(
                topic, SUB_ALL, TAG, self._instance.clock.now_ms()
            )
        self._instance.add_consumer(self)
        self._is_running = True
        self._started_ms = self._instance.clock.now_ms()
        self._work.start()
        try:
            await self._assignment.begin()
        except BaseException:
            # Cancelled, or failed: whoever asked has no consumer to stop.
            await self.stop()
            raise
        self._own(self._assignment.keep(), "rebalance")
        self._own(self._keep_persisting(), "offsets")
        if self._is_ordered and not self._is_broadcast:
            self._own(self._keep_locks(), "locks")

    async def stop(self) -> None:
        """Begins no message more, waits for running listeners, commits offsets, leaves the group.

        Listeners that take longer than `stop_timeout_ms` are cancelled; their messages come again.
        """
        if not self._is_running:
            return
        self._is_running = False
        tasks, self._tasks = [*self._tasks, *self._asides], []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._assignment.stop_reading(self._stop_timeout_ms)
        await self._work.stop(self._stop_timeout_ms)
        await self._offsets.persist()
        await self._assignment.end()
        await self._locks.unlock(self._locks.queues)
        self._calls.close()
        await self._instance.remove_consumer(self)
        if self._owns_instance:
            await self._instance.stop()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def _own(self, work: Coroutine[Any, Any, None], name: str) -> None:
        self._tasks.append(
            asyncio.get_running_loop().create_task(work, name=f"{self.group} {name}")
        )

    async def _keep_persisting(self) -> None:
        while True:
            await asyncio.sleep(PERSIST_INTERVAL_MS / 1000)
            await self._offsets.persist()

    async def _keep_locks(self) -> None:
        while True:
            await asyncio.sleep(RENEW_INTERVAL_MS / 1000)
            await self._locks.renew()

    async def commit(self) -> None:
        """Persists offsets now instead of within 5 s."""
        if not self._is_running:
            raise ClientClosed(f"consumer {self.group} was not started, or is stopped")
        await self._offsets.persist()

    # ── what `Assignment` asks for ──────────────────────────────────────────────────────────────

    @property
    def is_broadcast(self) -> bool:
        return self._is_broadcast

    @property
    def has_given_back(self) -> bool:
        """Whether the group's retry topic is there, known to name servers or not."""
        return self._has_given_back

    @property
    def topics(self) -> list[str]:
        return list(self._subscriptions)

    def share(
        self, client_ids: Sequence[str], queues: Sequence[MessageQueue]
    ) -> list[MessageQueue]:
        return self._allocation(self._instance.client_id, client_ids, queues)

    async def lock(self, queues: Iterable[MessageQueue]) -> set[MessageQueue]:
        """Those that may be consumed; all of them unless it is done in order."""
        if self._is_broadcast or not self._is_ordered:
            return set(queues)
        wanted = list(queues)
        await self._locks.lock(wanted)
        return {queue for queue in wanted if self._locks.is_held(queue)}

    def begin(self, queue: MessageQueue) -> QueueReader:
        count_max, bytes_max, span_max = self._limits
        reader = QueueReader(
            queue,
            subscription=lambda: self._subscriptions[queue.topic],
            puller=self._puller,
            offsets=self._offsets,
            begin_at=self._begin_at,
            deliver=self._work.deliver,
            clock=self._instance.clock,
            count_max=count_max,
            bytes_max=bytes_max,
            span_max=span_max,
        )
        self._work.begin(reader)
        reader.start()
        return reader

    async def leave(self, reader: QueueReader) -> None:
        """The queue is another member's from the end of this call on."""
        await reader.stop_reading()
        await self._work.finish(reader)
        if not self._is_ordered or self._may_consume(reader.queue):
            await self._offsets.persist([reader.queue])
        # else another member may have come further already
        reader.is_dropped = True
        self._offsets.forget(reader.queue)
        await self._locks.unlock([reader.queue])

    # ── consumption ─────────────────────────────────────────────────────────────────────────────

    async def _begin_at(self, queue: MessageQueue) -> int:
        stored = await self._offsets.read(queue)
        if stored is not None:
            return stored
        timestamp_ms = self._consume_timestamp_ms
        if timestamp_ms is None:
            timestamp_ms = self._instance.clock.now_ms() - 30 * MINUTE_MS
        return await offsets.first_offset(self._instance, queue, self._consume_from, timestamp_ms)

    async def _give_back(self, message: ReceivedMessage, delay_level: int) -> bool:
        times_max = RECONSUME_TIMES_MAX if self._times_max is None else self._times_max
        is_taken = await give_back(
            self._instance, self.group, message, delay_level=delay_level, times_max=times_max
        )
        self._has_given_back = self._has_given_back or is_taken
        if is_taken and not self._instance.routes.known_readable_queues(retry_topic(self.group)):
            self._assignment.want()  # the broker makes the topic just now
        return is_taken

    async def _give_up(self, message: ReceivedMessage) -> bool:
        if self._is_broadcast:
            _log.warning("%s is given up: broadcast", message.message_id)
            return True
        assert self._times_max is not None
        return await send_again(self._instance, self.group, message, times_max=self._times_max)

    def _may_consume(self, queue: MessageQueue) -> bool:
        return self._is_broadcast or self._locks.is_held(queue)

    def _lost_lock(self, reader: QueueReader) -> None:
        """Another member may consume it now; once ours again, it begins at the group's offset."""
        _log.warning("the order lock of %s has ended", reader.queue)
        self._assignment.drop(reader)

    # ── as a member of its group ────────────────────────────────────────────────────────────────

    def consumer_data(self) -> ConsumerData:
        return ConsumerData(
            group_name=self.group,
            consume_type="CONSUME_PASSIVELY",
            message_model=self._model.value,
            consume_from_where=self._consume_from.value,
            subscription_data_set=list(self._subscriptions.values()),
        )

    def route_changed(self, topic: str) -> None:
        if topic in self._subscriptions:
            self._assignment.want()

    def members_changed(self) -> None:
        self._assignment.want()

    def serve(self, address: str, request: Command) -> Command | None:
        if request.code == RequestCode.RESET_CONSUMER_CLIENT_OFFSET:
            header = decode_header(ResetOffsetHeader, request.ext)
            try:
                reset = decode_reset_offsets(request.body)
            except RequestFailed as error:
                _log.warning("reset of topic %s not understood: %s", header.topic, error)
                return None
            self._reset(header.topic, reset)
            return None  # it is one-way
        if request.code == RequestCode.GET_CONSUMER_STATUS_FROM_CLIENT:
            topic = request.ext.get("topic")
            noted = {
                queue: offset
                for queue, offset in self._offsets.noted().items()
                if queue.topic == topic
            }
            return Command.response_to(request, body=encode_own_status(noted))
        if request.code == RequestCode.GET_CONSUMER_RUNNING_INFO:
            return Command.response_to(request, body=self._running_info())
        if request.code == RequestCode.CONSUME_MESSAGE_DIRECTLY and self._is_running:
            self._aside(self._consume_directly(address, request), "direct")
            return None  # answered when the listener has ended
        return not_supported(address, request)

    def _running_info(self) -> bytes:
        return encode_running_info(
            {
                "PROP_CLIENT_VERSION": VERSION_DESCRIPTION,
                "PROP_CONSUMEORDERLY": "true" if self._is_ordered else "false",
                "PROP_CONSUME_TYPE": "CONSUME_PASSIVELY",
                "PROP_CONSUMER_START_TIMESTAMP": str(self._started_ms),
                "PROP_NAMESERVER_ADDR": ";".join(self._instance.namesrv),
                "PROP_THREADPOOL_CORE_SIZE": str(self._workers),
            },
            list(self._subscriptions.values()),
            {
                reader.queue: in_hand(reader, is_locked=self._locks.is_held(reader.queue))
                for reader in self._assignment.readers
            },
        )

    async def _consume_directly(self, address: str, request: Command) -> None:
        """An administrator has this consumer try one message, outside of its turn."""
        began_ms = self._instance.clock.monotonic_ms()
        header = decode_header(ConsumeDirectlyHeader, request.ext)
        queue = MessageQueue(header.broker_name or "", 0, header.topic or "")
        try:
            (message,) = received(queue, request.body)
        except (PyromqError, ValueError) as error:
            result = DirectResult(consume_result="CR_THROW_EXCEPTION", remark=str(error))
        else:
            outcome = await self._calls.call(message)
            result = DirectResult(
                order=self._is_ordered,
                consume_result=result_name(outcome),
                remark=None if outcome.is_success else repr(outcome.error),
                spent_time_mills=self._instance.clock.monotonic_ms() - began_ms,
            )
        answer = Command.response_to(request, body=encode_direct_result(result))
        if not self._instance.remoting.answer(address, answer):
            _log.warning("%s is gone, which asked to consume a message directly", address)

    def _reset(self, topic: str, reset: dict[MessageQueue, int]) -> None:
        """Somebody has reset the group's offsets: go on there."""
        _log.info("offsets of topic %s are reset: %s", topic, reset)

        async def go_on() -> None:
            for reader in self._assignment.readers:
                if reader.queue in reset:
                    await reader.restart_at(reset[reader.queue])
            await self._offsets.persist(reset)

        if self._is_running:
            self._aside(go_on(), "reset")

    def _aside(self, work: Coroutine[Any, Any, None], name: str) -> None:
        """Something short that a broker asked for; `stop` ends it."""
        task = asyncio.get_running_loop().create_task(work, name=f"{self.group} {name}")
        self._asides.add(task)
        task.add_done_callback(self._asides.discard)


__all__ = ["MessageModel", "PushConsumer"]
