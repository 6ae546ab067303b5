"""Commands about messages: found by id, key or place, printed, traced, sent."""

from __future__ import annotations

import base64
import functools
import os
import time
from collections import Counter
from collections.abc import AsyncIterator
from datetime import datetime

from pyromq.cli.calls import (
    Answer,
    Call,
    CallFailed,
    CallRefused,
    Cell,
    Fields,
    Moment,
    Plan,
    Rows,
    Shown,
    Step,
)
from pyromq.client.admin import Admin
from pyromq.client.admin.messages import TIME_MAX_MS, Sent, StoredMessage
from pyromq.client.admin.traces import decode_traces
from pyromq.domain.route import MessageQueue
from pyromq.domain.topic import PERM_READ, PERM_WRITE, TRACE_TOPIC
from pyromq.domain.unique_key import UniqueKeys
from pyromq.units import MIB

KEPT_MAX = 100_000
KEPT_SIZE_MAX = 256 * MIB
"""What one answer holds in memory."""
_BATCH = 32


def new_unique_keys() -> UniqueKeys:
    """Ids for the messages this process sends."""
    zone = datetime.now().astimezone().tzinfo
    assert zone is not None
    return UniqueKeys(bytes([127, 0, 0, 1]), os.getpid(), int.from_bytes(os.urandom(4)), zone)


def body_text(message: StoredMessage, charset: str = "utf-8") -> str:
    """The body for people; what is no text is base64."""
    try:
        return message.body.decode(charset)
    except UnicodeDecodeError:
        return "base64:" + base64.b64encode(message.body).decode()
    except LookupError:
        raise CallRefused(f"{charset!r} is no charset") from None


def fields_of(message: StoredMessage, charset: str, title: str = "message") -> Fields:
    return Fields(
        {
            "messageId": message.message_id,
            "offsetMessageId": message.offset_message_id,
            "topic": message.topic,
            "tags": message.tags,
            "keys": message.keys,
            "queueId": message.queue_id,
            "queueOffset": message.queue_offset,
            "commitLogOffset": message.log_offset,
            "reconsumeTimes": message.reconsume_times,
            "bornTime": Moment(message.born_timestamp_ms),
            "storeTime": Moment(message.store_timestamp_ms),
            "bornHost": message.born_host,
            "storeHost": message.store_host,
            "sysFlag": message.sys_flag,
            "properties": dict(message.properties),
            "size": len(message.body),
            "body": body_text(message, charset),
        },
        title=title,
    )


async def query_by_id(call: Call) -> Answer:
    message = await call.admin.messages.by_id(call.text("topic"), call.text("msgId"))
    if call.is_set("sendMessage"):
        act = functools.partial(_resend, call.admin, message)
        return Plan([Step(f"send message {message.message_id} once more", act)])
    return await _one(call, message)


async def query_by_unique_key(call: Call) -> Answer:
    topic, key = call.text("topic"), call.text("msgId")
    found = await call.admin.messages.by_unique_key(
        topic,
        key,
        begin_ms=call.time_ms("startTime", 0),
        end_ms=call.time_ms("endTime", TIME_MAX_MS),
    )
    if not found:
        raise CallFailed(f"no message {key} in topic {topic}")
    if call.is_set("showAll"):
        return _table(found)
    return await _one(call, found[-1])


async def _one(call: Call, message: StoredMessage) -> Answer:
    group, client = call.optional("consumerGroup"), call.optional("clientId")
    if client is not None:
        if group is None:
            raise CallRefused("-d needs the group of -g")
        act = functools.partial(_consume, call.admin, group, client, message)
        text = f"have {client} of group {group} consume message {message.message_id} now"
        return Plan([Step(text, act)])
    charset = call.text("bodyFormat", "utf-8") if "bodyFormat" in vars(call.options) else "utf-8"
    tracks = await call.admin.messages.tracks(message)
    groups = Rows(
        ("group", "state", "reason"),
        [(one.group, one.state, one.reason) for one in tracks],
        title="consumers",
    )
    return [fields_of(message, charset), groups]


async def _consume(admin: Admin, group: str, client: str, message: StoredMessage) -> Shown:
    result = await admin.clients.consume_directly(group, client, message.offset_message_id)
    return Fields(
        {
            "result": result.consume_result,
            "remark": result.remark,
            "order": result.order,
            "autoCommit": result.auto_commit,
            "spentMs": result.spent_time_mills,
        },
        title="consumption",
    )


async def _resend(admin: Admin, message: StoredMessage) -> Shown:
    kept = {name: value for name, value in message.properties.items() if name in ("TAGS", "KEYS")}
    _, address, queue = (await queues_of(admin, message.topic, perm=PERM_WRITE))[0]
    return _sent(await send(admin, address, queue, message.body, kept))


async def query_by_key(call: Call) -> Answer:
    found = await call.admin.messages.by_key(
        call.text("topic"),
        call.text("msgKey"),
        count_max=call.number("maxNum", 64),
        begin_ms=call.time_ms("beginTimestamp", 0),
        end_ms=call.time_ms("endTimestamp", TIME_MAX_MS),
        key_type=call.optional("keyType"),
        last_key=call.optional("lastKey"),
    )
    return _table(found)


