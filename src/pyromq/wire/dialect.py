"""RocketMQ's JSON: fastjson's dialect, read tolerantly and written exactly.

Apache's bodies and config files are mostly standard JSON, except that integer keys stand unquoted
(`{0:"10.0.0.1:10911"}`) and that objects serve as keys (`{{"brokerName":"a",…}:5}`). No library
reads that. So there are three ways, each tried when the one before refuses: msgspec; msgspec after
integer keys were quoted; and a tolerant reader in Python, which is slow and bounded accordingly.

`read` turns any accepted text into the tree a standard parser would give, so that one set of types
serves both: keys are always strings (`0` becomes `"0"`, an object key its own JSON text), members
that are null are left out, as the writer leaves them out. `write` gives members in alphabetical
order, without nulls. Behaviour follows com.alibaba.fastjson2 2.0.59, which Apache 5.5.0 uses:
single quotes, trailing commas, raw control characters, `+5` and `05` are accepted; bare words as
keys and text behind the value are not; a lone surrogate becomes `?`, as Java's UTF-8 encoder does.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from json.encoder import encode_basestring_ascii
from typing import Final, TypeVar

import msgspec

from pyromq.units import KIB

DEPTH_MAX: Final = 16
"""Nesting no RocketMQ body comes near; deeper text is an attack on the reader's stack."""

TOLERANT_SIZE_MAX: Final = 256 * KIB
"""Text of a stranger that is read as a tree: ≈ 0.25 s of work, 5 MiB of memory at most."""
_QUOTING_FACTOR: Final = 16
"""Quoting integer keys and typed decoding are that much cheaper than reading a tree."""

_NUMBER_LENGTH_MAX: Final = 4300
"""Characters of one number; Python's own limit for digits, as conversion is quadratic."""

_SPACE: Final = re.compile(r"[ \t\n\r\f\v\ufeff]*")
_PLAIN_STRING: Final = re.compile(r'"([^"\\]*)"')
_STRING_PART: Final = {'"': re.compile(r'[^"\\]*'), "'": re.compile(r"[^'\\]*")}
_NUMBER: Final = re.compile(r"[+-]?\d+(\.\d*)?([eE][+-]?\d+)?", re.ASCII)
_BARE_KEY: Final = re.compile(r"[+-]?\d+", re.ASCII)
_ESCAPES: Final = {
    '"': '"', "'": "'", "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r",
    "t": "\t", "v": "\v", "0": "\0",
}  # fmt: skip
_HEX4: Final = re.compile(r"[0-9a-fA-F]{4}")
_LONE_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_WORDS: Final[dict[str, object]] = {
    "true": True, "false": False, "null": None, "NaN": float("nan"),
}  # fmt: skip
_WORD: Final = re.compile(r"true|false|null|NaN")

T = TypeVar("T")
Tree = object
"""dict[str, Tree] | list[Tree] | str | int | float | bool | None"""


class DialectError(ValueError):
    """Text that is not even fastjson's JSON. `position` counts characters from 0."""

    def __init__(self, reason: str, position: int) -> None:
        super().__init__(f"{reason} at position {position}")
        self.position = position


