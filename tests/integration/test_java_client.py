"""The unmodified Apache Java client 5.5.0 against our server (or Apache's, with `--peer apache`).

Ten thousand messages in each way of sending, each consumed in each way of consuming; keys, ids and
offsets queried back; administration. One JVM and one server for the module.
"""

from __future__ import annotations

import contextlib

import pytest

from tests.support.foreign import ForeignFailed, JavaSession, Row
from tests.support.messages import (
    Sent,
    assert_all_received,
    assert_all_sent,
    await_consumed,
    await_messages,
    send_words,
)
from tests.support.peers import Peer
from tests.support.processes import retries

pytestmark = [pytest.mark.foreign, pytest.mark.timeout(150)]

COUNT = 10_000
TAGS = ("TagA", "TagB", "TagC")
MODES = {
    "java_sent_one_by_one": "sync",
    "java_sent_asynchronously": "async",
    "java_sent_one_way": "oneway",
    "java_sent_in_batches": "batch",
}


@pytest.fixture(scope="module", params=list(MODES.values()), ids=list(MODES))
def sent(request: pytest.FixtureRequest, java: JavaSession) -> Sent:
    topic = f"java-{request.param}"
    java.run("admin", "topic-create", "--topic", topic, "--queues", 4)
    result = java.one(*send_words(topic, request.param, COUNT, TAGS))
    return Sent(topic, request.param, COUNT, TAGS, result)


def consume(java: JavaSession, way: str, sent: Sent, count: int, *more: object) -> Row:
    group = f"{sent.topic}-{way}-{len(more)}"
    words = ("--topic", sent.topic, "--group", group, "--expect", count, "--timeout", 60)
    return java.one(f"consume-{way}", *words, *more)


def await_clients(java: JavaSession, group: str) -> Row:
    """The connections of a group, as soon as it has one."""
    for _ in retries(20):
        with contextlib.suppress(ForeignFailed):
            return java.one("admin", "consumers", "--group", group)
    raise AssertionError(f"no client of {group} appeared")


def test_every_message_is_acknowledged_and_stored(java: JavaSession, sent: Sent) -> None:
    assert_all_sent(sent)
    offsets = await_messages(java, sent.topic, COUNT)
    assert [queue["min"] for queue in offsets["queues"]] == [0, 0, 0, 0]


def test_java_push_consumer_receives_every_message(java: JavaSession, sent: Sent) -> None:
    assert_all_received(consume(java, "push", sent, COUNT), sent)


def test_java_pull_consumer_receives_every_message(java: JavaSession, sent: Sent) -> None:
    received = consume(java, "pull", sent, COUNT)
    assert_all_received(received, sent)
    assert received["out_of_order"] == 0


def test_java_pull_consumer_with_assigned_queues_receives_every_message(
    java: JavaSession, sent: Sent
) -> None:
    received = consume(java, "assign", sent, COUNT)
    assert_all_received(received, sent)
    assert received["out_of_order"] == 0


def test_java_push_consumer_receives_only_the_tags_it_wants(java: JavaSession, sent: Sent) -> None:
    wanted = ("TagA", "TagC")
    count = sum(sent.with_tags(*wanted).values())
    received = consume(java, "push", sent, count, "--sub", " || ".join(wanted))
    assert_all_received(received, sent, wanted)


def test_java_pull_consumer_receives_only_the_tag_it_wants(java: JavaSession, sent: Sent) -> None:
    count = sent.with_tags("TagB")["TagB"]
    received = consume(java, "pull", sent, count, "--sub", "TagB")
    assert_all_received(received, sent, ("TagB",))


def test_messages_are_found_again_by_key(java: JavaSession, sent: Sent) -> None:
    await_messages(java, sent.topic, COUNT)
    words = ("--topic", sent.topic, "--keys", sent.key_prefix)
    row = java.one("query-keys", *words, "--first", 3, "--step", 97, "--count", 100)
    assert row["missing"] == []
    assert row["found"] == row["asked"] == 100


def test_a_key_that_nobody_sent_finds_nothing(java: JavaSession, sent: Sent) -> None:
    assert java.one("query-key", "--topic", sent.topic, "--key", "no-such-key")["found"] == 0