async def query_by_offset(call: Call) -> Answer:
    name = call.text("brokerName")
    address = await call.admin.brokers.address_of(name)
    queue = MessageQueue(
        broker_name=name, queue_id=call.number("queueId", 0), topic=call.text("topic")
    )
    message = await call.admin.messages.by_offset(address, queue, call.number("offset", 0))
    return fields_of(message, call.text("bodyFormat", "utf-8"))


async def query_trace_by_id(call: Call) -> Answer:
    message_id = call.text("msgId")
    found = await call.admin.messages.by_key(
        call.text("traceTopic", TRACE_TOPIC),
        message_id,
        count_max=call.number("maxNum", 64),
        begin_ms=call.time_ms("beginTimestamp", 0),
        end_ms=call.time_ms("endTimestamp", TIME_MAX_MS),
    )
    traces = [
        trace
        for message in found
        for trace in decode_traces(message.body)
        if trace.message_id == message_id
    ]
    if not traces:
        raise CallFailed(f"no trace of message {message_id}")
    return Rows(
        ("type", "group", "topic", "time", "costMs", "status", "retryTimes", "requestId"),
        [
            (
                one.kind,
                one.group,
                one.topic,
                Moment(one.time_ms),
                one.cost_ms,
                one.status,
                one.retry_times,
                one.request_id,
            )
            for one in sorted(traces, key=lambda one: one.time_ms)
        ],
    )


async def print_messages(call: Call) -> Answer:
    found = Kept()
    queues = await queues_of(call.admin, call.text("topic"))
    for _, address, queue in call.progress(queues, "queues"):
        async for message in _of_queue(call, address, queue):
            found.add(message)
    with_body, charset = call.is_set("printBody", True), call.text("charsetName", "utf-8")
    return _table(found.messages, charset if with_body else None)


async def print_messages_of_queue(call: Call) -> Answer:
    name = call.text("brokerName")
    address = await call.admin.brokers.address_of(name)
    queue = MessageQueue(
        broker_name=name, queue_id=call.number("queueId", 0), topic=call.text("topic")
    )
    found = Kept()
    tags: Counter[str] = Counter()
    prints = call.is_set("printMsg")
    async for message in _of_queue(call, address, queue):
        tags[message.tags] += 1
        if prints:
            found.add(message)
    shown: list[Shown] = []
    if prints:
        charset = call.text("charsetName", "utf-8") if call.is_set("printBody") else None
        shown.append(_table(found.messages, charset))
    if call.is_set("calculate") or not prints:
        rows = [(tag, count) for tag, count in tags.most_common()]
        shown.append(Rows(("tag", "count"), rows, title="tags"))
    return shown


async def consume_messages(call: Call) -> Answer:
    broker, queue_id = call.optional("brokerName"), call.number("queueId", -1)
    offset, count_max = call.number("offset", -1), call.number("MessageNumber", 128)
    if offset >= 0 and (broker is None or queue_id < 0):
        raise CallRefused("-o needs the queue of -b and -i")
    found = Kept()
    for name, address, queue in await queues_of(call.admin, call.text("topic")):
        if broker not in (None, name) or (queue_id >= 0 and queue_id != queue.queue_id):
            continue
        async for message in _of_queue(call, address, queue, begin=offset):
            found.add(message)
            if len(found.messages) >= count_max:
                return _table(found.messages, "utf-8")
    return _table(found.messages, "utf-8")


async def query_cq(call: Call) -> Answer:
    topic, broker = call.text("topic"), call.optional("broker")
    if broker is not None and ":" not in broker:
        broker = await call.admin.brokers.address_of(broker)
    if broker is None:
        broker = (await call.admin.topics.addresses(topic))[0][1]
    queue = MessageQueue(broker_name=broker, queue_id=call.number("queue", 0), topic=topic)
    content = await call.admin.messages.entries(
        broker, queue, call.number("index", 0), call.number("count", 10), call.optional("consumer")
    )
    begin = max(call.number("index", 0), content.min_queue_index)
    entries = Rows(
        ("index", "commitLogOffset", "size", "tagsCode", "taken"),
        [
            (begin + place, one.physic_offset, one.physic_size, one.tags_code, one.eval)
            for place, one in enumerate(content.queue_data)
        ],
        title="entries",
    )
    about: dict[str, Cell] = {"min": content.min_queue_index, "max": content.max_queue_index}
    if content.subscription_data is not None:
        about["subscription"] = content.subscription_data.sub_string
    return [Fields(about, title="queue"), entries]


