"""Frames: length, header, body; and the two forms of the header.

    i32 length of what follows │ i32 serialize type << 24 | header length │ header │ body

Follows org.apache.rocketmq.remoting.netty.NettyDecoder and protocol.{RemotingCommand,
RocketMQSerializable} 5.5.0. This is the reference; `native.py` has a fast twin that the same tests
hold to the same results.

What cannot be a frame (a length that is negative, below 4 or over the limit; a header longer than
its frame) and a header that cannot be read (unknown serialize type, bad JSON, wrong types, lengths
that overrun) end the connection alike: Apache closes the channel on any decode exception, and a
request whose number is not known cannot be answered. Unlike Apache, a length is judged as soon as
its bytes are there, before memory is spent on the rest.
"""

from __future__ import annotations

import re
import struct
from typing import Final, NamedTuple

import msgspec

from pyromq.codes import LanguageCode
from pyromq.errors import ProtocolViolation
from pyromq.units import KIB, MIB
from pyromq.wire import dialect
from pyromq.wire.remoting.command import FLAG_ONEWAY, FLAG_RESPONSE, Command, SerializeType

FRAME_SIZE_MAX: Final = 16 * MIB
"""Whole frame with its length prefix: Apache's com.rocketmq.remoting.frameMaxLength."""
HEADER_SIZE_MAX: Final = 64 * KIB
"""Request headers: 32 KiB of properties fit, unless half of their bytes need an escape in JSON."""
RESPONSE_HEADER_SIZE_MAX: Final = 1 * MIB
"""What a client accepts: the answer to a batch carries one message id of 33 bytes per message."""
EXT_FIELDS_MAX: Final = 256
"""Apache's largest header has 18 fields; more is an attack on the hash table."""
HEADER_DEPTH_MAX: Final = 16
"""Nesting inside a JSON header; the protocol's own is 2."""

PREFIX_SIZE: Final = 8
"""Length and header word."""

_I16_MAX: Final = 0x7FFF
_I32_MAX: Final = 0x7FFF_FFFF
_HEADER_LENGTH_MASK: Final = 0xFF_FFFF
_PREFIX: Final = struct.Struct(">ii")
_LENGTH: Final = struct.Struct(">i")
_SHORT: Final = struct.Struct(">h")
_BINARY_HEADER: Final = struct.Struct(">hbhiii")
"""code, language, version, opaque, flag, length of remark"""


class FrameLimits(NamedTuple):
    """What one side accepts."""

    frame_size_max: int = FRAME_SIZE_MAX
    header_size_max: int = HEADER_SIZE_MAX
    ext_fields_max: int = EXT_FIELDS_MAX


SERVER_LIMITS: Final = FrameLimits()
CLIENT_LIMITS: Final = FrameLimits(header_size_max=RESPONSE_HEADER_SIZE_MAX)


# ── decoding ─────────────────────────────────────────────────────────────────────────────────────


class Split(NamedTuple):
    """What one look at a buffer gave."""

    commands: list[Command]
    consumed: int
    """Bytes of whole frames at the buffer's start."""
    needed: int
    """Size of the frame that begins behind them, prefix included; 0 while unknown."""
    violation: str | None
    """Why nothing behind `commands` can be read; the connection must end."""


def split(
    buffer: bytes | bytearray | memoryview,
    limits: FrameLimits = SERVER_LIMITS,
    *,
    count_max: int | None = None,
) -> Split:
    """Whole frames at the start of `buffer`, all or the first `count_max`; bodies are copies."""
    view = memoryview(buffer)
    size = len(view)
    commands: list[Command] = []
    start = 0
    needed = 0
    try:
        while (rest := size - start) >= _LENGTH.size and len(commands) != count_max:
            needed = frame_size(view[start : start + PREFIX_SIZE], limits)
            if rest < needed:
                break
            frame = view[start : start + needed]
            (word,) = _LENGTH.unpack_from(frame, _LENGTH.size)
            body_at = PREFIX_SIZE + (word & _HEADER_LENGTH_MASK)
            commands.append(
                decode_command(word >> 24, frame[PREFIX_SIZE:body_at], frame[body_at:], limits)
            )
            start += needed
            needed = 0
    except ProtocolViolation as violation:
        return Split(commands, start, 0, str(violation))
    return Split(commands, start, needed, None)


