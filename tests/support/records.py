"""Records of a pull's body, taken apart for tests (IPv4 hosts)."""

from __future__ import annotations

import struct
from typing import NamedTuple


class Record(NamedTuple):
    """What tests want to know of a stored message."""

    topic: str
    queue_id: int
    queue_offset: int
    body: bytes
    properties: dict[str, str]


def records_of(body: bytes) -> list[Record]:
    """All records of a pull's body."""
    records = []
    offset = 0
    while offset < len(body):
        size = int.from_bytes(body[offset : offset + 4])
        records.append(_record(body[offset : offset + size]))
        offset += size
    return records


def _record(data: bytes) -> Record:
    queue_id = int.from_bytes(data[12:16])
    queue_offset = int.from_bytes(data[20:28])
    body_end = 88 + int.from_bytes(data[84:88])
    topic_end = body_end + 1 + data[body_end]
    (properties_size,) = struct.unpack_from(">h", data, topic_end)
    text = data[topic_end + 2 : topic_end + 2 + properties_size].decode()
    return Record(
        topic=data[body_end + 1 : topic_end].decode(),
        queue_id=queue_id,
        queue_offset=queue_offset,
        body=data[88:body_end],
        properties=dict(item.split("\x01", 1) for item in text.split("\x02") if item),
    )


__all__ = ["Record", "records_of"]
