"""Batch bodies, by the reference and its native twin."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest

from pyromq.errors import MessageIllegal
from pyromq.wire import batch
from pyromq.wire.batch import BatchItem, encode_batch
from pyromq.wire.remoting import native

decoders = pytest.mark.parametrize("decode", [batch.decode_batch, native.decode_batch])
Decode = Callable[..., list[BatchItem]]

VECTOR = bytes.fromhex(
    "0000002c00000000000000000000000000000002486900145741495401747275650254414753015461674102"
)
ITEM = BatchItem(0, b"Hi", b"WAIT\x01true\x02TAGS\x01TagA\x02")


@decoders
def test_the_reference_batch_is_read_and_written(decode: Decode) -> None:
    assert decode(VECTOR) == [ITEM]
    assert encode_batch([ITEM]) == VECTOR


@decoders
@pytest.mark.parametrize("wrap", [bytes, bytearray, memoryview])
def test_items_keep_their_order_and_own_their_bytes(
    decode: Decode, wrap: Callable[[bytearray], bytes]
) -> None:
    items = [BatchItem(number, b"b" * number, b"p" * (100 - number)) for number in range(100)]
    data = bytearray(encode_batch(items))
    found = decode(wrap(data))
    data[:] = bytes(len(data))
    assert found == items


@decoders
def test_size_magic_and_crc_are_not_looked_at_as_in_apache(decode: Decode) -> None:
    assert decode(struct.pack(">iii", -1, 7, 9) + VECTOR[12:]) == [ITEM]


@decoders
def test_a_batch_cut_anywhere_is_refused_whole(decode: Decode) -> None:
    data = VECTOR * 2
    for end in range(len(data)):
        if end != len(VECTOR):
            with pytest.raises(MessageIllegal):
                decode(data[:end])


@decoders
@pytest.mark.parametrize(
    ("place", "value", "text"),
    [
        (16, struct.pack(">i", -1), "batch message 1: body of -1 bytes"),
        (16, struct.pack(">i", 0x7FFFFFFF), "body of 2147483647 bytes where 24 follow"),
        (16, struct.pack(">i", 24), "body of 24 bytes where 24 follow"),
        (22, struct.pack(">h", -1), "batch message 1: properties of -1 bytes"),
        (22, struct.pack(">h", 21), "properties of 21 bytes where 20 follow"),
        (22, struct.pack(">h", 19), "batch message 2 is cut short"),
    ],
)
def test_lying_lengths_are_named(decode: Decode, place: int, value: bytes, text: str) -> None:
    second = VECTOR[:place] + value + VECTOR[place + len(value) :]
    with pytest.raises(MessageIllegal, match=text):
        decode(VECTOR + second)


@decoders
def test_limits_of_count_and_size(decode: Decode) -> None:
    small = encode_batch([BatchItem(0, b"", b"")])
    assert len(decode(small * 4096)) == 4096
    with pytest.raises(MessageIllegal, match="more than 4096 messages"):
        decode(small * 4097)
    with pytest.raises(MessageIllegal, match="batch of 88 bytes: at most 87"):
        decode(VECTOR * 2, size_max=87)
    with pytest.raises(MessageIllegal, match="batch without a message"):
        decode(b"")


def test_properties_over_the_limit_are_not_written() -> None:
    with pytest.raises(MessageIllegal, match="properties of 32768 bytes"):
        encode_batch([BatchItem(0, b"", bytes(32768))])
