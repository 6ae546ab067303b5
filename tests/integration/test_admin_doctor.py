"""A broker that gives an address at which nobody reaches it, as behind NAT or in a container."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.support.admin_command import AdminCommand
from tests.support.pyromq_server import PyromqServer

WRONG = "127.0.0.2"
"""Nothing listens there: the broker is bound to 127.0.0.1."""


@pytest.fixture(scope="module")
def admin() -> Iterator[AdminCommand]:
    with PyromqServer.ephemeral("--set", f"brokerIP1={WRONG}") as server:
        yield AdminCommand(server.namesrv)


def test_the_doctor_ends_with_1_and_names_the_setting(admin: AdminCommand) -> None:
    code, out, err = admin.say("doctor", "--json")
    assert (code, err) == (1, "")
    (error,) = [one for one in json.loads(out) if one["severity"] == "error"]
    assert error["check"] == "port"
    assert error["where"].startswith(f"{WRONG}:")
    assert error["found"].startswith("no connection")
    assert "brokerIP1" in error["mend"]
    assert not [one for one in json.loads(out) if one["check"] == "clock"]


def test_lists_show_who_does_not_answer_and_go_on(admin: AdminCommand) -> None:
    (row,) = admin.ask("clusterList")
    assert row["address"].startswith(f"{WRONG}:")
    assert row["error"].startswith(f"{row['address']}: no connection")
    assert row["version"] is None
    shown = admin.ask("top")
    assert shown["brokers"][0]["error"].startswith(f"{row['address']}: no connection")
    assert shown["groups"] == []


def test_changes_fail_with_the_address(admin: AdminCommand) -> None:
    words = ("updateTopic", "-c", "DefaultCluster", "-t", "T")
    assert f"{WRONG}:" in admin.refusal(*words)
    assert "no connection" in admin.refusal(*words)
