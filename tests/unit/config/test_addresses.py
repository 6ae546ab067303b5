"""Addresses as texts."""

from __future__ import annotations

import ipaddress

import pytest

from pyromq.config.addresses import (
    ADDRESS_COUNT_MAX,
    addresses_of,
    host_and_port,
    is_loopback,
    is_unspecified,
    machine_address,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1:9876", ("127.0.0.1", 9876)),
        ("host.example:1", ("host.example", 1)),
        ("[::1]:9876", ("::1", 9876)),
        ("host:65535", ("host", 65535)),
    ],
)
def test_an_address_is_host_and_port(text: str, expected: tuple[str, int]) -> None:
    assert host_and_port(text) == expected


@pytest.mark.parametrize(
    "text", ["", "host", "host:", ":1", "host:0", "host:65536", "host:x", "a b:1", "h:1:", "h:-1"]
)
def test_another_text_is_no_address(text: str) -> None:
    assert host_and_port(text) is None


def test_a_list_is_separated_by_semicolons_and_names_each_once() -> None:
    assert addresses_of("a:1;b:2; a:1 ;;") == ("a:1", "b:2")
    assert addresses_of("") == ()


@pytest.mark.parametrize("text", ["a:1,b:2", "a:1;b", "http://a:1"])
def test_a_list_with_a_mistake_is_none(text: str) -> None:
    assert addresses_of(text) is None


def test_a_list_has_an_end() -> None:
    assert addresses_of(";".join(f"h{n}:1" for n in range(ADDRESS_COUNT_MAX))) is not None
    assert addresses_of(";".join(f"h{n}:1" for n in range(ADDRESS_COUNT_MAX + 1))) is None


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "[::1]", "localhost"])
def test_loopback_is_only_this_machine(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "localhost.example", "", "127"])
def test_anything_else_may_be_reached_from_outside(host: str) -> None:
    assert not is_loopback(host)


def test_unspecified_stands_for_all_addresses() -> None:
    assert all(map(is_unspecified, ("0.0.0.0", "::", "[::]", "")))
    assert not any(map(is_unspecified, ("127.0.0.1", "host")))


def test_the_machines_address_is_one() -> None:
    assert not ipaddress.ip_address(machine_address()).is_unspecified
