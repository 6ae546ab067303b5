"""Java push consumers that stay while a test does other things, and what they heard.

with Listener(java, topic, group, "--later", "3:2") as listener:
    java.one("post", …)
    deliveries = listener.heard(12)
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Self

from tests.support.foreign import JavaSession, Row
from tests.support.peers import Peer

# Eighteen levels as RocketMQ's, but short: a retry (level 3 and up) comes after one second.
SHORT_DELAYS = {"messageDelayLevel": " ".join(["1s"] * 5 + ["2s"] * 12 + ["3s"])}
DELAYS_MS = (0, *[1000] * 5, *[2000] * 12, 3000)

# The first consumer of a group asks for its retry topic before that exists, and looks again when it
# balances next: after 20 s if nothing is said.
QUICK_REBALANCE = (
    "-Drocketmq.client.rebalance.waitInterval=200",
    "-Drocketmq.client.rebalance.minInterval=50",
)

# Properties whose values are of one run only.
_VARYING = ("UNIQ_KEY", "MIN_OFFSET", "MAX_OFFSET", "CONSUME_START_TIME")
_NAMES = itertools.count()


class Listener:
    """A push consumer of a JVM, with `listen`'s options."""

    def __init__(self, java: JavaSession, topic: str, group: str, *options: object) -> None:
        self._java = java
        self._name = f"listener-{next(_NAMES)}"
        words = ("--as", self._name, "--topic", topic, "--group", group, *options)
        self.client_id: str = java.one("listen", *words)["client_id"]

    def heard(self, count: int, *, timeout_seconds: int = 30) -> list[Row]:
        """All deliveries so far, as soon as there are so many; fewer are a failure."""
        words = ("--as", self._name, "--expect", count, "--timeout", timeout_seconds)
        messages: list[Row] = self._java.one("heard", *words)["messages"]
        assert len(messages) >= count, f"{len(messages)} of {count}: {numbers(messages)}"
        return messages

    def close(self) -> None:
        """Leaves the group properly, offsets committed."""
        self._java.run("unlisten", "--as", self._name)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        # After a failure the JVM may be gone; the test's own failure is the one to be shown.
        with contextlib.suppress(*([Exception] if kind is not None else [])):
            self.close()


@contextlib.contextmanager
def listening_session(peer: Peer, profile: str = "") -> Iterator[JavaSession]:
    """A JVM for listeners, with the client of the pom or of a profile."""
    with JavaSession(peer.namesrv, jvm=QUICK_REBALANCE, profile=profile) as session:
        session.run("version")
        yield session


def by_number(messages: Iterable[Row]) -> dict[int, list[Row]]:
    """The deliveries of each message, in order."""
    grouped: dict[int, list[Row]] = {}
    for message in messages:
        grouped.setdefault(message["number"], []).append(message)
    return dict(sorted(grouped.items()))


def numbers(messages: Iterable[Row]) -> list[int]:
    return [message["number"] for message in messages]


def steady(properties: Mapping[str, str], named: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Properties as they are in every run; values in `named` are shown by their names."""
    names = dict(named or {})
    return {
        name: names.get(value, "any" if name in _VARYING else value)
        for name, value in sorted(properties.items())
    }


def shown(message: Row, named: Mapping[str, str] | None = None) -> dict[str, Any]:
    """What must be equal whichever server stored this message."""
    members = ("number", "topic", "queue", "times", "flag", "sys_flag", "body_size")
    return {
        **{member: message[member] for member in members},
        "properties": steady(message["properties"], named),
    }


def names_of(posted: Iterable[Row]) -> dict[str, str]:
    """The ids that the server and the client gave, by words that are the same in every run."""
    named: dict[str, str] = {}
    for message in posted:
        named[message["offset_id"]] = f"offset id of {message['number']}"
        named[message["id"]] = f"id of {message['number']}"
    return named


def post(java: JavaSession, topic: str, count: int, *options: object) -> list[Row]:
    """Sends messages 0 … count−1 with `post`'s options; all must be accepted."""
    words = ("--topic", topic, "--keys", f"{topic}-", "--count", count, *options)
    messages: list[Row] = java.one("post", *words)["messages"]
    assert all(message.get("status") == "SEND_OK" for message in messages), messages
    return messages


def create_topic(java: JavaSession, topic: str, *options: object, queues: int = 1) -> None:
    java.run("admin", "topic-create", "--topic", topic, "--queues", queues, *options)
