"""Orderly consumers of Apache's Java client 5.5.0, and producers that obey an order configuration.

All periods are a tenth of the default ones: a broker's lock of a queue lives 6 s, a client trusts
it for 3 s, and every 2 s it renews its locks and rebalances.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.apache import ApacheBroker, ApacheNamesrv
from tests.support.differential import Differential
from tests.support.foreign import JavaSession
from tests.support.members import (
    CACHE,
    PULL_SIZE,
    Flow,
    Group,
    missing,
    order_faults,
    repeated,
    stints,
)
from tests.support.messages import send_words
from tests.support.peers import Kind, Peer, running_peer
from tests.support.processes import ask, retries
from tests.support.pyromq_server import PyromqServer

pytestmark = [pytest.mark.foreign, pytest.mark.timeout(150)]

GET_CONSUMER_LIST_BY_GROUP = 38
LOCK_BATCH_MQ = 41
LOCK_MS = 6_000
CLIENT_JVM = (
    "-Drocketmq.client.rebalance.lockMaxLiveTime=3000",
    "-Drocketmq.client.rebalance.lockInterval=2000",
    "-Drocketmq.client.rebalance.waitInterval=2000",
)
TAGS = ("TagA",)
SHARDS = 4
FLOWING = 3_000
BEFORE_THE_CRASH = 2_000
FILL = 60
WORK_MS = 8
ORDERLY = ("--orderly",)


@pytest.fixture(scope="module")
def peer(
    java_program: None, peer_kind: Kind, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Peer]:
    properties = {"rocketmq.broker.rebalance.lockMaxLiveTime": str(LOCK_MS)}
    with running_peer(peer_kind, tmp_path_factory.mktemp("peer"), properties) as running:
        yield running


@pytest.fixture(scope="module")
def java(peer: Peer) -> Iterator[JavaSession]:
    with JavaSession(peer.namesrv, jvm=CLIENT_JVM) as session:
        session.run("version")
        yield session


def is_lockable(peer: Peer, group: str, topic: str, queue: int) -> bool:
    """Whether a client that nobody knows gets the lock of a queue."""
    wanted = {
        "consumerGroup": group,
        "clientId": "127.0.0.1@nobody",
        "mqSet": [{"topic": topic, "brokerName": "broker-a", "queueId": queue}],
    }
    answer = ask(peer.broker, LOCK_BATCH_MQ, body=json.dumps(wanted).encode())
    assert answer.code == 0, answer
    return bool(json.loads(answer.body)["lockOKMQSet"])


def await_gone(peer: Peer, group: str, client_id: str) -> None:
    """Waits until the broker does not list a client among a group's consumers."""
    listed: list[str] = []
    for _ in retries(20):
        answer = ask(peer.broker, GET_CONSUMER_LIST_BY_GROUP, {"consumerGroup": group})
        listed = json.loads(answer.body)["consumerIdList"]
        if client_id not in listed:
            return
    raise AssertionError(f"{client_id} is still one of {listed}")


@pytest.mark.differential
def test_the_order_of_each_queue_holds_while_orderly_consumers_join_leave_and_crash(
    java: JavaSession,
    peer: Peer,
    differential: Differential,
    record_property: Callable[[str, object], None],
) -> None:
    """Each queue has one consumer at a time, and each goes on where the last one has come to.

    Messages are at hand all the time, so whoever is at a queue too early is seen.
    A hand-over repeats at most what a queue's newest commit leaves open: the last pull committed
    all but a cache of CACHE messages, and brought PULL_SIZE more.
    """
    java.run("admin", "topic-create", "--topic", "ordered-flow", "--queues", SHARDS)
    group = Group(java, "orderly", "ordered-flow", SHARDS)
    flow = Flow(java, group.topic)
    options = (*ORDERLY, "--work", WORK_MS)
    flow.start(FLOWING, allowed=BEFORE_THE_CRASH, options=("--shards", SHARDS))
    with JavaSession(peer.namesrv, jvm=CLIENT_JVM) as doomed:
        group.join("order-a", options=options)
        group.await_distinct(300)
        group.join("order-b", "order-c", options=options)
        group.settle()
        group.await_distinct(700)
        group.leave("order-a")
        group.settle()
        group.await_distinct(1_000)
        away = Group(doomed, group.name, group.topic, SHARDS, elsewhere=group.members)
        away.join("order-x", options=(*options, "--fill", FILL))
        group.elsewhere.append("order-x")
        group.settle()
        last_words = away.await_held("order-x")
        flow.allow(FLOWING)
    group.elsewhere.remove("order-x")
    await_gone(peer, group.name, "127.0.0.1@order-x")
    # As the last of three members it had the last of the queues.
    is_free = is_lockable(peer, group.name, group.topic, SHARDS - 1)
    group.settle()
    group.join("order-d", options=options)
    group.settle()
    group.await_distinct(FLOWING - FILL)
    found = group.ledger()
    for _ in retries(30):
        found = group.ledger()
        if not missing(FLOWING, found, last_words):
            break
    by_queue = stints(found, last_words)
    hand_overs = sum(len(rows) for rows in by_queue.values()) - SHARDS
    again = repeated(by_queue)
    record_property("repeated", f"{again} in {hand_overs} hand-overs")
    outcome = {
        "missing": missing(FLOWING, found, last_words),
        "wrong": found["wrong"] + last_words["wrong"],
        "faults": order_faults(by_queue),
        "lock_of_the_dead_is_free": is_free,
    }
    differential.check("java-order-members-come-and-go", outcome)
    assert outcome["missing"] == []
    assert outcome["faults"] == []
    assert not is_free, "the lock went before its time was over"
    assert again <= hand_overs * (CACHE + PULL_SIZE)


