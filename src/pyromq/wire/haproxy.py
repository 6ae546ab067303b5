"""The PROXY protocol: who the client really is, told by a load balancer before all else.

Versions 1 (one line of text) and 2 (binary), after HAProxy's "The PROXY protocol" of 2020,
sections 2.1 and 2.2. As Apache's NettyRemotingServer does, the source address replaces the
connection's own; additional values of version 2 are skipped.
"""

from __future__ import annotations

import ipaddress
import struct
from typing import Final, NamedTuple

from pyromq.errors import ProtocolViolation

V1_SIZE_MAX: Final = 107
"""Longest line the protocol allows, its CR LF included."""
V2_SIZE_MAX: Final = 1024
"""The longest address form takes 232 bytes; the rest is room for additional values."""

_V1_START: Final = b"PROXY "
_V1_END: Final = b"\r\n"
_V2_START: Final = b"\r\n\r\n\x00\r\nQUIT\n"
_V2_HEAD: Final = struct.Struct(">12sBBH")
_V2_LOCAL: Final = 0x20
_V2_PROXY: Final = 0x21
_V2_ADDRESS_SIZES: Final = {0x1: 4, 0x2: 16}
_PORTS: Final = struct.Struct(">HH")


class ProxyHeader(NamedTuple):
    """What the balancer told."""

    size: int
    """Bytes of the header; the protocol begins behind them."""
    source: tuple[str, int] | None
    """The client's address and port; None: the connection's own count (LOCAL, UNKNOWN)."""


def may_be_proxy_header(data: bytes | memoryview) -> bool:
    """Whether these first bytes begin a PROXY header; ask with at least one byte."""
    seen = bytes(data[: len(_V2_START)])
    return _V2_START.startswith(seen) or _V1_START.startswith(seen[: len(_V1_START)])


def parse_proxy_header(data: bytes | memoryview) -> ProxyHeader | None:
    """The header at the start of `data`, None if more bytes are needed.

    Raises ProtocolViolation for what cannot become one.
    """
    seen = bytes(data[:V2_SIZE_MAX])
    if not may_be_proxy_header(seen):
        raise ProtocolViolation("no PROXY header where one was announced")
    if seen[:1] == _V1_START[:1]:
        return _parse_v1(seen)
    return _parse_v2(seen)


def _parse_v1(seen: bytes) -> ProxyHeader | None:
    end = seen.find(_V1_END, 0, V1_SIZE_MAX)
    if end < 0:
        if len(seen) >= V1_SIZE_MAX:
            raise ProtocolViolation(f"PROXY line without end within {V1_SIZE_MAX} bytes")
        return None
    line = seen[:end]
    size = end + len(_V1_END)
    words = line.decode("latin-1").split(" ")
    if words[1] == "UNKNOWN":
        return ProxyHeader(size, None)
    if len(words) != 6 or words[1] not in ("TCP4", "TCP6"):
        raise ProtocolViolation(f"PROXY line {line!r} is not `PROXY TCP4|TCP6 src dst sport dport`")
    version = 4 if words[1] == "TCP4" else 6
    source = _ip(words[2], version, line)
    _ip(words[3], version, line)
    port = _port(words[4], line)
    _port(words[5], line)
    return ProxyHeader(size, (source, port))


def _ip(word: str, version: int, line: bytes) -> str:
    try:
        address = ipaddress.ip_address(word)
    except ValueError as error:
        raise ProtocolViolation(f"PROXY line {line!r} has a bad address") from error
    if address.version != version:
        raise ProtocolViolation(f"PROXY line {line!r} mixes address families")
    return str(address)


def _port(word: str, line: bytes) -> int:
    if not (word.isascii() and word.isdigit() and len(word) <= 5 and int(word) <= 0xFFFF):
        raise ProtocolViolation(f"PROXY line {line!r} has a bad port")
    return int(word)


def _parse_v2(seen: bytes) -> ProxyHeader | None:
    if len(seen) < _V2_HEAD.size:
        return None
    _, command, family, length = _V2_HEAD.unpack_from(seen)
    size = _V2_HEAD.size + length
    if size > V2_SIZE_MAX:
        raise ProtocolViolation(f"PROXY header of {size} bytes is over the limit of {V2_SIZE_MAX}")
    if command not in (_V2_LOCAL, _V2_PROXY):
        raise ProtocolViolation(f"PROXY version and command {command:#04x} are unknown")
    if len(seen) < size:
        return None
    address_size = _V2_ADDRESS_SIZES.get(family >> 4)
    if command == _V2_LOCAL or address_size is None:
        # UNSPEC and AF_UNIX: nothing a record could store as a host.
        return ProxyHeader(size, None)
    if length < 2 * address_size + _PORTS.size:
        raise ProtocolViolation(f"PROXY header of family {family:#04x} with {length} bytes only")
    at = _V2_HEAD.size
    source = str(ipaddress.ip_address(seen[at : at + address_size]))
    port, _ = _PORTS.unpack_from(seen, at + 2 * address_size)
    return ProxyHeader(size, (source, port))


__all__ = [
    "V1_SIZE_MAX",
    "V2_SIZE_MAX",
    "ProxyHeader",
    "may_be_proxy_header",
    "parse_proxy_header",
]