def test_a_consumer_group_has_nothing_left_when_it_has_consumed_all(
    java: JavaSession, peer: Peer
) -> None:
    topic = "java-progress"
    java.run("admin", "topic-create", "--topic", topic, "--queues", 2)
    result = java.one(*send_words(topic, "sync", 200, TAGS))
    sent = Sent(topic, "sync", 200, TAGS, result)
    assert_all_received(consume(java, "pull", sent, 200), sent)
    await_consumed(java, peer.broker, topic, f"{topic}-pull-0")
    java.run(*send_words(topic, "sync", 7, TAGS), "--first", 200)
    received = consume(java, "pull", sent, 7)
    assert (received["lowest"], received["highest"], received["received"]) == (200, 206, 7)


def test_a_message_is_found_by_the_id_of_its_place_and_by_the_id_its_client_gave(
    java: JavaSession,
) -> None:
    java.run("admin", "topic-create", "--topic", "java-ids", "--queues", 1)
    result = java.one(*send_words("java-ids", "sync", 20, TAGS))
    first = {"number": 0, "queue": 0, "queue_offset": 0, "id": result["first_id"]}
    last = {"number": 19, "queue": 0, "queue_offset": 19, "id": result["last_id"]}
    for expected, subcommand, name in (
        (first, "query-id", "first_offset_id"),
        (last, "query-id", "last_offset_id"),
        (first, "query-unique", "first_id"),
        (last, "query-unique", "last_id"),
    ):
        message = java.one(subcommand, "--topic", "java-ids", "--id", result[name])["message"]
        assert expected.items() <= message.items()


def test_messages_of_one_shard_are_consumed_in_the_order_in_which_they_were_sent(
    java: JavaSession,
) -> None:
    java.run("admin", "topic-create", "--topic", "java-ordered", "--queues", 4)
    result = java.one(*send_words("java-ordered", "ordered", 400, TAGS), "--shards", 4)
    sent = Sent("java-ordered", "ordered", 400, TAGS, result)
    assert_all_sent(sent)
    assert [queue["count"] for queue in result["queues"].values()] == [100, 100, 100, 100]
    received = consume(java, "pull", sent, 400)
    assert_all_received(received, sent)
    assert received["out_of_order"] == 0
    assert received["numbers_out_of_order"] == 0


@pytest.mark.parametrize("compression", ["ZLIB", "LZ4", "ZSTD"])
def test_big_compressed_bodies_arrive_as_they_were(java: JavaSession, compression: str) -> None:
    topic = f"java-big-{compression.lower()}"
    java.run("admin", "topic-create", "--topic", topic, "--queues", 2)
    words = send_words(topic, "sync", 20, TAGS)
    more = ("--body-size", 1_000_000, "--compress", "--compress-type", compression)
    sent = Sent(topic, "sync", 20, TAGS, java.one(*words, *more))
    assert_all_sent(sent)
    received = java.one("consume-push", "--topic", topic, "--group", f"{topic}-g", "--expect", 20)
    assert_all_received(received, sent)
    assert received["body_bytes"] == 20_000_000
    assert received["stored_bytes"] < 2_000_000, "not stored compressed"


def test_a_topic_that_nobody_created_is_created_by_sending(java: JavaSession, peer: Peer) -> None:
    result = java.one(*send_words("java-auto-created", "sync", 40, TAGS))
    assert_all_sent(Sent("java-auto-created", "sync", 40, TAGS, result))
    config = java.one("admin", "topic-config", "--topic", "java-auto-created")
    assert (config["read_queues"], config["write_queues"], config["perm"]) == (4, 4, 6)


def test_offsets_by_time_go_from_the_first_message_to_behind_the_last(java: JavaSession) -> None:
    java.run("admin", "topic-create", "--topic", "java-times", "--queues", 1)
    java.run(*send_words("java-times", "sync", 10, TAGS))
    (queue,) = java.one("offsets", "--topic", "java-times")["queues"]
    assert (queue["min"], queue["max"]) == (0, 10)
    assert (queue["by_time"], queue["by_time_now"]) == (0, 10)
    java.run(*send_words("java-times", "sync", 5, TAGS))
    words = ("offsets", "--topic", "java-times", "--time", queue["earliest_store_time"])
    (later,) = java.one(*words)["queues"]
    assert (later["by_time"], later["max"]) == (0, 15)
    assert later["earliest_store_time"] == queue["earliest_store_time"]


