"""Sending messages: choosing a queue, trying again at another broker, telling the truth about it.

    async with Producer("127.0.0.1:9876", "orders") as producer:
        result = await producer.send(Message("Orders", b"...", tag="new", keys=["4711"]))

A send ends in one of three ways: a `SendResult` with the broker's confirmation, `SendFailed` after
all tries, or an error that no try would mend. Nothing is called sent that no broker confirmed.

Many sends may run at a time (`asyncio.gather`, task groups): they share connections and system
calls. Messages with the same `sharding_key` go to one queue; their order is the order in which the
broker got them, so wait for one before the next.

Source: impl.producer.DefaultMQProducerImpl and impl.MQClientAPIImpl (processSendResponse) of
org.apache.rocketmq.client 5.5.0.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Final, Self

from pyromq.client.errors import ClientClosed, RouteNotFound, SendFailed, ServerRefused
from pyromq.client.faults import FaultTable
from pyromq.client.hooks import SendEvent, SendHook, call_hooks
from pyromq.client.instance import ClientInstance
from pyromq.client.message import MESSAGE_SIZE_MAX, Message, SendResult
from pyromq.client.outgoing import Outgoing, check_fits, result_of
from pyromq.client.queue_choice import QueueChoice, queue_of_key
from pyromq.client.remoting import AnswerOverdue, ConnectFailed, PeerUnreachable
from pyromq.client.routes import NEW_TOPIC_QUEUE_NUMS, Publication
from pyromq.codes import RequestCode, ResponseCode
from pyromq.domain.group import check_group_name
from pyromq.domain.properties import UNIQ_KEY, WAIT, properties_text
from pyromq.domain.route import MessageQueue
from pyromq.domain.topic import AUTO_CREATE_TOPIC_KEY_TOPIC, check_topic_name
from pyromq.errors import InvalidParameter, MessageIllegal
from pyromq.wire.batch import BatchItem, encode_batch
from pyromq.wire.compress import COMPRESSED_FLAG, CompressionType, compress
from pyromq.wire.remoting.headers.send import (
    SendHeaderV2,
)
from pyromq.wire.remoting.native import encode_ext

SEND_TIMEOUT_MS: Final = 3_000
RETRY_TIMES: Final = 2
COMPRESS_FROM_BYTES: Final = 4_096
IN_FLIGHT_MAX: Final = 10_000
"""Sends under way at a time, as Apache's backPressureForAsyncSendNum; more of them wait."""

RETRIED_CODES: Final = frozenset(
    {
        ResponseCode.TOPIC_NOT_EXIST,
        ResponseCode.SERVICE_NOT_AVAILABLE,
        ResponseCode.SYSTEM_ERROR,
        ResponseCode.SYSTEM_BUSY,
        ResponseCode.NO_PERMISSION,
        ResponseCode.NO_BUYER_ID,
        ResponseCode.NOT_IN_CURRENT_UNIT,
        ResponseCode.GO_AWAY,
    }
)
"""After these another broker may take the message; after others none would."""

_HEADS_MAX: Final = 1_024
"""Kinds of sends whose headers are kept half written."""


