"""Message ids that tell where a message is stored."""

from __future__ import annotations

import pytest

from pyromq.domain.message import log_offset_of, offset_message_id_prefix
from pyromq.errors import RequestFailed


def test_an_id_begins_with_address_and_port_of_the_broker() -> None:
    host = bytes([127, 0, 0, 1]) + (33911).to_bytes(4)
    assert f"{offset_message_id_prefix(host)}{0x20AE:016X}" == "7F0000010000847700000000000020AE"


def test_an_ipv6_address_makes_a_longer_id() -> None:
    host = bytes(15) + b"\1" + (10911).to_bytes(4)
    assert offset_message_id_prefix(host) == "0" * 31 + "1" + "00002A9F"


@pytest.mark.parametrize(
    ("message_id", "log_offset"),
    [
        ("7F0000010000847700000000000020AE", 0x20AE),
        ("7f0000010000847700000000000020ae", 0x20AE),
        ("0" * 31 + "1" + "00002A9F" + "00000000000020AE", 0x20AE),
        ("7F00000100008477" + "F" * 16, -1),
    ],
)
def test_an_id_ends_with_the_place_in_the_log(message_id: str, log_offset: int) -> None:
    assert log_offset_of(message_id) == log_offset


@pytest.mark.parametrize("message_id", ["", "F" * 31, "F" * 33, "g" * 32, "F" * 40, "F" * 57])
def test_what_is_no_message_id_is_refused_with_its_value(message_id: str) -> None:
    with pytest.raises(RequestFailed, match=rf"msgId\[{message_id}\] is illegal"):
        log_offset_of(message_id)
