"""From text fields to a typed header and back.

Numbers and booleans are text on the wire. They are read as Java reads them: `Integer.parseInt`
takes a sign and leading zeros, `Boolean.parseBoolean` takes everything but `true` for false.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import Enum
from operator import attrgetter
from typing import Annotated, Any, Final, NamedTuple, TypeVar, get_type_hints

import msgspec

from pyromq.errors import RequestFailed

I32 = Annotated[int, msgspec.Meta(ge=-(1 << 31), le=(1 << 31) - 1)]
I64 = Annotated[int, msgspec.Meta(ge=-(1 << 63), le=(1 << 63) - 1)]

_VALUE_SHOWN_MAX: Final = 64
"""Characters of a refused value that go into the remark."""

_JAVA_INTEGER: Final = re.compile(r"[+-]?[0-9]{1,40}")
_WRONG_FIELD: Final = re.compile(r"^(.*?) - at `\$\.(.*)`$")
_MISSING_FIELD: Final = re.compile(r"missing required field `(.*)`")

H = TypeVar("H", bound=msgspec.Struct)


class _Plan(NamedTuple):
    """What decoding and encoding of one header type must know."""

    names: tuple[str, ...]
    read_all: Callable[[object], Any]
    booleans: tuple[str, ...]
    integers: frozenset[str]


_PLANS: dict[type[msgspec.Struct], _Plan] = {}


def _plan(header_type: type[msgspec.Struct]) -> _Plan:
    plan = _PLANS.get(header_type)
    if plan is None:
        hints = get_type_hints(header_type)
        attributes = header_type.__struct_fields__
        names = header_type.__struct_encode_fields__
        # attrgetter of one name gives a bare value, of several a tuple; two make it a tuple always.
        padded = attributes if len(attributes) > 1 else attributes * 2
        pairs = list(zip(names, attributes, strict=True))
        plan = _PLANS[header_type] = _Plan(
            names,
            attrgetter(*padded) if padded else lambda _: (),
            tuple(name for name, attribute in pairs if hints[attribute] in (bool, bool | None)),
            frozenset(name for name, attribute in pairs if hints[attribute] in (int, int | None)),
        )
    return plan


def decode_header(header_type: type[H], ext: dict[str, str]) -> H:
    """The typed header. Raises RequestFailed that names header, field and value.

    A little more lenient than Java: `5.0` and `1e3` are taken as integers.
    """
    for name in _plan(header_type).booleans:
        text = ext.get(name)
        if text is not None and text != "true" and text != "false":
            ext = {**ext, name: "true" if text.lower() == "true" else "false"}
    try:
        return msgspec.convert(ext, header_type, strict=False)
    except msgspec.ValidationError as error:
        plain = _with_plain_integers(header_type, ext)
        if plain != ext:
            return decode_header(header_type, plain)
        raise RequestFailed(_refusal(header_type, ext, str(error))) from error


def _with_plain_integers(header_type: type[msgspec.Struct], ext: dict[str, str]) -> dict[str, str]:
    """`+5` and `005` as `5`: legal in Java, refused by msgspec."""
    return {
        name: str(int(text))
        if name in _plan(header_type).integers and _JAVA_INTEGER.fullmatch(text)
        else text
        for name, text in ext.items()
    }


def _refusal(header_type: type[msgspec.Struct], ext: dict[str, str], reason: str) -> str:
    header = header_type.__name__
    if match := _MISSING_FIELD.search(reason):
        return f"{header}: the custom field <{match.group(1)}> is null"
    if match := _WRONG_FIELD.match(reason):
        name = match.group(2)
        value = ext.get(name, "")[:_VALUE_SHOWN_MAX]
        return f"{header}: the custom field <{name}> has the value {value!r}: {match.group(1)}"
    return f"{header}: {reason}"


def encode_ext(header: msgspec.Struct) -> dict[str, str]:
    """The header's fields as text; what is None is left out."""
    plan = _plan(type(header))
    return {
        name: value if value.__class__ is str else _text(value)
        for name, value in zip(plan.names, plan.read_all(header), strict=False)
        if value is not None
    }


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(int(value))
    if isinstance(value, Enum):
        return value.name
    raise TypeError(f"no header field holds a {type(value).__name__}")


__all__ = ["I32", "I64", "decode_header", "encode_ext"]
