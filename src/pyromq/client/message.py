"""Messages as a program sees them: what it sends, what it gets, what became of a send.

Sources: message.{Message,MessageExt,MessageConst,MessageDecoder} of org.apache.rocketmq.common,
client.producer.{SendResult,SendStatus} and client.Validators of org.apache.rocketmq 5.5.0.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from functools import cached_property
from typing import Final

from msgspec import Struct, field

from pyromq.domain import properties as names
from pyromq.domain.message import INNER_BATCH_FLAGS
from pyromq.domain.route import MessageQueue
from pyromq.domain.topic import RETRY_PREFIX
from pyromq.errors import InvalidParameter, MessageIllegal
from pyromq.units import MIB, LogOffset, QueueOffset
from pyromq.wire.compress import decompress
from pyromq.wire.record import Record, decode_host, parse_properties
from pyromq.wire.remoting.native import decode_batch, decode_records

MESSAGE_SIZE_MAX: Final = 4 * MIB
"""Apache's maxMessageSize, of client and broker."""
NEED_UNWRAP_FLAG: Final = 0x40
TAGS: Final = "TAGS"

RESERVED_PROPERTIES: Final = frozenset(
    {
        *names.TIMER_PROPERTIES,
        *("KEYS", TAGS, "WAIT", "DELAY", "RETRY_TOPIC", "REAL_TOPIC", "REAL_QID", "TRAN_MSG"),
        *("PGROUP", "MIN_OFFSET", "MAX_OFFSET", "BUYER_ID", "ORIGIN_MESSAGE_ID", "TRANSFER_FLAG"),
        *("CORRECTION_FLAG", "MQ2_FLAG", "RECONSUME_TIME", "MSG_REGION", "TRACE_ON", "UNIQ_KEY"),
        *("EXTEND_UNIQ_INFO", "MAX_RECONSUME_TIMES", "CONSUME_START_TIME", "INSTANCE_ID"),
        *("TRAN_PREPARED_QUEUE_OFFSET", "TRANSACTION_CHECK_TIMES", "POP_CK", "POP_CK_OFFSET"),
        *("1ST_POP_TIME", "CORRELATION_ID", "REPLY_TO_CLIENT", "TTL", "ARRIVE_TIME", "CLUSTER"),
        *("PUSH_REPLY_TIME", "MSG_TYPE", "DUP_INFO", "INNER_NUM", "INNER_BASE"),
        *("TIMER_OUT_MS", "TIMER_ENQUEUE_MS", "TIMER_DEQUEUE_MS", "TIMER_ROLL_TIMES"),
        *("TIMER_DEL_UNIQKEY", "TIMER_DELAY_LEVEL", "DLQ_ORIGIN_TOPIC", "DLQ_ORIGIN_MESSAGE_ID"),
    }
)
"""Names that a program's own properties may not have: they have fields or are a server's."""


