"""Compressed bodies: all three kinds, and what is none of them."""

from __future__ import annotations

import sys
import zlib

import pytest

from pyromq.errors import MessageIllegal
from pyromq.wire.compress import CompressionMissing, CompressionType, compress, decompress

BODY = b"the same again and again " * 400
KINDS = list(CompressionType)


@pytest.mark.parametrize("kind", KINDS)
def test_a_body_comes_back(kind: CompressionType) -> None:
    packed = compress(BODY, kind)
    assert len(packed) < len(BODY) / 10
    assert decompress(packed, 1 | kind) == BODY
    assert decompress(packed, 1 | kind, len(BODY)) == BODY


def test_without_a_kind_it_is_zlib_and_without_the_bit_it_is_plain() -> None:
    assert decompress(zlib.compress(BODY), 1) == BODY
    assert decompress(BODY, 0x300) == BODY


@pytest.mark.parametrize("kind", KINDS)
def test_a_body_that_becomes_too_long_is_refused(kind: CompressionType) -> None:
    with pytest.raises(MessageIllegal, match=f"more than {len(BODY) - 1} bytes"):
        decompress(compress(BODY, kind), 1 | kind, len(BODY) - 1)


@pytest.mark.parametrize("kind", KINDS)
def test_garbage_and_cut_streams_are_refused(kind: CompressionType) -> None:
    with pytest.raises(MessageIllegal):
        decompress(b"no such stream at all", 1 | kind)
    with pytest.raises(MessageIllegal):
        decompress(compress(BODY, kind)[:-10], 1 | kind)


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(MessageIllegal, match="type 7"):
        decompress(BODY, 0x701)


@pytest.mark.parametrize(
    ("kind", "module"), [(CompressionType.LZ4, "lz4.frame"), (CompressionType.ZSTD, "zstandard")]
)
def test_a_missing_package_is_named_with_the_way_to_get_it(
    kind: CompressionType, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(CompressionMissing, match=r"pip install pyromq\[compression\]"):
        decompress(b"x", 1 | kind)
