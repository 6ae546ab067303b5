"""Property files, compared with what java.util.Properties of JDK 17 reads."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyromq.config.properties import FILE_SIZE_MAX, parse_properties, with_values
from pyromq.errors import ConfigInvalid

# The bytes, and what `new Properties().load(…)` made of them. One difference is meant: a file whose
# last line is a lone backslash has an entry with an empty key in Java.
JAVA: list[tuple[bytes, dict[str, str]]] = [
    (b"", {}),
    (b"listenPort=10911\n", {"listenPort": "10911"}),
    (b"listenPort=10911", {"listenPort": "10911"}),
    (b"a=1\r\nb=2\rc=3\n", {"a": "1", "b": "2", "c": "3"}),
    (b"# comment\n! other\n  # indented\na=1\n", {"a": "1"}),
    (b"a = 1\nb : 2\nc 3\nd\n", {"a": "1", "b": "2", "c": "3", "d": ""}),
    (b"a==1\nb=:2\nc :=3\n", {"a": "=1", "b": ":2", "c": "=3"}),
    (b"  a\t=\f1  \n", {"a": "1  "}),
    (b"a=1 # no comment\n", {"a": "1 # no comment"}),
    (b"namesrvAddr=h1:9876;\\\n   h2:9876\n", {"namesrvAddr": "h1:9876;h2:9876"}),
    (b"a=1\\\\\nb=2\n", {"a": "1\\", "b": "2"}),
    (b"a=1\\\n\nb=2\n", {"a": "1", "b": "2"}),
    (b"a=1\\\n# joined\nb=2\n", {"a": "1# joined", "b": "2"}),
    (b"a=1\\", {"a": "1"}),
    (b"\\\n", {}),
    (b"\\\n# comment\na=1\n", {"a": "1"}),
    (b"a\\ b=1\nc\\=d=2\ne\\:f=3\n", {"a b": "1", "c=d": "2", "e:f": "3"}),
    (b"path=C:\\\\store\\new\n", {"path": "C:\\store\new"}),
    (b'a=\\t\\n\\r\\f\\q\\"\n', {"a": '\t\n\r\fq"'}),
    (b"a=\\u6d88\\u606F\n", {"a": "\u6d88\u606f"}),
    (b"a=\\ud83d\\ude00\n", {"a": "\U0001f600"}),
    (b"a=\xe9\n", {"a": "\xe9"}),
    ("a=\u6d88\n".encode(), {"a": "\xe6\xb6\x88"}),
    (b"a=1\na=2\n", {"a": "2"}),
    (b"=1\n", {"": "1"}),
    (b"\x0ba=1\n", {"\x0ba": "1"}),
    (b"a=x\\\r\n  y\n", {"a": "xy"}),
    (b"a=x\\\\\\\n y\n", {"a": "x\\y"}),
    (b"\xef\xbb\xbfa=1\n", {"\xef\xbb\xbfa": "1"}),
]


@pytest.mark.parametrize(("data", "expected"), JAVA)
def test_a_file_reads_as_in_java(data: bytes, expected: dict[str, str]) -> None:
    assert {entry.key: entry.value for entry in parse_properties(data, "f")} == expected


def test_entries_know_the_line_they_begin_in() -> None:
    entries = parse_properties(b"# c\n\na=1\\\n 2\r\nb=3\n", "broker.conf")
    assert [(entry.key, entry.line) for entry in entries] == [("a", 3), ("b", 5)]


@pytest.mark.parametrize("data", [b"a=1\nb=\\u12\n", b"a=\\uxyzw", b"\\u12g4=1"])
def test_a_broken_unicode_escape_is_refused_with_its_line(data: bytes) -> None:
    with pytest.raises(ConfigInvalid, match=re.escape("broker.conf:")):
        parse_properties(data, "broker.conf")


def test_a_file_without_end_is_refused() -> None:
    with pytest.raises(ConfigInvalid, match="at most"):
        parse_properties(b"#" * (FILE_SIZE_MAX + 1), "broker.conf")


def store_form(text: str) -> str:
    """How java.util.Properties.store would write a key or value."""
    units = text.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02X}" for at in range(0, len(units), 2))


@given(st.dictionaries(st.text(min_size=1), st.text()))
def test_what_was_stored_escaped_is_read_back(values: dict[str, str]) -> None:
    lines = [f"{store_form(key)}={store_form(value)}\n" for key, value in values.items()]
    entries = parse_properties("".join(lines).encode("latin-1"), "f")
    assert {entry.key: entry.value for entry in entries} == values


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        entries = parse_properties(data, "f")
    except ConfigInvalid:
        return
    line_count = len(re.split(b"\r\n|\r|\n", data))
    assert all(1 <= entry.line <= line_count for entry in entries)


def read(data: bytes) -> dict[str, str]:
    return {entry.key: entry.value for entry in parse_properties(data, "f")}


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", b"b=9\n"),
        (b"a=1", b"a=1\nb=9\n"),
        (b"# why\na = 1\r\n b : 2\n\nc=3\n", b"# why\na = 1\r\nb=9\n\nc=3\n"),
        (b"b=1\na=1\nb=2\n", b"a=1\nb=9\n"),
        (b"b=1\\\n  2\\\n  3\na=1\n", b"b=9\na=1\n"),
        (b"b=1\\\n  2", b"b=9\n"),
        (b"#b=1\n\\u0062=1\n", b"#b=1\nb=9\n"),
        (b"a=\xe9\x85\x0b1\nb=2\n", b"a=\xe9\x85\x0b1\nb=9\n"),
    ],
)
def test_a_value_is_written_into_the_line_of_its_key(data: bytes, expected: bytes) -> None:
    assert with_values(data, {"b": "9"}, "f") == expected


_TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)


@given(
    st.lists(st.sampled_from([line for line, _ in JAVA if not line.endswith(b"\\")]), max_size=4),
    st.dictionaries(_TEXTS, _TEXTS, max_size=3),
)
def test_what_is_written_into_a_file_is_read_and_nothing_else_changes(
    pieces: list[bytes], values: dict[str, str]
) -> None:
    data = b"\n".join(pieces)
    assert read(with_values(data, values, "f")) == {**read(data), **values}
