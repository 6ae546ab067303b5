"""Bodies that a producer compressed, and how a consumer gets them back.

Bit 0 of sysFlag says that a body is compressed, bits 8 to 10 say how; none of these means ZLIB, as
clients before 5.0 wrote it. Sources: sysflag.MessageSysFlag, compression.{CompressionType,
ZlibCompressor,Lz4Compressor,ZstdCompressor} of org.apache.rocketmq.common 5.5.0. LZ4 is its frame
format, ZSTD a zstd frame, ZLIB a zlib stream. LZ4 and ZSTD need the packages `lz4` and
`zstandard` (`pip install pyromq[compression]`), which are imported by the first body.
"""

from __future__ import annotations

import importlib
import zlib
from enum import IntEnum
from types import ModuleType
from typing import Any, Final

from pyromq.errors import MessageIllegal, PyromqError
from pyromq.units import MIB

COMPRESSED_FLAG: Final = 0x1
_TYPE_MASK: Final = 0x700
BODY_SIZE_MAX: Final = 64 * MIB
"""What a compressed body may become: a frame of 16 MiB could otherwise fill any memory."""
_LEVEL: Final = 5
"""Apache's rocketmq.message.compressLevel."""


class CompressionType(IntEnum):
    """The value is the sysFlag bits."""

    LZ4 = 0x100
    ZSTD = 0x200
    ZLIB = 0x300


class CompressionMissing(PyromqError):
    """A body needs a package that is not installed."""


def compress(body: bytes, kind: CompressionType, level: int = _LEVEL) -> bytes:
    """Raises CompressionMissing."""
    if kind is CompressionType.ZLIB:
        return zlib.compress(body, level)
    if kind is CompressionType.LZ4:
        packed: bytes = _library("lz4.frame", "lz4").compress(body)
    else:
        packed = _library("zstandard", "zstandard").ZstdCompressor(level=level).compress(body)
    return packed


def decompress(body: bytes, sys_flag: int, size_max: int = BODY_SIZE_MAX) -> bytes:
    """The body as its producer meant it; unchanged if it is not compressed.

    Raises MessageIllegal for what is no such stream or becomes more than `size_max` bytes,
    CompressionMissing.
    """
    if not sys_flag & COMPRESSED_FLAG:
        return body
    bits = sys_flag & _TYPE_MASK or CompressionType.ZLIB
    try:
        kind = CompressionType(bits)
    except ValueError as error:
        raise MessageIllegal(f"compression type {bits >> 8} is unknown") from error
    stream: Any
    failure: type[Exception]
    if kind is CompressionType.ZLIB:
        stream, failure = zlib.decompressobj(), zlib.error
    elif kind is CompressionType.LZ4:
        stream, failure = _library("lz4.frame", "lz4").LZ4FrameDecompressor(), RuntimeError
    else:
        return _from_zstd(body, size_max)
    try:
        plain: bytes = stream.decompress(body, size_max + 1)
    except failure as error:
        raise MessageIllegal(f"a body that is called {kind.name} is none: {error}") from error
    return _checked(plain, kind, size_max, is_whole=stream.eof)


def _from_zstd(body: bytes, size_max: int) -> bytes:
    library = _library("zstandard", "zstandard")
    try:
        with library.ZstdDecompressor().stream_reader(body) as reader:
            plain: bytes = reader.read(size_max + 1)
    except library.ZstdError as error:
        raise MessageIllegal(f"a body that is called ZSTD is none: {error}") from error
    # The reader ends quietly where the frame is cut; an empty body is never compressed.
    return _checked(plain, CompressionType.ZSTD, size_max, is_whole=bool(plain))


def _checked(plain: bytes, kind: CompressionType, size_max: int, *, is_whole: bool) -> bytes:
    if len(plain) > size_max:
        raise MessageIllegal(f"a {kind.name} body becomes more than {size_max} bytes")
    if not is_whole:
        raise MessageIllegal(f"a {kind.name} body is cut short")
    return plain


def _library(module: str, package: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise CompressionMissing(
            f"a message body needs the package {package}, which is not installed; "
            "`pip install pyromq[compression]` brings it"
        ) from error


__all__ = [
    "BODY_SIZE_MAX",
    "COMPRESSED_FLAG",
    "CompressionMissing",
    "CompressionType",
    "compress",
    "decompress",
]
