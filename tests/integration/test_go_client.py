"""The unmodified Apache Go client v2.1.2 against our server (or Apache's, with `--peer apache`).

Ten thousand messages in each way of sending, each consumed in each way of consuming; Go and Java
read each other's messages.
"""

from __future__ import annotations

import pytest

from tests.support.foreign import JavaSession, Row, go
from tests.support.messages import (
    Sent,
    assert_all_received,
    assert_all_sent,
    await_consumed,
    await_messages,
    send_words,
)
from tests.support.peers import Peer

pytestmark = [
    pytest.mark.foreign,
    pytest.mark.timeout(150),
    pytest.mark.usefixtures("go_client"),
]

COUNT = 10_000
TAGS = ("TagA", "TagB", "TagC")
MODES = {
    "go_sent_one_by_one": "sync",
    "go_sent_asynchronously": "async",
    "go_sent_one_way": "oneway",
    "go_sent_in_batches": "batch",
}


@pytest.fixture(scope="module", params=list(MODES.values()), ids=list(MODES))
def sent(request: pytest.FixtureRequest, go_client: None, peer: Peer, java: JavaSession) -> Sent:
    topic = f"go-{request.param}"
    create = ("admin", "topic-create", "--topic", topic, "--broker", peer.broker, "--queues", 4)
    go(*create, namesrv=peer.namesrv)
    # Go's topic-create only reaches the broker; its route follows.
    java.run("admin", "topic-create", "--topic", topic, "--queues", 4)
    words = send_words(topic, request.param, COUNT, TAGS)
    (result,) = go(*words, namesrv=peer.namesrv)
    await_messages(java, topic, COUNT)
    return Sent(topic, request.param, COUNT, TAGS, result)


def consume(peer: Peer, way: str, sent: Sent, count: int, *more: object) -> Row:
    group = f"{sent.topic}-{way}-{len(more)}"
    words = ("--topic", sent.topic, "--group", group, "--expect", count, "--timeout", 60)
    (received,) = go(f"consume-{way}", *words, *more, namesrv=peer.namesrv)
    return received


def test_every_message_is_acknowledged_and_stored(java: JavaSession, sent: Sent) -> None:
    assert_all_sent(sent)
    offsets = await_messages(java, sent.topic, COUNT)
    assert [queue["min"] for queue in offsets["queues"]] == [0, 0, 0, 0]


def test_go_push_consumer_receives_every_message(peer: Peer, sent: Sent) -> None:
    assert_all_received(consume(peer, "push", sent, COUNT), sent)


def test_go_pull_consumer_receives_every_message_by_polling(peer: Peer, sent: Sent) -> None:
    received = consume(peer, "poll", sent, COUNT)
    assert_all_received(received, sent)
    assert received["out_of_order"] == 0


def test_go_pull_consumer_receives_every_message_by_pulling_each_queue(
    peer: Peer, sent: Sent
) -> None:
    received = consume(peer, "pull", sent, COUNT)
    assert_all_received(received, sent)
    assert received["out_of_order"] == 0


def test_go_push_consumer_receives_only_the_tags_it_wants(peer: Peer, sent: Sent) -> None:
    wanted = ("TagA", "TagC")
    count = sum(sent.with_tags(*wanted).values())
    received = consume(peer, "push", sent, count, "--sub", " || ".join(wanted))
    assert_all_received(received, sent, wanted)


def test_java_consumer_receives_every_message_that_go_sent(java: JavaSession, sent: Sent) -> None:
    group = f"{sent.topic}-java"
    words = ("--topic", sent.topic, "--group", group, "--expect", COUNT, "--timeout", 60)
    received = java.one("consume-pull", *words)
    assert_all_received(received, sent)
    assert received["origins"] == {"go": COUNT}


def test_messages_that_go_sent_are_found_again_by_key(java: JavaSession, sent: Sent) -> None:
    words = ("--topic", sent.topic, "--keys", sent.key_prefix)
    row = java.one("query-keys", *words, "--first", 5, "--step", 97, "--count", 100)
    assert row["missing"] == []
    assert row["found"] == row["asked"] == 100


@pytest.mark.parametrize("way", ["push", "poll", "pull"])
def test_go_consumer_receives_every_message_that_java_sent(
    java: JavaSession, peer: Peer, way: str
) -> None:
    topic = f"go-from-java-{way}"
    java.run("admin", "topic-create", "--topic", topic, "--queues", 4)
    result = java.one(*send_words(topic, "async", 1000, TAGS))
    sent = Sent(topic, "async", 1000, TAGS, result)
    received = consume(peer, way, sent, 1000)
    assert_all_received(received, sent)
    assert received["origins"] == {"java": 1000}


def test_big_compressed_bodies_arrive_as_they_were(java: JavaSession, peer: Peer) -> None:
    java.run("admin", "topic-create", "--topic", "go-big", "--queues", 2)
    words = send_words("go-big", "sync", 20, TAGS)
    (result,) = go(*words, "--body-size", 1_000_000, "--compress", namesrv=peer.namesrv)
    sent = Sent("go-big", "sync", 20, TAGS, result)
    assert_all_sent(sent)
    for received in (
        consume(peer, "push", sent, 20),
        java.one("consume-pull", "--topic", "go-big", "--group", "go-big-java", "--expect", 20),
    ):
        assert_all_received(received, sent)
        assert received["body_bytes"] == 20_000_000
        assert received["stored_bytes"] < 2_000_000, "not stored compressed"


def test_a_go_consumer_group_continues_where_it_left(java: JavaSession, peer: Peer) -> None:
    """By polling, where ACK moves the offset at once; a push consumer may leave before it does."""
    java.run("admin", "topic-create", "--topic", "go-progress", "--queues", 2)
    (result,) = go(*send_words("go-progress", "sync", 200, TAGS), namesrv=peer.namesrv)
    sent = Sent("go-progress", "sync", 200, TAGS, result)
    assert_all_received(consume(peer, "poll", sent, 200), sent)
    await_consumed(java, peer.broker, "go-progress", "go-progress-poll-0")
    go(*send_words("go-progress", "sync", 7, TAGS), "--first", 200, namesrv=peer.namesrv)
    received = consume(peer, "poll", sent, 7)
    assert (received["lowest"], received["highest"], received["received"]) == (200, 206, 7)


def test_go_admin_creates_lists_and_deletes_a_topic(peer: Peer, java: JavaSession) -> None:
    def admin(*words: object) -> Row:
        (row,) = go("admin", *words, "--broker", peer.broker, namesrv=peer.namesrv)
        return row

    admin("topic-create", "--topic", "go-admin", "--queues", 3)
    java.run("admin", "topic-create", "--topic", "go-admin", "--queues", 3)
    assert "go-admin" in admin("topic-list")["topics"]
    assert admin("queues", "--topic", "go-admin")["queues"] == [f"broker-a/{n}" for n in range(3)]
    assert "CID_RMQ_SYS_TRANS" in admin("groups")["groups"]
    admin("topic-delete", "--topic", "go-admin")
    assert "go-admin" not in admin("topic-list")["topics"]