def test_a_topic_is_created_changed_listed_and_deleted(java: JavaSession, peer: Peer) -> None:
    def config() -> tuple[int, int, int]:
        row = java.one("admin", "topic-config", "--topic", "java-admin")
        return row["read_queues"], row["write_queues"], row["perm"]

    java.run("admin", "topic-create", "--topic", "java-admin", "--queues", 3)
    assert config() == (3, 3, 6)
    stats = java.one("admin", "topic-stats", "--topic", "java-admin")
    assert stats["messages"] == 0
    assert [queue["queue"] for queue in stats["queues"]] == [0, 1, 2]
    java.run("admin", "topic-create", "--topic", "java-admin", "--queues", 5, "--perm", 4)
    assert config() == (5, 5, 4)
    route = java.one("admin", "topic-route", "--topic", "java-admin")
    assert route["queues"] == {"broker-a": {"read": 5, "write": 5, "perm": 4}}
    assert route["brokers"] == {"broker-a": {"0": peer.broker}}
    assert "java-admin" in java.one("admin", "topic-list")["topics"]
    java.run("admin", "topic-delete", "--topic", "java-admin")
    assert "java-admin" not in java.one("admin", "topic-list")["topics"]


def test_the_cluster_and_the_broker_describe_themselves(java: JavaSession, peer: Peer) -> None:
    cluster = java.one("admin", "cluster")
    assert cluster["clusters"] == {"DefaultCluster": ["broker-a"]}
    assert cluster["brokers"] == {
        "broker-a": {"cluster": "DefaultCluster", "addresses": {"0": peer.broker}}
    }
    table = java.one("admin", "runtime")["table"]
    assert {"bootTimestamp", "putTps", "commitLogMaxOffset", "brokerVersionDesc"} <= table.keys()
    assert int(table["msgPutTotalTodayNow"]) > 0


def test_mqadmin_shows_topic_status_and_cluster(java: JavaSession, peer: Peer) -> None:
    java.run("admin", "topic-create", "--topic", "java-mqadmin", "--queues", 1)
    java.run(*send_words("java-mqadmin", "sync", 3, TAGS))
    status = java.mqadmin("topicStatus -t java-mqadmin").splitlines()
    assert status[0].split("  ")[0] == "#Broker Name"
    assert status[1].split()[:4] == ["broker-a", "0", "0", "3"]
    rows = [line.split() for line in java.mqadmin("clusterList").splitlines() if line.strip()]
    assert ["DefaultCluster", "broker-a", "0", peer.broker] in [row[:4] for row in rows]


def test_a_consumer_group_is_created_changed_and_deleted_by_mqadmin(
    java: JavaSession, peer: Peer
) -> None:
    at = f"-b {peer.broker} -g java-made"
    assert "java-made" not in java.one("admin", "groups")["groups"]
    java.mqadmin(f"updateSubGroup {at} -r 3")
    assert "java-made" in java.one("admin", "groups")["groups"]
    assert "3" in retry_row(java.mqadmin("getConsumerConfig -g java-made"))
    java.mqadmin(f"updateSubGroup {at} -r 7")
    assert "7" in retry_row(java.mqadmin("getConsumerConfig -g java-made"))
    java.mqadmin(f"deleteSubGroup {at}")
    assert "java-made" not in java.one("admin", "groups")["groups"]


def retry_row(shown: str) -> list[str]:
    (row,) = (line.split() for line in shown.splitlines() if "retryMaxTimes" in line)
    return row


def test_a_consumer_group_is_listed_with_its_clients_while_they_are_there(
    java: JavaSession, peer: Peer
) -> None:
    java.run("admin", "topic-create", "--topic", "java-groups", "--queues", 1)
    java.run(*send_words("java-groups", "sync", 1, TAGS))
    with JavaSession(peer.namesrv) as other:
        words = (
            "--topic",
            "java-groups",
            "--group",
            "java-watched",
            "--expect",
            2,
            "--timeout",
            30,
        )
        other.begin("consume-push", *words, "--sub", "TagA||TagB")
        connection = await_clients(java, "java-watched")
        assert [client["language"] for client in connection["clients"]] == ["JAVA"]
        assert connection["subscriptions"] == {
            "%RETRY%java-watched": "*",
            "java-groups": "TagA||TagB",
        }
        assert (connection["model"], connection["type"], connection["from"]) == (
            "CLUSTERING",
            "CONSUME_PASSIVELY",
            "CONSUME_FROM_FIRST_OFFSET",
        )
        assert "java-watched" in java.one("admin", "groups")["groups"]
        java.run(*send_words("java-groups", "sync", 1, TAGS), "--first", 1)
        (received,) = other.finish(timeout_seconds=30)
        assert received["distinct"] == 2
