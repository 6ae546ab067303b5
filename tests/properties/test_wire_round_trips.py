"""What was written is read back, by the reference and by its native twin."""

from __future__ import annotations

from typing import Any

import hypothesis.strategies as st
import msgspec
from hypothesis import given, settings

from pyromq.wire import batch, dialect, record
from pyromq.wire.batch import BatchItem
from pyromq.wire.record import Record
from pyromq.wire.remoting import fields, frame, native
from pyromq.wire.remoting.frame import Command
from pyromq.wire.remoting.headers import REQUEST_HEADERS, RESPONSE_HEADERS, decode_header
from tests.properties.wire_strategies import (
    BATCH_ITEMS,
    COMMANDS,
    HOSTS,
    I32,
    I64,
    RECORDS,
    TEXT,
    TREES,
)

HEADER_TYPES = sorted(
    {*REQUEST_HEADERS.values(), *RESPONSE_HEADERS.values()}, key=lambda header: header.__name__
)


@settings(max_examples=200, deadline=None)
@given(COMMANDS)
def test_a_command_survives_and_both_twins_write_the_same_bytes(command: Command) -> None:
    head = frame.encode_head(command)
    assert native.encode_head(command) == head
    assert frame.split(head + command.body).commands == [command]
    assert native.split(head + command.body).commands == [command]


@settings(max_examples=100, deadline=None)
@given(st.lists(BATCH_ITEMS, min_size=1, max_size=10))
def test_a_batch_survives(items: list[BatchItem]) -> None:
    data = batch.encode_batch(items)
    assert batch.decode_batch(data) == items
    assert native.decode_batch(data) == items


@settings(max_examples=100, deadline=None)
@given(st.lists(RECORDS, max_size=4))
def test_records_survive(records: list[Record]) -> None:
    data = b"".join(map(record.encode_record, records))
    found = record.decode_records(data)
    assert native.decode_records(data) == found
    assert b"".join(map(record.encode_record, found)) == data
    assert [(r.topic, r.body, r.properties) for r in found] == [
        (r.topic, r.body, r.properties) for r in records
    ]


_PROPERTY_TEXT = st.text(st.characters(exclude_characters="\x01\x02", codec="utf-8"), min_size=1)


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(_PROPERTY_TEXT, _PROPERTY_TEXT, max_size=6))
def test_properties_survive(properties: dict[str, str]) -> None:
    text = record.properties_text(properties)
    assert record.parse_properties(text) == properties
    assert record.parse_properties(text.removesuffix("\x02")) == properties


@settings(max_examples=100, deadline=None)
@given(HOSTS, I64)
def test_message_ids_survive(host: bytes, log_offset: int) -> None:
    assert record.decode_message_id(record.encode_message_id(host, log_offset)) == (
        host,
        log_offset,
    )


def _as_read(tree: Any) -> Any:
    """What reading gives for what was written: text keys, no null members."""
    if isinstance(tree, dict):
        return {str(key): _as_read(value) for key, value in tree.items() if value is not None}
    return [_as_read(item) for item in tree] if isinstance(tree, list) else tree


@settings(max_examples=200, deadline=None)
@given(TREES, st.booleans(), st.booleans())
def test_the_dialect_reads_what_it_writes(tree: Any, standard: bool, pretty: bool) -> None:
    text = dialect.encode(tree, standard=standard, pretty=pretty)
    expected = _as_read(tree)
    if isinstance(tree, dict) and len({str(key) for key in tree}) < len(tree):
        return  # 1 and "1" are one key once written
    read = dialect.read(text, depth_max=100)
    if not _has_equal_keys(tree):
        assert read == expected
    if standard:
        msgspec.json.decode(text)


def _has_equal_keys(tree: Any) -> bool:
    if isinstance(tree, dict):
        return len({str(key) for key in tree}) < len(tree) or any(
            map(_has_equal_keys, tree.values())
        )
    return isinstance(tree, list) and any(map(_has_equal_keys, tree))


@st.composite
def _headers(draw: st.DrawFn) -> tuple[type[msgspec.Struct], dict[str, str]]:
    header_type = draw(st.sampled_from(HEADER_TYPES))
    ext: dict[str, str] = {}
    for info in msgspec.structs.fields(header_type):
        if not info.required and draw(st.booleans()):
            continue
        text = str(info.type)
        if "bool" in text:
            ext[info.encode_name] = draw(st.sampled_from(["true", "false"]))
        elif "int" in text:
            ext[info.encode_name] = str(draw(I32))
        elif "Boundary" in text:
            ext[info.encode_name] = draw(st.sampled_from(["LOWER", "UPPER"]))
        else:
            ext[info.encode_name] = draw(TEXT)
    return header_type, ext


@settings(max_examples=200, deadline=None)
@given(_headers())
def test_typed_headers_survive(header: tuple[type[msgspec.Struct], dict[str, str]]) -> None:
    header_type, ext = header
    typed = decode_header(header_type, ext)
    written = fields.encode_ext(typed)
    assert native.encode_ext(typed) == written
    assert {name: written[name] for name in ext} == ext
    assert decode_header(header_type, written) == typed
