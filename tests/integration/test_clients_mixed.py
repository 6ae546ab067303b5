"""Java and Go consumers in one group: each client's own rebalancing gives the same shares."""

from __future__ import annotations

import base64
import json
import time
from collections import defaultdict

import pytest

from tests.support.differential import Differential
from tests.support.foreign import ForeignFailed, GoRun, JavaSession, Row
from tests.support.listeners import create_topic
from tests.support.peers import Peer
from tests.support.processes import ask, retries

pytestmark = [
    pytest.mark.foreign,
    pytest.mark.timeout(150),
    pytest.mark.usefixtures("go_client"),
]

GET_CONSUMER_LIST_BY_GROUP = 38
# Twelve queues divide evenly among one, three and four members, whatever the order of their ids.
TOPIC, GROUP, QUEUES = "mixed", "mixed-group", 12
COUNT_MAX = 100_000


class MixedGroup:
    """Messages flow into a topic that Java members and a process of two Go members consume."""

    def __init__(self, java: JavaSession, peer: Peer) -> None:
        self._java, self._peer = java, peer
        self.shares: dict[str, dict[str, int]] = {}

    def sent(self, least: int = 0) -> int:
        """Waits until so many messages are stored; how many there are."""
        return int(self._java.one("flow-sent", "--topic", TOPIC, "--sent", least)["sent"])

    def settle(self, step: str, *members: str, go_members: int = 0) -> None:
        """Until the group has these members, and the Java ones have their shares of the queues."""
        ids: list[str] = []
        for _ in retries(20):
            body = ask(self._peer.broker, GET_CONSUMER_LIST_BY_GROUP, {"consumerGroup": GROUP}).body
            ids = json.loads(body or b"{}").get("consumerIdList", [])
            if len(ids) == len(members) + go_members:
                break
        # A share follows from the order of the ids. A Go client's begins with another address than
        # `settled` assumes, so a Go member is given a name with the same place in the order.
        first = [identity for identity in ids if identity < "127.0.0.1@"]
        last = go_members - len(first)
        others = [f"!{n}" for n in range(len(first))] + [f"~{n}" for n in range(last)]
        words = ("--group", GROUP, "--topic", TOPIC, "--queues", QUEUES)
        row = self._java.one("settled", *words, "--members", ",".join([*members, *others]))
        self.shares[step] = row["shares"]

    def seen(self) -> set[int]:
        """The numbers that the Java members have received."""
        bits = base64.b64decode(self._java.one("ledger", "--group", GROUP)["seen"])
        return {n for n in range(len(bits) * 8) if bits[n // 8] >> n % 8 & 1}


@pytest.mark.differential
def test_java_and_go_members_share_the_queues_and_miss_no_message(
    java: JavaSession, peer: Peer, differential: Differential
) -> None:
    create_topic(java, TOPIC, queues=QUEUES)
    group = MixedGroup(java, peer)
    words = ("--group", GROUP, "--topic", TOPIC)
    java.run("join", "--name", "j1", *words)
    group.settle("one Java member", "j1")
    java.run("flow", "--topic", TOPIC, "--keys", "mixed-", "--count", COUNT_MAX, "--allowed", 500)
    java.run("await", "--group", GROUP, "--distinct", 500)
    go_members = GoRun("listen", *words, "--members", "g1,g2", namesrv=peer.namesrv)
    try:
        group.settle("two Go members more", "j1", go_members=2)
        group.sent(group.sent() + 100)
        java.run("join", "--name", "j2", *words)
        group.settle("two of each", "j1", "j2", go_members=2)
        shared = group.sent(group.sent() + 300)
        until_ms = time.time() * 1000
        java.run("leave", "--name", "j1")
        group.settle("one Java member has left", "j2", go_members=2)
        group.sent(group.sent() + 100)
        (heard,) = go_members.rows()
    finally:
        go_members.kill()
    group.settle("the Go members have left", "j2")
    last = group.sent() + 100
    java.run("flow-allow", "--topic", TOPIC, "--allowed", last)
    total = group.sent(last)
    by_go = {one["number"] for one in heard["deliveries"]}
    await_numbers(group, by_go, total)
    java.run("leave", "--name", "j2", "--wait")
    assert heard["wrong"] == 0
    # The last messages before the first Java member left, when everybody had its share.
    queues = queues_of(heard, shared, until_ms)
    go_shares = {member: len(numbers) for member, numbers in queues.items()}
    outcome = {"java": group.shares, "go": go_shares}
    assert go_shares == {"g1": 3, "g2": 3}
    differential.check("clients-mixed", outcome)


def queues_of(heard: Row, shared: int, until_ms: float) -> dict[str, set[int]]:
    """The queues of which each Go member received a message among the last 64 of a step.

    Until the step's end: later a message that the leaving member had not committed comes again.
    """
    queues: dict[str, set[int]] = defaultdict(set)
    for one in heard["deliveries"]:
        is_of_step = heard["start_ms"] + one["at_ms"] < until_ms
        if is_of_step and shared - 64 <= one["number"] < shared:
            queues[one["member"]].add(one["queue"])
    return queues


def await_numbers(group: MixedGroup, by_go: set[int], total: int) -> None:
    """Until Java and Go members together have received every message."""
    missing: set[int] = set()
    for _ in retries(30, pause_seconds=0.2):
        missing = set(range(total)) - by_go - group.seen()
        if not missing:
            return
    raise ForeignFailed(f"nobody received {len(missing)} of {total}: {sorted(missing)[:20]}")
