"""PROXY headers: who the client is, in text and binary."""

from __future__ import annotations

import ipaddress
import struct

import pytest

from pyromq.errors import ProtocolViolation
from pyromq.wire.haproxy import (
    V1_SIZE_MAX,
    V2_SIZE_MAX,
    ProxyHeader,
    may_be_proxy_header,
    parse_proxy_header,
)

V2_START = b"\r\n\r\n\x00\r\nQUIT\n"


def v2(family: int, addresses: bytes, *, command: int = 0x21, extra: bytes = b"") -> bytes:
    rest = addresses + extra
    return V2_START + struct.pack(">BBH", command, family, len(rest)) + rest


def addresses(source: str, target: str, port: int) -> bytes:
    packed = ipaddress.ip_address(source).packed + ipaddress.ip_address(target).packed
    return packed + struct.pack(">HH", port, 10911)


V2_IPV4 = v2(0x11, addresses("192.0.2.7", "10.0.0.1", 51234))
V2_IPV6 = v2(0x21, addresses("2001:db8::7", "::1", 51234), extra=b"\x04\x00\x03abc")


@pytest.mark.parametrize(
    ("header", "source"),
    [
        (b"PROXY TCP4 192.0.2.7 10.0.0.1 51234 10911\r\n", ("192.0.2.7", 51234)),
        (b"PROXY TCP6 2001:db8::7 ::1 51234 10911\r\n", ("2001:db8::7", 51234)),
        (b"PROXY UNKNOWN\r\n", None),
        (b"PROXY UNKNOWN ff::1 ff::2 1 2\r\n", None),
        (V2_IPV4, ("192.0.2.7", 51234)),
        (V2_IPV6, ("2001:db8::7", 51234)),
        (v2(0x12, addresses("192.0.2.7", "10.0.0.1", 5)), ("192.0.2.7", 5)),
        (v2(0x00, b""), None),
        (v2(0x31, bytes(216)), None),
        (v2(0x11, addresses("192.0.2.7", "10.0.0.1", 5), command=0x20), None),
    ],
)
def test_a_header_tells_the_source_and_where_the_protocol_begins(
    header: bytes, source: tuple[str, int] | None
) -> None:
    expected = ProxyHeader(len(header), source)
    assert parse_proxy_header(header) == expected
    assert parse_proxy_header(memoryview(header + b"\x00\x00\x00\x10")) == expected
    for end in range(1, len(header)):
        assert may_be_proxy_header(header[:end])
        assert parse_proxy_header(header[:end]) is None


@pytest.mark.parametrize(
    "data", [b"\x00\x00\x00\x10", b"\x16\x03\x01", b"PROXX", b"\r\n\r\r", b"GET /"]
)
def test_other_protocols_do_not_begin_like_it(data: bytes) -> None:
    assert not may_be_proxy_header(data)
    with pytest.raises(ProtocolViolation, match="no PROXY header"):
        parse_proxy_header(data)


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (b"PROXY TCP4 192.0.2.7 10.0.0.1 51234\r\n", "is not `PROXY"),
        (b"PROXY TCP5 192.0.2.7 10.0.0.1 51234 1\r\n", "is not `PROXY"),
        (b"PROXY  TCP4 192.0.2.7 10.0.0.1 51234 1\r\n", "is not `PROXY"),
        (b"PROXY TCP4 192.0.2.777 10.0.0.1 51234 1\r\n", "bad address"),
        (b"PROXY TCP4 2001:db8::7 10.0.0.1 51234 1\r\n", "mixes address families"),
        (b"PROXY TCP4 192.0.2.7 10.0.0.1 65536 1\r\n", "bad port"),
        (b"PROXY TCP4 192.0.2.7 10.0.0.1 -1 1\r\n", "bad port"),
        (b"PROXY TCP4 192.0.2.7 10.0.0.1 1 \xb2\r\n", "bad port"),
        (b"PROXY TCP4 " + b"1" * V1_SIZE_MAX, "without end within 107 bytes"),
    ],
)
def test_a_bad_line_is_refused(line: bytes, text: str) -> None:
    with pytest.raises(ProtocolViolation, match=text):
        parse_proxy_header(line)


@pytest.mark.parametrize(
    ("header", "text"),
    [
        (V2_START + struct.pack(">BBH", 0x21, 0x11, V2_SIZE_MAX), "over the limit of 1024"),
        (v2(0x11, bytes(12), command=0x11), "version and command 0x11 are unknown"),
        (v2(0x11, bytes(12), command=0x22), "version and command 0x22 are unknown"),
        (v2(0x11, bytes(11)), "of family 0x11 with 11 bytes only"),
        (v2(0x21, bytes(35)), "of family 0x21 with 35 bytes only"),
    ],
)
def test_a_bad_binary_header_is_refused(header: bytes, text: str) -> None:
    with pytest.raises(ProtocolViolation, match=text):
        parse_proxy_header(header)


def test_the_longest_header_is_accepted() -> None:
    packed = addresses("192.0.2.7", "10.0.0.1", 5)
    header = v2(0x11, packed, extra=bytes(V2_SIZE_MAX - 16 - len(packed)))
    assert parse_proxy_header(header) == ProxyHeader(V2_SIZE_MAX, ("192.0.2.7", 5))
