"""The fast twins of the wire layer, and the only place of it that knows the native module.

The native functions decide only what has the plain form, which is nearly all traffic. Everything
else, and every error with its text, comes from the reference in Python; so both give the same
results by construction where the form is odd, and by test where it is plain.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Final, cast

import msgspec

from pyromq import _native
from pyromq.codes import VERSION_5_5_0, LanguageCode
from pyromq.wire import batch, record
from pyromq.wire.batch import BATCH_COUNT_MAX, BATCH_SIZE_MAX, BatchItem
from pyromq.wire.record import Record
from pyromq.wire.remoting import fields, frame
from pyromq.wire.remoting.frame import SERVER_LIMITS, Command, FrameLimits, SerializeType, Split

NOT_PLAIN: Final = -1
"""Where a frame's size is expected: the native side leaves this frame to the reference."""

NativeLane = _native.ExpressLane
SocketReader = _native.SocketReader

SendAnswerWriter = Callable[[int, int, int, int, int, str], bytes]
"""Serialize type, number of the request, queue id, queue offset, log offset, UNIQ_KEY ("": none)
of a stored send → the answer's frame."""

Splitter = Callable[[bytes | bytearray | memoryview, FrameLimits], Split]


def _new_reader(send_type: type[msgspec.Struct] | None) -> _native.FrameReader:
    return _native.FrameReader(
        Command, list(LanguageCode), SerializeType.JSON, SerializeType.ROCKETMQ, send_type
    )


_reader: Final = _new_reader(None)
_writers: Final[dict[type[msgspec.Struct], _native.FieldWriter]] = {}


def split(
    buffer: bytes | bytearray | memoryview,
    limits: FrameLimits = SERVER_LIMITS,
    *,
    reader: _native.FrameReader = _reader,
) -> Split:
    """See `frame.split`."""
    found, start, needed = reader.split(buffer, 0, *limits)
    commands = cast("list[Command]", found)
    while needed == NOT_PLAIN:
        one, size, _, violation = frame.split(memoryview(buffer)[start:], limits, count_max=1)
        if violation is not None:
            return Split(commands, start, 0, violation)
        found, start, needed = reader.split(buffer, start + size, *limits)
        commands += one
        commands += cast("list[Command]", found)
    return Split(commands, start, needed, None)


def splitter_of_sends(send_type: type[msgspec.Struct]) -> Splitter:
    """As `split`, but sends of the plain form come as commands with `typed`, of that type.

    Its members are those of `api.SendRequest`, in their order.
    """
    return partial(split, reader=_new_reader(send_type))


def send_answers(id_prefix: str, marks: Mapping[str, str]) -> _native.SendAnswers:
    """Writes the answers to stored sends. `id_prefix`: the part of an offsetMsgId before the log
    offset; `marks`: what each answer tells of the broker."""
    return _native.SendAnswers(id_prefix, list(marks.items()), VERSION_5_5_0)


def express_lane(engine: object, begin_turn: Callable[[], int]) -> NativeLane:
    """The native part of an express lane that stores in `engine`, a `NativeEngine`.

    `begin_turn` is called when it takes the first send of a turn: has the turn ended soon, and
    answers the time in ms.
    """
    assert isinstance(engine, _native.LogEngine)
    return NativeLane(engine, _reader, begin_turn, *SERVER_LIMITS, VERSION_5_5_0)


def encode_head(command: Command) -> bytes:
    """See `frame.encode_head`."""
    head = _native.encode_head(command)
    return frame.encode_head(command) if head is None else head


def encode_ext(header: msgspec.Struct) -> dict[str, str]:
    """See `fields.encode_ext`."""
    header_type = type(header)
    writer = _writers.get(header_type)
    if writer is None:
        names = header_type.__struct_encode_fields__
        attributes = header_type.__struct_fields__
        pairs = list(zip(names, attributes, strict=True))
        writer = _writers[header_type] = _native.FieldWriter(pairs)
    ext = writer.write(header)
    return fields.encode_ext(header) if ext is None else ext


def decode_batch(
    data: bytes | bytearray | memoryview,
    *,
    size_max: int = BATCH_SIZE_MAX,
    count_max: int = BATCH_COUNT_MAX,
) -> list[BatchItem]:
    """See `batch.decode_batch`."""
    if len(data) <= size_max:
        items = _native.decode_batch(data, BatchItem, count_max)
        if items is not None:
            return cast("list[BatchItem]", items)
    return batch.decode_batch(data, size_max=size_max, count_max=count_max)


def decode_records(data: bytes | bytearray | memoryview) -> list[Record]:
    """See `record.decode_records`."""
    records = _native.decode_records(data, Record)
    return record.decode_records(data) if records is None else cast("list[Record]", records)


__all__ = [
    "NOT_PLAIN",
    "NativeLane",
    "SendAnswerWriter",
    "SocketReader",
    "decode_batch",
    "decode_records",
    "encode_ext",
    "encode_head",
    "express_lane",
    "send_answers",
    "split",
    "splitter_of_sends",
]
