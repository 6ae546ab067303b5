"""The message record: the same bytes in the commit log and in the answer to a pull.

Layout (big-endian): size, magic, CRC of body, queue id, flag, queue offset, log offset, sysFlag,
born time, born host, store time, store host, reconsume times, prepared transaction offset, body,
topic, properties. A host is 4 or 16 address bytes and a 4-byte port, as sysFlag says; the topic's
length takes one byte in version 1 and two in version 2 (topics over 127 bytes). Sources:
MessageDecoder, MessageVersion, MessageSysFlag, UtilAll.crc32 of org.apache.rocketmq.common 5.5.0.
"""

from __future__ import annotations

import ipaddress
import struct
import zlib
from typing import Final, TypeAlias

import msgspec

from pyromq.domain.properties import NAME_VALUE_SEPARATOR, PROPERTY_SEPARATOR, properties_text
from pyromq.domain.subscription import tag_hash
from pyromq.errors import InvalidParameter, MessageIllegal
from pyromq.units import LogOffset, QueueOffset

MAGIC_V1: Final = -626843481
MAGIC_V2: Final = -626843477
MAGIC_BLANK: Final = -875286124
"""Fills the rest of a commit log file; never sent."""

SYS_FLAG_BORN_HOST_V6: Final = 0x10
SYS_FLAG_STORE_HOST_V6: Final = 0x20

TOPIC_V1_SIZE_MAX: Final = 127
PROPERTIES_SIZE_MAX: Final = 32_767
RECORD_SIZE_MIN: Final = 91
"""Both hosts IPv4, nothing in body, topic and properties."""

_HEAD: Final = struct.Struct(">iiiiiqqiq")
_TIME: Final = struct.Struct(">q")
_AFTER_HOSTS: Final = struct.Struct(">iqi")
_BYTE: Final = struct.Struct(">b")
_SHORT: Final = struct.Struct(">h")
_HOST_SIZES: Final = (8, 20)
_UP_TO_BODY_V4: Final = struct.Struct(">iii4xi8x8xiq8sq8xi8xi")
"""Everything before the body where both hosts are IPv4, without what `content_at` leaves out."""

Content: TypeAlias = tuple[int, int, int, int, bytes, int, int, memoryview, bytes]
"""See `content_at`."""


class Record(msgspec.Struct, frozen=True, gc=False):
    """One stored message. Offsets and times are the broker's; give members by name."""

    topic: str
    body: bytes
    queue_id: int = 0
    flag: int = 0
    """The user's, never interpreted."""
    queue_offset: QueueOffset = QueueOffset(0)
    log_offset: LogOffset = LogOffset(0)
    sys_flag: int = 0
    born_timestamp_ms: int = 0
    born_host: bytes = bytes(8)
    store_timestamp_ms: int = 0
    store_host: bytes = bytes(8)
    reconsume_times: int = 0
    prepared_transaction_offset: int = 0
    properties: bytes = b""
    """As stored: `parse_properties` reads them."""
    body_crc: int | None = None
    """As stored; None lets `encode_record` compute it."""

    @property
    def message_id(self) -> str:
        """The offsetMsgId."""
        return encode_message_id(self.store_host, self.log_offset)


def body_crc(body: bytes) -> int:
    """CRC-32 without its highest bit."""
    return zlib.crc32(body) & 0x7FFF_FFFF


def encode_record(record: Record) -> bytes:
    """The record's bytes; the IPv6 bits of sysFlag follow the hosts. Raises MessageIllegal."""
    topic = record.topic.encode()
    if len(topic) > PROPERTIES_SIZE_MAX:
        raise MessageIllegal(f"topic of {len(topic)} bytes: at most {PROPERTIES_SIZE_MAX}")
    if len(record.properties) > PROPERTIES_SIZE_MAX:
        raise MessageIllegal(
            f"properties of {len(record.properties)} bytes: at most {PROPERTIES_SIZE_MAX}"
        )
    is_v1 = len(topic) <= TOPIC_V1_SIZE_MAX
    sys_flag = record.sys_flag & ~(SYS_FLAG_BORN_HOST_V6 | SYS_FLAG_STORE_HOST_V6)
    if len(record.born_host) == _HOST_SIZES[1]:
        sys_flag |= SYS_FLAG_BORN_HOST_V6
    if len(record.store_host) == _HOST_SIZES[1]:
        sys_flag |= SYS_FLAG_STORE_HOST_V6
    rest = b"".join(
        (
            record.born_host,
            _TIME.pack(record.store_timestamp_ms),
            record.store_host,
            _AFTER_HOSTS.pack(
                record.reconsume_times, record.prepared_transaction_offset, len(record.body)
            ),
            record.body,
            (_BYTE if is_v1 else _SHORT).pack(len(topic)),
            topic,
            _SHORT.pack(len(record.properties)),
            record.properties,
        )
    )
    head = _HEAD.pack(
        _HEAD.size + len(rest),
        MAGIC_V1 if is_v1 else MAGIC_V2,
        body_crc(record.body) if record.body_crc is None else record.body_crc,
        record.queue_id,
        record.flag,
        record.queue_offset,
        record.log_offset,
        sys_flag,
        record.born_timestamp_ms,
    )
    return head + rest


