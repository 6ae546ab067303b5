"""Groups of push consumers that come and go in a JVM, and the messages that flow meanwhile.

The Java side is Members.java, Ledger.java and Flow.java of tests/foreign/java. Nothing here waits
for a time: members have joined when each has its share of the queues, and changes come when so many
messages have been consumed.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.support.foreign import JavaSession, Row

CACHE = 8
"""A member pulls only while a queue has at most so many messages in its cache …"""
PULL_SIZE = 8
"""… and gets at most so many by a pull."""

SETTLE_SECONDS = 40.0


@dataclass
class Group:
    """A consumer group on one topic, its members in one JVM; `elsewhere` are those in others."""

    java: JavaSession
    name: str
    topic: str
    queues: int
    members: list[str] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)

    def join(self, *names: str, options: Iterable[object] = (), topics: str = "") -> None:
        for name in names:
            words = ("--name", name, "--group", self.name, "--topic", topics or self.topic)
            self.java.run("join", *words, *options)
            self.members.append(name)

    def leave(self, *names: str, options: Iterable[object] = ()) -> None:
        for name in names:
            self.java.run("leave", "--name", name, *options)
            self.members.remove(name)

    def settle(self, *, topic: str = "", queues: int = 0) -> dict[str, int]:
        """Waits until each member has its share; how many queues the members here have."""
        words = ("--group", self.name, "--topic", topic or self.topic)
        members = ",".join([*self.members, *self.elsewhere])
        more = ("--queues", queues or self.queues, "--members", members)
        seconds = ("--timeout", int(SETTLE_SECONDS))
        shares: dict[str, int] = self.java.one("settled", *words, *more, *seconds)["shares"]
        return shares

    def await_distinct(self, count: int) -> Row:
        return self.java.one("await", "--group", self.name, "--distinct", count)

    def await_held(self, member: str) -> Row:
        """Waits until a member hangs: for ever if it has its fill."""
        return self.java.one("await", "--group", self.name, "--held", member)

    def await_member(self, member: str) -> Row:
        """Waits until a member has consumed something."""
        return self.java.one("await", "--group", self.name, "--member", member)

    def release(self) -> None:
        """Lets go a member that hangs in the middle of a message."""
        self.java.run("release", "--group", self.name)

    def ledger(self) -> Row:
        return self.java.one("ledger", "--group", self.name)


@dataclass(frozen=True)
class Flow:
    """Messages 0 … count−1 that are sent into a topic while other things happen."""

    java: JavaSession
    topic: str

    def start(self, count: int, *, allowed: int, options: Iterable[object] = ()) -> None:
        words = ("--topic", self.topic, "--count", count, "--allowed", allowed)
        self.java.run("flow", *words, "--keys", f"{self.topic}-", *options)

    def allow(self, count: int) -> None:
        self.java.run("flow-allow", "--topic", self.topic, "--allowed", count)

    def await_sent(self, count: int) -> Row:
        return self.java.one("flow-sent", "--topic", self.topic, "--sent", count)

    def sent(self) -> int:
        return int(self.await_sent(0)["sent"])


def seen(ledger: Row) -> int:
    """The numbers consumed, as bits."""
    return int.from_bytes(base64.b64decode(ledger["seen"]), "little")


def missing(count: int, *ledgers: Row) -> list[int]:
    """Which of the numbers 0 … count−1 are in no ledger."""
    bits = 0
    for ledger in ledgers:
        bits |= seen(ledger)
    return [number for number in range(count) if not bits >> number & 1]


def duplicates(*ledgers: Row) -> int:
    """How often a message was consumed again, here or in another JVM."""
    bits = 0
    for ledger in ledgers:
        bits |= seen(ledger)
    return sum(int(ledger["received"]) for ledger in ledgers) - bits.bit_count()


@dataclass(frozen=True)
class Stint:
    """Consecutive messages of a queue while one member had it."""

    member: str
    first: int
    last: int
    began: int
    ended: int


def stints(*ledgers: Row) -> dict[str, list[Stint]]:
    """All stints of each queue in the order in which they began, whichever JVM they were in.

    The JVMs of a machine share one monotonic clock.
    """
    found: dict[str, list[Stint]] = {}
    for ledger in ledgers:
        rows: Mapping[str, Any] = ledger["stints"]
        for queue, of_queue in rows.items():
            found.setdefault(queue, []).extend(Stint(*row) for row in of_queue)
    return {queue: sorted(rows, key=lambda stint: stint.began) for queue, rows in found.items()}


def order_faults(by_queue: Mapping[str, list[Stint]]) -> list[str]:
    """Where the order of a queue was violated.

    A stint is without holes by itself. A queue's order is kept when no two members are at it at
    once, and each stint goes on where the ones before have come to, or repeats the end of them
    because the last commit had not come through.
    """
    faults = []
    for queue, rows in by_queue.items():
        reached = -1
        ended = 0
        for stint in rows:
            if stint.first > reached + 1:
                faults.append(f"queue {queue}: {stint} leaves out {reached + 1}")
            if stint.began < ended:
                faults.append(f"queue {queue}: {stint} began before the one before it ended")
            reached, ended = max(reached, stint.last), max(ended, stint.ended)
    return faults


def repeated(by_queue: Mapping[str, list[Stint]]) -> int:
    """How many messages were consumed again after a queue changed hands."""
    count = 0
    for rows in by_queue.values():
        reached = -1
        for stint in rows:
            count += max(0, min(reached, stint.last) - stint.first + 1)
            reached = max(reached, stint.last)
    return count