class Message(Struct, frozen=True):
    """A message to be sent. Checked when it is sent."""

    topic: str
    body: bytes
    tag: str | None = None
    """What consumers filter by; one per message."""
    keys: Sequence[str] = ()
    """Business keys, by which the broker finds the message again; without blanks."""
    properties: Mapping[str, str] = field(default_factory=dict)
    """The program's own."""
    flag: int = 0
    """A number of the program's own, 32 bits."""
    delay_level: int = 0
    """1 to 18: delivered after 1 s, 5 s, 10 s, 30 s, 1 to 10 min, 20 min, 30 min, 1 h, 2 h."""
    deliver_at_ms: int = 0
    """Wall-clock time in ms before which it is not delivered; needs a broker with a timer wheel."""
    waits_for_store: bool = True
    """Whether the broker answers after its flush and replication, as it is configured."""
    sharding_key: str | None = None
    """Messages of the same key go to the same queue, in the order of their sends."""

    def check(self, size_max: int = MESSAGE_SIZE_MAX) -> None:
        """Body and size; the producer checks the topic. Raises MessageIllegal."""
        if not isinstance(self.body, bytes):
            raise MessageIllegal(f"a message body is bytes, not {type(self.body).__name__}")
        if not self.body:
            raise MessageIllegal(f"topic {self.topic}: the message body is empty")
        if len(self.body) > size_max:
            raise MessageIllegal(
                f"topic {self.topic}: a message body of {len(self.body)} bytes, at most {size_max}"
            )

    def properties_text(self, unique_key: str) -> str:
        """All properties of the message on its way. Raises InvalidParameter for bad ones.

        Written flat, as it runs for every message: `name \\x01 value \\x02 …`.
        """
        wait = "true" if self.waits_for_store else "false"
        text = f"UNIQ_KEY\x01{unique_key}\x02WAIT\x01{wait}\x02"
        count = 2
        if self.tag:
            text += f"TAGS\x01{self.tag}\x02"
            count += 1
        if self.keys:
            text += f"KEYS\x01{_joined_keys(self.keys)}\x02"
            count += 1
        if self.delay_level:
            text += f"DELAY\x01{self.delay_level}\x02"
            count += 1
        if self.deliver_at_ms:
            text += f"TIMER_DELIVER_MS\x01{self.deliver_at_ms}\x02"
            count += 1
        if self.sharding_key:
            text += f"__SHARDINGKEY\x01{self.sharding_key}\x02"
            count += 1
        if self.properties:
            for name, value in self.properties.items():
                _check_property(name, value)
                text += f"{name}\x01{value}\x02"
            count += len(self.properties)
        # A separator within a value would be read as the begin of another property.
        if text.count(names.NAME_VALUE_SEPARATOR) != count or (
            text.count(names.PROPERTY_SEPARATOR) != count
        ):
            raise InvalidParameter(
                f"message for topic {self.topic}: the characters 0x01 and 0x02 separate properties "
                "and cannot be in a tag, a key or a property"
            )
        return text


def _joined_keys(keys: Sequence[str]) -> str:
    if isinstance(keys, str):
        raise InvalidParameter(f'keys are a list of texts: ["{keys[:64]}"], not "{keys[:64]}"')
    text = " ".join(keys)
    if "" in keys or text.count(" ") != len(keys) - 1:
        raise InvalidParameter(f"keys {text[:64]!r}: each has a character and none has a blank")
    return text


def _check_property(name: str, value: str) -> None:
    if not isinstance(name, str) or not isinstance(value, str):
        raise InvalidParameter(f"property {name!r}: names and values are text")
    if not name or not value:
        raise InvalidParameter(f"property {name[:64]!r}: neither name nor value may be empty")
    if name in RESERVED_PROPERTIES:
        raise InvalidParameter(f"property {name!r}: the name is RocketMQ's, choose another one")


class SendStatus(Enum):
    """What the broker says of a message it has taken. Only SEND_OK keeps all promises."""

    SEND_OK = 0
    FLUSH_DISK_TIMEOUT = 10
    """Stored; that it is on disk could not be confirmed in time."""
    FLUSH_SLAVE_TIMEOUT = 12
    """Stored; that a replica has it could not be confirmed in time."""
    SLAVE_NOT_AVAILABLE = 11
    """Stored; there is no replica."""


class SendResult(Struct, frozen=True, gc=False):
    """A broker's confirmation."""

    status: SendStatus
    message_id: str
    """The id the producer gave (UNIQ_KEY), of a batch all of them joined with commas."""
    offset_message_id: str
    """The broker's id: where the message is stored; of a batch likewise."""
    queue: MessageQueue
    queue_offset: QueueOffset
    """Of the first message of a batch."""
    region: str | None = None
    is_trace_on: bool = True

    @property
    def is_ok(self) -> bool:
        return self.status is SendStatus.SEND_OK