def decode_record(data: bytes | bytearray | memoryview) -> Record:
    """The record that `data` is, from its first byte to its last. Raises MessageIllegal."""
    record, end = decode_record_at(data, 0)
    if end != len(data):
        raise MessageIllegal(f"record of {end} bytes in {len(data)}")
    return record


def decode_records(data: bytes | bytearray | memoryview) -> list[Record]:
    """Records one after another: the body of a pull's answer. Raises MessageIllegal."""
    records: list[Record] = []
    at = 0
    while at < len(data):
        record, at = decode_record_at(data, at)
        records.append(record)
    return records


def decode_record_at(data: bytes | bytearray | memoryview, at: int) -> tuple[Record, int]:
    """The record that begins at `at`, and where it ends. The body's CRC is not compared."""
    view = memoryview(data)[at:]
    if len(view) < RECORD_SIZE_MIN:
        raise MessageIllegal(f"record cut short: {len(view)} bytes of at least {RECORD_SIZE_MIN}")
    size, magic, crc, queue_id, flag, queue_offset, log_offset, sys_flag, born_ms = (
        _HEAD.unpack_from(view)
    )
    if magic not in (MAGIC_V1, MAGIC_V2):
        raise MessageIllegal(f"record magic {magic & 0xFFFF_FFFF:#010x} is unknown")
    if not RECORD_SIZE_MIN <= size <= len(view):
        raise MessageIllegal(f"record size {size} where {len(view)} bytes follow")
    parts = _Parts(view[:size], _HEAD.size)
    born_host = parts.take(_HOST_SIZES[sys_flag & SYS_FLAG_BORN_HOST_V6 != 0])
    store_ms = parts.number(_TIME)
    store_host = parts.take(_HOST_SIZES[sys_flag & SYS_FLAG_STORE_HOST_V6 != 0])
    reconsume_times = parts.number(_INT)
    prepared_offset = parts.number(_TIME)
    body = parts.take(parts.number(_INT))
    topic = parts.take(parts.number(_BYTE if magic == MAGIC_V1 else _SHORT))
    properties = parts.take(parts.number(_SHORT))
    if parts.at != size:
        raise MessageIllegal(f"record size {size} where its parts take {parts.at}")
    record = Record(
        topic=topic.decode("utf-8", "replace"),
        body=body,
        queue_id=queue_id,
        flag=flag,
        queue_offset=queue_offset,
        log_offset=log_offset,
        sys_flag=sys_flag,
        born_timestamp_ms=born_ms,
        born_host=born_host,
        store_timestamp_ms=store_ms,
        store_host=store_host,
        reconsume_times=reconsume_times,
        prepared_transaction_offset=prepared_offset,
        properties=properties,
        body_crc=crc,
    )
    return record, at + size


_INT: Final = struct.Struct(">i")


class _Parts:
    """Reads a record's parts one after another, each within its bounds."""

    __slots__ = ("_view", "at")

    def __init__(self, view: memoryview, at: int) -> None:
        self._view = view
        self.at = at

    def number(self, form: struct.Struct) -> int:
        return int(form.unpack(self.take(form.size))[0])

    def take(self, size: int) -> bytes:
        end = self.at + size
        if not self.at <= end <= len(self._view):
            left = len(self._view) - self.at
            raise MessageIllegal(f"record part of {size} bytes where {left} follow")
        part = bytes(self._view[self.at : end])
        self.at = end
        return part


