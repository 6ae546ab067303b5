"""What Java messages carry and leave behind: bodies, properties, namespaces, traces, relays."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence

import pytest

from tests.support.differential import Differential
from tests.support.foreign import JavaSession, Row
from tests.support.listeners import (
    SHORT_DELAYS,
    Listener,
    create_topic,
    listening_session,
    names_of,
    post,
    shown,
)
from tests.support.peers import Kind, Peer, running_peer
from tests.support.processes import ask, retries
from tests.support.records import Record, records_of

pytestmark = [pytest.mark.foreign, pytest.mark.timeout(150)]

PULL_MESSAGE = 11
MIB = 1024 * 1024
PROPERTIES = {
    **SHORT_DELAYS,
    "traceTopicEnable": "true",
    # Room for the largest message in one file.
    "mappedFileSizeCommitLog": str(64 * MIB),
}


@pytest.fixture(scope="module")
def peer(
    java_program: None, peer_kind: Kind, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Peer]:
    with running_peer(peer_kind, tmp_path_factory.mktemp("messages"), PROPERTIES) as running:
        yield running


@pytest.fixture(scope="module")
def java(peer: Peer) -> Iterator[JavaSession]:
    with listening_session(peer) as session:
        yield session


@pytest.fixture(scope="module")
def old_java(peer: Peer) -> Iterator[JavaSession]:
    with listening_session(peer, "client-4.9.8") as session:
        yield session


def stored_in(peer: Peer, topic: str) -> list[Record]:
    """The records of queue 0 as a pull brings them, bodies as they are stored."""
    fields = {
        "consumerGroup": "reader",
        "topic": topic,
        "queueId": "0",
        "queueOffset": "0",
        "maxMsgNums": "32",
        "sysFlag": "4",
        "subscription": "*",
        "commitOffset": "0",
        "suspendTimeoutMillis": "0",
        "subVersion": "0",
    }
    return records_of(ask(peer.broker, PULL_MESSAGE, fields).body)


def fetch(java: JavaSession, topic: str, count: int) -> list[Row]:
    messages: list[Row] = java.one("fetch", "--topic", topic, "--expect", count)["messages"]
    assert len(messages) == count
    return messages


# -- bodies -------------------------------------------------------------------------------------


@pytest.mark.differential
def test_compressed_bodies_are_stored_as_they_were_sent_and_arrive_as_they_were(
    java: JavaSession, peer: Peer, differential: Differential
) -> None:
    topic, size = "compressed", 100_000
    create_topic(java, topic)
    posted: list[Row] = []
    # From 4096 bytes on; a body one byte shorter goes as it is.
    ways = [("ZLIB", 1, size), ("ZLIB", 9, size), ("LZ4", 5, size), ("ZSTD", 5, size)]
    for way, level, body_size in [*ways, ("ZLIB", 5, 4095), ("ZLIB", 5, 4096)]:
        words = ("--compress-type", way, "--compress-level", level, "--compress-over", 4096)
        posted += post(java, topic, 1, "--body", "bytes", "--body-size", body_size, *words)
    stored = [record.body for record in stored_in(peer, topic)]
    body = bytes(number % 256 for number in range(size))
    assert [zlib.decompress(one) for one in stored[:2]] == [body, body]
    assert [one[:2].hex() for one in stored[:2]] == ["7801", "78da"], "zlib's marks of levels 1, 9"
    assert stored[4] == body[:4095]
    assert zlib.decompress(stored[5]) == body[:4096]
    received = fetch(java, topic, len(posted))
    assert [one["body_crc"] for one in received] == [one["body_crc"] for one in posted]
    differential.check(
        "java-compressed",
        {
            "sys_flags": [one["sys_flag"] for one in received],
            "stored": [len(one) for one in stored[2:4]],
            "crcs": [zlib.crc32(one) for one in stored[2:4]],
        },
    )


@pytest.mark.differential
def test_bodies_of_every_size_arrive_and_too_big_ones_are_refused(
    java: JavaSession, differential: Differential
) -> None:
    topic = "sizes"
    create_topic(java, topic)
    outcome: dict[str, int | str] = {}
    posted: list[Row] = []
    for size in (1, MIB, 39 * MIB // 10, 4 * MIB, 4 * MIB + 1, 5 * MIB):
        words = ("post", "--topic", topic, "--body", "noise", "--body-size", size)
        (row,) = java.one(*words)["messages"]
        outcome[f"body of {size}"] = row.get("code", row.get("status"))
        posted += [row] if "status" in row else []
    received = fetch(java, topic, len(posted))
    assert [one["body_crc"] for one in received] == [one["body_crc"] for one in posted]
    assert outcome[f"body of {4 * MIB + 1}"] == 13
    for size in (32_000, 33_000):
        (row,) = java.one("post", "--topic", topic, "--property-size", size)["messages"]
        outcome[f"property of {size}"] = row.get("code", row.get("status"))
    differential.check("java-sizes", outcome)


@pytest.mark.differential
def test_bytes_flag_keys_and_properties_arrive_as_they_were(
    java: JavaSession, differential: Differential
) -> None:
    topic = "carried"
    create_topic(java, topic)
    words = {
        "--body": "bytes",
        "--body-size": 300,
        "--key-text": "order-17 Schlüssel 钥匙",
        "--tags": "标签",
        "--properties": "plain=value;blanks= in  front ;sign=a=b,c;word=消息 😀 ünï;Fall=CASE",
        "--flag": 1 << 30,
        "--buyer": "buyer-9",
        "--shard": "shard-3",
    }
    options = [item for pair in words.items() for item in pair]
    posted = post(java, topic, 1, *options)
    with Listener(java, topic, "carried-group", "--sub", "标签") as listener:
        (heard,) = listener.heard(1)
    assert heard["body_crc"] == posted[0]["body_crc"]
    assert 0 <= heard["born_ms"] - posted[0]["before_ms"] < 5000
    differential.check("java-carried", shown(heard, names_of(posted)))
    for key in ("order-17", "Schlüssel", "钥匙"):
        found = java.one("query-key", "--topic", topic, "--key", key)["messages"]
        assert [one["id"] for one in found] == [posted[0]["id"]]


# -- namespaces ---------------------------------------------------------------------------------


def topics_with(java: JavaSession, word: str, wanted: Sequence[str]) -> list[str]:
    """The server's topics that have a word in their name, as soon as the wanted ones are there."""
    found: list[str] = []
    for _ in retries(15):
        found = [topic for topic in java.one("admin", "topic-list")["topics"] if word in topic]
        if set(wanted) <= set(found):
            break
    return sorted(found)