async def send_message(call: Call) -> Answer:
    topic, broker, queue_id = call.text("topic"), call.optional("broker"), call.number("qid", -1)
    if queue_id >= 0 and broker is None:
        raise CallRefused("-i needs the broker of -b")
    if call.is_set("msgTraceEnable"):
        raise CallRefused("-m true is not supported yet: this command sends no traces")
    properties = {
        name: value
        for name, value in (("KEYS", call.optional("key")), ("TAGS", call.optional("tags")))
        if value is not None
    }
    queues = [
        (name, address, queue)
        for name, address, queue in await queues_of(call.admin, topic, perm=PERM_WRITE)
        if broker in (None, name) and queue_id in (-1, queue.queue_id)
    ]
    if not queues:
        raise CallFailed(f"topic {topic} has no such queue that may be written to")
    name, address, queue = queues[int.from_bytes(os.urandom(2)) % len(queues)]
    body = call.text("body").encode()

    async def act() -> Shown:
        return _sent(await send(call.admin, address, queue, body, properties))

    where = f"{topic} queue {queue.queue_id} on {name}"
    return Plan([Step(f"send {len(body)} bytes to {where}", act)])


async def send(
    admin: Admin, address: str, queue: MessageQueue, body: bytes, properties: dict[str, str]
) -> Sent:
    """Sends one message with an id of its own."""
    key = new_unique_keys().next(int(time.time() * 1000))
    return await admin.messages.send(address, queue, body, unique_key=key, properties=properties)


def _sent(result: Sent) -> Fields:
    return Fields(
        {
            "broker": result.queue.broker_name,
            "queueId": result.queue.queue_id,
            "queueOffset": result.queue_offset,
            "status": result.status,
            "messageId": result.message_id,
            "offsetMessageId": result.offset_message_id,
        },
        title="sent",
    )


async def queues_of(
    admin: Admin, topic: str, *, perm: int = PERM_READ
) -> list[tuple[str, str, MessageQueue]]:
    """Broker name, address and queue of each queue of a topic that may be read (or written)."""
    route = await admin.topics.route(topic)
    addresses = dict(await admin.topics.addresses(topic))
    return [
        (data.broker_name, addresses[data.broker_name], queue)
        for data in sorted(route.queue_datas, key=lambda one: one.broker_name)
        if data.perm & perm and data.broker_name in addresses
        for number in range(data.read_queue_nums if perm == PERM_READ else data.write_queue_nums)
        for queue in [MessageQueue(broker_name=data.broker_name, queue_id=number, topic=topic)]
    ]


async def _of_queue(
    call: Call, address: str, queue: MessageQueue, *, begin: int = -1
) -> AsyncIterator[StoredMessage]:
    """The queue's messages of the call's time span and tags, up to what it has now."""
    options, admin = vars(call.options), call.admin
    low, high = await admin.messages.range(address, queue)
    for name in ("beginTimestamp", "endTimestamp"):
        if options.get(name) is not None:
            at = await admin.groups.offset_at(address, queue, call.time_ms(name, 0))
            low, high = (at, high) if name == "beginTimestamp" else (low, at)
    tags = wanted_tags(call.optional("subExpression") if "subExpression" in options else None)
    offset = max(low, begin)
    while offset < high:
        pulled = await admin.messages.pull(address, queue, offset, count_max=_BATCH)
        for message in pulled.messages:
            if message.queue_offset < high and (tags is None or message.tags in tags):
                yield message
        if pulled.next_offset <= offset:
            return
        offset = pulled.next_offset


def wanted_tags(expression: str | None) -> frozenset[str] | None:
    """The tags of `A || B`; None for all."""
    if expression is None or expression.strip() in ("", "*"):
        return None
    return frozenset(part.strip() for part in expression.split("||") if part.strip())


class Kept:
    """Messages of one answer, within what a process can hold."""

    def __init__(self) -> None:
        self.messages: list[StoredMessage] = []
        self._size = 0

    def add(self, message: StoredMessage) -> None:
        """Raises CallFailed if they are too many."""
        self._size += len(message.body)
        if len(self.messages) == KEPT_MAX or self._size > KEPT_SIZE_MAX:
            raise CallFailed(
                f"more than {KEPT_MAX} messages or {KEPT_SIZE_MAX >> 20} MiB of bodies; "
                "ask for less, by times, tags or a count"
            )
        self.messages.append(message)


def _table(found: list[StoredMessage], charset: str | None = None) -> Rows:
    columns = ["messageId", "queueId", "queueOffset", "storeTime", "tags", "keys", "storeHost"]
    rows: list[tuple[Cell, ...]] = []
    for one in found:
        row: tuple[Cell, ...] = (
            one.message_id,
            one.queue_id,
            one.queue_offset,
            Moment(one.store_timestamp_ms),
            one.tags,
            one.keys,
            one.store_host,
        )
        rows.append(row if charset is None else (*row, body_text(one, charset)))
    return Rows(columns if charset is None else [*columns, "body"], rows, title="messages")


__all__ = [
    "Kept",
    "body_text",
    "consume_messages",
    "fields_of",
    "new_unique_keys",
    "print_messages",
    "print_messages_of_queue",
    "query_by_id",
    "query_by_key",
    "query_by_offset",
    "query_by_unique_key",
    "query_cq",
    "query_trace_by_id",
    "queues_of",
    "send",
    "send_message",
    "wanted_tags",
]
