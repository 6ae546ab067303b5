"""The body of a batch send (code 320): messages one after another, without a count.

    i32 size │ i32 0 │ i32 0 │ i32 flag │ i32 n, body │ i16 n, properties

Source: MessageDecoder.encodeMessages of org.apache.rocketmq.common and
MessageExtEncoder of org.apache.rocketmq.store 5.5.0. The first three numbers are not read by Apache
and not here; all other lengths must lead exactly to the last byte, or the whole batch is refused.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Final

import msgspec

from pyromq.errors import MessageIllegal
from pyromq.units import MIB
from pyromq.wire.record import PROPERTIES_SIZE_MAX

BATCH_SIZE_MAX: Final = 4 * MIB
"""Apache's maxMessageSize, which bounds a batch like a single message."""
BATCH_COUNT_MAX: Final = 4096
"""Each message costs a record, an index entry and a message id in the answer."""

_HEAD: Final = struct.Struct(">iiiii")
"""size, magic, CRC, flag, length of body"""
_SHORT: Final = struct.Struct(">h")


class BatchItem(msgspec.Struct, frozen=True, gc=False):
    """One message of a batch; topic, queue and times are the request's."""

    flag: int
    body: bytes
    properties: bytes


def encode_batch(items: Iterable[BatchItem]) -> bytes:
    """Raises MessageIllegal for properties over the limit."""
    parts: list[bytes] = []
    for item in items:
        flag, body, properties = item.flag, item.body, item.properties
        if len(properties) > PROPERTIES_SIZE_MAX:
            raise MessageIllegal(
                f"properties of {len(properties)} bytes: at most {PROPERTIES_SIZE_MAX}"
            )
        size = _HEAD.size + len(body) + _SHORT.size + len(properties)
        parts += (
            _HEAD.pack(size, 0, 0, flag, len(body)),
            body,
            _SHORT.pack(len(properties)),
            properties,
        )
    return b"".join(parts)


def decode_batch(
    data: bytes | bytearray | memoryview,
    *,
    size_max: int = BATCH_SIZE_MAX,
    count_max: int = BATCH_COUNT_MAX,
) -> list[BatchItem]:
    """All messages, at least one. Raises MessageIllegal and then none counts."""
    size = len(data)
    if size > size_max:
        raise MessageIllegal(f"batch of {size} bytes: at most {size_max}")
    view = memoryview(data)
    items: list[BatchItem] = []
    at = 0
    while at < size:
        if len(items) == count_max:
            raise MessageIllegal(f"batch of more than {count_max} messages")
        if at + _HEAD.size > size:
            raise MessageIllegal(f"batch message {len(items)} is cut short at byte {at}")
        _, _, _, flag, body_size = _HEAD.unpack_from(view, at)
        body_at = at + _HEAD.size
        properties_at = body_at + body_size + _SHORT.size
        if not body_at + _SHORT.size <= properties_at <= size:
            raise MessageIllegal(
                f"batch message {len(items)}: body of {body_size} bytes "
                f"where {size - body_at} follow"
            )
        (properties_size,) = _SHORT.unpack_from(view, properties_at - _SHORT.size)
        at = properties_at + properties_size
        if not properties_at <= at <= size:
            raise MessageIllegal(
                f"batch message {len(items)}: properties of {properties_size} bytes "
                f"where {size - properties_at} follow"
            )
        items.append(
            BatchItem(
                flag,
                bytes(view[body_at : body_at + body_size]),
                bytes(view[properties_at:at]),
            )
        )
    if not items:
        raise MessageIllegal("batch without a message")
    return items


__all__ = [
    "BATCH_COUNT_MAX",
    "BATCH_SIZE_MAX",
    "BatchItem",
    "decode_batch",
    "encode_batch",
]