@pytest.mark.parametrize("version", ["5.5.0", "4.9.8"])
def test_a_namespace_is_in_every_name_on_the_server_and_in_none_at_the_client(
    java: JavaSession, version: str, request: pytest.FixtureRequest
) -> None:
    client: JavaSession = java if version == "5.5.0" else request.getfixturevalue("old_java")
    name = f"spaced-{version[0]}"
    within = ("--namespace", f"ns{version[0]}")
    create_topic(java, f"ns{version[0]}%{name}")
    with Listener(client, name, f"{name}-group", "--later", "1:1,2:9@-1", *within) as listener:
        posted = post(client, name, 4, *within)
        assert {one["topic"] for one in posted} == {name}
        heard = listener.heard(5)
        assert {one["topic"] for one in heard} == {name}
        assert sorted(one["times"] for one in heard) == [0, 0, 0, 0, 1]
        assert [one["number"] for one in heard if one["times"] == 1] == [1]
        wanted = [
            f"%DLQ%ns{version[0]}%{name}-group",
            f"%RETRY%ns{version[0]}%{name}-group",
            f"ns{version[0]}%{name}",
        ]
        assert topics_with(java, name, wanted) == wanted


@pytest.mark.differential
def test_a_namespace_of_the_second_kind_changes_no_name(
    java: JavaSession, differential: Differential
) -> None:
    within = ("--namespace-v2", "second")
    create_topic(java, "spaced-v2")
    with Listener(java, "spaced-v2", "spaced-v2-group", "--later", "1:1", *within) as listener:
        posted = post(java, "spaced-v2", 3, *within)
        heard = sorted(listener.heard(4), key=lambda one: (one["times"], one["number"]))
        wanted = ["%RETRY%spaced-v2-group", "spaced-v2"]
        assert topics_with(java, "spaced-v2", wanted) == wanted
    named = names_of(posted)
    differential.check("java-namespace-v2", {"heard": [shown(one, named) for one in heard]})


