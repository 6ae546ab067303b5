"""Requests of Java producers and the answers of Java consumers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.differential import Differential
from tests.support.foreign import JavaSession, Row
from tests.support.listeners import Listener, create_topic, listening_session, steady
from tests.support.peers import Peer

pytestmark = [pytest.mark.foreign, pytest.mark.timeout(150)]

COUNT = 200


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


def ask(java: JavaSession, topic: str, mode: str, count: int, *options: object) -> Row:
    return java.one("request", "--topic", topic, "--mode", mode, "--count", count, *options)


def answers_of(row: Row, count: int) -> dict[str, str]:
    """What each request must be answered with: its own number, for its own client."""
    return {str(n): f"answer to {n} for {row['client_id']}" for n in range(count)}


def properties_of(message: Row, client_id: str) -> dict[str, Any]:
    varying = ("CORRELATION_ID", "ARRIVE_TIME", "PUSH_REPLY_TIME")
    properties = steady(message["properties"], {client_id: "the client that asked"})
    return {name: "any" if name in varying else value for name, value in properties.items()}


@pytest.mark.differential
def test_each_request_gets_its_own_answer_one_after_another(
    java: JavaSession, client: JavaSession, version: str, differential: Differential
) -> None:
    topic = f"asked-{version[0]}"
    create_topic(java, topic)
    with Listener(client, topic, f"{topic}-group", "--answer") as listener:
        row = ask(client, topic, "sync", 10)
        assert row["failures"] == {}
        assert row["bodies"] == answers_of(row, 10)
        (first, *_) = listener.heard(10)
    differential.check(
        f"java-request-{version}",
        {
            "request": properties_of(first, row["client_id"]),
            "reply": {
                "topic": row["sample"]["topic"],
                "flag": row["sample"]["flag"],
                "properties": properties_of(row["sample"], row["client_id"]),
            },
        },
    )


def test_many_requests_at_once_get_each_its_own_answer(
    java: JavaSession, client: JavaSession, version: str
) -> None:
    topic = f"asked-much-{version[0]}"
    create_topic(java, topic, queues=4)
    with Listener(client, topic, f"{topic}-group", "--answer") as listener:
        row = ask(client, topic, "async", COUNT)
        assert row["failures"] == {}
        assert row["bodies"] == answers_of(row, COUNT)
        assert len(listener.heard(COUNT)) == COUNT


def test_a_client_of_one_version_answers_one_of_another(
    java: JavaSession, old_java: JavaSession
) -> None:
    create_topic(java, "asked-across")
    with Listener(old_java, "asked-across", "asked-across-group", "--answer"):
        row = ask(java, "asked-across", "sync", 3)
        assert row["bodies"] == answers_of(row, 3)


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_a_request_that_nobody_answers_fails_in_time_and_harms_no_other(
    java: JavaSession, mode: str
) -> None:
    topic = f"asked-silent-{mode}"
    create_topic(java, topic)
    with Listener(java, topic, f"{topic}-group", "--answer", "--silent", 1):
        assert ask(java, topic, mode, 1)["failures"] == {}, "the other side is not there"
        row = ask(java, topic, mode, 3, "--timeout-ms", 1500)
    answers = answers_of(row, 3)
    del answers["1"]
    assert row["bodies"] == answers
    assert row["failures"] == {"1": "RequestTimeoutException"}
    assert row["elapsed_ms"] >= 1500
