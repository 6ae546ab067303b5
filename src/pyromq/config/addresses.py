"""Texts that name a place on a network: `host:port`, lists of them, and which hosts are local."""

from __future__ import annotations

import ipaddress
import re
import socket
from typing import Final

ADDRESS_COUNT_MAX: Final = 64
"""Name servers one broker can have."""

_ADDRESS: Final = re.compile(
    r"(?P<host>\[[0-9a-fA-F:.%a-z]+\]|[^\s;,/\[\]]+):(?P<port>[0-9]{1,5})\Z"
)


def host_and_port(address: str) -> tuple[str, int] | None:
    """Host (IPv6 without its brackets) and port of `host:port`, None if it is not one."""
    match = _ADDRESS.match(address)
    if match is None or not 0 < int(match["port"]) <= 65_535:
        return None
    return match["host"].strip("[]"), int(match["port"])


def addresses_of(text: str) -> tuple[str, ...] | None:
    """The addresses of a `;`-separated list, without repetition; None if one is not `host:port`."""
    addresses = [word.strip() for word in text.split(";") if word.strip()]
    if len(addresses) > ADDRESS_COUNT_MAX:
        return None
    if any(host_and_port(address) is None for address in addresses):
        return None
    return tuple(dict.fromkeys(addresses))


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach `host`. Names are not resolved: only localhost counts."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def is_unspecified(host: str) -> bool:
    """Whether `host` stands for all addresses of the machine."""
    if not host:
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_unspecified
    except ValueError:
        return False


def machine_address() -> str:
    """The address other machines most likely reach this one by; loopback without a network.

    Nothing is sent: connecting a datagram socket only asks the routing table. 192.0.2.1 is an
    address nobody has (RFC 5737).
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return "127.0.0.1"
        return str(probe.getsockname()[0])


__all__ = [
    "ADDRESS_COUNT_MAX",
    "addresses_of",
    "host_and_port",
    "is_loopback",
    "is_unspecified",
    "machine_address",
]
