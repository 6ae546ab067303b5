"""Message traces as Apache's clients write them, so that its tools show them.

    async with TraceRecorder("127.0.0.1:9876") as trace:
        async with Producer("127.0.0.1:9876", "orders", hooks=[trace]) as producer:
            ...

One recorder serves any number of producers and consumers. Records are sent in the background by a
producer of the recorder's own; when they come faster than they can be sent, some are dropped and
counted: a trace never holds up a message. Sources: trace.{TraceDataEncoder,AsyncTraceDispatcher}
and trace.hook.{Send,Consume}MessageTraceHookImpl of org.apache.rocketmq.client 5.5.0.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Iterable
from typing import Final, Self

from msgspec import Struct

from pyromq.client.hooks import ConsumeEvent, ConsumeHook, SendEvent, SendHook
from pyromq.client.instance import ClientInstance
from pyromq.client.message import Message, ReceivedMessage
from pyromq.client.producer import Producer
from pyromq.domain.properties import MSG_REGION, TRACE_ON
from pyromq.errors import PyromqError

TRACE_TOPIC: Final = "RMQ_SYS_TRACE_TOPIC"
TRACE_GROUP: Final = "_INNER_TRACE_PRODUCER"
RECORDS_MAX: Final = 2_048
"""Records that wait to be sent; more are dropped."""
BATCH_RECORDS_MAX: Final = 10
BATCH_BYTES_MAX: Final = 128_000
LINGER_MS: Final = 500
"""How long a record waits for others that go with it."""

_FIELD: Final = "\x01"
_RECORD: Final = "\x02"
_NORMAL, _DELAY = 0, 3
"""Ordinals of Apache's MessageType."""
_SUCCESS, _TIME_OUT, _EXCEPTION, _FAILED = 0, 1, 2, 4
"""Of its ConsumeReturnType."""

_log = logging.getLogger("pyromq.client")


class _Trace(Struct, frozen=True):
    text: str
    keys: tuple[str, ...]


class TraceRecorder(SendHook, ConsumeHook):
    """A hook for producers and consumers. Use as `async with`, or `start` and `stop`."""

    def __init__(
        self,
        namesrv: str | Iterable[str],
        *,
        topic: str = TRACE_TOPIC,
        records_max: int = RECORDS_MAX,
        instance: ClientInstance | None = None,
    ) -> None:
        """`topic`: a trace topic of your own must exist; brokers with `traceTopicEnable` have the
        usual one."""
        self.dropped_count = 0
        """Records that came while `records_max` others waited, or that no broker took."""
        self._topic = topic
        self._records_max = records_max
        self._producer = Producer(namesrv, TRACE_GROUP, instance=instance)
        self._waiting: deque[_Trace] = deque()
        self._has_news = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        await self._producer.start()
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._send_all(), name="traces")

    async def stop(self) -> None:
        """Sends what waits first. Stop the producers and consumers before."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            while self._waiting:
                await self._send_some()
        await self._producer.stop()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    # ── hooks ───────────────────────────────────────────────────────────────────────────────────

    def after_send(self, event: SendEvent) -> None:
        """Only what a broker has answered to, as in Apache's clients."""
        if event.result is None or event.result.region is None or not event.result.is_trace_on:
            return
        first = event.messages[0]
        if first.topic.startswith(self._topic):
            return
        is_delayed = bool(first.delay_level or first.deliver_at_ms)
        self._put(
            (
                "Pub",
                event.begin_ms,
                event.result.region,
                event.group,
                first.topic,
                event.result.message_id,
                first.tag,
                " ".join(first.keys) or None,
                event.broker_address,
                sum(len(message.body) for message in event.messages),
                event.took_ms,
                _DELAY if is_delayed else _NORMAL,
                event.result.offset_message_id,
                event.result.is_ok,
            ),
            (*event.message_ids, *first.keys),
        )

    def before_consume(self, event: ConsumeEvent) -> None:
        for message in filter(_is_traced, event.messages):
            fields = (
                "SubBefore",
                event.begin_ms,
                message.properties.get(MSG_REGION),
                event.group,
                event.request_id,
                message.message_id,
                message.reconsume_times,
                " ".join(message.keys) or None,
            )
            self._put(fields, (message.message_id, *message.keys))

    def after_consume(self, event: ConsumeEvent) -> None:
        code = _SUCCESS
        if isinstance(event.error, TimeoutError):
            code = _TIME_OUT
        elif not event.is_success:
            # ReconsumeLater is a listener's answer, anything else its fault.
            code = _FAILED if type(event.error).__name__ == "ReconsumeLater" else _EXCEPTION
        for message in filter(_is_traced, event.messages):
            fields = (
                "SubAfter",
                event.request_id,
                message.message_id,
                event.took_ms,
                event.is_success,
                " ".join(message.keys) or None,
                code,
                event.begin_ms + event.took_ms,
                event.group,
            )
            self._put(fields, (message.message_id, *message.keys))

    def _put(self, fields: tuple[object, ...], keys: tuple[str, ...]) -> None:
        if len(self._waiting) >= self._records_max:
            self.dropped_count += 1
            return
        text = _FIELD.join(map(_text, fields)) + _RECORD
        self._waiting.append(_Trace(text, keys))
        self._has_news.set()

    # ── sending ─────────────────────────────────────────────────────────────────────────────────

    async def _send_all(self) -> None:
        while True:
            await self._has_news.wait()
            if len(self._waiting) < BATCH_RECORDS_MAX:
                await asyncio.sleep(LINGER_MS / 1000)
            self._has_news.clear()
            while self._waiting:
                await self._send_some()

    async def _send_some(self) -> None:
        texts: list[str] = []
        keys: dict[str, None] = {}
        size = 0
        while self._waiting and len(texts) < BATCH_RECORDS_MAX and size < BATCH_BYTES_MAX:
            trace = self._waiting.popleft()
            texts.append(trace.text)
            size += len(trace.text)
            keys.update(dict.fromkeys(trace.keys))
        try:
            await self._producer.send(Message(self._topic, "".join(texts).encode(), keys=[*keys]))
        except PyromqError as error:
            self.dropped_count += len(texts)
            _log.warning("%d trace records lost: %s", len(texts), error)


def _is_traced(message: ReceivedMessage) -> bool:
    return message.properties.get(TRACE_ON) != "false"


def _text(value: object) -> str:
    """As Java prints it; separators in a key would break the record, so they go."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value).replace(_FIELD, " ").replace(_RECORD, " ")


__all__ = ["TRACE_GROUP", "TRACE_TOPIC", "TraceRecorder"]
