"""Two masters behind one name server: one is killed and comes back, one is drained, one forbids.

Nothing that a producer was told to be stored is lost, and nobody but the two brokers is asked how
many messages they have.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from pyromq.codes import ResponseCode
from tests.support.broker_pair import CLUSTER, RestartableBroker
from tests.support.differential import Differential
from tests.support.foreign import JavaSession, Row
from tests.support.listeners import Listener, numbers
from tests.support.mqadmin import Console, masked
from tests.support.peers import Kind, Peer, running_namesrv
from tests.support.processes import retries

pytestmark = [pytest.mark.foreign, pytest.mark.timeout(150)]

QUEUES = 2
"""Of each topic on each broker."""
COUNT = 1200
WAIT_SECONDS = 60.0
# Consumers share queues out anew every second instead of every twenty.
QUICK_REBALANCE = ("-Drocketmq.client.rebalance.waitInterval=1000",)
SEND = ("send", "--mode", "sync", "--route-poll-ms", 300)


@dataclass(frozen=True)
class Pair:
    a: RestartableBroker
    b: RestartableBroker
    namesrv: str

    def stored(self, topic: str) -> tuple[int, int]:
        return self.a.stored(topic, QUEUES), self.b.stored(topic, QUEUES)


@pytest.fixture(scope="module")
def pair(
    java_program: None, peer_kind: Kind, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Pair]:
    folder = tmp_path_factory.mktemp("pair")
    with (
        running_namesrv(peer_kind, folder) as namesrv,
        RestartableBroker(peer_kind, folder, namesrv=namesrv, name="broker-a") as a,
        RestartableBroker(peer_kind, folder, namesrv=namesrv, name="broker-b") as b,
    ):
        yield Pair(a, b, namesrv)


@pytest.fixture(scope="module")
def consumers(pair: Pair) -> Iterator[JavaSession]:
    with JavaSession(pair.namesrv, jvm=QUICK_REBALANCE) as session:
        yield session


@pytest.fixture(scope="module")
def sender(pair: Pair) -> Iterator[JavaSession]:
    with JavaSession(pair.namesrv) as session:
        yield session


@pytest.fixture(scope="module")
def console(peer_kind: Kind, pair: Pair) -> Iterator[Console]:
    with JavaSession(pair.namesrv) as session:
        yield Console(session, Peer(peer_kind, pair.namesrv, pair.a.address))


def create_topic(console: Console, topic: str) -> None:
    console.done(f"updateTopic -c {CLUSTER} -t {topic} -r {QUEUES} -w {QUEUES}")
    console.until(f"topicRoute -t {topic} -l", "broker-a", "broker-b")


def await_stored(broker: RestartableBroker, topic: str, count: int) -> int:
    stored = -1
    for _ in retries(WAIT_SECONDS):
        stored = broker.stored(topic, QUEUES)
        if stored >= count:
            return stored
    raise AssertionError(f"{broker.name} has {stored} messages of {topic}, not {count}")


def await_all(listener: Listener, expected: set[int]) -> list[Row]:
    """Waits until each of these has come; the deliveries, of which some may be repetitions."""
    count = len(expected)
    for _ in retries(WAIT_SECONDS, pause_seconds=0.2):
        deliveries = listener.heard(count, timeout_seconds=int(WAIT_SECONDS))
        if set(numbers(deliveries)) >= expected:
            return deliveries
    raise AssertionError(f"never came: {sorted(expected - set(numbers(deliveries)))[:20]}")


def permissions(console: Console, topic: str) -> dict[str, str]:
    """The permission of each broker in a topic's route."""
    rows = console.done(f"topicRoute -t {topic} -l").rows
    return {row[1]: row[-1] for row in rows if row[0] == CLUSTER}


