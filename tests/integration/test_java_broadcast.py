"""Broadcasting consumers of Apache's Java client 5.5.0: each has all, and offsets of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.differential import Differential
from tests.support.foreign import JavaSession, Row
from tests.support.members import missing, seen
from tests.support.messages import QUERY_CONSUMER_OFFSET, send_words
from tests.support.peers import Peer
from tests.support.processes import ask

pytestmark = [pytest.mark.foreign, pytest.mark.timeout(150)]

TOPIC = "broadcast"
GROUP = "broadcasting"
QUEUES = 2
TAGS = ("TagA",)
NAMES = ("broadcast-a", "broadcast-b")


@pytest.fixture(scope="module")
def offsets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("offsets")


def session(peer: Peer, offsets: Path) -> JavaSession:
    """A JVM whose broadcasting consumers keep their offsets in this folder."""
    return JavaSession(peer.namesrv, jvm=(f"-Drocketmq.client.localOffsetStoreDir={offsets}",))


@pytest.fixture(scope="module")
def java(peer: Peer, offsets: Path) -> Iterator[JavaSession]:
    with session(peer, offsets) as running:
        running.run("version")
        yield running


def join(java: JavaSession) -> None:
    for name in NAMES:
        words = ("--name", name, "--group", GROUP, "--topic", TOPIC, "--broadcast")
        java.run("join", *words, "--ledger", name)


def await_ledgers(java: JavaSession, count: int) -> list[Row]:
    return [java.one("await", "--group", name, "--distinct", count) for name in NAMES]


def committed(peer: Peer) -> list[int]:
    """What the broker answers when it is asked for the group's offset in each queue."""
    answers = []
    for queue in range(QUEUES):
        fields = {"consumerGroup": GROUP, "topic": TOPIC, "queueId": str(queue)}
        answer = ask(peer.broker, QUERY_CONSUMER_OFFSET, {**fields, "setZeroIfNotFound": "false"})
        answers.append(answer.code)
    return answers


@pytest.mark.differential
def test_each_broadcasting_consumer_gets_everything_once_and_goes_on_after_a_restart(
    java: JavaSession, peer: Peer, offsets: Path, differential: Differential
) -> None:
    java.run("admin", "topic-create", "--topic", TOPIC, "--queues", QUEUES)
    with session(peer, offsets) as first:
        join(first)
        java.run(*send_words(TOPIC, "sync", 100, TAGS))
        before = await_ledgers(first, 100)
        during = committed(peer)
        for name in NAMES:
            first.run("leave", "--name", name, "--wait")
    java.run(*send_words(TOPIC, "sync", 50, TAGS), "--first", 100)
    with session(peer, offsets) as second:
        join(second)
        java.run(*send_words(TOPIC, "sync", 50, TAGS), "--first", 150)
        after = await_ledgers(second, 100)
    outcome = {
        "received before": [ledger["received"] for ledger in before],
        "received after": [ledger["received"] for ledger in after],
        "missing": [missing(200, *ledgers) for ledgers in zip(before, after, strict=True)],
        "again": [bool(seen(old) & seen(new)) for old, new in zip(before, after, strict=True)],
        "asked for offsets": [during, committed(peer)],
    }
    differential.check("java-broadcast", outcome)
    assert outcome["received before"] == outcome["received after"] == [100, 100]
    assert outcome["missing"] == [[], []]
    assert outcome["asked for offsets"] == [[22, 22], [22, 22]]