class ReceivedMessage(Struct, frozen=True, dict=True):
    """A message from a queue; `properties` are read from their text when first asked for."""

    topic: str
    """Of a retried message the topic it was sent to, not %RETRY%group."""
    body: bytes
    """Decompressed."""
    queue: MessageQueue
    queue_offset: QueueOffset
    record: Record
    """As stored, body compressed if it was."""
    fault: str | None = None
    """Why the body could not be decompressed: it is as stored then. No listener is called with such
    a message: it counts as failed, so that it ends as a dead letter and holds up no other."""

    @cached_property
    def properties(self) -> dict[str, str]:
        """All, the servers' included."""
        return parse_properties(self.record.properties.decode("utf-8", "replace"))

    @property
    def message_id(self) -> str:
        """The producer's id; the broker's if the producer gave none."""
        return self.properties.get(names.UNIQ_KEY) or self.record.message_id

    @property
    def offset_message_id(self) -> str:
        return self.record.message_id

    @property
    def tag(self) -> str | None:
        return self.properties.get(TAGS)

    @property
    def keys(self) -> list[str]:
        return self.properties.get(names.KEYS, "").split()

    @property
    def flag(self) -> int:
        return self.record.flag

    @property
    def reconsume_times(self) -> int:
        """How often its consumption failed before."""
        return self.record.reconsume_times

    @property
    def born_timestamp_ms(self) -> int:
        return self.record.born_timestamp_ms

    @property
    def store_timestamp_ms(self) -> int:
        return self.record.store_timestamp_ms

    @property
    def born_host(self) -> str:
        host, port = decode_host(self.record.born_host)
        return f"{host}:{port}"

    @property
    def store_host(self) -> str:
        host, port = decode_host(self.record.store_host)
        return f"{host}:{port}"

    @property
    def log_offset(self) -> LogOffset:
        return self.record.log_offset

    @property
    def size_bytes(self) -> int:
        """What it takes of a consumer's memory, roughly."""
        return len(self.body) + len(self.record.properties) + 200


def received(queue: MessageQueue, data: bytes) -> Iterator[ReceivedMessage]:
    """The messages of a pull's answer. Raises MessageIllegal, CompressionMissing."""
    for record in decode_records(data):
        if record.sys_flag & NEED_UNWRAP_FLAG:
            yield from _unwrapped(queue, record)
        else:
            try:
                body, fault = decompress(record.body, record.sys_flag), None
            except MessageIllegal as error:
                body, fault = record.body, str(error)
            yield _received(queue, record, body, fault)


def _received(
    queue: MessageQueue, record: Record, body: bytes, fault: str | None = None
) -> ReceivedMessage:
    topic = record.topic
    if topic.startswith(RETRY_PREFIX):
        text = record.properties.decode("utf-8", "replace")
        topic = names.property_value(text, names.RETRY_TOPIC) or topic
    return ReceivedMessage(topic, body, queue, record.queue_offset, record, fault)


def _unwrapped(queue: MessageQueue, record: Record) -> Iterator[ReceivedMessage]:
    """The messages of an inner batch: one place of the queue each, from the record's on."""
    items = decode_batch(decompress(record.body, record.sys_flag))
    for index, item in enumerate(items):
        single = Record(
            topic=record.topic,
            body=item.body,
            queue_id=record.queue_id,
            flag=item.flag,
            queue_offset=QueueOffset(record.queue_offset + index),
            log_offset=record.log_offset,
            sys_flag=record.sys_flag & ~INNER_BATCH_FLAGS,
            born_timestamp_ms=record.born_timestamp_ms,
            born_host=record.born_host,
            store_timestamp_ms=record.store_timestamp_ms,
            store_host=record.store_host,
            reconsume_times=record.reconsume_times,
            prepared_transaction_offset=record.prepared_transaction_offset,
            properties=item.properties,
        )
        yield _received(queue, single, item.body)


__all__ = [
    "MESSAGE_SIZE_MAX",
    "RESERVED_PROPERTIES",
    "Message",
    "ReceivedMessage",
    "SendResult",
    "SendStatus",
    "received",
]
