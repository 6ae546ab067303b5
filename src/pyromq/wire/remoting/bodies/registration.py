"""Bodies between broker and name server: codes 103 and 322.

Source: org.apache.rocketmq.remoting.protocol.body.RegisterBrokerBody, common.TopicConfig.encode
5.5.0. The compressed form (zlib) is, inflated:

    i32 n, DataVersion JSON │ i32 count, count × (i32 n, topic text) │ i32 n, filter servers JSON
    and from version 5.0.0 on │ i32 count, count × (i32 n, TopicQueueMappingInfo JSON)

with the topic text `name readQueues writeQueues perm filterType attributesJson`.
"""

from __future__ import annotations

import re
import struct
import zlib
from typing import Final

from msgspec import Struct, field

from pyromq.domain.route import TopicQueueMapping
from pyromq.domain.topic import TopicConfig
from pyromq.domain.version import DataVersion
from pyromq.errors import RequestFailed
from pyromq.units import MIB
from pyromq.wire import dialect
from pyromq.wire.remoting.bodies.form import decode_body
from pyromq.wire.remoting.bodies.topics import TopicTable
from pyromq.wire.remoting.frame import FRAME_SIZE_MAX

TOPIC_COUNT_MAX: Final = 100_000
"""Topics of one broker; reading that many keeps the loop ≈ 0.5 s."""
INFLATED_SIZE_MAX: Final = 32 * MIB
"""As many topics, with long names and attributes."""
INFLATE_RATIO_MAX: Final = 200
"""A table of topics shrinks ten- to thirtyfold; more is a bomb."""
VERSION_5_0_0: Final = 413
"""From here on the mapping part is there."""

_NAME: Final = "RegisterBrokerBody"
_I32: Final = struct.Struct(">i")


class RegisterBrokerBody(Struct, frozen=True, rename="camel", kw_only=True):
    """A broker's topics, or in a one-topic registration only the changed ones."""

    topic_config_serialize_wrapper: TopicTable = field(default_factory=TopicTable)
    filter_server_list: list[str] = field(default_factory=list)


def encode_register_broker(body: RegisterBrokerBody) -> bytes:
    """The plain form, as all 5.x brokers send it."""
    return dialect.encode(body)


def body_crc32(body: bytes) -> int:
    """What `bodyCrc32` of the header must be (UtilAll.crc32)."""
    return zlib.crc32(body) & 0x7FFF_FFFF


def decode_register_broker(
    body: bytes, *, compressed: bool, broker_version: int
) -> RegisterBrokerBody:
    """`broker_version` is the version in the command's header."""
    if not compressed:
        return decode_body(_NAME, body, RegisterBrokerBody, size_max=FRAME_SIZE_MAX)
    return _decode_compressed(body, has_mappings=broker_version >= VERSION_5_0_0)


def encode_data_version(version: DataVersion) -> bytes:
    return dialect.encode(version)


def decode_data_version(body: bytes) -> DataVersion:
    return decode_body("DataVersion", body, DataVersion)


def inflate(data: bytes) -> bytes:
    """One zlib stream, bounded by size and ratio. Raises RequestFailed."""
    size_max = min(INFLATED_SIZE_MAX, INFLATE_RATIO_MAX * len(data))
    inflater = zlib.decompressobj()
    try:
        inflated = inflater.decompress(data, size_max + 1)
    except zlib.error as error:
        raise RequestFailed(f"{_NAME}: not a zlib stream: {error}") from error
    if len(inflated) > size_max:
        raise RequestFailed(f"{_NAME}: inflates beyond the limit of {size_max} bytes")
    if not inflater.eof:
        raise RequestFailed(f"{_NAME}: zlib stream of {len(data)} bytes is cut short")
    return inflated


class _Parts:
    """Reads length-prefixed parts one after another."""

    __slots__ = ("_at", "_data")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def number(self) -> int:
        if self._at + _I32.size > len(self._data):
            raise RequestFailed(f"{_NAME}: cut short at byte {self._at}")
        value: int = _I32.unpack_from(self._data, self._at)[0]
        self._at += _I32.size
        return value

    def count(self) -> int:
        count = self.number()
        if not 0 <= count <= TOPIC_COUNT_MAX:
            raise RequestFailed(f"{_NAME}: count {count} is outside 0..{TOPIC_COUNT_MAX}")
        return count

    def part(self) -> bytes:
        size = self.number()
        left = len(self._data) - self._at
        if not 0 <= size <= left:
            raise RequestFailed(f"{_NAME}: part of {size} bytes where {left} follow")
        self._at += size
        return self._data[self._at - size : self._at]


def _decode_compressed(body: bytes, *, has_mappings: bool) -> RegisterBrokerBody:
    parts = _Parts(inflate(body))
    data_version = decode_data_version(parts.part())
    topics = [_decode_topic_text(parts.part()) for _ in range(parts.count())]
    filter_servers = decode_body(_NAME, parts.part(), list[str])
    mappings: list[TopicQueueMapping] = []
    if has_mappings:
        mappings = [
            decode_body(_NAME, parts.part(), TopicQueueMapping) for _ in range(parts.count())
        ]
    return RegisterBrokerBody(
        topic_config_serialize_wrapper=TopicTable(
            topic_config_table={topic.topic_name: topic for topic in topics},
            data_version=data_version,
            topic_queue_mapping_info_map={m.topic: m for m in mappings if m.topic is not None},
        ),
        filter_server_list=filter_servers,
    )


def _decode_topic_text(data: bytes) -> TopicConfig:
    """Order and sysFlag are not in the text; attributes with a blank are lost, as in Java."""
    words = data.decode("utf-8", "replace").split(" ")
    if len(words) < 5:
        raise RequestFailed(f"{_NAME}: topic text {data[:64]!r} has fewer than 5 words")
    if not all(map(_NUMBER.fullmatch, words[1:4])):
        raise RequestFailed(f"{_NAME}: topic text {data[:64]!r} has a bad number")
    attributes: dict[str, str] = {}
    if len(words) > 5 and words[5] != "{}":
        try:
            attributes = decode_body(_NAME, words[5].encode(), dict[str, str])
        except RequestFailed:
            attributes = {}
    return TopicConfig(
        topic_name=words[0],
        read_queue_nums=int(words[1]),
        write_queue_nums=int(words[2]),
        perm=int(words[3]),
        topic_filter_type=words[4],
        attributes=attributes,
    )


_NUMBER: Final = re.compile(r"[+-]?[0-9]{1,9}")
"""As many digits as always fit 32 bits."""

__all__ = [
    "INFLATED_SIZE_MAX",
    "INFLATE_RATIO_MAX",
    "TOPIC_COUNT_MAX",
    "RegisterBrokerBody",
    "body_crc32",
    "decode_data_version",
    "decode_register_broker",
    "encode_data_version",
    "encode_register_broker",
    "inflate",
]
