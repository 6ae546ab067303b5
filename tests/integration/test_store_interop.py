"""One store directory, two servers: Apache's broker 5.5.0 serves what ours wrote, and the reverse.

Every message is read with an Apache client in every way there is (by queue, by tag, by key, by id);
the consumer groups go on where they were; then the second server writes more, and the first one
serves that too. With `--peer apache` both servers are Apache's, which checks the test itself.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.foreign import JavaSession, Row
from tests.support.messages import (
    Sent,
    assert_all_received,
    assert_all_sent,
    await_consumed,
    behind,
    send_words,
)
from tests.support.peers import Kind, StoreOwner
from tests.support.processes import retries

pytestmark = [
    pytest.mark.foreign,
    pytest.mark.timeout(180),
    pytest.mark.usefixtures("java_program"),
]

# Small enough that 5,000 messages fill several files of each sort; both servers must agree on them.
FILE_SIZES = {
    "mappedFileSizeCommitLog": str(1024 * 1024),
    "mappedFileSizeConsumeQueue": str(500 * 20),
    "maxHashSlotNum": "1000",
    "maxIndexNum": "4000",
}
TOPIC = "interop"
BIG_TOPIC = "interop-big"
GROUP = "interop-group"
TAGS = ("TagA", "TagB", "TagC")
COUNT = 5_000
MORE = 500


def other(kind: Kind, peer_kind: Kind) -> Kind:
    """The server that takes over; Apache itself when the test is checked against Apache."""
    if peer_kind == "apache":
        return "apache"
    return "apache" if kind == "ours" else "ours"


@pytest.fixture(params=["ours", "apache"], ids=["ours_wrote", "apache_wrote"])
def writer(request: pytest.FixtureRequest, peer_kind: Kind) -> Kind:
    if peer_kind == "apache" and request.param == "ours":
        pytest.skip("--peer apache: our server stays out")
    kind: Kind = request.param
    return kind


def write(java: JavaSession, sent: Sent) -> tuple[Sent, Row]:
    """Messages one by one and in batches, big ones, and a group that has consumed some of them."""
    java.run("admin", "topic-create", "--topic", TOPIC, "--queues", 4)
    java.run("admin", "topic-create", "--topic", BIG_TOPIC, "--queues", 2, "--perm", 6)
    single = java.one(*send_words(TOPIC, "sync", 1000, TAGS))
    assert_all_sent(replace(sent, count=1000, result=single))
    batched = java.one(*send_words(TOPIC, "batch", COUNT - 1000, TAGS), "--first", 1000)
    assert batched["statuses"] == {"SEND_OK": COUNT - 1000}
    big = ("--body-size", 200_000, "--compress")
    java.run(*send_words(BIG_TOPIC, "sync", 10, TAGS), *big)
    half = java.one("consume-pull", "--topic", TOPIC, "--group", GROUP, "--expect", COUNT // 2)
    assert half["wrong"] == 0
    assert half["received"] == half["distinct"] >= COUNT // 2
    return replace(sent, result=single), half


def read_all(java: JavaSession, sent: Sent) -> None:
    """All messages, in all ways of reading."""
    assert java.one("offsets", "--topic", TOPIC)["messages"] == sent.count
    assert java.one("admin", "topic-config", "--topic", TOPIC)["read_queues"] == 4
    read, group = ("--topic", TOPIC, "--timeout", 60), f"reader-{sent.count}"
    everything = java.one("consume-assign", *read, "--group", group, "--expect", sent.count)
    assert_all_received(everything, sent)
    assert everything["out_of_order"] == 0
    count = sent.with_tags("TagB")["TagB"]
    tagged = ("--group", f"{group}-tagged", "--expect", count, "--sub", "TagB")
    assert_all_received(java.one("consume-pull", *read, *tagged), sent, ("TagB",))
    keys = ("--keys", sent.key_prefix, "--first", 1, "--step", 37, "--count", sent.count // 37)
    found = java.one("query-keys", "--topic", TOPIC, *keys)
    assert found["missing"] == []
    message = java.one("query-unique", "--topic", TOPIC, "--id", sent.result["first_id"])
    assert message["message"]["number"] == 0
    big_sent = Sent(BIG_TOPIC, "sync", 10, TAGS, {})
    big = java.one("consume-assign", "--topic", BIG_TOPIC, "--group", group, "--expect", 10)
    assert_all_received(big, big_sent)
    assert big["body_bytes"] == 2_000_000


def await_topic_file(store: Path) -> None:
    """Until config/topics.json names the topics; ours writes it every 5 s, its journal at once."""
    file = store / "config" / "topics.json"
    for _ in retries(20):
        if file.is_file() and BIG_TOPIC in file.read_text():
            return
    raise AssertionError(f"{BIG_TOPIC} never came into {file}")


def write_more(java: JavaSession, sent: Sent) -> Sent:
    """The new owner's messages follow the old ones in each queue without a gap."""
    before = java.one("offsets", "--topic", TOPIC)["queues"]
    words = send_words(TOPIC, "sync", MORE, TAGS)
    result = java.one(*words, "--first", sent.count)
    assert result["statuses"] == {"SEND_OK": MORE}
    for queue in before:
        assert result["queues"][str(queue["queue"])]["first"] == queue["max"]
    return replace(sent, count=sent.count + MORE)


def test_the_other_broker_serves_a_store_after_a_clean_stop_and_gives_it_back(
    writer: Kind, peer_kind: Kind, tmp_path: Path
) -> None:
    sent = Sent(TOPIC, "sync", COUNT, TAGS, {})
    with StoreOwner(writer, tmp_path, properties=FILE_SIZES) as owner:
        with JavaSession(owner.namesrv) as java:
            sent, half = write(java, sent)
            rest = COUNT - half["distinct"]
            await_consumed(java, owner.broker, TOPIC, GROUP, but=rest)
        owner.stop()

    with StoreOwner(other(writer, peer_kind), tmp_path, properties=FILE_SIZES) as owner:
        with JavaSession(owner.namesrv) as java:
            read_all(java, sent)
            assert GROUP in java.one("admin", "groups")["groups"]
            assert behind(java, owner.broker, TOPIC, GROUP) == rest
            words = ("--topic", TOPIC, "--group", GROUP, "--expect", rest)
            continued = java.one("consume-pull", *words)
            assert (continued["received"], continued["wrong"]) == (rest, 0)
            sent = write_more(java, sent)
        owner.stop()

    with (
        StoreOwner(writer, tmp_path, properties=FILE_SIZES) as owner,
        JavaSession(owner.namesrv) as java,
    ):
        read_all(java, sent)
        assert behind(java, owner.broker, TOPIC, GROUP) == MORE
        write_more(java, sent)


def test_the_other_broker_serves_a_store_whose_owner_was_killed(
    writer: Kind, peer_kind: Kind, tmp_path: Path
) -> None:
    sent = Sent(TOPIC, "sync", COUNT, TAGS, {})
    with StoreOwner(writer, tmp_path, properties=FILE_SIZES) as owner:
        with JavaSession(owner.namesrv) as java:
            sent, _ = write(java, sent)
        await_topic_file(tmp_path)
        owner.kill()

    with (
        StoreOwner(other(writer, peer_kind), tmp_path, properties=FILE_SIZES) as owner,
        JavaSession(owner.namesrv) as java,
    ):
        read_all(java, sent)
        sent = write_more(java, sent)
        read_all(java, sent)
