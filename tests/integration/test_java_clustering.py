"""Consumer groups of Apache's Java client 5.5.0 that change while messages flow.

The clients' own period of rebalancing, 20 s by default, is an hour here: whatever a member notices
in these tests, the broker told it (code 40).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from tests.support.differential import Differential
from tests.support.foreign import JavaSession, Row
from tests.support.members import CACHE, PULL_SIZE, Flow, Group, duplicates, missing
from tests.support.messages import send_words
from tests.support.peers import Peer
from tests.support.processes import retries

pytestmark = [pytest.mark.foreign, pytest.mark.timeout(150)]

NEVER = ("-Drocketmq.client.rebalance.waitInterval=3600000",)

FLOWING = 50_000
STEP = 5_000
QUEUES = 8
FILL = 500
COMMITS_WITH_PULLS = ("--commit", 120_000)
TAGS = ("TagA", "TagB")


@pytest.fixture(scope="module")
def java(peer: Peer) -> Iterator[JavaSession]:
    """A JVM whose clients rebalance only when they are told to."""
    with JavaSession(peer.namesrv, jvm=NEVER) as session:
        session.run("version")
        yield session


def create(java: JavaSession, topic: str, queues: int) -> None:
    java.run("admin", "topic-create", "--topic", topic, "--queues", queues)


@pytest.mark.differential
def test_while_one_to_eight_consumers_come_and_go_every_message_is_consumed(
    java: JavaSession,
    peer: Peer,
    differential: Differential,
    record_property: Callable[[str, object], None],
) -> None:
    """A message comes again only where a queue changes hands, and only so many can.

    Between two settled states a group has one view of its members more than members come or go, so
    a message is consumed at most once more for each of them. Two kinds can be:

    * Those consumed before but not committed. A pull commits everything below the oldest message
      of the cache, and it is sent only while the cache has at most CACHE messages; it adds at most
      PULL_SIZE. So at most CACHE + PULL_SIZE of a queue are consumed and not committed, even as
      what clients commit beside their pulls, every 5 s by default, comes too late here.
    * Those consumed while the old owner does not know yet that it is no more: they are among the
      ones not yet consumed when the change began or sent before the group had settled.
    """
    create(java, "groups-change", QUEUES)
    group = Group(java, "changing", "groups-change", QUEUES)
    flow = Flow(java, group.topic)
    bound = 0
    last_words: list[Row] = []

    def change(*joining: str, leaving: tuple[str, ...] = (), elsewhere: int = 0) -> None:
        nonlocal bound
        consumed_before = FLOWING - len(missing(FLOWING, group.ledger(), *last_words))
        group.leave(*leaving)
        group.join(*joining, options=COMMITS_WITH_PULLS)
        group.settle()
        more_views = len(joining) + len(leaving) + elsewhere
        in_caches = QUEUES * (CACHE + PULL_SIZE)
        bound += more_views * (in_caches + flow.sent() - consumed_before)

    def consume_step(number: int, *, elsewhere: int = 0) -> None:
        flow.allow(number * STEP)
        flow.await_sent(number * STEP)
        group.await_distinct(number * STEP - elsewhere)

    flow.start(FLOWING, allowed=0, options=("--pause", 25))
    change("a")
    consume_step(1)
    change("b")
    consume_step(2)
    change("c", "d")
    consume_step(3)
    change("e", "f", "g", "h")
    consume_step(4)
    change(leaving=("a",))
    consume_step(5)
    change(leaving=("b", "c", "d"))
    consume_step(6)
    with JavaSession(peer.namesrv, jvm=NEVER) as doomed:
        away = Group(doomed, group.name, group.topic, QUEUES, elsewhere=group.members)
        away.join("x", options=(*COMMITS_WITH_PULLS, "--fill", FILL))
        group.elsewhere.append("x")
        change(elsewhere=1)
        flow.allow(7 * STEP)
        last_words.append(away.await_held("x"))
    group.elsewhere.remove("x")
    change(elsewhere=1)
    consume_step(8, elsewhere=FILL)
    change("i", leaving=("e", "f"))
    consume_step(9, elsewhere=FILL)
    change(leaving=("g", "h"))
    flow.allow(FLOWING)
    flow.await_sent(FLOWING)
    found = group.await_distinct(FLOWING - FILL)
    for _ in retries(30):
        found = group.ledger()
        if not missing(FLOWING, found, *last_words):
            break
    again = duplicates(found, *last_words)
    record_property("duplicates", f"{again} of at most {bound}")
    outcome = {
        "missing": missing(FLOWING, found, *last_words),
        "wrong": found["wrong"] + last_words[0]["wrong"],
        "last_members": group.settle(),
    }
    differential.check("java-clustering-members-come-and-go", outcome)
    assert outcome["missing"] == []
    assert outcome["wrong"] == 0
    assert again <= bound


@pytest.mark.differential
def test_a_consumer_without_a_queue_gets_nothing_until_another_leaves(
    java: JavaSession, differential: Differential, record_property: Callable[[str, object], None]
) -> None:
    create(java, "groups-few-queues", 2)
    group = Group(java, "crowded", "groups-few-queues", 2)
    group.join("idle-a", "idle-b", "idle-c")
    crowded = group.settle()
    java.run(*send_words(group.topic, "sync", 100, TAGS))
    served = group.await_distinct(100)["members"]
    group.leave("idle-a")
    begin = time.monotonic()
    left = group.settle()
    record_property("take_over_ms", round(1000 * (time.monotonic() - begin)))
    java.run(*send_words(group.topic, "sync", 100, TAGS), "--first", 100)
    end = group.await_distinct(200)
    outcome = {
        "crowded": crowded,
        "served": served,
        "left": left,
        "missing": missing(200, end),
        "took_over": sorted(name for name in end["members"] if name not in served),
    }
    differential.check("java-clustering-more-consumers-than-queues", outcome)
    assert served == {"idle-a": 50, "idle-b": 50}
    assert outcome["took_over"] == ["idle-c"]
    assert end["members"]["idle-c"] >= 50


@pytest.mark.differential
def test_one_client_consumes_several_topics_in_several_groups_each_of_them_everything(
    java: JavaSession, differential: Differential
) -> None:
    for topic in ("groups-one", "groups-two"):
        create(java, topic, 2)
    both = Group(java, "of-both", "groups-one", 2)
    both.join("of-both", topics="groups-one,groups-two", options=("--instance", "shared"))
    one = Group(java, "of-one", "groups-one", 2)
    one.join("of-one", options=("--instance", "shared"))
    other = Group(java, "of-other", "groups-two", 2)
    other.join("of-other", options=("--instance", "shared"))
    java.run(*send_words("groups-one", "sync", 100, TAGS))
    java.run(*send_words("groups-two", "sync", 100, TAGS), "--first", 100)
    outcome = {
        group.name: {name: found[name] for name in ("received", "distinct", "wrong", "topics")}
        for group, found in (
            (both, both.await_distinct(200)),
            (one, one.await_distinct(100)),
            (other, other.await_distinct(100)),
        )
    }
    differential.check("java-clustering-groups-and-topics-of-one-client", outcome)
    assert outcome["of-both"]["topics"] == {"groups-one": 100, "groups-two": 100}
    assert outcome["of-one"]["topics"] == {"groups-one": 100}
    assert outcome["of-other"]["topics"] == {"groups-two": 100}


@pytest.mark.differential
def test_nothing_is_lost_when_the_numbers_of_queues_rise_and_fall_while_messages_flow(
    peer: Peer, differential: Differential
) -> None:
    """Readers come first when queues are added, and go last, when the queues are empty.

    A client learns a new number from the route; only its own period makes it rebalance then.
    """
    with JavaSession(peer.namesrv, jvm=("-Drocketmq.client.rebalance.waitInterval=500",)) as quick:
        create(quick, "groups-resized", 4)
        group = Group(quick, "resized", "groups-resized", 4)
        flow = Flow(quick, group.topic)

        def resize(*, read: int, write: int) -> None:
            command = f"updateTopic -b {peer.broker} -t {group.topic} -r {read} -w {write}"
            assert "success" in quick.mqadmin(command)

        def await_sent_to(queues: set[int]) -> None:
            for _ in retries(30):
                if set(flow.await_sent(0)["recent_queues"]) == queues:
                    return
            raise AssertionError(f"messages do not go to exactly {queues}: {flow.await_sent(0)}")

        group.join("resized-a", "resized-b")
        flow.start(8_000, allowed=500)
        before = group.settle()
        flow.await_sent(500)
        resize(read=8, write=4)
        resize(read=8, write=8)
        risen = group.settle(queues=8)
        await_sent_to(set(range(8)))
        flow.allow(flow.sent() + 500)
        resize(read=8, write=4)
        await_sent_to(set(range(4)))
        group.await_distinct(flow.sent())
        resize(read=4, write=4)
        fallen = group.settle()
        flow.allow(8_000)
        found = group.await_distinct(8_000)
        outcome = {
            "before": before,
            "risen": risen,
            "fallen": fallen,
            "missing": missing(8_000, found),
            "wrong": found["wrong"],
        }
    differential.check("java-clustering-queue-numbers-change", outcome)
    assert outcome["missing"] == []
