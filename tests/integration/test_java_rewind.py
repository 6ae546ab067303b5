"""Consumer groups of Java clients set back or forward: online, offline, by time, by queue."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.differential import Differential
from tests.support.foreign import JavaSession, Row
from tests.support.listeners import Listener, create_topic, listening_session, numbers, post
from tests.support.messages import await_consumed
from tests.support.peers import Kind, Peer, running_peer
from tests.support.processes import retries

pytestmark = [pytest.mark.foreign, pytest.mark.timeout(150)]

QUEUES = 2


@pytest.fixture(scope="module")
def peer(
    java_program: None, peer_kind: Kind, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Peer]:
    with running_peer(peer_kind, tmp_path_factory.mktemp("rewind")) as running:
        yield running


@pytest.fixture(scope="module")
def java(peer: Peer) -> Iterator[JavaSession]:
    with listening_session(peer) as session:
        yield session


def to_both_queues(java: JavaSession, topic: str, first: int, count: int, *options: object) -> None:
    """Messages `first` …, half of them in queue 0, then half in queue 1."""
    for queue in range(QUEUES):
        start = first + queue * count // QUEUES
        post(java, topic, count // QUEUES, "--first", start, "--queue", queue, *options)


def rewind(java: JavaSession, verb: str, topic: str, group: str, *options: object) -> Row:
    row = java.one("rewind", verb, "--topic", topic, "--group", group, *options)
    row.pop("client")
    return row


def consumed_once(java: JavaSession, peer: Peer, topic: str, group: str, count: int) -> list[Row]:
    """A listener that has come, heard all and left, with everything committed."""
    with Listener(java, topic, group) as listener:
        heard = listener.heard(count)
    await_consumed(java, peer.broker, topic, group)
    return heard


def test_a_running_consumer_hears_again_what_came_since_a_time(
    java: JavaSession, peer: Peer
) -> None:
    topic, group = "rewound", "rewound-group"
    create_topic(java, topic, queues=QUEUES)
    to_both_queues(java, topic, 0, 10)
    with Listener(java, topic, group) as listener:
        heard = listener.heard(10)
        assert sorted(numbers(heard)) == list(range(10))
        time_ms = next(one["stored_ms"] for one in heard if one["number"] == 7)
        again = {one["number"] for one in heard if one["stored_ms"] >= time_ms}
        behind = {queue: sum(one["queue"] == queue for one in heard) for queue in range(QUEUES)}
        for one in heard:
            if one["number"] in again:
                behind[one["queue"]] = min(behind[one["queue"]], one["queue_offset"])
        reset = rewind(java, "by-time", topic, group, "--time", time_ms)
        assert reset == {"queues": {str(queue): offset for queue, offset in behind.items()}}
        if peer.kind == "ours":
            assert sorted(numbers(listener.heard(10 + len(again))[10:])) == sorted(again)
        # Apache's tells a consumer that waits only at the next message, or when its poll ends.
        to_both_queues(java, topic, 10, 2)
        later = numbers(listener.heard(10 + len(again) + 2)[10:])
    assert sorted(later) == [*sorted(again), 10, 11]


def test_a_running_consumer_hears_a_single_queue_again(java: JavaSession) -> None:
    topic, group = "rewound-queue", "rewound-queue-group"
    create_topic(java, topic, queues=QUEUES)
    to_both_queues(java, topic, 0, 10)
    with Listener(java, topic, group) as listener:
        listener.heard(10)
        words = ("--queue", 1, "--offset", 3)
        reset = rewind(java, "by-queue", topic, group, *words)
        to_both_queues(java, topic, 10, 2)
        later = sorted(numbers(listener.heard(14)[10:]))
    assert later == [8, 9, 10, 11]
    assert reset == {"reset": True}


def test_messages_that_piled_up_are_skipped_by_mqadmin(java: JavaSession, peer: Peer) -> None:
    topic, group = "skipped", "skipped-group"
    create_topic(java, topic, queues=QUEUES)
    to_both_queues(java, topic, 0, 2)
    consumed_once(java, peer, topic, group, 2)
    to_both_queues(java, topic, 2, 6)
    told = java.mqadmin(f"skipAccumulatedMessage -g {group} -t {topic}").splitlines()
    assert sorted(line.split() for line in told[1:] if line.strip()) == [
        ["broker-a", "0", "4"],
        ["broker-a", "1", "4"],
    ]
    to_both_queues(java, topic, 8, 2)
    with Listener(java, topic, group) as listener:
        assert sorted(numbers(listener.heard(2))) == [8, 9]


@pytest.mark.differential
def test_a_group_without_consumers_is_set_back_by_time_the_old_way(
    java: JavaSession, peer: Peer, differential: Differential
) -> None:
    topic, group = "rewound-old", "rewound-old-group"
    create_topic(java, topic, queues=QUEUES)
    to_both_queues(java, topic, 0, 6)
    heard = consumed_once(java, peer, topic, group, 6)
    to_both_queues(java, topic, 6, 2)
    time_ms = max(one["stored_ms"] for one in heard) + 1
    forward = rewind(java, "by-time-old", topic, group, "--time", time_ms)
    back = rewind(java, "by-time-old", topic, group, "--time", 1)
    gently = rewind(java, "by-time-old", topic, group, "--time", -1, "--gently")
    differential.check(
        "java-rewind-old",
        {
            name: sorted(row["rows"], key=lambda one: int(one["queue"]))
            for name, row in (("forward", forward), ("back", back), ("gently", gently))
        },
    )
    with Listener(java, topic, group) as listener:
        assert sorted(numbers(listener.heard(8))) == list(range(8))


def test_a_group_without_consumers_goes_on_at_the_offset_an_admin_commits(
    java: JavaSession, peer: Peer
) -> None:
    topic, group = "committed", "committed-group"
    create_topic(java, topic, queues=QUEUES)
    to_both_queues(java, topic, 0, 8)
    consumed_once(java, peer, topic, group, 8)
    rewind(java, "commit", topic, group, "--queue", 1, "--offset", 2)
    with Listener(java, topic, group) as listener:
        assert sorted(numbers(listener.heard(2))) == [6, 7]


@pytest.mark.parametrize("way", ["admin", "mqadmin"])
def test_a_cloned_group_goes_on_where_the_other_one_is(
    java: JavaSession, peer: Peer, way: str
) -> None:
    topic, group, other = f"cloned-{way}", f"cloned-{way}-group", f"cloned-{way}-other"
    create_topic(java, topic, queues=QUEUES)
    to_both_queues(java, topic, 0, 6)
    consumed_once(java, peer, topic, group, 6)
    to_both_queues(java, topic, 6, 2)
    if way == "admin":
        rewind(java, "clone", topic, group, "--to-group", other)
    else:
        java.mqadmin(f"updateSubGroup -g {other} -c DefaultCluster")
        told = java.mqadmin(f"cloneGroupOffset -s {group} -d {other} -t {topic} -o true")
        assert "clone group offset success" in told
    with Listener(java, topic, other) as listener:
        assert sorted(numbers(listener.heard(2))) == [6, 7]


def test_a_running_consumer_tells_an_admin_how_far_it_is(java: JavaSession) -> None:
    topic, group = "status", "status-group"
    create_topic(java, topic, queues=QUEUES)
    to_both_queues(java, topic, 0, 6)
    with Listener(java, topic, group) as listener:
        listener.heard(6)
        wanted = {"clients": {listener.client_id: {"0": 3, "1": 3}}}
        status: Row = {}
        for _ in retries(10):
            status = rewind(java, "status", topic, group)
            if status == wanted:
                break
        assert status == wanted
        named = rewind(java, "status", topic, group, "--client-id", listener.client_id)
        assert named == wanted
        assert rewind(java, "status", topic, group, "--client-id", "nobody") == {"clients": {}}


@pytest.mark.differential
def test_a_reset_that_makes_no_sense_is_refused(
    java: JavaSession, differential: Differential
) -> None:
    topic, group = "senseless", "senseless-group"
    create_topic(java, topic, queues=1)
    post(java, topic, 3)
    java.mqadmin(f"updateSubGroup -g {group} -c DefaultCluster")
    refused = {
        "group nobody made": rewind(java, "by-time", topic, "no-such-group", "--time", 1),
        "beyond the end": rewind(java, "by-queue", topic, group, "--offset", 9),
        "one beyond the end": rewind(java, "by-queue", topic, group, "--offset", 4),
        "below the start": rewind(java, "by-queue", topic, group, "--offset", -2),
    }
    differential.check(
        "java-rewind-refused",
        {name: row.get("code", "reset") for name, row in refused.items()},
        # The group would skip a message; the client commits the offset first, which is refused.
        ours={"one beyond the end": 1, "below the start": 29},
    )


def test_running_consumers_are_told_their_new_offsets_where_the_server_leaves_it_to_them(
    java: JavaSession, peer_kind: Kind, tmp_path_factory: pytest.TempPathFactory
) -> None:
    topic, group, ordered = "told", "told-group", "told-ordered"
    folder = tmp_path_factory.mktemp("rewind-by-clients")
    with running_peer(peer_kind, folder, {"useServerSideResetOffset": "false"}) as peer:
        at = ("--namesrv", peer.namesrv)
        create_topic(java, topic, *at, queues=QUEUES)
        to_both_queues(java, topic, 0, 6, *at)
        with (
            Listener(java, topic, group, *at) as listener,
            Listener(java, topic, ordered, "--orderly", *at) as orderly,
        ):
            listener.heard(6)
            orderly.heard(6)
            for name in (group, ordered):
                # It must be known how far the group is, which clients tell first after 10 s.
                for queue in range(QUEUES):
                    words = ("--queue", queue, "--offset", 3)
                    rewind(java, "commit", topic, name, *words, *at)
                reset = rewind(java, "by-time", topic, name, "--time", 1, *at)
                assert reset == {"queues": {"0": 0, "1": 0}}
            assert sorted(numbers(orderly.heard(12)[6:])) == list(range(6))
            # One without order pauses for 10 s first: what it has in hand may end.
            assert sorted(numbers(listener.heard(12)[6:])) == list(range(6))
        refused = rewind(java, "by-time", topic, group, "--time", 1, *at)
    assert refused["code"] == 206
    why = f"Consumer not online, so can not reset offset, Group: {group} Topic: {topic}"
    assert f"{why} Timestamp: 1" in refused["remark"]
