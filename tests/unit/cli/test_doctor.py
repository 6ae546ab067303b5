from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from pyromq.cli.admin import main
from pyromq.cli.doctor import (
    check_address,
    check_disk,
    check_kernel,
    check_port,
    clock_finding,
    disk_finding,
)
from pyromq.client.admin import BrokerAddress


def broker(address: str) -> BrokerAddress:
    return BrokerAddress("C", "a", 0, address)


@pytest.mark.parametrize(
    ("address", "outside", "severity"),
    [
        ("0.0.0.0:10911", False, "error"),
        ("[::]:10911", False, "error"),
        ("127.0.0.1:10911", True, "error"),
        ("127.0.0.1:10911", False, "warning"),
        ("[::1]:10911", True, "error"),
        ("172.17.0.2:10911", True, "warning"),
        ("169.254.1.1:10911", True, "warning"),
    ],
)
def test_addresses_others_cannot_reach_are_found(
    address: str, outside: bool, severity: str
) -> None:
    (found,) = check_address(broker(address), is_seen_from_outside=outside)
    assert found.severity == severity
    assert "brokerIP1" in found.mend


def test_other_addresses_are_no_finding() -> None:
    for address in ("10.0.0.5:10911", "broker.example:10911", "[2001:db8::5]:10911"):
        assert check_address(broker(address), is_seen_from_outside=True) == []


@pytest.mark.asyncio
async def test_a_closed_port_is_an_error_that_names_port_and_settings() -> None:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{listening.getsockname()[1]}"
        closed = await check_port(broker(address))
        assert closed.severity == "error"
        assert f"open port {address.rpartition(':')[2]}" in closed.mend
        listening.listen()
        assert (await check_port(broker(address))).severity == "ok"


def test_clocks_are_compared_within_the_time_the_question_took() -> None:
    assert clock_finding("b", 1000, 1040, 1020).severity == "ok"
    assert clock_finding("b", 1000, 1040, 1020).found == "as this machine's"
    assert clock_finding("b", 1000, 1040, 1500).found == "460 ms ahead of this machine"
    behind = clock_finding("b", 100_000, 100_040, 98_000)
    assert (behind.severity, behind.found) == ("warning", "2000 ms behind this machine")
    assert "chronyd" in behind.mend
    assert clock_finding("b", 0, 40, 60_000).severity == "error"


def test_disks_are_judged_by_apaches_ratios(tmp_path: Path) -> None:
    assert [disk_finding("disk", "b", used).severity for used in (0.5, 0.75, 0.9)] == [
        "ok",
        "warning",
        "error",
    ]
    assert "fileReservedTime" in disk_finding("disk", "b", 0.95).mend
    assert check_disk(None) == []
    (found,) = check_disk(str(tmp_path))
    assert found.found.endswith("used") or ":" in found.found
    (missing,) = check_disk(str(tmp_path / "nowhere"))
    assert (missing.severity, missing.found) == ("error", "No such file or directory")


def test_kernel_settings_are_found_with_the_command_that_mends_them(tmp_path: Path) -> None:
    def write(name: str, value: int) -> None:
        file = tmp_path / "sys" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{value}\n")

    assert check_kernel(tmp_path) == []
    write("vm/max_map_count", 65_530)
    write("vm/swappiness", 60)
    write("net/core/somaxconn", 4_096)
    found = {one.check: one for one in check_kernel(tmp_path)}
    assert found["kernel vm.max_map_count"].mend == "sysctl -w vm.max_map_count=262144"
    assert found["kernel vm.swappiness"].mend == "sysctl -w vm.swappiness=10"
    assert found["kernel net.core.somaxconn"].severity == "ok"
    write("vm/swappiness", 10)
    write("vm/max_map_count", 262_144)
    assert {one.severity for one in check_kernel(tmp_path)} == {"ok"}


def test_without_a_name_server_the_machine_is_looked_at_and_the_exit_code_is_1(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["doctor", "-n", "127.0.0.1:1", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert [one["check"] for one in found if one["severity"] == "error"] == [
        "name server",
        "brokers",
    ]
    assert found[0]["severity"] == "error"
    assert any(one["check"].startswith("kernel") for one in found)
