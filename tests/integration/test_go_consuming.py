"""The unmodified Apache Go client v2.1.2: groups whose members change, retries, dead letters,
broadcasts, delays, compressed bodies, requests and answers, pulls and traces.

What takes seconds by the nature of this client runs at the same time, begun by the first test that
waits for any of it (`begun`).
"""

from __future__ import annotations

import contextlib
import functools
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from tests.support.differential import Differential
from tests.support.foreign import GoRun, JavaSession, Row, go
from tests.support.listeners import DELAYS_MS, SHORT_DELAYS, Listener, by_number, shown
from tests.support.peers import Kind, Peer, running_peer
from tests.support.processes import ask, await_answer

pytestmark = [
    pytest.mark.foreign,
    pytest.mark.timeout(150),
    pytest.mark.usefixtures("go_client"),
]

GET_ROUTE = 105
VIEW_MESSAGE_BY_ID = 33

# All members of one step share the queues before the next step begins.
MEMBERS_COME_AND_GO = "a/a,b/a,b,c/a,b,c,d/b,c,d/c,d/d"
IN_FLIGHT_MAX = 128
TRACE_TOPIC = "RMQ_SYS_TRACE_TOPIC"

# By message the deliveries that are refused; 7 wishes level 6 (two seconds), 8 never to return.
REFUSED = "1:1,3:2,5:9,7:1:6,8:1:-1"
REFUSED_TIMES = {1: 2, 3: 3, 5: 3, 7: 2, 8: 1}
RECONSUMED_MAX = 2

BEGUN: dict[str, tuple[object, ...]] = {
    "orderly": (
        *("rebalance", "--orderly", "--topic", "go-orderly", "--group", "go-orderly-group"),
        *("--steps", "a/b,c/b", "--count", 1000, "--between", 100, "--shards", 16),
    ),
    "poison": (
        *("retry", "--orderly", "--topic", "go-poison", "--group", "go-poison-group"),
        *("--keys", "go-poison-", "--count", 6, "--fail", "2:99,4:2"),
        *("--max", RECONSUMED_MAX, "--expect", 11),
    ),
    "retried": (
        *("retry", "--topic", "go-retry", "--group", "go-retry-group", "--keys", "go-retry-"),
        *("--count", 10, "--fail", REFUSED, "--max", RECONSUMED_MAX),
        *("--expect", 10 - len(REFUSED_TIMES) + sum(REFUSED_TIMES.values())),
    ),
    "polled": (
        *("send", "--topic", "go-polled", "--keys", "go-polled-", "--count", 8, "--"),
        *("retry-polled", "--topic", "go-polled", "--group", "go-polled-group", "--expect", 8),
    ),
    "delayed": (
        *("delay", "--topic", "go-delay", "--group", "go-delay-group"),
        *("--levels", "6,1,0,18,1,0,99"),
    ),
}
QUEUES = {
    "go-orderly": 4,
    "go-poison": 1,
    "go-retry": 1,
    # Made by a group's first member, which would look for it only 30 s later.
    "%RETRY%go-retry-group": 1,
    "go-delay": 1,
    "go-polled": 2,
    "%RETRY%go-polled-group": 1,
}


@pytest.fixture(scope="module")
def peer(
    java_program: None,
    go_client: None,
    peer_kind: Kind,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Peer]:
    properties = {**SHORT_DELAYS, "traceTopicEnable": "true"}
    with running_peer(peer_kind, tmp_path_factory.mktemp("go"), properties) as running:
        yield running


Begun = Callable[[str], list[Row]]


@pytest.fixture(scope="module")
def begun(peer: Peer) -> Iterator[Begun]:
    """All of `BEGUN` at once; gives the results of one, as soon as it has ended."""
    create_topics(peer, QUEUES)
    with contextlib.ExitStack() as running:
        runs = {}
        for name, words in BEGUN.items():
            runs[name] = GoRun(*words, "--timeout", 60, namesrv=peer.namesrv)
            running.callback(runs[name].kill)
        yield functools.cache(lambda name: runs[name].rows())


def create_topics(peer: Peer, queues: dict[str, int]) -> None:
    words: list[object] = []
    for topic, count in queues.items():
        words += ["--", "admin", "topic-create", "--topic", topic]
        words += ["--broker", peer.broker, "--queues", count]
    go(*words[1:], namesrv=peer.namesrv)
    for topic in queues:
        await_answer(peer.namesrv, GET_ROUTE, {"topic": topic})


