"""Messages that a Java consumer does not want yet: retries, dead letters and delay levels."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.differential import Differential
from tests.support.foreign import JavaSession
from tests.support.listeners import (
    DELAYS_MS,
    SHORT_DELAYS,
    Listener,
    by_number,
    create_topic,
    listening_session,
    names_of,
    numbers,
    post,
    shown,
)
from tests.support.peers import Kind, Peer, running_peer

pytestmark = [pytest.mark.foreign, pytest.mark.timeout(150)]


@pytest.fixture(scope="module")
def peer(
    java_program: None, peer_kind: Kind, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Peer]:
    with running_peer(peer_kind, tmp_path_factory.mktemp("retry"), SHORT_DELAYS) as running:
        yield running


@pytest.fixture(scope="module")
def java(peer: Peer) -> Iterator[JavaSession]:
    with listening_session(peer) as session:
        yield session


@pytest.fixture(scope="module")
def old_java(peer: Peer) -> Iterator[JavaSession]:
    with listening_session(peer, "client-4.9.8") as session:
        yield session


@pytest.fixture(params=["5.5.0", "4.9.8"])
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def client(version: str, request: pytest.FixtureRequest) -> JavaSession:
    session = request.getfixturevalue("java" if version == "5.5.0" else "old_java")
    assert isinstance(session, JavaSession)
    return session


@pytest.mark.differential
def test_a_message_that_is_refused_comes_again_and_says_how_often_it_came(
    java: JavaSession, client: JavaSession, version: str, differential: Differential
) -> None:
    topic, group = f"retry-{version.replace('.', '-')}", f"retry-group-{version.replace('.', '-')}"
    create_topic(java, topic)
    posted = post(java, topic, 8, "--tags", "A,B", "--queue", 0)
    # 6 wishes level 6, which is two seconds.
    with Listener(client, topic, group, "--later", "1:1,3:2,6:1@6") as listener:
        deliveries = by_number(listener.heard(12))
    times = {number: [one["times"] for one in came] for number, came in deliveries.items()}
    assert times == {0: [0], 1: [0, 1], 2: [0], 3: [0, 1, 2], 4: [0], 5: [0], 6: [0, 1], 7: [0]}
    for number, seconds in ((1, [1]), (3, [1, 1]), (6, [2])):
        waited = [
            later["stored_ms"] - earlier["heard_ms"]
            for earlier, later in zip(deliveries[number], deliveries[number][1:], strict=False)
        ]
        assert all(wait >= second * 1000 for wait, second in zip(waited, seconds, strict=True))
        assert all(
            wait <= second * 1000 + 5000 for wait, second in zip(waited, seconds, strict=True)
        )
    named = names_of(posted)
    differential.check(
        f"java-retry-{version}",
        {str(number): [shown(one, named) for one in came] for number, came in deliveries.items()},
    )


@pytest.mark.differential
def test_a_message_that_is_refused_too_often_is_a_dead_letter_that_can_be_sent_again(
    java: JavaSession, differential: Differential
) -> None:
    topic, group = "dead", "dead-group"
    create_topic(java, topic)
    posted = post(java, topic, 4, "--tags", "A", "--flag", 7, "--queue", 0)
    named = names_of(posted)
    rules = ("--later", "1:3,2:1@-1", "--max-times", 2)
    with Listener(java, topic, group, *rules) as listener:
        # 1 at once and twice more, 2 is given up at once.
        deliveries = by_number(listener.heard(6))
        dead = java.one("fetch", "--topic", f"%DLQ%{group}", "--expect", 2)["messages"]
        assert sorted(numbers(dead)) == [1, 2]
        assert {number: len(came) for number, came in deliveries.items()} == {
            0: 1,
            1: 3,
            2: 1,
            3: 1,
        }
        sent = java.one("resend", "--topic", f"%DLQ%{group}")["sent"]
        assert sent == ["SEND_OK", "SEND_OK"]
        again = listener.heard(8)[6:]
    assert sorted(numbers(again)) == [1, 2]
    assert java.one("fetch", "--topic", f"%DLQ%{group}")["messages"] == dead
    differential.check(
        "java-dead-letters",
        {
            "dead": [shown(one, named) for _, (one,) in by_number(dead).items()],
            "again": [shown(one, named) for _, (one,) in by_number(again).items()],
        },
    )


@pytest.mark.differential
def test_an_ordered_message_that_is_refused_too_often_is_a_dead_letter_and_the_next_one_comes(
    java: JavaSession, differential: Differential
) -> None:
    topic, group = "dead-ordered", "dead-ordered-group"
    create_topic(java, topic)
    posted = post(java, topic, 4, "--tags", "A", "--queue", 0)
    rules = ("--orderly", "--later", "1:9,2:1", "--max-times", 2)
    with Listener(java, topic, group, *rules) as listener:
        heard = listener.heard(7)
        # Its own client counts and repeats; the one it gives up does not hold up those behind it.
        assert [(one["number"], one["times"]) for one in heard] == [
            (0, 0),
            (1, 0),
            (1, 1),
            (1, 2),
            (2, 0),
            (2, 1),
            (3, 0),
        ]
        dead = java.one("fetch", "--topic", f"%DLQ%{group}", "--expect", 1)["messages"]
    named = names_of(posted)
    differential.check(
        "java-dead-letters-ordered",
        {
            "heard": [shown(one, named) for one in heard],
            "dead": [shown(one, named) for one in dead],
        },
    )


@pytest.mark.differential
def test_a_message_that_the_server_cannot_take_back_is_sent_by_its_client_to_the_retry_topic(
    java: JavaSession, version: str, client: JavaSession, differential: Differential
) -> None:
    topic, group = f"forgotten-{version[0]}", f"forgotten-group-{version[0]}"
    create_topic(java, topic)
    posted = post(java, topic, 3, "--tags", "A", "--queue", 0)
    rules = ("--later", "1:2", "--forgotten", 1)
    with Listener(client, topic, group, *rules) as listener:
        heard = by_number(listener.heard(5))
    assert [one["times"] for one in heard[1]] == [0, 1, 2]
    named = names_of(posted)
    differential.check(
        f"java-retry-forgotten-{version}",
        {str(number): [shown(one, named) for one in came] for number, came in heard.items()},
    )


@pytest.mark.differential
def test_a_message_waits_in_its_client_while_the_retry_topic_may_not_be_written(
    java: JavaSession, peer: Peer, differential: Differential
) -> None:
    topic, group = "retry-closed", "retry-closed-group"
    create_topic(java, topic)
    with Listener(java, topic, group, "--later", "1:2") as listener:
        java.run("admin", "topic-create", "--topic", f"%RETRY%{group}", "--queues", 1, "--perm", 4)
        posted = post(java, topic, 2, "--tags", "A", "--queue", 0)
        # Its client repeats it after 5 s; by then the topic is open, and the server repeats it.
        listener.heard(2)
        java.run("admin", "topic-create", "--topic", f"%RETRY%{group}", "--queues", 1, "--perm", 6)
        heard = by_number(listener.heard(4))
    assert [one["times"] for one in heard[1]] == [0, 1, 1]
    assert heard[1][1]["heard_ms"] - heard[1][0]["heard_ms"] >= 5000
    named = names_of(posted)
    differential.check(
        "java-retry-closed",
        {str(number): [shown(one, named) for one in came] for number, came in heard.items()},
    )


@pytest.mark.differential
def test_a_delayed_message_comes_at_its_time_and_in_order_with_those_of_its_level(
    java: JavaSession, differential: Differential
) -> None:
    topic, rounds = "delayed", 3
    create_topic(java, topic)
    levels = [*range(1, 19), 19, 0]  # 19 is too high, and taken as 18; 0 is none
    words = ("--levels", ",".join(str(level) for level in levels), "--queue", 0)
    posted = post(java, topic, rounds * len(levels), *words)
    with Listener(java, topic, "delayed-group") as listener:
        heard = listener.heard(len(posted))
    for message in heard:
        delay = DELAYS_MS[min(levels[message["number"] % len(levels)], 18)]
        waited = message["stored_ms"] - message["born_ms"]
        assert delay <= waited <= delay + 5000, message
    stored = numbers(sorted(heard, key=lambda message: message["queue_offset"]))
    for place in range(len(levels)):
        of_level = [number for number in stored if number % len(levels) == place]
        assert of_level == sorted(of_level), f"messages of level {levels[place]} changed places"
    named = names_of(posted)
    first = [by_number(heard)[number][0] for number in range(len(levels))]
    differential.check(
        "java-delayed", {str(one["number"]): shown(one, named)["properties"] for one in first}
    )
