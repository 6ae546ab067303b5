"""Bytes of the metadata journal and its snapshots.

Both kinds of file begin with a header (magic, format version, oldest version that can read it,
generation, CRC), then come entries (length, sequence, durable, boot, CRC of the payload, CRC of
those five, payload). `durable` is the sequence known to be synced when the entry was made: a bad
entry that a later one calls durable was damaged, one that no later entry calls durable may have
been torn by a power cut. `boot` marks the run of the operating system: in the same run no power was
cut. The CRC of the fixed part tells a torn entry (payload ends early) from a damaged length.

A header keeps this size and place in all versions to come, so that an old program can tell a newer
file from a damaged one.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from enum import Enum
from typing import Final, NamedTuple

JOURNAL_MAGIC: Final = b"pyromqMJ"
SNAPSHOT_MAGIC: Final = b"pyromqMS"
FORMAT_VERSION: Final = 1
OLDEST_READER: Final = 1
"""The oldest format version whose programs can read what we write."""

_HEADER: Final = struct.Struct(">8sHHQ")
_HEADER_CRC: Final = struct.Struct(">I")
HEADER_SIZE: Final = _HEADER.size + _HEADER_CRC.size

_ENTRY: Final = struct.Struct(">IQQII")
ENTRY_OVERHEAD: Final = _ENTRY.size + _HEADER_CRC.size


class NewerFormat(Exception):
    """A file that only a newer version can read; the text says which."""


class Entry(NamedTuple):
    """One entry and where it ends."""

    sequence: int
    durable: int
    boot: int
    payload: bytes
    end: int


class Fault(Enum):
    """Why there is no entry at a position."""

    END = "end"
    """The file ends there."""
    TORN = "torn"
    """An entry begins, sound so far, and the file ends before it does."""
    DAMAGED = "damaged"
    """Bytes that no interrupted write leaves behind."""


def encode_header(magic: bytes, generation: int) -> bytes:
    header = _HEADER.pack(magic, FORMAT_VERSION, OLDEST_READER, generation)
    return header + _HEADER_CRC.pack(zlib.crc32(header))


def is_header(data: bytes, magic: bytes, generation: int) -> bool:
    """Whether the file begins with that header. Raises NewerFormat."""
    if len(data) < HEADER_SIZE or not data.startswith(magic):
        return False
    header = data[: _HEADER.size]
    if _HEADER_CRC.pack(zlib.crc32(header)) != data[_HEADER.size : HEADER_SIZE]:
        return False
    _, version, oldest_reader, found = _HEADER.unpack(header)
    if oldest_reader > FORMAT_VERSION:
        raise NewerFormat(
            f"has format version {version}, which needs a program of format version "
            f"{oldest_reader} or newer; this one has {FORMAT_VERSION}"
        )
    return bool(found == generation)


def boot_mark(boot_id: str) -> int:
    """The run of the operating system as a number; 0 if it is not known."""
    return zlib.crc32(boot_id.encode()) if boot_id else 0


def encode_entry(sequence: int, durable: int, boot: int, payload: bytes) -> bytes:
    fixed = _ENTRY.pack(len(payload), sequence, durable, boot, zlib.crc32(payload))
    return fixed + _HEADER_CRC.pack(zlib.crc32(fixed)) + payload


def entry_at(data: bytes, at: int) -> Entry | Fault:
    """The entry that begins at `at`, or why there is none."""
    if at == len(data):
        return Fault.END
    fixed = data[at : at + _ENTRY.size]
    begin = at + ENTRY_OVERHEAD
    if begin > len(data):
        return Fault.TORN
    if _HEADER_CRC.pack(zlib.crc32(fixed)) != data[at + _ENTRY.size : begin]:
        return Fault.DAMAGED
    length, sequence, durable, boot, crc = _ENTRY.unpack(fixed)
    end = begin + length
    if end > len(data):
        return Fault.TORN
    payload = data[begin:end]
    if zlib.crc32(payload) != crc:
        return Fault.DAMAGED
    return Entry(sequence, durable, boot, payload, end)


def entries_behind(data: bytes, at: int) -> Iterator[Entry]:
    """Every sound entry anywhere behind `at`, where reading in order has failed."""
    while at + ENTRY_OVERHEAD <= len(data):
        found = entry_at(data, at)
        if isinstance(found, Entry):
            yield found
            at = found.end
        else:
            at += 1


__all__ = [
    "ENTRY_OVERHEAD",
    "FORMAT_VERSION",
    "HEADER_SIZE",
    "JOURNAL_MAGIC",
    "OLDEST_READER",
    "SNAPSHOT_MAGIC",
    "Entry",
    "Fault",
    "NewerFormat",
    "boot_mark",
    "encode_entry",
    "encode_header",
    "entries_behind",
    "entry_at",
    "is_header",
]