def sample_body(number: int, key: str, size: int) -> bytes:
    """As the foreign programs make it."""
    alphabet = b"abcdefghijklmnopqrstuvwxyz0123456789"
    head = f"{number} {key} ".encode()
    return head + bytes(alphabet[(number + i) % 36] for i in range(len(head), size))


def per_queue(deliveries: Iterable[Row]) -> dict[int, list[Row]]:
    """Deliveries by queue, in the order in which the listeners were called."""
    queues: dict[int, list[Row]] = defaultdict(list)
    for delivery in deliveries:
        queues[delivery["queue"]].append(delivery)
    return queues


@pytest.mark.differential
def test_up_to_four_members_of_a_group_come_and_go_and_no_message_is_missed(
    peer: Peer, begun: Begun, differential: Differential
) -> None:
    create_topics(peer, {"go-group": 8})
    (row,) = go(
        *("rebalance", "--topic", "go-group", "--group", "go-changing-group", "--shards", 64),
        *("--steps", MEMBERS_COME_AND_GO, "--count", 4000, "--between", 300),
        namesrv=peer.namesrv,
    )
    assert row["wrong"] == 0
    assert {one["number"] for one in row["deliveries"]} == set(range(row["sent"]))
    duplicates = len(row["deliveries"]) - row["sent"]
    # A member that gets a queue begins at the last commit: again what was in flight, no more.
    assert duplicates <= IN_FLIGHT_MAX * MEMBERS_COME_AND_GO.count("/")
    differential.check("go-consuming-shares", {"shares": row["shares"]})


@pytest.mark.differential
def test_an_orderly_group_keeps_the_order_of_every_queue_while_its_members_change(
    begun: Begun, differential: Differential
) -> None:
    (row,) = begun("orderly")
    assert row["wrong"] == 0
    assert row["overlaps"] == 0, "two members had one queue at the same time"
    assert {one["number"] for one in row["deliveries"]} == set(range(row["sent"]))
    assert {one["member"] for one in row["deliveries"]} == {"a", "b", "c"}
    for deliveries in per_queue(row["deliveries"]).values():
        assert deliveries[0]["offset"] == 0
        for before, after in pairwise(deliveries):
            if after["member"] == before["member"]:
                assert after["offset"] == before["offset"] + 1
            else:  # from the last commit on: again perhaps, but nothing is left out
                assert after["offset"] <= before["offset"] + 1
        for shard in range(16):
            first_times = dict.fromkeys(
                one["number"] for one in deliveries if one["number"] % 16 == shard
            )
            assert list(first_times) == sorted(first_times)
    differential.check("go-consuming-orderly", {"shares": row["shares"]})


@pytest.mark.differential
def test_a_refused_message_comes_again_until_it_is_taken_and_says_how_often_it_came(
    begun: Begun, differential: Differential
) -> None:
    _sent, retried = begun("retried")
    deliveries = by_number(retried["deliveries"])
    times = {number: [one["times"] for one in came] for number, came in deliveries.items()}
    assert times == {number: list(range(REFUSED_TIMES.get(number, 1))) for number in range(10)}
    for number, wait_ms in ((1, 1000), (3, 1000), (5, 1000), (7, 2000)):
        for before, after in pairwise(deliveries[number]):
            assert wait_ms <= after["at_ms"] - before["at_ms"] <= wait_ms + 5000
    differential.check("go-consuming-retry", {"times": times})


@pytest.mark.differential
def test_what_is_refused_too_often_is_a_dead_letter_that_both_clients_can_read(
    peer: Peer, java: JavaSession, begun: Begun, differential: Differential
) -> None:
    begun("retried")
    dead = "%DLQ%go-retry-group"
    fetched = java.one("fetch", "--topic", dead, "--expect", 2)["messages"]
    assert sorted(message["number"] for message in fetched) == [5, 8]
    words = ("--topic", dead, "--group", "go-dead-letters", "--expect", 2)
    (received,) = go("consume-pull", *words, namesrv=peer.namesrv)
    assert (received["distinct"], received["wrong"]) == (2, 0)
    again = java.one("fetch", "--topic", "%RETRY%go-retry-group", "--expect", 5)["messages"]
    assert [message["number"] for message in again].count(3) == 2
    names = originals(java, "go-retry")
    differential.check(
        "go-consuming-dead-letters",
        {
            "dead": [shown(one, names) for one in sorted(fetched, key=_number)],
            "again": [shown(one, names) for one in sorted(again, key=_number)],
        },
    )


def _number(message: Row) -> tuple[int, int]:
    return message["number"], message["times"]


