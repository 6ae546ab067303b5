"""Rows that keep a broker going, and those that say what is not here."""

from __future__ import annotations

import json

import pytest

from pyromq.broker.cold_reads import LIMIT_COUNT_MAX, ColdReadLimits
from pyromq.codes import RequestCode
from pyromq.errors import RequestFailed
from pyromq.frontends.remoting.unsupported import ABSENT_PARTS
from tests.support.broker_door import BrokerDoor, Client


@pytest.fixture
def client() -> Client:
    return BrokerDoor().client


@pytest.mark.parametrize("code", sorted(ABSENT_PARTS))
def test_what_is_not_here_is_named(client: Client, code: RequestCode) -> None:
    answer = client.ask(code, {"any": "thing"}, b"{")
    assert answer.code == 3
    assert answer.remark == (
        f"{code.name} ({int(code)}) is not supported: this server has no {ABSENT_PARTS[code]}"
    )


def test_a_code_that_nobody_knows_is_answered_as_ever(client: Client) -> None:
    answer = client.ask(4711)
    assert (answer.code, answer.remark) == (3, " request type 4711 not supported")


def test_the_configuration_has_a_version_that_changes_with_it(client: Client) -> None:
    before = json.loads(client.ask(26).ext["version"])
    assert before["counter"] == 0
    assert client.ask(25, body=b"fileReservedTime=1\ntraceOn=false\n").code == 0
    answer = client.ask(26)
    assert json.loads(answer.ext["version"])["counter"] == 1
    lines = answer.body.decode().splitlines()
    assert lines == sorted(lines)
    assert {"fileReservedTime=1", "traceOn=false"} <= set(lines)
    assert client.ask(25).code == 0  # nothing is asked for
    refused = client.ask(25, body=b"brokerName=b\n")
    assert refused.code == 16
    assert "brokerName cannot be changed from afar" in (refused.remark or "")


def test_a_master_tells_where_its_log_ends(client: Client) -> None:
    client.send()
    status = json.loads(client.ask(907).body)
    assert status["master"] is True
    assert status["masterCommitLogMaxOffset"] == client.house.hand.engine.positions().written > 0
    assert (status["inSyncSlaveNums"], status["haConnectionInfo"]) == (0, [])
    assert client.ask(908, {"masterFlushOffset": "7"}).code == 0


@pytest.mark.parametrize(
    ("change", "code", "remark"),
    [
        ({"topic": "TopicTest", "consumerGroup": "CG2"}, 0, None),
        ({"topic": "TopicTest", "consumerGroup": "CG2", "mode": "POP"}, 3, "no POP consumption"),
        ({"topic": "Nothing", "consumerGroup": "CG2"}, 17, "topic[Nothing] not exist"),
        ({"topic": "%RETRY%CG2", "consumerGroup": "CG2"}, 16, "retry topic is not allowed"),
        ({"topic": "TopicTest", "consumerGroup": "a b"}, 26, "group does not exist"),
        ({"topic": "TopicTest"}, 1, "SetMessageRequestModeRequestBody body"),
    ],
)
def test_the_consume_mode_can_only_be_pull(
    client: Client, change: dict[str, str], code: int, remark: str | None
) -> None:
    answer = client.ask(401, body=json.dumps(change).encode())
    assert answer.code == code
    assert (remark or "") in (answer.remark or "")


def test_limits_of_cold_reads_are_kept_and_shown(client: Client) -> None:
    assert client.ask(2001, body=b"CG=7\nother=-1\n").code == 0
    shown = json.loads(client.ask(2003).body)
    assert shown["configTable"] == {"CG": 7, "other": -1}
    assert shown["runtimeTable"] == {}
    assert client.ask(2001, body=b"good=1\nCG=7.5\n").code == 29
    assert client.ask(2001, body=b"CG=1" + b"0" * 30).code == 29
    assert client.ask(2002, body=b"CG").code == 0
    assert json.loads(client.ask(2003).body)["configTable"] == {"other": -1}


def test_there_is_a_most_of_cold_read_limits() -> None:
    limits = ColdReadLimits()
    for number in range(LIMIT_COUNT_MAX):
        limits.put(f"g{number}", number)
    limits.put("g0", 1)
    with pytest.raises(RequestFailed, match=f"{LIMIT_COUNT_MAX} groups, the most it takes"):
        limits.put("one more", 1)


@pytest.mark.parametrize(
    ("ext", "code"),
    [
        ({"READ_AHEAD_MODE": "0"}, 0),
        ({"READ_AHEAD_MODE": "1"}, 3),
        ({"READ_AHEAD_MODE": "2"}, 29),
        ({"READ_AHEAD_MODE": "x"}, 1),
        ({}, 1),
    ],
)
def test_reading_ahead_is_left_to_the_system(
    client: Client, ext: dict[str, str], code: int
) -> None:
    assert client.ask(2004, ext).code == code
