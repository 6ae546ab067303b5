"""Message ids that tell where a message is stored."""

from __future__ import annotations

from pyromq.domain.message import offset_message_id_prefix


def test_an_id_begins_with_address_and_port_of_the_broker() -> None:
    host = bytes([127, 0, 0, 1]) + (33911).to_bytes(4)
    assert f"{offset_message_id_prefix(host)}{0x20AE:016X}" == "7F0000010000847700000000000020AE"


def test_an_ipv6_address_makes_a_longer_id() -> None:
    host = bytes(15) + b"\1" + (10911).to_bytes(4)
    assert offset_message_id_prefix(host) == "0" * 31 + "1" + "00002A9F"
