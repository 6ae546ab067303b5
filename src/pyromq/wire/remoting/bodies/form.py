"""What all JSON bodies share: decoding with one kind of error, numbers that fit Java's types."""

from __future__ import annotations

from typing import Final, TypeVar

import msgspec

from pyromq.errors import RequestFailed
from pyromq.units import MIB
from pyromq.wire import dialect
from pyromq.wire.remoting.frame import FRAME_SIZE_MAX

T = TypeVar("T")

REQUEST_SIZE_MAX: Final = 2 * MIB
"""JSON of one request: 8,000 subscriptions or 5,000 groups; decoding keeps the loop ≈ 0.2 s."""

_I32: Final = 1 << 31
_I64: Final = 1 << 63

_LONG_FIELDS: Final = frozenset(
    {
        "broker_id",
        "broker_offset",
        "commit_offset",
        "consume_failed_msgs",
        "consumer_offset",
        "counter",
        "end_offset",
        "epoch",
        "last_consume_timestamp",
        "last_pull_timestamp",
        "last_timestamp",
        "last_update_timestamp",
        "logic_offset",
        "max_offset",
        "max_queue_index",
        "min_offset",
        "min_queue_index",
        "physic_offset",
        "pull_offset",
        "spent_time_mills",
        "start_offset",
        "state_version",
        "sub_version",
        "sum",
        "tags_code",
        "time_of_end",
        "time_of_start",
        "timestamp",
        "total_diff",
        "total_inflight_diff",
        "which_broker_when_consume_slowly",
    }
)
"""Attributes that are `long` in Java; all other numbers of a Struct are `int`."""

_UNBOUNDED: Final = frozenset({str, bool, float, type(None)})
"""What most members are, and needs no look."""


def decode_body(name: str, body: bytes, type_: type[T], *, size_max: int = REQUEST_SIZE_MAX) -> T:
    """A typed value from the JSON body of a request. Raises RequestFailed."""
    if len(body) > size_max:
        raise RequestFailed(f"{name} body: {len(body)} bytes are over the limit of {size_max}")
    return _decode(name, body, type_, dialect.TOLERANT_SIZE_MAX)


def decode_answer(name: str, body: bytes, type_: type[T]) -> T:
    """The same for an answer, which only our own client reads: dialect as long as a frame."""
    return _decode(name, body, type_, FRAME_SIZE_MAX)


def _decode(name: str, body: bytes, type_: type[T], tolerant_size_max: int) -> T:
    try:
        value = dialect.decode(body, type_, size_max=tolerant_size_max)
        _check(value, _I64, 0)
    except (dialect.DialectError, msgspec.ValidationError) as error:
        raise RequestFailed(f"{name} body: {error}") from error
    return value


def _check(value: object, bound: int, depth: int) -> None:
    """Refuses numbers Apache could not hold and nesting that would break our own writer."""
    if depth > dialect.DEPTH_MAX:
        raise dialect.DialectError(f"nested deeper than {dialect.DEPTH_MAX}", 0)
    if isinstance(value, msgspec.Struct):
        for attribute in value.__struct_fields__:
            item = getattr(value, attribute)
            if item.__class__ not in _UNBOUNDED:
                _check(item, _I64 if attribute in _LONG_FIELDS else _I32, depth + 1)
    elif isinstance(value, dict):
        for key, item in value.items():
            if isinstance(key, int):
                _check(key, _I64, depth + 1)
            _check(item, _I64, depth + 1)
    elif isinstance(value, list):
        for item in value:
            if item.__class__ not in _UNBOUNDED:
                _check(item, bound, depth + 1)
    elif isinstance(value, int) and not -bound <= value < bound:
        width = 32 if bound == _I32 else 64
        raise dialect.DialectError(f"the number {str(value)[:24]} does not fit {width} bits", 0)


__all__ = ["REQUEST_SIZE_MAX", "decode_answer", "decode_body"]