def frame_size(prefix: bytes | memoryview, limits: FrameLimits) -> int:
    """Size of the frame that begins with `prefix` (4 to 8 bytes of it), all lengths judged.

    Raises ProtocolViolation.
    """
    length: int = _LENGTH.unpack_from(prefix)[0]
    if length < _LENGTH.size:
        raise ProtocolViolation(f"frame length {length} is below {_LENGTH.size}")
    if length + _LENGTH.size > limits.frame_size_max:
        raise ProtocolViolation(
            f"frame length {length} is over the limit of {limits.frame_size_max - _LENGTH.size}"
        )
    if len(prefix) >= PREFIX_SIZE:
        (word,) = _LENGTH.unpack_from(prefix, _LENGTH.size)
        header_size = word & _HEADER_LENGTH_MASK
        if not 0 <= word >> 24 <= SerializeType.ROCKETMQ:
            raise ProtocolViolation(f"serialize type {word >> 24} is unknown")
        if header_size > length - _LENGTH.size:
            raise ProtocolViolation(
                f"header length {header_size} does not fit a frame of length {length}"
            )
        if header_size > limits.header_size_max:
            raise ProtocolViolation(
                f"header length {header_size} is over the limit of {limits.header_size_max}"
            )
    return length + _LENGTH.size


def decode_command(
    serialize_type: int,
    header: bytes | memoryview,
    body: bytes | memoryview,
    limits: FrameLimits = SERVER_LIMITS,
) -> Command:
    """One frame's content. Raises ProtocolViolation if the header cannot be read."""
    if serialize_type == SerializeType.JSON:
        command = _decode_json(header)
    else:
        command = _decode_binary(bytes(header))
    if len(command.ext) > limits.ext_fields_max:
        raise ProtocolViolation(
            f"{len(command.ext)} header fields are over the limit of {limits.ext_fields_max}"
        )
    command.body = bytes(body)
    return command


class _JsonHeader(msgspec.Struct, forbid_unknown_fields=True, gc=False, omit_defaults=True):
    """The header's members in the order Apache writes them."""

    code: int = 0
    extFields: dict[str, str] | None = None  # noqa: N815
    flag: int = 0
    language: str = "JAVA"
    opaque: int = 0
    remark: str | None = None
    serializeTypeCurrentRPC: str | None = "JSON"  # noqa: N815
    version: int = 0


_json_header_decoder: Final = msgspec.json.Decoder(_JsonHeader)
_LANGUAGES: Final = {language.name: language for language in LanguageCode}
_LANGUAGE_NUMBERS: Final = {language.value: language for language in LanguageCode}


def _decode_json(header: bytes | memoryview) -> Command:
    try:
        plain = _json_header_decoder.decode(header)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _decode_unusual_json(header)
    for name in ("code", "version", "opaque", "flag"):
        _check_i32(name, getattr(plain, name))
    return Command(
        plain.code,
        plain.opaque,
        plain.flag,
        _LANGUAGES.get(plain.language, LanguageCode.OTHER),
        plain.version,
        plain.remark,
        plain.extFields or {},
    )


def _decode_unusual_json(header: bytes | memoryview) -> Command:
    """Headers in other SDKs' hand: numbers as field values, unknown members, dialect."""
    try:
        tree = dialect.read(header, depth_max=HEADER_DEPTH_MAX)
    except dialect.DialectError as error:
        raise ProtocolViolation(f"JSON header unreadable: {error}") from error
    if not isinstance(tree, dict):
        raise ProtocolViolation("JSON header is not an object")
    ext = tree.get("extFields", {})
    if not isinstance(ext, dict):
        raise ProtocolViolation("header member extFields is not an object")
    remark = tree.get("remark")
    return Command(
        _integer("code", tree),
        _integer("opaque", tree),
        _integer("flag", tree),
        _language(tree.get("language", "JAVA")),
        _integer("version", tree),
        None if remark is None else _text("remark", remark),
        {name: _text(name, value) for name, value in ext.items()},
    )


def _integer(name: str, tree: dict[str, object]) -> int:
    value = tree.get(name, 0)
    if isinstance(value, str) and _INTEGER_TEXT.fullmatch(value):
        value = int(value)
    if isinstance(value, float) and abs(value) <= _I32_MAX:
        value = int(value)
    if not isinstance(value, int):
        raise ProtocolViolation(f"header member {name} is no number")
    _check_i32(name, value)
    return int(value)


_INTEGER_TEXT: Final = re.compile(r"[+-]?[0-9]{1,20}")


def _check_i32(name: str, value: int) -> None:
    if not -_I32_MAX - 1 <= value <= _I32_MAX:
        raise ProtocolViolation(f"header member {name} = {value} does not fit 32 bits")


def _language(value: object) -> LanguageCode:
    if isinstance(value, str):
        return _LANGUAGES.get(value, LanguageCode.OTHER)
    if isinstance(value, int):
        return _LANGUAGE_NUMBERS.get(value, LanguageCode.OTHER)
    raise ProtocolViolation("header member language is no name")


