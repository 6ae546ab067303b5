"""`pyromq bench` on Apache's server and on ours: the same loads, the same outcomes."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from pyromq.app.main import main
from pyromq.codes import RequestCode
from tests.support.peers import Peer
from tests.support.processes import ask, await_answer
from tests.support.python_client import fresh

pytestmark = pytest.mark.foreign


QUEUES = 4


def bench(capsys: pytest.CaptureFixture[str], peer: Peer, *words: object) -> dict[str, Any]:
    """Runs one load and returns its JSON."""
    code = main(["bench", *(str(word) for word in words), "-n", peer.namesrv, "--json"])
    printed = capsys.readouterr()
    assert code == 0, printed.err
    read: dict[str, Any] = json.loads(printed.out)
    return read


def new_topic(peer: Peer) -> str:
    topic = fresh("Bench")
    fields = {
        "topic": topic, "defaultTopic": "TBW102", "readQueueNums": str(QUEUES),
        "writeQueueNums": str(QUEUES), "perm": "6", "topicFilterType": "SINGLE_TAG",
        "topicSysFlag": "0", "order": "false",
    }  # fmt: skip
    assert ask(peer.broker, RequestCode.UPDATE_AND_CREATE_TOPIC, fields).code == 0
    await_answer(peer.namesrv, RequestCode.GET_ROUTEINFO_BY_TOPIC, {"topic": topic})
    return topic


def stored(peer: Peer, topic: str) -> int:
    """Messages of all its queues, as the broker counts them."""
    answers = [
        ask(peer.broker, RequestCode.GET_MAX_OFFSET, {"topic": topic, "queueId": str(queue)})
        for queue in range(QUEUES)
    ]
    return sum(int(answer.fields["offset"]) for answer in answers)


@pytest.mark.parametrize(
    "load",
    [
        ["producer", "-k", "-l", "3", "-p", "60"],
        ["producer", "-s", "8192", "-c"],
        ["batch", "-b", "16"],
        ["ordered", "--order-keys", "20"],
    ],
    ids=lambda load: "-".join(load).replace("--", "-"),
)
def test_what_is_sent_is_stored_and_comes_back(
    load: list[str],
    python_peer: Peer,
    capsys: pytest.CaptureFixture[str],
    record_property: Callable[[str, object], None],
) -> None:
    if python_peer.kind == "apache":
        record_property("peer", "Apache RocketMQ 5.5.0 broker")
    topic = new_topic(python_peer)
    sent = bench(capsys, python_peer, *load, "-t", topic, "-q", 500, "-w", 8)
    assert (sent["messages"], sent["failed"], sent["errors"]) == (500, 0, {})
    assert stored(python_peer, topic) == 500
    words = ["--ordered"] if load[0] == "ordered" else []
    got = bench(
        capsys, python_peer, "consumer", *words, "-t", topic, "-g", fresh("G"),
        "--from", "first", "-q", 500, "--duration", 40,
    )  # fmt: skip
    assert (got["messages"], got["failed"]) == (500, 0)
    assert got["size_bytes"] == sent["size_bytes"]
    if load[0] == "ordered":
        more = got["more"]
        assert (more["ordered_messages"], more["order_gaps"], more["order_repetitions"]) == (
            500, 0, 0,
        )  # fmt: skip
