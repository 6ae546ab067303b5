"""Property files as java.util.Properties.load reads them: broker.conf and namesrv.conf.

The bytes are Latin-1 with `\\uXXXX` for everything else, because Java reads them so: a path written
in another encoding must name the same directory here and there. Blanks behind a value belong to it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from pyromq.errors import ConfigInvalid
from pyromq.units import MIB

FILE_SIZE_MAX: Final = MIB

_BLANKS: Final = " \t\f"
_ESCAPES: Final = {"t": "\t", "n": "\n", "r": "\r", "f": "\f"}
_LINE_END: Final = re.compile("\r\n|\r|\n")
_ESCAPED: Final = {"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r", "\f": "\\f"}
_KEY_ESCAPED: Final = {**_ESCAPED, **{sign: "\\" + sign for sign in "=:# !"}}
_HEX4: Final = re.compile("[0-9a-fA-F]{4}")


class Entry(NamedTuple):
    """One key with its value and the line it begins in."""

    key: str
    value: str
    line: int


def parse_properties(data: bytes, file_name: str) -> list[Entry]:
    """The entries of a property file in their order; of equal keys the last one counts."""
    if len(data) > FILE_SIZE_MAX:
        raise ConfigInvalid(f"{file_name} has {len(data)} bytes; at most {FILE_SIZE_MAX} are read")
    entries = []
    for number, _, line in _logical_lines(data.decode("latin-1")):
        key, value = _split(line)
        where = f"{file_name}:{number}"
        entries.append(Entry(_unescape(key, where), _unescape(value, where), number))
    return entries


def with_values(data: bytes, values: Mapping[str, str], file_name: str) -> bytes:
    """The same file with these values: each in the line of its key, or at the end if it has none.

    Comments and all other lines stay as they are. Of a key that stands several times the last line
    is kept, as it is the one that counts. Raises ConfigInvalid for a file that cannot be read.
    """
    text = data.decode("latin-1")
    last = {entry.key: entry.line for entry in parse_properties(data, file_name)}
    lines = [*_natural_lines(text)]
    if lines and not lines[-1].endswith(("\n", "\r")):
        lines[-1] += "\n"
    for begin, end, line in list(_logical_lines(text)):
        key = _unescape(_split(line)[0], file_name)
        if key in values:
            lines[begin - 1 : end] = [""] * (end - begin + 1)
            if begin == last[key]:
                lines[begin - 1] = line_of(key, values[key])
    lines += [line_of(key, value) for key, value in values.items() if key not in last]
    return "".join(lines).encode("latin-1")


def line_of(key: str, value: str) -> str:
    """One line that `parse_properties` reads as this key and value."""
    return f"{_escape(key, _KEY_ESCAPED)}={_escape(value, _ESCAPED)}\n"


def _escape(text: str, escapes: Mapping[str, str]) -> str:
    joined = "".join(escapes.get(sign, sign) for sign in text)
    if joined.startswith(" "):
        joined = "\\" + joined
    units = joined.encode("utf-16-be", "surrogatepass")
    codes = [int.from_bytes(units[at : at + 2]) for at in range(0, len(units), 2)]
    return "".join(chr(code) if 0x20 <= code < 0x7F else f"\\u{code:04X}" for code in codes)


def _natural_lines(text: str) -> Iterator[str]:
    """Lines with what ends them; together they are the text."""
    begin = 0
    for match in _LINE_END.finditer(text):
        yield text[begin : match.end()]
        begin = match.end()
    if begin < len(text):
        yield text[begin:]


def _logical_lines(text: str) -> Iterator[tuple[int, int, str]]:
    """Lines with the numbers of their first and last natural line, joined where a backslash ends
    one, without comments and blanks."""
    joined = ""
    begun_at = number = 1
    for number, natural in enumerate(_LINE_END.split(text), start=1):
        line = natural.lstrip(_BLANKS)
        if not joined:
            if not line or line.startswith(("#", "!")):
                continue
            begun_at = number
        trailing = len(line) - len(line.rstrip("\\"))
        is_continued = trailing % 2 == 1
        joined += line[:-1] if is_continued else line
        if not is_continued:
            yield begun_at, number, joined
            joined = ""
    if joined:
        yield begun_at, number, joined


def _split(line: str) -> tuple[str, str]:
    """Key and value, still escaped: the key ends at the first bare `=`, `:` or blank."""
    end = 0
    while end < len(line) and line[end] not in "=:" + _BLANKS:
        end += 2 if line[end] == "\\" else 1
    end = min(end, len(line))
    rest = line[end:].lstrip(_BLANKS)
    if rest[:1] in ("=", ":"):
        rest = rest[1:].lstrip(_BLANKS)
    return line[:end], rest


def _unescape(text: str, where: str) -> str:
    if "\\" not in text:
        return text
    parts: list[str] = []
    position = 0
    while position < len(text):
        sign = text[position]
        position += 1
        if sign != "\\":
            parts.append(sign)
            continue
        escaped = text[position : position + 1]
        position += 1
        if escaped == "u":
            match = _HEX4.match(text, position)
            if match is None:
                raise ConfigInvalid(f"{where}: \\u is not followed by four hexadecimal digits")
            parts.append(chr(int(match[0], 16)))
            position += 4
        else:
            parts.append(_ESCAPES.get(escaped, escaped))
    # Java's strings are UTF-16: two escapes may be the halves of one character.
    joined = "".join(parts)
    return joined.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


__all__ = ["FILE_SIZE_MAX", "Entry", "line_of", "parse_properties", "with_values"]
