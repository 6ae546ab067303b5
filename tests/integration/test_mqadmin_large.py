"""A broker with 10,000 topics and 2,000 groups: every list is whole and fits the frames of clients.

How long each answer took is printed (pytest -s); the times are not asserted.
"""

from __future__ import annotations

import json
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyromq.codes import RequestCode
from pyromq.wire.remoting.frame import FLAG_ONEWAY, FRAME_SIZE_MAX, Command, encode
from tests.support.foreign import JavaSession
from tests.support.mqadmin import Console
from tests.support.peers import Peer
from tests.support.processes import Answer, ask
from tests.support.pyromq_server import PyromqServer

pytestmark = [pytest.mark.foreign, pytest.mark.timeout(120)]

TOPICS, GROUPS = 10_000, 2_000
QUEUES, TOPICS_OF_A_GROUP = 4, 2
TOPIC = "a-topic-whose-name-is-no-shorter-than-usual-{:05}".format
GROUP = "a-group-whose-name-is-no-shorter-than-usual-{:05}".format


@pytest.fixture(scope="module")
def server() -> Iterator[PyromqServer]:
    """Each group has offsets in the queues of some topics."""
    with PyromqServer.ephemeral() as server:
        for first in range(0, TOPICS, 1_000):
            topics = [
                {
                    "topicName": TOPIC(n),
                    "readQueueNums": QUEUES,
                    "writeQueueNums": QUEUES,
                    "perm": 6,
                }
                for n in range(first, first + 1_000)
            ]
            body = json.dumps({"topicConfigList": topics}).encode()
            assert ask(server.broker, RequestCode.UPDATE_AND_CREATE_TOPIC_LIST, body=body).code == 0
        for first in range(0, GROUPS, 1_000):
            groups = [{"groupName": GROUP(n)} for n in range(first, first + 1_000)]
            body = json.dumps({"groupConfigList": groups}).encode()
            code = RequestCode.UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST
            assert ask(server.broker, code, body=body).code == 0
        commit_offsets(server.broker)
        yield server


def commit_offsets(broker: str) -> None:
    """All of them on one connection; the last is answered, so the others have been taken."""
    commits = [
        {
            "consumerGroup": GROUP(group),
            "topic": TOPIC(group * TOPICS_OF_A_GROUP + topic),
            "queueId": str(queue),
            "commitOffset": "0",
        }
        for group in range(GROUPS)
        for topic in range(TOPICS_OF_A_GROUP)
        for queue in range(QUEUES)
    ]
    host, _, port = broker.rpartition(":")
    with socket.create_connection((host, int(port)), 10) as connection:
        for number, fields in enumerate(commits, start=1):
            code = RequestCode.UPDATE_CONSUMER_OFFSET
            command = Command.request(code, fields, opaque=number)
            if number < len(commits):
                command.flag |= FLAG_ONEWAY
            connection.sendall(encode(command))
        (length,) = struct.unpack(">i", connection.recv(4, socket.MSG_WAITALL))
        assert length > 0


def timed(address: str, code: RequestCode, fields: dict[str, str] | None = None) -> Answer:
    started = time.perf_counter()
    answer = ask(address, code, fields, timeout_seconds=30)
    milliseconds = (time.perf_counter() - started) * 1000
    size = len(answer.body) / 2**20
    print(f"{code.name}: {size:.2f} MiB in {milliseconds:.0f} ms")  # noqa: T201 — for people
    assert answer.code == 0, answer.remark
    assert len(answer.body) < FRAME_SIZE_MAX
    return answer


def test_every_list_is_whole_and_fits_a_frame(server: PyromqServer) -> None:
    topics = {TOPIC(n) for n in range(TOPICS)}
    groups = {GROUP(n) for n in range(GROUPS)}
    names = json.loads(timed(server.namesrv, RequestCode.GET_ALL_TOPIC_LIST_FROM_NAMESERVER).body)
    assert topics <= set(names["topicList"])
    cluster = timed(
        server.namesrv, RequestCode.GET_TOPICS_BY_CLUSTER, {"cluster": "DefaultCluster"}
    )
    assert topics <= set(json.loads(cluster.body)["topicList"])
    configs = timed(server.broker, RequestCode.GET_ALL_TOPIC_CONFIG)
    assert topics <= json.loads(configs.body)["topicConfigTable"].keys()
    subscriptions = timed(server.broker, RequestCode.GET_ALL_SUBSCRIPTIONGROUP_CONFIG)
    assert groups <= json.loads(subscriptions.body)["subscriptionGroupTable"].keys()
    offsets = timed(server.broker, RequestCode.GET_ALL_CONSUMER_OFFSET).body
    assert offsets.count(b"@a-group-whose-name") == GROUPS * TOPICS_OF_A_GROUP
    progress = timed(server.broker, RequestCode.GET_BROKER_CONSUME_STATS, {"isOrder": "false"})
    assert progress.body.count(b'"consumerOffset"') == GROUPS * TOPICS_OF_A_GROUP * QUEUES
    for code in (RequestCode.GET_BROKER_RUNTIME_INFO, RequestCode.GET_ALL_PRODUCER_INFO):
        timed(server.broker, code)
    timed(server.namesrv, RequestCode.GET_BROKER_CLUSTER_INFO)


def test_mqadmin_lists_them_all(java_program: None, server: PyromqServer, tmp_path: Path) -> None:
    peer = Peer("ours", server.namesrv, server.broker)
    with JavaSession(server.namesrv, cwd=tmp_path) as java:
        console = Console(java, peer)
        listed = {row[0] for row in console.done("topicList").rows}
        assert {TOPIC(n) for n in range(TOPICS)} <= listed
        console.done(f"exportMetadata -b {server.broker} -t true -f out")
        exported = json.loads((tmp_path / "out/topic.json").read_text())["topicConfigTable"]
        assert {TOPIC(n) for n in range(TOPICS)} <= exported.keys()
        console.done(f"exportMetadata -b {server.broker} -g true -f out")
        groups = json.loads((tmp_path / "out/subscriptionGroup.json").read_text())
        assert {GROUP(n) for n in range(GROUPS)} <= groups["subscriptionGroupTable"].keys()
        progress = console.done(f"brokerConsumeStats -b {server.broker}")
        assert "Diff Total: 0" in progress.text