class _Reader:
    """One pass over one text; recursion is bounded by `depth_max`."""

    __slots__ = ("depth_max", "position", "text")

    def __init__(self, text: str, depth_max: int) -> None:
        self.text = text
        self.depth_max = depth_max
        self.position = 0

    def document(self) -> Tree:
        value = self._value(0)
        if self._peek():
            raise DialectError("text goes on behind the value", self.position)
        return value

    def _peek(self) -> str:
        """The next character that is not white space, or "" at the end."""
        match = _SPACE.match(self.text, self.position)
        assert match is not None
        self.position = match.end()
        return self.text[self.position : self.position + 1]

    def _value(self, depth: int) -> Tree:
        char = self._peek()
        if char in ('"', "'"):
            return self._string()
        if char == "{":
            return self._object(depth + 1)
        if char == "[":
            return self._array(depth + 1)
        if match := _WORD.match(self.text, self.position):
            self.position = match.end()
            return _WORDS[match.group()]
        return self._number()

    def _enter(self, depth: int) -> None:
        if depth > self.depth_max:
            raise DialectError(f"nested deeper than {self.depth_max}", self.position)
        self.position += 1

    def _array(self, depth: int) -> list[Tree]:
        self._enter(depth)
        items: list[Tree] = []
        while self._peek() != "]":
            items.append(self._value(depth))
            self._separator("]")
        self.position += 1
        return items

    def _object(self, depth: int) -> dict[str, Tree]:
        self._enter(depth)
        members: dict[str, Tree] = {}
        while (char := self._peek()) != "}":
            key = self._key(char, depth)
            if self._peek() != ":":
                raise DialectError("expected ':'", self.position)
            self.position += 1
            value = self._value(depth)
            if value is None:
                members.pop(key, None)
            else:
                members[key] = value
            self._separator("}")
        self.position += 1
        return members

    def _separator(self, closing: str) -> None:
        char = self._peek()
        if char == ",":
            self.position += 1
        elif char != closing:
            raise DialectError(f"expected ',' or '{closing}'", self.position)

    def _key(self, char: str, depth: int) -> str:
        if char in ('"', "'"):
            return self._string()
        if char == "{":
            start = self.position
            self._object(depth + 1)
            return self.text[start : self.position]
        match = _BARE_KEY.match(self.text, self.position)
        if match is None:
            raise DialectError("expected a key", self.position)
        self.position = match.end()
        return match.group()

    def _number(self) -> int | float:
        match = _NUMBER.match(self.text, self.position)
        if match is None:
            raise DialectError("expected a value", self.position)
        digits = match.group()
        if len(digits) > _NUMBER_LENGTH_MAX:
            raise DialectError(f"number longer than {_NUMBER_LENGTH_MAX}", self.position)
        if match.group(1) is None and match.group(2) is None:
            self.position = match.end()
            return int(digits)
        number = float(digits)
        if math.isinf(number):
            raise DialectError("number beyond any double", self.position)
        self.position = match.end()
        return number

    def _string(self) -> str:
        if match := _PLAIN_STRING.match(self.text, self.position):
            self.position = match.end()
            return match.group(1)
        quote = self.text[self.position]
        part = _STRING_PART[quote]
        start = self.position
        self.position += 1
        pieces: list[str] = []
        has_surrogate = False
        while True:
            match = part.match(self.text, self.position)
            assert match is not None
            pieces.append(match.group())
            self.position = match.end()
            char = self.text[self.position : self.position + 1]
            if char == quote:
                self.position += 1
                break
            if not char:
                raise DialectError("string without end", start)
            piece = self._escape()
            has_surrogate = has_surrogate or "\ud800" <= piece <= "\udfff"
            pieces.append(piece)
        text = "".join(pieces)
        return _join_surrogates(text) if has_surrogate else text

    def _escape(self) -> str:
        letter = self.text[self.position + 1 : self.position + 2]
        if letter == "u":
            match = _HEX4.match(self.text, self.position + 2)
            if match is None:
                raise DialectError("expected four hex digits", self.position)
            self.position = match.end()
            return chr(int(match.group(), 16))
        plain = _ESCAPES.get(letter)
        if plain is None:
            raise DialectError("unknown escape", self.position)
        self.position += 2
        return plain


def _join_surrogates(text: str) -> str:
    """Pairs become their character; what stays single cannot be encoded and becomes `?`."""
    joined = text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
    return _LONE_SURROGATE.sub("?", joined)


# Possessive, and a string may lack its end: so one pass, whatever the text.
_STRING_OR_INTEGER_KEY: Final = re.compile(
    rb'"(?:[^"\\]++|\\.)*+"?|([{,]\s*+)(-?[0-9]++)(?=\s*+:)', re.DOTALL
)


def _quoted(match: re.Match[bytes]) -> bytes:
    return match[0] if match[2] is None else match[1] + b'"' + match[2] + b'"'


def _with_quoted_keys(data: bytes | bytearray | memoryview) -> bytes:
    """Integer keys in quotes; strings are passed over, all else is left for others to judge."""
    return _STRING_OR_INTEGER_KEY.sub(_quoted, bytes(data))


def _without_nulls(tree: Tree, depth_max: int) -> Tree:
    """A standard tree as the tolerant reader would give it. Raises DialectError if too deep."""
    if isinstance(tree, dict):
        _check_depth(depth_max)
        return {
            key: _without_nulls(value, depth_max - 1)
            for key, value in tree.items()
            if value is not None
        }
    if isinstance(tree, list):
        _check_depth(depth_max)
        return [_without_nulls(item, depth_max - 1) for item in tree]
    return tree


def _check_depth(left: int) -> None:
    if left <= 0:
        raise DialectError("nested too deep", 0)


def read(
    data: bytes | bytearray | memoryview,
    *,
    depth_max: int = DEPTH_MAX,
    size_max: int = TOLERANT_SIZE_MAX,
) -> Tree:
    """The tree of one JSON text, standard or not. Raises DialectError.

    A tree can take twenty times the memory of its text, and the tolerant reader's time: `size_max`
    is for texts of strangers, who trusts the writer gives more.
    """
    if len(data) > size_max:
        raise DialectError(f"{len(data)} bytes are over the limit of {size_max}", size_max)
    for way in (bytes, _with_quoted_keys):
        try:
            return _without_nulls(msgspec.json.decode(way(data)), depth_max)
        except _REFUSED:
            continue
    return _read_tolerantly(data, depth_max)


_REFUSED: Final = (msgspec.DecodeError, DialectError, UnicodeDecodeError, RecursionError)


