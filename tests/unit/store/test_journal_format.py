"""Bytes of the journal: what an entry is, and what is none."""

from __future__ import annotations

import pytest

from pyromq.store import journal_format as form
from pyromq.store.journal_format import Entry, Fault, entries_behind, entry_at, is_header


def test_bytes_of_header_and_entry_stay_as_they_are() -> None:
    """Files of this version must stay readable: these bytes never change."""
    header = form.encode_header(form.JOURNAL_MAGIC, 7).hex("-", 8)
    assert header == "7079726f6d714d4a-0001000100000000-00000007a9ed87d3"
    entry = form.encode_entry(5, 3, 9, b"abc").hex("-", 4)
    assert entry == "000000-03000000-00000000-05000000-00000000-03000000-09352441-c2111748-f5616263"


def test_a_header_is_known_by_magic_generation_and_crc() -> None:
    header = form.encode_header(form.SNAPSHOT_MAGIC, 3)
    assert is_header(header, form.SNAPSHOT_MAGIC, 3)
    assert is_header(header + b"more", form.SNAPSHOT_MAGIC, 3)
    assert not is_header(header, form.SNAPSHOT_MAGIC, 4)
    assert not is_header(header, form.JOURNAL_MAGIC, 3)
    assert not is_header(header[:-1], form.SNAPSHOT_MAGIC, 3)
    for at in range(len(header)):
        damaged = bytearray(header)
        damaged[at] ^= 1
        assert not is_header(bytes(damaged), form.SNAPSHOT_MAGIC, 3)


def test_an_entry_comes_back() -> None:
    data = b"before" + form.encode_entry(5, 3, 9, b"payload")
    assert entry_at(data, 6) == Entry(5, 3, 9, b"payload", len(data))
    assert entry_at(data, len(data)) is Fault.END


@pytest.mark.parametrize("size", range(1, form.ENTRY_OVERHEAD + 7))
def test_every_cut_of_an_entry_is_torn(size: int) -> None:
    assert entry_at(form.encode_entry(5, 3, 9, b"payload")[:size], 0) is Fault.TORN


def test_every_damaged_byte_of_an_entry_is_damage_and_never_torn() -> None:
    whole = form.encode_entry(5, 3, 9, b"payload")
    for at in range(len(whole)):
        damaged = bytearray(whole)
        damaged[at] ^= 0x80
        assert entry_at(bytes(damaged), 0) is Fault.DAMAGED


def test_zeros_are_damage() -> None:
    assert entry_at(bytes(100), 0) is Fault.DAMAGED


def test_sound_entries_are_found_behind_damage() -> None:
    entries = [form.encode_entry(n, 0, 0, bytes([n]) * n) for n in range(1, 5)]
    damaged = b"\0" * 13 + entries[0] + b"x" + entries[1] + entries[2][:-1] + entries[3]
    assert [entry.sequence for entry in entries_behind(damaged, 0)] == [1, 2, 4]
    assert [entry.sequence for entry in entries_behind(damaged, 14)] == [2, 4]


def test_an_unknown_boot_has_no_mark() -> None:
    assert form.boot_mark("") == 0
    assert form.boot_mark("a") != form.boot_mark("b")
