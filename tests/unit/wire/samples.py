"""Frames and splitters that several wire tests share."""

from __future__ import annotations

import json
import struct
from typing import Any

import pytest

from pyromq.codes import LanguageCode
from pyromq.wire.remoting import frame, native
from pyromq.wire.remoting.frame import Command, SerializeType

SPLITTERS = [
    pytest.param(frame.split, id="reference"),
    pytest.param(native.split, id="native"),
]

SEND_EXT = {
    "a": "PG2", "b": "TopicTest", "c": "TBW102", "d": "4", "e": "0", "f": "0",
    "g": "1795222505090", "h": "0",
    "i": "a\x015\x02KEYS\x01OrderID188\x02"
    "UNIQ_KEY\x01FD000000000000000000000000000002573E30946E0967319E800000\x02"
    "WAIT\x01true\x02TAGS\x01TagA\x02",
    "j": "0", "k": "false", "m": "false", "n": "broker-a",
}  # fmt: skip

SEND_HEADER = (
    b'{"code":310,"extFields":{"a":"PG2","b":"TopicTest","c":"TBW102","d":"4","e":"0","f":"0",'
    b'"g":"1795222505090","h":"0","i":"a\\u00015\\u0002KEYS\\u0001OrderID188\\u0002UNIQ_KEY\\u0001'
    b"FD000000000000000000000000000002573E30946E0967319E800000\\u0002WAIT\\u0001true\\u0002TAGS"
    b'\\u0001TagA\\u0002","j":"0","k":"false","m":"false","n":"broker-a"},"flag":0,'
    b'"language":"JAVA","opaque":3,"serializeTypeCurrentRPC":"JSON","version":513}'
)
"""As the Java client 5.5.0 sent it to an Apache broker."""

SEND = Command.request(310, SEND_EXT, b"Hello MetaQ", opaque=3)

BINARY_FRAME = bytes.fromhex(
    "000000250100001f00220001f500000001000000000000000268690000000800016100000001627879"
)
"""Code 34, JAVA, version 501, opaque 1, remark "hi", {a: b}, body "xy", by Apache's own encoder."""

BINARY = Command(
    34,
    1,
    0,
    LanguageCode.JAVA,
    501,
    "hi",
    {"a": "b"},
    b"xy",
    SerializeType.ROCKETMQ,
)


def raw_frame(header: bytes | str, body: bytes = b"", serialize_type: int = 0) -> bytes:
    """A frame around any header."""
    if isinstance(header, str):
        header = header.encode()
    word = serialize_type << 24 | len(header)
    return struct.pack(">ii", 4 + len(header) + len(body), word) + header + body


def json_frame(**members: Any) -> bytes:
    """A frame around any JSON object."""
    return raw_frame(json.dumps(members))


def binary_header(
    ext: bytes = b"", *, code: int = 34, remark: bytes = b"", language: int = 0
) -> bytes:
    """A ROCKETMQ header with any fields part."""
    fixed = struct.pack(">hbhiii", code, language, 501, 1, 0, len(remark))
    return fixed + remark + struct.pack(">i", len(ext)) + ext


def ext_part(name: bytes, value: bytes) -> bytes:
    return struct.pack(">h", len(name)) + name + struct.pack(">i", len(value)) + value