def _text(name: str, value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return str(value)
    raise ProtocolViolation(f"header field {name[:64]!r} is not text")


def _decode_binary(header: bytes) -> Command:
    size = len(header)
    if size < _BINARY_HEADER.size + _LENGTH.size:
        raise ProtocolViolation(f"binary header of {size} bytes is cut short")
    code, language, version, opaque, flag, remark_size = _BINARY_HEADER.unpack_from(header)
    at = _BINARY_HEADER.size
    if not 0 <= remark_size <= size - at - _LENGTH.size:
        raise ProtocolViolation(f"remark length {remark_size} does not fit a header of {size}")
    remark = header[at : at + remark_size].decode("utf-8", "replace") or None
    at += remark_size
    (ext_size,) = _LENGTH.unpack_from(header, at)
    at += _LENGTH.size
    if ext_size != size - at:
        raise ProtocolViolation(f"extFields length {ext_size} where {size - at} bytes follow")
    return Command(
        code,
        opaque,
        flag,
        _LANGUAGE_NUMBERS.get(language, LanguageCode.OTHER),
        version,
        remark,
        _decode_binary_ext(header, at),
        serialize_type=SerializeType.ROCKETMQ,
    )


def _decode_binary_ext(header: bytes, at: int) -> dict[str, str]:
    """Apache reads empty text as null, so an empty name or value means that the field is absent."""
    size = len(header)
    ext: dict[str, str] = {}
    while at < size:
        name, at = _sized_text(header, at, _SHORT)
        value, at = _sized_text(header, at, _LENGTH)
        if value and name:
            ext[name] = value
        else:
            ext.pop(name, None)
    return ext


def _sized_text(header: bytes, at: int, length: struct.Struct) -> tuple[str, int]:
    start = at + length.size
    if start > len(header):
        raise ProtocolViolation("extFields are cut short")
    (text_size,) = length.unpack_from(header, at)
    end = start + text_size
    if not start <= end <= len(header):
        raise ProtocolViolation(
            f"field length {text_size} where {len(header) - start} bytes follow"
        )
    return header[start:end].decode("utf-8", "replace"), end


# ── encoding ─────────────────────────────────────────────────────────────────────────────────────


def encode(command: Command) -> bytes:
    """The whole frame."""
    return encode_head(command) + command.body


def encode_head(command: Command) -> bytes:
    """Prefix and header; `command.body` follows on the wire.

    Raises ValueError for what the chosen form cannot carry.
    """
    if command.serialize_type == SerializeType.JSON:
        header = _encode_json(command)
    else:
        header = _encode_binary(command)
    header_size = len(header)
    if header_size > _HEADER_LENGTH_MASK:
        raise ValueError(f"header of {header_size} bytes: a frame carries {_HEADER_LENGTH_MASK}")
    word = command.serialize_type << 24 | header_size
    return _PREFIX.pack(_LENGTH.size + header_size + len(command.body), word) + header


_encode_ext: Final = msgspec.json.Encoder().encode
_encode_text: Final = _encode_ext


def _encode_json(command: Command) -> bytes:
    """Members in alphabetical order, as fastjson writes them; what is null is left out."""
    ext = b'"extFields":%b,' % _encode_ext(command.ext) if command.ext else b""
    remark = b"" if command.remark is None else b'"remark":%b,' % _encode_text(command.remark)
    return (
        b'{"code":%d,%b"flag":%d,"language":"%b","opaque":%d,%b"serializeTypeCurrentRPC":"JSON","version":%d}'
        % (
            command.code,
            ext,
            command.flag,
            _LANGUAGE_NAMES[command.language],
            command.opaque,
            remark,
            command.version,
        )
    )


_LANGUAGE_NAMES: Final = {language: language.name.encode() for language in LanguageCode}


def _encode_binary(command: Command) -> bytes:
    if not -_I16_MAX - 1 <= command.code <= _I16_MAX:
        raise ValueError(
            f"code {command.code}: a ROCKETMQ header carries {-_I16_MAX - 1}..{_I16_MAX}, use JSON"
        )
    remark = (command.remark or "").encode()
    parts = [b""]
    ext_size = 0
    for name, value in command.ext.items():
        name_bytes, value_bytes = name.encode(), value.encode()
        if len(name_bytes) > _I16_MAX:
            raise ValueError(f"header field name of {len(name_bytes)} bytes: at most {_I16_MAX}")
        parts += (_SHORT.pack(len(name_bytes)), name_bytes)
        parts += (_LENGTH.pack(len(value_bytes)), value_bytes)
        ext_size += 6 + len(name_bytes) + len(value_bytes)
    parts[0] = (
        _BINARY_HEADER.pack(
            command.code,
            command.language,
            command.version,
            command.opaque,
            command.flag,
            len(remark),
        )
        + remark
        + _LENGTH.pack(ext_size)
    )
    return b"".join(parts)


__all__ = [
    "CLIENT_LIMITS",
    "EXT_FIELDS_MAX",
    "FLAG_ONEWAY",
    "FLAG_RESPONSE",
    "FRAME_SIZE_MAX",
    "HEADER_DEPTH_MAX",
    "HEADER_SIZE_MAX",
    "PREFIX_SIZE",
    "RESPONSE_HEADER_SIZE_MAX",
    "SERVER_LIMITS",
    "Command",
    "FrameLimits",
    "SerializeType",
    "Split",
    "decode_command",
    "encode",
    "encode_head",
    "frame_size",
    "split",
]