def originals(java: JavaSession, topic: str) -> dict[str, str]:
    """The ids of the messages in a topic, by words that are the same in every run."""
    named = {}
    for message in java.one("fetch", "--topic", topic)["messages"]:
        named[message["offset_id"]] = f"offset id of {message['number']}"
        named[message["id"]] = f"id of {message['number']}"
    return named


@pytest.mark.differential
def test_a_poisoned_message_of_an_orderly_consumer_dies_and_its_queue_goes_on(
    java: JavaSession, begun: Begun, differential: Differential
) -> None:
    _sent, row = begun("poison")
    order = [(one["number"], one["times"]) for one in row["deliveries"]]
    # This client gives a message up at one delivery more than it was told.
    refused = [(2, 0), (2, 1), (2, 2), (2, 3)]
    assert order == [(0, 0), (1, 0), *refused, (3, 0), (4, 0), (4, 1), (4, 2), (5, 0)]
    dead = java.one("fetch", "--topic", "%DLQ%go-poison-group", "--expect", 1)["messages"]
    assert [message["number"] for message in dead] == [2]
    names = originals(java, "go-poison")
    differential.check("go-consuming-poison", {"dead": [shown(one, names) for one in dead]})


@pytest.mark.differential
def test_delayed_messages_arrive_when_their_level_is_over(
    java: JavaSession, begun: Begun, differential: Differential
) -> None:
    (row,) = begun("delayed")
    levels = (6, 1, 0, 18, 1, 0, 18)  # a level above the last one is the last one
    arrived = {one["number"]: one["at_ms"] for one in row["deliveries"]}
    for number, level in enumerate(levels):
        waited = arrived[number] - row["sent_at_ms"][number]
        assert DELAYS_MS[level] <= waited <= DELAYS_MS[level] + 5000
    names = originals(java, "go-delay")
    messages = java.one("fetch", "--topic", "go-delay")["messages"]
    stored = [shown(one, names) for one in sorted(messages, key=_number)]
    differential.check("go-consuming-delays", {"stored": stored})


@pytest.mark.differential
def test_every_member_of_a_broadcast_group_gets_every_message_once(
    peer: Peer, tmp_path: Path, differential: Differential
) -> None:
    create_topics(peer, {"go-broadcast": 4})
    outcome = {}
    for name, first, count in (("from the beginning", 0, 40), ("after a restart", 40, 8)):
        words = ("--topic", "go-broadcast", "--keys", "go-broadcast-", "--first", first)
        go("send", *words, "--count", count, namesrv=peer.namesrv)
        run = GoRun(
            *("broadcast", "--topic", "go-broadcast", "--group", "go-broadcast-group"),
            *("--members", "one,two", "--expect", count),
            namesrv=peer.namesrv,
            environment={"rocketmq.client.localOffsetStoreDir": str(tmp_path)},
        )
        (row,) = run.rows()
        assert row["wrong"] == 0
        heard = defaultdict(list)
        for one in row["deliveries"]:
            heard[one["member"]].append(one["number"])
        assert {name: sorted(numbers) for name, numbers in heard.items()} == {
            member: list(range(first, first + count)) for member in ("one", "two")
        }
        outcome[name] = {member: sorted(numbers) for member, numbers in heard.items()}
    differential.check("go-consuming-broadcast", outcome)


def compressed_as_sent(peer: Peer, result: Row, topic: str, size: int) -> Row:
    """The first message sent, as it is stored: its body is the compressed one, untouched."""
    place = int(result["first_offset_id"][-16:], 16)
    answer = ask(peer.broker, VIEW_MESSAGE_BY_ID, {"offset": str(place), "topic": topic})
    assert answer.code == 0, answer.remark
    stored = answer.body
    body_size = int.from_bytes(stored[84:88])
    assert body_size < size // 2
    assert zlib.decompress(stored[88 : 88 + body_size]) == sample_body(0, f"{topic}-0", size)
    return {"sys_flag": int.from_bytes(stored[36:40]), "beside_body": len(stored) - body_size}


@pytest.mark.differential
@pytest.mark.parametrize("level", [1, 5, 9])
def test_a_body_that_go_compressed_is_stored_so_and_java_reads_it(
    peer: Peer, java: JavaSession, level: int, differential: Differential
) -> None:
    topic = f"go-zlib-{level}"
    create_topics(peer, {topic: 2})
    words = ("--topic", topic, "--keys", f"{topic}-", "--count", 6, "--body-size", 20_000)
    (sent,) = go("send", *words, "--compress", "--compress-level", level, namesrv=peer.namesrv)
    received = java.one("consume-pull", "--topic", topic, "--group", f"{topic}-j", "--expect", 6)
    assert (received["distinct"], received["wrong"], received["body_bytes"]) == (6, 0, 120_000)
    stored = compressed_as_sent(peer, sent, topic, 20_000)
    differential.check(f"go-consuming-zlib-{level}", stored)


