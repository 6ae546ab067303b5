from __future__ import annotations

import zlib

import pytest

from pyromq.client.admin import Admin
from pyromq.client.admin.messages import stored_message
from pyromq.client.admin.servers import parse_addresses
from pyromq.client.admin.topics import merged_order_conf
from pyromq.client.admin.traces import Trace, decode_traces
from pyromq.client.admin.versions import version_name
from pyromq.codes import VERSION_5_5_0
from pyromq.errors import ConfigInvalid
from pyromq.wire.record import Record


def test_versions_have_apaches_names() -> None:
    assert version_name(VERSION_5_5_0) == "V5_5_0"
    assert version_name(VERSION_5_5_0 - 1) == "V5_5_0_SNAPSHOT"
    assert [version_name(number) for number in (212, 213, 611, 612, 48)] == [
        "V4_0_0_SNAPSHOT",
        "V4_0_0",
        "V5_9_9",
        "HIGHER_VERSION",
        "version 48",
    ]


def test_addresses_are_read_and_refused() -> None:
    assert parse_addresses(" a:1; 10.0.0.1:9876,[::1]:9876;") == [
        "a:1",
        "10.0.0.1:9876",
        "[::1]:9876",
    ]
    for text in ("", ";", "a", "a:", ":1", "a:0", "a:70000", "a:1x"):
        with pytest.raises(ConfigInvalid):
            parse_addresses(text)


@pytest.mark.asyncio
async def test_the_name_server_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAMESRV_ADDR", "127.0.0.1:1;127.0.0.1:2")
    async with Admin() as admin:
        assert admin.names.addresses == ("127.0.0.1:1", "127.0.0.1:2")
    monkeypatch.delenv("NAMESRV_ADDR")
    with pytest.raises(ConfigInvalid, match="set NAMESRV_ADDR"):
        Admin()


def test_order_parts_of_the_same_broker_are_replaced() -> None:
    assert merged_order_conf(None, ["a:4"]) == "a:4"
    assert merged_order_conf("a:4;b:2", ["a:8", "c:1"]) == "a:8;b:2;c:1"


def test_compressed_bodies_are_made_plain_and_damaged_ones_are_not_hidden() -> None:
    packed = zlib.compress(b"x" * 5000)

    def plain(sys_flag: int, body: bytes) -> tuple[bytes, bool]:
        found = stored_message(Record(topic="T", body=body, sys_flag=sys_flag))
        return found.body, found.is_compressed

    assert plain(0x1, packed) == (b"x" * 5000, False)
    assert plain(0x301, packed) == (b"x" * 5000, False)
    assert plain(0x0, packed) == (packed, False)
    assert plain(0x101, b"lz4") == (b"lz4", True)
    assert plain(0x1, b"no zlib") == (b"no zlib", True)
    assert plain(0x1, packed[:-5]) == (packed[:-5], True)


def test_a_message_without_unique_key_has_its_place_as_id() -> None:
    found = stored_message(
        Record(topic="T", body=b"", store_host=bytes([127, 0, 0, 1, 0, 0, 42, 159]))
    )
    assert found.message_id == found.offset_message_id == "7F00000100002A9F0000000000000000"
    assert (found.store_host, found.tags) == ("127.0.0.1:10911", "")


def record(*fields: str) -> str:
    return "\x01".join(fields) + "\x02"


def test_traces_are_read_and_what_is_none_is_passed_over() -> None:
    body = (
        record("Pub", "1", "rg", "p", "T", "ID", "A", "K", "h", "5", "7", "0", "O", "true")
        + record("SubBefore", "2", "rg", "g", "R1", "ID", "2", "K")
        + record("SubAfter", "R1", "ID", "30", "false", "K", "4", "3", "g")
        + record("SubAfter", "R1", "ID", "30", "true", "K")
        + record("EndTransaction", "4", "rg", "p", "T", "ID", "A", "K", "h", "2", "X", "COMMIT")
        + record("Recall", "5", "rg", "p", "T", "ID", "false")
        + record("Pub", "x")
        + record("What")
    )
    pub, before, after, old, end, recall = decode_traces(body.encode())
    assert pub == Trace(
        kind="Pub", message_id="ID", time_ms=1, group="p", topic="T", cost_ms=7, status="SUCCESS"
    )
    assert before == Trace(
        kind="SubBefore", message_id="ID", time_ms=2, group="g", request_id="R1", retry_times=2
    )
    assert (after.status, after.time_ms, after.group, after.cost_ms) == ("FAILED", 3, "g", 30)
    assert (old.status, old.time_ms, old.group) == ("SUCCESS", 0, "")
    assert (end.status, end.topic, end.time_ms) == ("COMMIT", "T", 4)
    assert (recall.kind, recall.status) == ("Recall", "FAILED")