@pytest.mark.differential
def test_a_queue_changes_hands_only_when_the_message_at_work_is_done(
    java: JavaSession, peer: Peer, differential: Differential
) -> None:
    """The old owner keeps the lock until then; what else the new one got, it consumes meanwhile."""
    java.run("admin", "topic-create", "--topic", "ordered-busy", "--queues", SHARDS)
    group = Group(java, "busy", "ordered-busy", SHARDS)
    group.join("busy-a", options=(*ORDERLY, "--hold", 11))
    flow = Flow(java, group.topic)
    flow.start(1_000, allowed=40, options=("--shards", SHARDS))
    group.await_held("busy-a")
    group.join("busy-b", options=ORDERLY)
    group.await_member("busy-b")
    is_free = is_lockable(peer, group.name, group.topic, 11 % SHARDS)
    meanwhile = {stint.member for stint in stints(group.ledger())[str(11 % SHARDS)]}
    group.release()
    shares = group.settle()
    flow.allow(1_000)
    found = group.await_distinct(1_000)
    outcome = {
        "free": is_free,
        "meanwhile": sorted(meanwhile),
        "shares": shares,
        "missing": missing(1_000, found),
        "faults": order_faults(stints(found)),
    }
    differential.check("java-order-busy-queue", outcome)
    assert not is_free
    assert outcome["meanwhile"] == ["busy-a"]
    assert outcome["missing"] == []
    assert outcome["faults"] == []


@pytest.mark.differential
def test_a_refused_message_comes_again_to_the_same_consumer_before_the_next_of_its_queue(
    java: JavaSession, differential: Differential
) -> None:
    java.run("admin", "topic-create", "--topic", "ordered-refused", "--queues", 2)
    group = Group(java, "refusing", "ordered-refused", 2)
    group.join("refusing", options=(*ORDERLY, "--suspend", 11))
    java.run(*send_words(group.topic, "ordered", 40, TAGS), "--shards", 2)
    found = group.await_distinct(40)
    outcome = {
        "received": found["received"],
        "refused": found["refused"],
        "faults": order_faults(stints(found)),
        "stints": {queue: [row[:3] for row in rows] for queue, rows in found["stints"].items()},
    }
    differential.check("java-order-refused-message", outcome)
    assert outcome["received"] == 40
    assert outcome["refused"] == [{"number": 11, "next": 11, "times": 1, "same_member": True}]
    assert outcome["faults"] == []


@contextlib.contextmanager
def ordering_peer(kind: Kind, folder: Path) -> Iterator[Peer]:
    """A name server that gives order configurations away, and a broker."""
    if kind == "apache":
        with (
            ApacheNamesrv(properties={"orderMessageEnable": "true"}) as names,
            ApacheBroker(folder / "store", namesrv=names.address) as broker,
        ):
            yield Peer(kind, names.address, broker.address)
    else:
        with PyromqServer.ephemeral("--set", "orderMessageEnable=true") as server:
            yield Peer(kind, server.namesrv, server.broker)


@pytest.mark.differential
def test_an_ordered_producer_uses_the_queues_that_the_order_configuration_tells(
    java_program: None, peer_kind: Kind, tmp_path: Path, differential: Differential
) -> None:
    """The configuration, not the topic's number of queues, decides as long as there is one."""
    topic = "ordered-configured"
    used: dict[str, list[str]] = {}
    with (
        ordering_peer(peer_kind, tmp_path) as running,
        JavaSession(running.namesrv, jvm=CLIENT_JVM) as java,
    ):

        def send(what: str) -> None:
            words = send_words(topic, "ordered", 24, TAGS)
            used[what] = sorted(java.one(*words, "--shards", 12)["queues"])

        java.run("admin", "topic-create", "--topic", topic, "--queues", 4)
        send("not configured")
        java.mqadmin(f"updateOrderConf -t {topic} -m put -v broker-a:3")
        assert "broker-a:3" in java.mqadmin(f"updateOrderConf -t {topic} -m get")
        send("three queues")
        flow = Flow(java, topic)
        flow.start(10_000, allowed=0, options=("--shards", 12))
        followed = []
        for count in (1, 2):
            java.mqadmin(f"updateOrderConf -t {topic} -m put -v broker-a:{count}")
            for _ in retries(20):
                queues = flow.await_sent(0)["recent_queues"]
                if queues == list(range(count)):
                    followed.append(queues)
                    break
        java.mqadmin(f"updateOrderConf -t {topic} -m delete")
        send("no longer configured")
    differential.check("java-order-configuration", {"used": used, "followed": followed})
    assert used["three queues"] == ["0", "1", "2"]
    assert used["no longer configured"] == used["not configured"] == ["0", "1", "2", "3"]
    assert followed == [[0], [0, 1]]