def _read_tolerantly(data: bytes | bytearray | memoryview, depth_max: int) -> Tree:
    try:
        text = str(data, "utf-8")
    except UnicodeDecodeError as error:
        raise DialectError("invalid UTF-8", error.start) from error
    return _Reader(text, depth_max).document()


def decode(
    data: bytes | bytearray | memoryview,
    type_: type[T],
    *,
    depth_max: int = DEPTH_MAX,
    size_max: int = TOLERANT_SIZE_MAX,
) -> T:
    """A typed value from JSON of any kind; for `size_max` see `read`.

    Standard JSON is taken at any length, with bare integer keys up to 16 × `size_max`.
    Raises DialectError for text that cannot be read, msgspec.ValidationError for wrong types.
    """
    try:
        return msgspec.json.decode(data, type=type_)
    except _REFUSED:
        if size_max < len(data) <= _QUOTING_FACTOR * size_max:
            try:
                return msgspec.json.decode(_with_quoted_keys(data), type=type_)
            except _REFUSED as error:
                reason = f"{len(data)} bytes, and not plain: {error}"
                raise DialectError(reason, size_max) from error
        tree = read(data, depth_max=depth_max, size_max=size_max)
    return msgspec.convert(tree, type_, strict=False, str_keys=True)


# ── writing ──────────────────────────────────────────────────────────────────────────────────────

_FIELDS: dict[type, tuple[tuple[str, str], ...]] = {}
"""Struct type → (wire name, attribute) in alphabetical order of the wire names."""


def _fields(type_: type[msgspec.Struct]) -> tuple[tuple[str, str], ...]:
    fields = _FIELDS.get(type_)
    if fields is None:
        names = zip(type_.__struct_encode_fields__, type_.__struct_fields__, strict=True)
        fields = _FIELDS[type_] = tuple(sorted(names))
    return fields


class _Writer:
    __slots__ = ("newline", "parts", "standard")

    def __init__(self, *, standard: bool, pretty: bool) -> None:
        self.standard = standard
        self.newline = "\n" if pretty else ""
        self.parts: list[str] = []

    def value(self, value: object, indent: str) -> None:
        if isinstance(value, str):
            self.parts.append(self._string(value))
        elif value is None or isinstance(value, bool):
            self.parts.append({None: "null", True: "true", False: "false"}[value])
        elif isinstance(value, int):
            self.parts.append(str(int(value)))
        elif isinstance(value, float):
            self.parts.append(repr(value) if math.isfinite(value) else "null")
        elif isinstance(value, msgspec.Struct):
            members = [(name, getattr(value, key)) for name, key in _fields(type(value))]
            self._members([(self._string(n), v) for n, v in members if v is not None], indent)
        elif isinstance(value, Mapping):
            self._mapping(value, indent)
        elif isinstance(value, (list, tuple, set, frozenset)):
            self._array(list(value), indent)
        else:
            raise TypeError(f"no JSON form for {type(value).__name__}")

    def _mapping(self, mapping: Mapping[object, object], indent: str) -> None:
        items = [(key, value) for key, value in mapping.items() if value is not None]
        if self.standard:
            items.sort(key=lambda item: _key_text(item[0]))
        self._members([(self._key(key), value) for key, value in items], indent)

    def _key(self, key: object) -> str:
        if isinstance(key, str):
            return self._string(key)
        if isinstance(key, int):
            return f'"{int(key)}"' if self.standard else str(int(key))
        text = encode(key).decode()
        return self._string(text) if self.standard else text

    def _members(self, members: list[tuple[str, object]], indent: str) -> None:
        if not members:
            self.parts.append("{}")
            return
        inner = indent + "\t" if self.newline else ""
        between = "{" + self.newline + inner
        for key, value in members:
            self.parts.append(between + key + ":")
            self.value(value, inner)
            between = "," + self.newline + inner
        self.parts.append(self.newline + indent + "}")

    def _array(self, items: list[object], indent: str) -> None:
        if not items:
            self.parts.append("[]")
            return
        inner = indent + "\t" if self.newline else ""
        between = "[" + self.newline + inner
        for item in items:
            self.parts.append(between)
            self.value(item, inner)
            between = "," + self.newline + inner
        self.parts.append(self.newline + indent + "]")

    def _string(self, text: str) -> str:
        if self.standard:
            return encode_basestring_ascii(text)
        return msgspec.json.encode(text).decode()


def _key_text(key: object) -> str:
    return key if isinstance(key, str) else str(key)


def encode(value: object, *, standard: bool = False, pretty: bool = False) -> bytes:
    """JSON as Apache writes it.

    `standard` gives what any parser reads: keys quoted, maps sorted, non-ASCII escaped (route data
    for clients from 4.9.4 on). `pretty` indents with tabs, as Apache's config files are.
    """
    writer = _Writer(standard=standard, pretty=pretty)
    writer.value(value, "")
    return "".join(writer.parts).encode()


__all__ = ["DEPTH_MAX", "TOLERANT_SIZE_MAX", "DialectError", "decode", "encode", "read"]