class Producer:
    """A member of a producer group. Use as `async with`, or `start` and `stop`."""

    def __init__(
        self,
        namesrv: str | Iterable[str],
        group: str = "PYROMQ_PRODUCER",
        *,
        instance: ClientInstance | None = None,
        send_timeout_ms: int = SEND_TIMEOUT_MS,
        try_timeout_ms: int | None = None,
        retry_times: int = RETRY_TIMES,
        retries_when_not_stored_ok: bool = False,
        avoids_slow_brokers: bool = True,
        compress_from_bytes: int = COMPRESS_FROM_BYTES,
        compression: CompressionType = CompressionType.ZLIB,
        message_size_max: int = MESSAGE_SIZE_MAX,
        in_flight_max: int = IN_FLIGHT_MAX,
        new_topic_queue_nums: int = NEW_TOPIC_QUEUE_NUMS,
        hooks: Sequence[SendHook] = (),
    ) -> None:
        """`send_timeout_ms` bounds all tries of a message together, `try_timeout_ms` each of them
        but the last. `retries_when_not_stored_ok`: another broker is tried also where the first has
        taken the message without SEND_OK; it is then stored twice. `instance`: shares a client.

        Raises InvalidParameter, ConfigInvalid.
        """
        check_group_name(group)
        self.group = group
        self._instance = instance or ClientInstance(namesrv)
        self._owns_instance = instance is None
        self._send_timeout_ms = send_timeout_ms
        self._try_timeout_ms = try_timeout_ms
        self._retry_times = retry_times
        self._retries_when_not_stored_ok = retries_when_not_stored_ok
        faults = FaultTable() if avoids_slow_brokers else None
        self._choice = QueueChoice(self._instance.clock, faults)
        self._compress_from_bytes = compress_from_bytes
        self._compression = compression
        self._message_size_max = message_size_max
        self._new_topic_queue_nums = new_topic_queue_nums
        self._hooks = list(hooks)
        self._topics: set[str] = set()
        """Names that were checked; at most `_HEADS_MAX`."""
        self._heads: dict[tuple[str, int, int, bool], dict[str, str]] = {}
        """What is the same in the headers of many sends; at most `_HEADS_MAX`."""
        self._in_flight_max = in_flight_max
        self._in_flight = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        """Sends that wait for others to end."""
        self._is_idle = asyncio.Event()
        self._is_idle.set()
        self._is_running = False

    @property
    def instance(self) -> ClientInstance:
        return self._instance

    async def start(self) -> None:
        """Opens nothing yet: the first send asks for the route and connects."""
        if not self._is_running:
            await self._instance.start()
            self._instance.add_producer(self.group)
            self._is_running = True

    async def stop(self) -> None:
        """Takes no more sends, waits for those under way (each has its timeout), leaves."""
        if not self._is_running:
            return
        self._is_running = False
        if self._in_flight or self._waiting:
            self._is_idle.clear()
            await self._is_idle.wait()
        await self._instance.remove_producer(self.group)
        if self._owns_instance:
            await self._instance.stop()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    # ── sending ─────────────────────────────────────────────────────────────────────────────────

    async def send(
        self, message: Message, *, queue: MessageQueue | None = None, timeout_ms: int | None = None
    ) -> SendResult:
        """Sends and waits for the broker's confirmation; look at its `status`.

        Without `queue` and `sharding_key` queues take turns and a failed try is followed by one at
        another broker; with either of them there is one try, so that order is kept.

        Raises SendFailed, ServerRefused (the broker refuses this message), RouteNotFound,
        NamesrvUnreachable, InvalidParameter, MessageIllegal, ClientClosed.
        """
        outgoing = self._prepared(message)
        return await self._send_counted(outgoing, queue, message.sharding_key, timeout_ms)

    async def send_batch(
        self,
        messages: Sequence[Message],
        *,
        queue: MessageQueue | None = None,
        timeout_ms: int | None = None,
    ) -> SendResult:
        """Sends all of them in one request: all are stored, one after another, or none.

        They have one topic, one `waits_for_store` and no delay, and together at most 4 MiB.
        Raises as `send` does.
        """
        outgoing = self._prepared_batch(messages)
        return await self._send_counted(outgoing, queue, messages[0].sharding_key, timeout_ms)

    async def send_one_way(self, message: Message, *, queue: MessageQueue | None = None) -> None:
        """Sends without a confirmation: for what may be lost, such as samples of a sensor.

        Raises what can be known at once: no route, no connection, an illegal message.
        """
        outgoing = self._prepared(message)
        chosen = await self._queue_for(outgoing.topic, queue, message.sharding_key)
        address = await self._master_of(chosen)
        event = self._event(outgoing, chosen, address) if self._hooks else None
        try:
            await self._instance.remoting.tell(
                address,
                outgoing.code,
                self._header(outgoing, chosen),
                outgoing.body,
                timeout_ms=self._send_timeout_ms,
            )
        except (PeerUnreachable, AnswerOverdue) as error:
            self._after(event, None, error)
            raise
        self._after(event, None, None)

    async def queues(self, topic: str) -> tuple[MessageQueue, ...]:
        """The queues that may be sent to. Raises RouteNotFound, NamesrvUnreachable."""
        return (await self._publication(topic)).queues

    # ── one message ─────────────────────────────────────────────────────────────────────────────

    def _prepared(
        self, message: Message, *, extra_properties: str = "", extra_flags: int = 0
    ) -> Outgoing:
        self._check(message)
        key = self._instance.new_unique_key(self._instance.clock.now_ms())
        body, sys_flag = message.body, 0
        if len(body) >= self._compress_from_bytes:
            body = compress(body, self._compression)
            sys_flag = COMPRESSED_FLAG | self._compression
        return Outgoing(
            message.topic,
            RequestCode.SEND_MESSAGE_V2,
            (message,),
            (key,),
            body,
            message.properties_text(key) + extra_properties,
            sys_flag | extra_flags,
            message.flag,
        )

    def _prepared_batch(self, messages: Sequence[Message]) -> Outgoing:
        if not messages:
            raise MessageIllegal("a batch has at least one message")
        first = messages[0]
        now_ms = self._instance.clock.now_ms()
        keys: list[str] = []
        items: list[BatchItem] = []
        for message in messages:
            self._check(message)
            check_fits(first, message)
            key = self._instance.new_unique_key(now_ms)
            keys.append(key)
            text = message.properties_text(key)
            items.append(BatchItem(message.flag, message.body, text.encode()))
        body = encode_batch(items)
        if len(body) > self._message_size_max:
            raise MessageIllegal(
                f"topic {first.topic}: a batch of {len(body)} bytes, at most "
                f"{self._message_size_max}; send it in parts"
            )
        own = {
            UNIQ_KEY: self._instance.new_unique_key(now_ms),
            WAIT: "true" if first.waits_for_store else "false",
        }
        code = RequestCode.SEND_BATCH_MESSAGE
        return Outgoing(first.topic, code, messages, keys, body, properties_text(own), 0, 0)

    async def _send_counted(
        self,
        outgoing: Outgoing,
        queue: MessageQueue | None,
        sharding_key: str | None,
        timeout_ms: int | None,
    ) -> SendResult:
        timeout = self._send_timeout_ms if timeout_ms is None else timeout_ms
        if self._in_flight >= self._in_flight_max or self._waiting:
            await self._turn_to_send()
        else:
            self._in_flight += 1
        try:
            if queue is not None or sharding_key:
                return await self._send_to_one(outgoing, queue, sharding_key, timeout)
            return await self._send_to_any(outgoing, timeout)
        finally:
            self._send_ended()

    async def _turn_to_send(self) -> None:
        """Waits, first come first served, until fewer sends are under way; then it is counted."""
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn in self._waiting:
                self._waiting.remove(turn)
            else:
                self._send_ended()
            raise

    def _send_ended(self) -> None:
        self._in_flight -= 1
        while self._waiting and self._in_flight < self._in_flight_max:
            turn = self._waiting.popleft()
            if not turn.done():
                self._in_flight += 1
                turn.set_result(None)
        if not self._in_flight and not self._waiting and not self._is_running:
            self._is_idle.set()

    async def _send_to_one(
        self,
        outgoing: Outgoing,
        queue: MessageQueue | None,
        sharding_key: str | None,
        timeout_ms: int,
    ) -> SendResult:
        chosen = await self._queue_for(outgoing.topic, queue, sharding_key)
        try:
            return await self._try(outgoing, chosen, timeout_ms)
        except (PeerUnreachable, AnswerOverdue) as error:
            may_be_stored = not isinstance(error, ConnectFailed)
            raise self._failed(
                outgoing, [chosen.broker_name], error, may_be_stored=may_be_stored
            ) from error

    async def _send_to_any(self, outgoing: Outgoing, timeout_ms: int) -> SendResult:
        clock = self._instance.clock
        deadline_ms = clock.monotonic_ms() + timeout_ms
        tried: list[str] = []
        last: Exception | None = None
        unclear: SendResult | None = None
        may_be_stored = False
        for attempt in range(self._retry_times + 1):
            left_ms = deadline_ms - clock.monotonic_ms()
            if left_ms <= 0:
                break
            is_last = attempt == self._retry_times
            if self._try_timeout_ms is not None and not is_last:
                left_ms = min(left_ms, self._try_timeout_ms)
            publication = self._instance.routes.publication(outgoing.topic)
            if publication is None or not publication.queues:
                publication = await self._publication(outgoing.topic)
            queue = self._choice.next(publication, tried[-1] if tried else None)
            tried.append(queue.broker_name)
            try:
                result = await self._try(outgoing, queue, left_ms)
            except (PeerUnreachable, AnswerOverdue) as error:
                last = error
                may_be_stored = may_be_stored or not isinstance(error, ConnectFailed)
                self._instance.routes.want_refresh()
            except RouteNotFound as error:
                last = error
            except ServerRefused as error:
                last = error
                if error.code not in RETRIED_CODES:
                    if unclear is not None:
                        return unclear
                    raise
            else:
                if result.is_ok or not self._retries_when_not_stored_ok:
                    return result
                unclear = result
        if unclear is not None:
            return unclear
        raise self._failed(outgoing, tried, last, may_be_stored=may_be_stored) from last

    async def _try(self, outgoing: Outgoing, queue: MessageQueue, timeout_ms: int) -> SendResult:
        """One request. Raises PeerUnreachable, AnswerOverdue, ServerRefused, RouteNotFound."""
        address = self._instance.routes.master(queue.broker_name)
        if address is None:
            address = await self._master_of(queue)
        clock = self._instance.clock
        begin_ms = clock.monotonic_ms()
        event = self._event(outgoing, queue, address) if self._hooks else None
        try:
            answer = await self._instance.remoting.invoke(
                address,
                outgoing.code,
                self._header(outgoing, queue),
                outgoing.body,
                timeout_ms=timeout_ms,
            )
            result = result_of(outgoing, queue, address, answer)
        except (PeerUnreachable, AnswerOverdue, ServerRefused) as error:
            self._choice.note(queue, begin_ms, has_failed=True)
            self._after(event, None, error)
            raise
        self._choice.note(queue, begin_ms, has_failed=False)
        self._after(event, result, None)
        return result

    def _header(self, outgoing: Outgoing, queue: MessageQueue) -> dict[str, str]:
        is_batch = outgoing.code == RequestCode.SEND_BATCH_MESSAGE
        kind = (outgoing.topic, outgoing.sys_flag, outgoing.flag, is_batch)
        head = self._heads.get(kind)
        if head is None:
            if len(self._heads) >= _HEADS_MAX:
                self._heads.clear()
            head = self._heads[kind] = self._head(*kind)
        # The four fields that differ from send to send, by their wire names.
        return {
            **head,
            "e": str(queue.queue_id),
            "g": str(self._instance.clock.now_ms()),
            "i": outgoing.properties,
            "n": queue.broker_name,
        }

    def _head(self, topic: str, sys_flag: int, flag: int, is_batch: bool) -> dict[str, str]:
        return encode_ext(
            SendHeaderV2(
                producer_group=self.group,
                topic=topic,
                default_topic=AUTO_CREATE_TOPIC_KEY_TOPIC,
                default_topic_queue_nums=self._new_topic_queue_nums,
                queue_id=-1,
                sys_flag=sys_flag,
                born_timestamp=0,
                flag=flag,
                reconsume_times=0,
                unit_mode=False,
                batch=is_batch,
            )
        )

    # ── which queue ─────────────────────────────────────────────────────────────────────────────

    async def _publication(self, topic: str) -> Publication:
        return await self._instance.routes.published(topic, self._new_topic_queue_nums)

    async def _queue_for(
        self, topic: str, queue: MessageQueue | None, sharding_key: str | None
    ) -> MessageQueue:
        if queue is not None:
            if queue.topic != topic:
                raise InvalidParameter(
                    f"a message for topic {topic} cannot go to a queue of topic {queue.topic}"
                )
            return queue
        publication = await self._publication(topic)
        if sharding_key:
            return queue_of_key(sharding_key, publication.queues)
        return self._choice.next(publication, None)

    async def _master_of(self, queue: MessageQueue) -> str:
        routes = self._instance.routes
        address = routes.master(queue.broker_name)
        if address is None:
            await self._publication(queue.topic)
            address = routes.master(queue.broker_name)
        if address is None:
            routes.want_refresh()
            raise RouteNotFound(
                f"topic {queue.topic}: the master of broker {queue.broker_name} is not there"
            )
        return address

    # ── small things ────────────────────────────────────────────────────────────────────────────

    def _check(self, message: Message) -> None:
        """Raises ClientClosed, InvalidParameter, MessageIllegal."""
        if not self._is_running:
            raise ClientClosed(f"producer {self.group} was not started, or is stopped")
        if message.topic not in self._topics:
            check_topic_name(message.topic)
            if len(self._topics) >= _HEADS_MAX:
                self._topics.clear()
            self._topics.add(message.topic)
        message.check(self._message_size_max)

    def _event(self, outgoing: Outgoing, queue: MessageQueue, address: str) -> SendEvent:
        event = SendEvent(
            self.group,
            self._instance.client_id,
            outgoing.messages,
            outgoing.message_ids,
            queue,
            address,
            self._instance.clock.now_ms(),
        )
        call_hooks([hook.before_send for hook in self._hooks], event)
        return event

    def _after(
        self, event: SendEvent | None, result: SendResult | None, error: Exception | None
    ) -> None:
        if event is not None:
            event.took_ms = max(0, self._instance.clock.now_ms() - event.begin_ms)
            event.result, event.error = result, error
            call_hooks([hook.after_send for hook in self._hooks], event)

    def _failed(
        self,
        outgoing: Outgoing,
        tried: Sequence[str],
        last: Exception | None,
        *,
        may_be_stored: bool,
    ) -> SendFailed:
        return SendFailed(
            f"topic {outgoing.topic}: not sent after {len(tried)} tries at "
            f"{', '.join(tried) or 'no broker'}: {last or 'no time was left'}",
            code=last.code if isinstance(last, ServerRefused) else None,
            may_be_stored=may_be_stored,
        )


__all__ = [
    "COMPRESS_FROM_BYTES",
    "IN_FLIGHT_MAX",
    "RETRIED_CODES",
    "RETRY_TIMES",
    "SEND_TIMEOUT_MS",
    "Producer",
    "queue_of_key",
]