@pytest.mark.differential
def test_a_body_that_java_compressed_is_stored_so_and_go_reads_it(
    peer: Peer, java: JavaSession, differential: Differential
) -> None:
    create_topics(peer, {"java-zlib": 2})
    words = ("--topic", "java-zlib", "--keys", "java-zlib-", "--count", 6, "--body-size", 20_000)
    sent = java.one("send", *words, "--compress")
    for way in ("push", "pull"):
        group = ("--topic", "java-zlib", "--group", f"java-zlib-{way}", "--expect", 6)
        (received,) = go(f"consume-{way}", *group, namesrv=peer.namesrv)
        assert (received["distinct"], received["wrong"]) == (6, 0)
        assert received["body_bytes"] == 120_000
        assert received["origins"] == {"java": 6}
    stored = compressed_as_sent(peer, sent, "java-zlib", 20_000)
    differential.check("go-consuming-zlib-java", stored)


def answers_to(client: str, count: int) -> dict[str, str]:
    return {str(number): f"answer to {number} for {client}" for number in range(count)}


@contextlib.contextmanager
def responding(peer: Peer, topic: str, until: int) -> Iterator[GoRun]:
    words = ("--topic", topic, "--group", f"{topic}-responders", "--until", until, "--timeout", 30)
    run = GoRun("respond", *words, namesrv=peer.namesrv)
    try:
        yield run
    finally:
        run.kill()


VARYING_PROPERTIES = {"ARRIVE_TIME", "CORRELATION_ID", "PUSH_REPLY_TIME", "UNIQ_KEY"}


def steady_answer(properties: dict[str, str], client: str) -> dict[str, str]:
    """An answer's properties as they are in every run."""
    return {
        name: "any" if name in VARYING_PROPERTIES else value.replace(client, "the asker")
        for name, value in properties.items()
    }


@pytest.mark.differential
@pytest.mark.parametrize("way", ["sync", "async"])
def test_go_asks_and_go_answers(peer: Peer, way: str, differential: Differential) -> None:
    topic = f"go-ask-{way}"
    create_topics(peer, {topic: 1})
    with responding(peer, topic, 19) as responder:
        more = ("--async",) if way == "async" else ()
        (asked,) = go("request", "--topic", topic, "--count", 20, *more, namesrv=peer.namesrv)
        (answered,) = responder.rows()
    assert asked["bodies"] == answers_to(asked["client_id"], 20)
    assert answered["answered"] >= 19
    steady = steady_answer(asked["properties"], asked["client_id"])
    differential.check(f"go-consuming-answer-{way}", {"properties": steady})


@pytest.mark.differential
def test_java_asks_and_go_answers(
    peer: Peer, java: JavaSession, differential: Differential
) -> None:
    create_topics(peer, {"java-asks": 1})
    with responding(peer, "java-asks", 19) as responder:
        words = ("--topic", "java-asks", "--mode", "sync", "--count", 20)
        asked = java.one("request", *words)
        (answered,) = responder.rows()
    assert asked["failures"] == {}
    assert asked["bodies"] == answers_to(asked["client_id"], 20)
    assert answered["answered"] >= 19
    steady = steady_answer(asked["sample"]["properties"], asked["client_id"])
    differential.check("go-consuming-answer-to-java", {"properties": steady})


@pytest.mark.differential
def test_go_asks_and_java_answers(
    peer: Peer, java: JavaSession, differential: Differential
) -> None:
    create_topics(peer, {"java-answers": 1})
    with Listener(java, "java-answers", "java-answering", "--answer"):
        words = ("--topic", "java-answers", "--count", 20)
        (asked,) = go("request", *words, namesrv=peer.namesrv)
    assert asked["bodies"] == answers_to(asked["client_id"], 20)
    steady = steady_answer(asked["properties"], asked["client_id"])
    differential.check("go-consuming-answer-from-java", {"properties": steady})