# -- traces -------------------------------------------------------------------------------------


@pytest.mark.differential
@pytest.mark.parametrize("trace_topic", ["RMQ_SYS_TRACE_TOPIC", "own-traces"])
def test_the_trace_of_a_message_tells_who_sent_it_and_how_it_was_consumed(
    java: JavaSession, trace_topic: str, differential: Differential
) -> None:
    topic, group = f"traced-by-{trace_topic}", f"traced-by-{trace_topic}-group"
    create_topic(java, topic)
    if trace_topic == "own-traces":
        create_topic(java, trace_topic)
    more = ("--trace", "--trace-topic", trace_topic)
    with Listener(java, topic, group, "--later", "1:1", *more) as listener:
        posted = post(java, topic, 2, "--tags", "A", *more)
        listener.heard(3)
        named = names_of(posted)
        traces: dict[str, list[Row]] = {}
        for message, count in zip(posted, (3, 5), strict=True):
            words = ("--topic", trace_topic, "--id", message["id"], "--expect", count)
            traces[str(message["number"])] = [
                {name: named.get(str(value), value) for name, value in row.items()}
                for row in java.one("traces", *words, "--timeout", 15)["traces"]
            ]
    delivery = ["SubBefore", "SubAfter"]
    assert [row["type"] for row in traces["0"]] == ["Pub", *delivery]
    assert [row["type"] for row in traces["1"]] == ["Pub", *delivery, *delivery]
    differential.check(f"java-traces-{trace_topic}", traces)


def test_mqadmin_shows_the_trace_of_a_message(java: JavaSession) -> None:
    create_topic(java, "traced-for-mqadmin")
    with Listener(java, "traced-for-mqadmin", "traced-group", "--trace") as listener:
        (message,) = post(java, "traced-for-mqadmin", 1, "--trace")
        listener.heard(1)
        words = ("--topic", "RMQ_SYS_TRACE_TOPIC", "--id", message["id"], "--expect", 3)
        assert len(java.one("traces", *words, "--timeout", 15)["traces"]) == 3
    told = java.mqadmin(f"queryMsgTraceById -i {message['id']}")
    lines = [line.split() for line in told.splitlines() if line[:3] in ("Pub", "Sub")]
    assert [(line[0], line[1], line[-1]) for line in lines] == [
        ("Pub", "pyromq-java-producer", "success"),
        ("Sub", "traced-group", "success"),
    ]


@pytest.mark.differential
def test_the_trace_topic_is_there_from_the_start(
    java: JavaSession, differential: Differential
) -> None:
    config = java.one("admin", "topic-config", "--topic", "RMQ_SYS_TRACE_TOPIC")
    route = java.one("admin", "topic-route", "--topic", "RMQ_SYS_TRACE_TOPIC")
    config.pop("client")
    differential.check("java-trace-topic", {"config": config, "queues": route["queues"]})


# -- relays -------------------------------------------------------------------------------------


