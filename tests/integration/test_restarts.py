"""What retries and order locks keep when the process is killed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.processes import Answer, ask
from tests.support.pyromq_server import PyromqServer

LOCK, UNLOCK, SEND_BACK, SEND, PULL = 41, 42, 36, 310, 11


@pytest.fixture
def server(tmp_path: Path) -> Iterator[PyromqServer]:
    """A server with topic T, group CG and one message, all of it synced."""
    arguments = ("--data-dir", tmp_path / "data", "--namesrv-port", 0, "--broker-port", 0)
    with PyromqServer("standalone", *arguments) as server:
        group = json.dumps({"groupName": "CG"}).encode()
        assert ask(server.broker, 200, body=group).code == 0
        fields = {
            "a": "PG", "b": "T", "c": "TBW102", "d": "4", "e": "0", "f": "0", "g": "1", "h": "0",
            "i": "UNIQ_KEY\x01ID1\x02", "j": "0", "k": "false", "m": "false",
        }  # fmt: skip
        assert ask(server.broker, SEND, fields, b"hello").code == 0
        yield server


def kill_and_start(server: PyromqServer) -> None:
    server.kill()
    server.start()


def batch(client: str, *queue_ids: int) -> bytes:
    queues = [{"brokerName": "broker-a", "queueId": one, "topic": "T"} for one in queue_ids]
    return json.dumps({"clientId": client, "consumerGroup": "CG", "mqSet": queues}).encode()


def locked(server: PyromqServer, client: str, *queue_ids: int) -> list[int]:
    answer = ask(server.broker, LOCK, body=batch(client, *queue_ids))
    assert answer.code == 0, answer
    return [queue["queueId"] for queue in json.loads(answer.body)["lockOKMQSet"]]


def pulled(server: PyromqServer, topic: str, queue_id: int) -> Answer:
    fields = {
        "queueId": str(queue_id), "maxMsgNums": "32", "sysFlag": "4", "commitOffset": "0",
        "suspendTimeoutMillis": "0", "topic": topic, "queueOffset": "0", "subVersion": "0",
        "consumerGroup": "CG", "subscription": "*",
    }  # fmt: skip
    return ask(server.broker, PULL, fields)


def test_after_a_kill_a_queue_is_still_its_clients(server: PyromqServer) -> None:
    assert locked(server, "a", 0, 1) == [0, 1]
    assert ask(server.broker, UNLOCK, body=batch("a", 1)).code == 0
    kill_and_start(server)
    assert locked(server, "b", 0, 1, 2) == [1, 2]
    assert locked(server, "a", 0, 1) == [0]


def test_after_a_kill_what_was_given_back_waits_or_is_dead(server: PyromqServer) -> None:
    fields = {"offset": "0", "group": "CG", "delayLevel": "0"}
    assert ask(server.broker, SEND_BACK, fields).code == 0
    assert ask(server.broker, SEND_BACK, {**fields, "delayLevel": "-1"}).code == 0
    kill_and_start(server)
    for topic, queue_id in (("SCHEDULE_TOPIC_XXXX", 2), ("%DLQ%CG", 0)):
        answer = pulled(server, topic, queue_id)
        assert answer.code == 0, answer
        assert answer.body.count(b"hello") == 1
        assert b"ORIGIN_MESSAGE_ID" in answer.body