def content_at(data: bytes, view: memoryview, at: int) -> Content:
    """What a record that is stored anew elsewhere keeps, and what decides whether it is.

    (where it ends, flag, sysFlag, born time, born host, store time, reconsume times, body,
    properties) of the record that begins at `at`; `view` is a view of `data`, which the body is
    not copied from. Raises MessageIllegal, also for a body that is not what its CRC says: stored
    anew it would get a CRC that fits. Written flat: it runs once per delayed message.
    """
    try:
        size, magic, crc, flag, sys_flag, born_ms, born_host, store_ms, times, body_size = (
            _UP_TO_BODY_V4.unpack_from(data, at)
        )
        if magic == MAGIC_V1 and not sys_flag & (SYS_FLAG_BORN_HOST_V6 | SYS_FLAG_STORE_HOST_V6):
            end = at + size
            begin = at + _UP_TO_BODY_V4.size
            topic = begin + body_size
            tail = topic + 3 + data[topic]
            properties_size = (data[tail - 2] << 8) + data[tail - 1]
            if body_size >= 0 and tail + properties_size == end <= len(data):
                body = view[begin:topic]
                properties = data[tail:end]
                if zlib.crc32(body) & 0x7FFF_FFFF != crc:
                    raise _damaged_body(at)
                return end, flag, sys_flag, born_ms, born_host, store_ms, times, body, properties
    except (struct.error, IndexError) as error:
        raise MessageIllegal(f"record cut short at byte {at} of {len(data)}") from error
    record, end = decode_record_at(data, at)
    if body_crc(record.body) != record.body_crc:
        raise _damaged_body(at)
    return (
        end,
        record.flag,
        record.sys_flag,
        record.born_timestamp_ms,
        record.born_host,
        record.store_timestamp_ms,
        record.reconsume_times,
        memoryview(record.body),
        record.properties,
    )


def _damaged_body(at: int) -> MessageIllegal:
    return MessageIllegal(f"the body of the record at byte {at} is damaged: its CRC does not fit")


def parse_properties(text: str) -> dict[str, str]:
    """Name → value, as MessageDecoder.string2messageProperties reads it.

    The last separator may be missing; pairs without a name, without a value or shorter than three
    characters are skipped; of equal names the last one counts.
    """
    properties: dict[str, str] = {}
    for item in text.split(PROPERTY_SEPARATOR):
        name, _, value = item.partition(NAME_VALUE_SEPARATOR)
        if name and value:
            properties[name] = value
    return properties


# ── ids and hosts ────────────────────────────────────────────────────────────────────────────────

_MESSAGE_ID_SIZES: Final = (16, 28)


def encode_message_id(store_host: bytes, log_offset: int) -> str:
    """offsetMsgId: where the record lies, as upper-case hex of host, port and log offset."""
    return (store_host + _TIME.pack(log_offset)).hex().upper()


def decode_message_id(message_id: str) -> tuple[bytes, LogOffset]:
    """Store host and log offset. Raises InvalidParameter."""
    try:
        data = bytes.fromhex(message_id)
    except ValueError:
        data = b""
    if len(data) not in _MESSAGE_ID_SIZES or len(message_id) != 2 * len(data):
        raise InvalidParameter(
            f"message id {message_id[:64]!r} is not the hex of 16 (IPv4) or 28 (IPv6) bytes"
        )
    host_size = len(data) - _TIME.size
    return data[:host_size], LogOffset(_TIME.unpack_from(data, host_size)[0])


def encode_host(ip: str, port: int) -> bytes:
    """Address and port as records store them. Raises ValueError for what is no IP address."""
    return ipaddress.ip_address(ip).packed + _INT.pack(port)


def decode_host(host: bytes) -> tuple[str, int]:
    """Address and port as text and number."""
    assert len(host) in _HOST_SIZES, "4 or 16 address bytes and a port"
    return str(ipaddress.ip_address(host[:-4])), _INT.unpack_from(host, len(host) - 4)[0]


__all__ = [
    "MAGIC_BLANK",
    "MAGIC_V1",
    "MAGIC_V2",
    "PROPERTIES_SIZE_MAX",
    "RECORD_SIZE_MIN",
    "SYS_FLAG_BORN_HOST_V6",
    "SYS_FLAG_STORE_HOST_V6",
    "TOPIC_V1_SIZE_MAX",
    "Content",
    "Record",
    "body_crc",
    "content_at",
    "decode_host",
    "decode_message_id",
    "decode_record",
    "decode_record_at",
    "decode_records",
    "encode_host",
    "encode_message_id",
    "encode_record",
    "parse_properties",
    "properties_text",
    "tag_hash",
]