@pytest.mark.differential
def test_a_running_consumer_tells_an_admin_all_about_itself(
    java: JavaSession, differential: Differential
) -> None:
    topic, group = "related", "related-group"
    create_topic(java, topic, queues=2)
    with Listener(java, topic, group) as listener:
        named = ("--group", group, "--client-id", listener.client_id)
        info: Row = {}
        for _ in retries(15):
            info = java.one("relay", "running-info", *named, "--jstack")
            if f"%RETRY%{group}/0" in info.get("queues", {}):
                break
        assert "ConsumeMessageThread_" in info["jstack"] or "RebalanceService" in info["jstack"]
        without = java.one("relay", "running-info", *named)
        assert without["jstack"] is None
        stranger = ("--group", group, "--client-id", "stranger")
        refused = java.one("relay", "running-info", *stranger)
    steady = ("PROP_CLIENT_VERSION", "PROP_CONSUME_TYPE", "PROP_CONSUMEORDERLY", "consumerGroup")
    differential.check(
        "java-running-info",
        {
            "names": sorted(info["properties"]),
            "values": {name: info["properties"][name] for name in steady},
            "queues": sorted(info["queues"]),
            "subscriptions": info["subscriptions"],
            "statuses": info["statuses"],
            "refused": [refused["code"], refused["remark"]],
        },
    )


def queues_of(java: JavaSession, topic: str, group: str, client_id: str) -> list[str]:
    """The queues of a topic that a client has, as it tells itself."""
    row = java.one("relay", "running-info", "--group", group, "--client-id", client_id)
    return [queue for queue in row.get("queues", ()) if queue.startswith(f"{topic}/")]


@pytest.mark.differential
def test_an_admin_makes_a_named_client_consume_a_message_once_more(
    java: JavaSession, differential: Differential
) -> None:
    topic, group, unwilling = "directly", "directly-group", "directly-unwilling"
    create_topic(java, topic, queues=2)
    with (
        Listener(java, topic, group) as first,
        Listener(java, topic, group) as second,
        Listener(java, topic, unwilling, "--later", "*:9@-1") as third,
    ):
        # Only once the queues are shared does each message come to one of them.
        for _ in retries(15):
            shares = [queues_of(java, topic, group, one.client_id) for one in (first, second)]
            if sorted(shares) == [[f"{topic}/0"], [f"{topic}/1"]]:
                break
        (message,) = post(java, topic, 1, "--queue", shares[0][0].removeprefix(f"{topic}/"))
        first.heard(1)
        third.heard(1)

        def directly(name: str, client_id: str) -> Row:
            words = ("--group", name, "--client-id", client_id, "--topic", topic)
            row = java.one("relay", "consume-directly", *words, "--id", message["id"])
            varying = ("client", "spent_ms")
            return {one: value for one, value in row.items() if one not in varying}

        outcome = {
            "willing": directly(group, second.client_id),
            "unwilling": directly(unwilling, third.client_id),
            "stranger": directly(group, "stranger"),
        }
        heard = [len(one.heard(0)) for one in (first, second, third)]
    assert heard == [1, 1, 2], "the named client has consumed it, though it was not its own"
    differential.check("java-consume-directly", outcome)


def test_connected_consumers_and_producers_are_told_with_their_clients(java: JavaSession) -> None:
    topic, group = "connected", "connected-group"
    create_topic(java, topic)
    options = ("--answer", "--producer-group", "connected-producers", "--sub", "A || B")
    with Listener(java, topic, group, *options) as listener:
        post(java, topic, 1, "--tags", "A")
        listener.heard(1)
        told = java.one("admin", "consumers", "--group", group)
        assert [(one["id"], one["language"]) for one in told["clients"]] == [
            (listener.client_id, "JAVA")
        ]
        assert told["subscriptions"] == {f"%RETRY%{group}": "*", topic: "A || B"}
        words = ("--group", "connected-producers", "--topic", topic)
        clients = java.one("admin", "producers", *words)["clients"]
        assert [one["language"] for one in clients] == ["JAVA"]