@pytest.mark.differential
def test_a_request_that_nobody_hears_ends_in_time_and_a_late_answer_is_refused(
    peer: Peer, differential: Differential
) -> None:
    create_topics(peer, {"go-unheard": 1})
    words = ("--topic", "go-unheard", "--ttl-ms", 200)
    (asked,) = go("request-unheard", *words, namesrv=peer.namesrv)
    with responding(peer, "go-unheard", 0) as responder:
        (answered,) = responder.rows()
    assert answered["answered"] == 0
    (refusal,) = answered["refusals"]
    outcome = {
        "failure": asked["failure"],
        "refusal": refusal.replace(asked["client_id"], "the asker"),
    }
    differential.check("go-consuming-unheard", outcome)


def test_what_a_pull_consumer_refuses_after_a_poll_comes_again(begun: Begun) -> None:
    _sent, refused, taken = begun("polled")
    assert refused["refused"] == 8
    assert (taken["received"], taken["distinct"], taken["redelivered"]) == (8, 8, 8)
    assert taken["wrong"] == 0


@pytest.mark.differential
def test_a_new_group_begins_a_young_topic_at_its_beginning_wherever_it_wants_to_begin(
    peer: Peer, differential: Differential
) -> None:
    """The server says so: else what came before the group's first heartbeat would be lost."""
    create_topics(peer, {"go-where": 2})
    send = ("send", "--topic", "go-where", "--keys", "go-where-", "--count", 10)
    words: list[object] = [*send]
    for start in ("first", "last", "time"):
        words += ["--", "consume-push", "--topic", "go-where", "--group", f"go-where-{start}"]
        words += ["--from", start, "--from-time", "20991231235959", "--expect", 10]
    _sent, *received = go(*words, namesrv=peer.namesrv)
    outcome = {
        start: [row["lowest"], row["highest"], row["received"]]
        for start, row in zip(("first", "last", "time"), received, strict=True)
    }
    assert outcome["last"] == [0, 9, 10]
    differential.check("go-consuming-where", outcome)


@pytest.mark.differential
def test_go_admin_sees_the_queues_that_may_be_written_and_no_deleted_topic(
    peer: Peer, differential: Differential
) -> None:
    def admin(verb: str, topic: str, *more: object) -> Row:
        words = ("admin", verb, "--topic", topic, "--broker", peer.broker, *more)
        (row,) = go(*words, namesrv=peer.namesrv)
        return row

    create_topics(peer, {"go-admin-all": 3})
    admin("topic-create", "go-admin-read", "--queues", 2, "--perm", 4)
    await_answer(peer.namesrv, GET_ROUTE, {"topic": "go-admin-read"})
    topics = ("go-admin-all", "go-admin-read")
    before = admin("topic-list", "")["topics"]
    queues = {topic: admin("queues", topic)["queues"] for topic in topics}
    admin("topic-delete", "go-admin-all")
    after = admin("topic-list", "")["topics"]
    outcome = {
        "queues": queues,
        "before": [topic for topic in topics if topic in before],
        "after": [topic for topic in topics if topic in after],
        "deleted": ask(peer.namesrv, GET_ROUTE, {"topic": "go-admin-all"}).code,
    }
    assert outcome["after"] == ["go-admin-read"]
    differential.check("go-consuming-admin", outcome)


TRACE_TYPES = ("Pub", "SubBefore", "SubAfter")
PUB_ID, BEFORE_ID, AFTER_ID = 5, 5, 2


@pytest.mark.differential
def test_a_trace_tells_of_every_message_who_sent_it_and_who_received_it(
    peer: Peer, java: JavaSession, differential: Differential
) -> None:
    create_topics(peer, {"go-traced": 2})
    words = ("--topic", "go-traced", "--group", "go-traced-group", "--keys", "go-traced-")
    (row,) = go("trace", *words, "--count", 10, "--trace-topic", TRACE_TOPIC, namesrv=peer.namesrv)
    records = [record.split("\x01") for record in row["records"]]
    told = {kind: [one for one in records if one[0] == kind] for kind in TRACE_TYPES}
    assert [one[PUB_ID] for one in told["Pub"]] == row["ids"]
    assert sorted(one[BEFORE_ID] for one in told["SubBefore"]) == sorted(row["ids"])
    assert sorted(one[AFTER_ID] for one in told["SubAfter"]) == sorted(row["ids"])
    found = java.mqadmin(f"queryMsgTraceById -i {row['ids'][3]}")
    assert "go-traced-group" in found
    pub = told["Pub"][0]
    outcome = {
        "counts": {kind: len(rows) for kind, rows in told.items()},
        "region": pub[2],
        "success": [one[13] for one in told["Pub"]],
        "keys": [one[7] for one in told["Pub"]],
    }
    differential.check("go-consuming-trace", outcome)