def test_nothing_acknowledged_is_lost_when_one_of_two_brokers_is_killed_and_comes_back(
    console: Console, consumers: JavaSession, sender: JavaSession, pair: Pair
) -> None:
    create_topic(console, "tickets")
    with Listener(consumers, "tickets", "early") as early:
        sender.begin(*SEND, "--topic", "tickets", "--count", COUNT, "--pause-ms", 1)
        await_stored(pair.a, "tickets", COUNT // 8)
        pair.a.kill()
        at_kill = pair.b.stored("tickets", QUEUES)
        with Listener(consumers, "tickets", "late") as late:
            await_stored(pair.b, "tickets", at_kill + COUNT // 8)
            assert len(late.heard(at_kill)) >= at_kill, "nobody moved on to the other broker"
            pair.a.start()
            (sent,) = sender.finish()
            assert sent["statuses"] == {"SEND_OK": COUNT}
            everything = set(range(COUNT))
            for listener in (early, late):
                deliveries = await_all(listener, everything)
                assert set(numbers(deliveries)) == everything
    stored = pair.stored("tickets")
    assert COUNT <= sum(stored) <= COUNT + 1, (
        "only what was in flight at the kill may be there twice"
    )
    assert min(stored) >= COUNT // 8
    sender.run(*SEND, "--topic", "tickets", "--count", 8 * QUEUES, "--first", COUNT)
    both = [after - before for before, after in zip(stored, pair.stored("tickets"), strict=True)]
    assert both == [4 * QUEUES, 4 * QUEUES], "a producer takes all queues in turn again"


def test_a_broker_without_write_permission_is_drained_and_comes_back(
    console: Console, consumers: JavaSession, sender: JavaSession, pair: Pair
) -> None:
    create_topic(console, "parcels")
    sender.begin(*SEND, "--topic", "parcels", "--count", COUNT, "--pause-ms", 1)
    await_stored(pair.a, "parcels", 50)
    console.done("wipeWritePerm -b broker-a")
    assert permissions(console, "parcels") == {"broker-a": "4", "broker-b": "6"}
    await_no_more(pair, "parcels")
    (sent,) = sender.finish()
    assert sent["statuses"] == {"SEND_OK": COUNT}
    stored = pair.stored("parcels")
    assert sum(stored) == COUNT

    with Listener(consumers, "parcels", "drainers") as drainers:
        await_all(drainers, set(range(COUNT)))
    # Its offsets are committed when it has left.
    progress = console.until("consumerProgress -g drainers -t parcels", "Diff Total: 0")
    assert {row[1] for row in progress.rows if row[0] == "parcels"} == {"broker-a", "broker-b"}

    console.done("addWritePerm -b broker-a")
    assert permissions(console, "parcels") == {"broker-a": "6", "broker-b": "6"}
    sender.run(*SEND, "--topic", "parcels", "--count", 8 * QUEUES, "--first", COUNT)
    both = [after - before for before, after in zip(stored, pair.stored("parcels"), strict=True)]
    assert both == [4 * QUEUES, 4 * QUEUES]


def await_no_more(pair: Pair, topic: str) -> None:
    """Waits until broker b gets messages and broker a none, while a producer runs."""
    for _ in retries(WAIT_SECONDS):
        before_a, before_b = pair.stored(topic)
        await_stored(pair.b, topic, before_b + 30)
        if pair.a.stored(topic, QUEUES) == before_a:
            return
    raise AssertionError(f"broker-a still gets messages of {topic}")


@pytest.mark.differential
def test_a_topic_that_may_not_be_written_gets_nothing_from_clients_and_one_not_read_refuses_pulls(
    console: Console, sender: JavaSession, pair: Pair, differential: Differential
) -> None:
    """A send that asks a broker in spite of the route is stored: in Apache's broker it is the
    client that keeps to a topic's write permission."""
    outcome: dict[str, object] = {}
    for perm in (6, 4, 2):
        topic = f"perm-{perm}"
        console.done(f"updateTopic -b {pair.b.address} -t {topic} -r 1 -w 1 -p {perm}")
        console.until(f"topicRoute -t {topic} -l", "broker-b")
        outcome[f"asked for {topic}"] = asked(pair.b, topic)
        (posted,) = sender.one("post", "--topic", topic)["messages"]
        outcome[f"client to {topic}"] = posted.get("status") or masked(posted["remark"])
    assert outcome["client to perm-6"] == outcome["client to perm-2"] == "SEND_OK"
    assert outcome["client to perm-4"] != "SEND_OK"
    differential.check("topic-permission", outcome)


def asked(broker: RestartableBroker, topic: str) -> dict[str, tuple[int, str]]:
    """Codes and remarks of a pull and, after it, of a send."""
    pull, send = broker.pull(topic), broker.send(topic)
    return {"send": (send.code, send.remark), "pull": (pull.code, pull.remark)}


@pytest.mark.differential
def test_a_broker_that_may_not_be_written_or_read_refuses_and_tells_so_in_its_routes(
    console: Console,
    pair: Pair,
    peer_kind: Kind,
    tmp_path_factory: pytest.TempPathFactory,
    differential: Differential,
) -> None:
    """Sends are refused for topics with an order only, as in Apache's broker."""
    folder = tmp_path_factory.mktemp("forbidding")
    broker = RestartableBroker(peer_kind, folder, namesrv=pair.namesrv, name="broker-c")
    outcome: dict[str, Any] = {}
    for perm in ("4", "2"):
        broker.properties["brokerPermission"] = perm
        with broker:
            for topic, order in (("door", "false"), ("queue", "true")):
                at = f"updateTopic -b {broker.address} -t {topic} -r 1 -w 1 -o {order}"
                console.say(at)  # Tells of an order that was not there before by a stack trace.
                console.until(f"topicRoute -t {topic} -l", "broker-c")
                outcome[f"{topic} with {perm}"] = asked(broker, topic)
                outcome[f"route of {topic} with {perm}"] = permissions(console, topic)
    refused = (ResponseCode.NO_PERMISSION, "the broker[127.0.0.1] sending message is forbidden")
    assert outcome["queue with 4"]["send"] == refused
    differential.check("broker-permission", outcome)
