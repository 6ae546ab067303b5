"""Where a group of Apache's Java client 5.5.0 begins that was never there before."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.differential import Differential
from tests.support.foreign import JavaSession
from tests.support.members import seen
from tests.support.messages import QUERY_CONSUMER_OFFSET, send_words
from tests.support.peers import Peer
from tests.support.processes import ask, retries

pytestmark = [pytest.mark.foreign, pytest.mark.timeout(150)]

QUEUES = 2
TAGS = ("TagA",)
STARTS = ("first", "last", "since")


@pytest.fixture(scope="module")
def java(peer: Peer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[JavaSession]:
    offsets: Path = tmp_path_factory.mktemp("offsets")
    jvm = (f"-Drocketmq.client.localOffsetStoreDir={offsets}",)
    with JavaSession(peer.namesrv, jvm=jvm) as session:
        session.run("version")
        yield session


def next_second_ms() -> int:
    """The next full second, once it has begun: clients tell start times in seconds."""
    now = int(time.time())
    for _ in retries(5):
        if int(time.time()) > now:
            return 1000 * int(time.time())
    raise AssertionError("the clock stands still")


def send_before_and_after(java: JavaSession, topic: str) -> int:
    """Messages 0 … 19, and 20 … 39 after the time that is returned (ms)."""
    java.run("admin", "topic-create", "--topic", topic, "--queues", QUEUES)
    java.run(*send_words(topic, "sync", 20, TAGS))
    between_ms = next_second_ms()
    java.run(*send_words(topic, "sync", 20, TAGS), "--first", 20)
    return between_ms


def begin(java: JavaSession, topic: str, groups: dict[str, tuple[object, ...]]) -> None:
    """Groups with one member each, once all know where to begin in each queue."""
    for group, options in groups.items():
        java.run("join", "--name", group, "--group", group, "--topic", topic, *options)
    for group in groups:
        words = ("--group", group, "--topic", topic, "--members", group)
        java.run("settled", *words, "--queues", QUEUES)


def starts(kind: str, between_ms: int, *options: object) -> dict[str, tuple[object, ...]]:
    """A group for each way to begin."""
    since = ("--since", between_ms)
    return {f"{kind}-{start}": ("--from", start, *since, *options) for start in STARTS}


def consumed(java: JavaSession, group: str, count: int) -> dict[str, int]:
    """What a group has consumed when it has so many: all numbers in a row, each once."""
    ledger = java.one("await", "--group", group, "--distinct", count)
    bits = seen(ledger)
    lowest = (bits & -bits).bit_length() - 1
    assert ledger["received"] == bits.bit_length() - lowest == count
    return {"first": lowest, "last": bits.bit_length() - 1}


@pytest.mark.differential
def test_a_group_loses_nothing_of_a_topic_whose_head_was_never_deleted(
    java: JavaSession, differential: Differential
) -> None:
    """Wherever its client wants to begin; with Apache's broker while message 0 is cached."""
    topic = "started"
    between_ms = send_before_and_after(java, topic)
    begin(java, topic, starts("clustering", between_ms))
    outcome = {start: consumed(java, f"clustering-{start}", 40) for start in STARTS}
    differential.check("java-start-of-clustering-groups", outcome)
    assert all(found == {"first": 0, "last": 39} for found in outcome.values())


@pytest.mark.differential
def test_a_broadcasting_group_begins_where_its_client_wants_to(
    java: JavaSession, differential: Differential
) -> None:
    """Its offsets are its own, so the broker is only asked where the end and a time are."""
    topic = "started-broadcast"
    between_ms = send_before_and_after(java, topic)
    begin(java, topic, starts("broadcast", between_ms, "--broadcast"))
    java.run(*send_words(topic, "sync", 20, TAGS), "--first", 40)
    outcome = {
        start: consumed(java, f"broadcast-{start}", count)
        for start, count in zip(STARTS, (60, 20, 40), strict=True)
    }
    differential.check("java-start-of-broadcasting-groups", outcome)
    assert [outcome[start]["first"] for start in STARTS] == [0, 40, 20]
    assert [outcome[start]["last"] for start in STARTS] == [59, 59, 59]


@pytest.mark.differential
def test_a_group_that_wants_to_begin_last_gets_what_is_sent_after_it_came(
    java: JavaSession, peer: Peer, differential: Differential
) -> None:
    """Ours tells it to begin at 0; Apache's has no answer for an empty queue.

    Its client then asks for the end, and a message that came in between is not consumed.
    """
    topic = "started-empty"
    java.run("admin", "topic-create", "--topic", topic, "--queues", QUEUES)
    fields = {"consumerGroup": "clustering-empty", "topic": topic, "queueId": "0"}
    answer = ask(peer.broker, QUERY_CONSUMER_OFFSET, fields)
    begin(java, topic, {"clustering-empty": ("--from", "last")})
    java.run(*send_words(topic, "sync", 20, TAGS))
    outcome = {
        "code": answer.code,
        "offset": answer.fields.get("offset"),
        "consumed": consumed(java, "clustering-empty", 20),
    }
    differential.check("java-start-on-an-empty-topic", outcome, ours={"code": 0, "offset": "0"})
    assert outcome["consumed"] == {"first": 0, "last": 19}
