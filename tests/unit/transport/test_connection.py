"""Who a peer is."""

from __future__ import annotations

import pytest

from pyromq.transport.connection import Peer


@pytest.mark.parametrize(
    ("ip", "address", "host", "is_loopback"),
    [
        ("127.0.0.1", "127.0.0.1:258", "7f00000100000102", True),
        ("10.1.2.3", "10.1.2.3:258", "0a01020300000102", False),
        ("::1", "[::1]:258", "00" * 15 + "01" + "00000102", True),
        ("::ffff:10.1.2.3", "10.1.2.3:258", "0a01020300000102", False),
        ("fe80::1%eth0", "[fe80::1]:258", "fe80" + "00" * 13 + "01" + "00000102", False),
    ],
)
def test_a_peer_is_named_as_text_and_as_records_store_it(
    ip: str, address: str, host: str, is_loopback: bool
) -> None:
    peer = Peer.of(ip, 258)
    assert peer.address == address
    assert peer.host.hex() == host
    assert peer.is_loopback is is_loopback
