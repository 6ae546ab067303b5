"""The unmodified Apache Java client 4.9.8: each way of sending, each way of consuming.

One topic holds what was sent in all ways, so that each way of consuming meets each of sending.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.support.foreign import JavaSession, Row
from tests.support.messages import Sent, assert_all_received, await_messages, send_words
from tests.support.peers import Peer

pytestmark = [pytest.mark.foreign, pytest.mark.timeout(150)]

TOPIC = "old-client"
COUNT = 500
MODES = ("sync", "async", "oneway", "batch", "ordered")
TAGS = ("TagA", "TagB", "TagC")


@pytest.fixture(scope="module")
def java(peer: Peer) -> Iterator[JavaSession]:
    with JavaSession(peer.namesrv, profile="client-4.9.8") as session:
        (met,) = session.run("version")
        assert met["client"] == "rocketmq-client 4.9.8 (Java)"
        yield session


@pytest.fixture(scope="module")
def results(java: JavaSession) -> dict[str, Row]:
    """What the producers told; messages of the n-th way have the n-th COUNT of numbers."""
    java.run("admin", "topic-create", "--topic", TOPIC, "--queues", 4)
    told = {}
    for place, mode in enumerate(MODES):
        words = send_words(TOPIC, mode, COUNT, TAGS)
        told[mode] = java.one(*words, "--first", place * COUNT)
    await_messages(java, TOPIC, len(MODES) * COUNT)
    return told


@pytest.fixture(scope="module")
def sent(results: dict[str, Row]) -> Sent:
    return Sent(TOPIC, "all", len(MODES) * COUNT, TAGS, results["sync"])


@pytest.mark.parametrize("mode", MODES)
def test_every_message_of_the_old_client_is_acknowledged(
    results: dict[str, Row], mode: str, record_property: Callable[[str, object], None]
) -> None:
    result = results[mode]
    record_property("peer", result["client"])  # by a fixture that several tests share
    status = "ONEWAY" if mode == "oneway" else "SEND_OK"
    assert (result["statuses"], result["errors"]) == ({status: COUNT}, [])
    assert result["distinct_offset_ids"] == (0 if mode == "oneway" else COUNT)


@pytest.mark.parametrize("way", ["push", "pull", "assign"])
def test_the_old_client_consumes_every_message(java: JavaSession, sent: Sent, way: str) -> None:
    words = ("--topic", TOPIC, "--group", f"{TOPIC}-{way}", "--expect", sent.count)
    assert_all_received(java.one(f"consume-{way}", *words), sent)


def test_the_old_client_consumes_only_the_tags_it_wants(java: JavaSession, sent: Sent) -> None:
    wanted = ("TagA", "TagC")
    count = sum(sent.with_tags(*wanted).values())
    words = ("--topic", TOPIC, "--group", f"{TOPIC}-tags", "--expect", count)
    received = java.one("consume-push", *words, "--sub", " || ".join(wanted))
    assert_all_received(received, sent, wanted)


def test_an_orderly_old_client_consumes_the_shards_in_their_order(
    java: JavaSession,
) -> None:
    topic = "old-client-ordered"
    java.run("admin", "topic-create", "--topic", topic, "--queues", 4)
    result = java.one(*send_words(topic, "ordered", COUNT, TAGS), "--shards", 4)
    words = ("--topic", topic, "--group", topic, "--expect", COUNT, "--orderly")
    received = java.one("consume-push", *words)
    assert_all_received(received, Sent(topic, "ordered", COUNT, TAGS, result))
    assert (received["out_of_order"], received["numbers_out_of_order"]) == (0, 0)
