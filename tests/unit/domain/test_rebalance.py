"""Sharing out queues, as Apache's three strategies do it."""

from __future__ import annotations

import pytest

from pyromq.domain.rebalance import Allocation, averagely, averagely_by_circle, by_consistent_hash
from pyromq.domain.route import MessageQueue

ALL = [averagely, averagely_by_circle, by_consistent_hash]


def queues(count: int) -> list[MessageQueue]:
    return [MessageQueue("broker-a", number, "T") for number in range(count)]


def shares(rule: Allocation, members: int, count: int) -> list[list[int]]:
    ids = [f"c{number}" for number in range(members)]
    return [[queue.queue_id for queue in rule(one, ids, queues(count))] for one in ids]


@pytest.mark.parametrize(
    ("members", "count", "wanted"),
    [
        (1, 4, [[0, 1, 2, 3]]),
        (2, 4, [[0, 1], [2, 3]]),
        (3, 8, [[0, 1, 2], [3, 4, 5], [6, 7]]),
        (3, 3, [[0], [1], [2]]),
        (4, 2, [[0], [1], [], []]),
    ],
)
def test_averagely_gives_neighbours_and_the_first_get_one_more(
    members: int, count: int, wanted: list[list[int]]
) -> None:
    assert shares(averagely, members, count) == wanted


def test_by_circle_gives_them_in_turns() -> None:
    assert shares(averagely_by_circle, 3, 8) == [[0, 3, 6], [1, 4, 7], [2, 5]]


def test_consistent_hash_places_queues_as_apaches_router_does() -> None:
    # AllocateMessageQueueConsistentHash 5.5.0, ten virtual nodes, members c0 to c2, eight queues
    assert shares(by_consistent_hash, 3, 8) == JAVA_SHARES


JAVA_SHARES = [[0, 1, 5, 6], [3, 4], [2, 7]]


@pytest.mark.parametrize("rule", ALL)
@pytest.mark.parametrize("members", [1, 2, 3, 7])
@pytest.mark.parametrize("count", [0, 1, 4, 16, 33])
def test_every_queue_has_one_member(rule: Allocation, members: int, count: int) -> None:
    given = [number for share in shares(rule, members, count) for number in share]
    assert sorted(given) == list(range(count))


@pytest.mark.parametrize("rule", ALL)
def test_who_is_not_listed_gets_nothing(rule: Allocation) -> None:
    assert rule("stranger", ["c0", "c1"], queues(4)) == []


def test_with_consistent_hash_queues_of_others_stay_when_a_member_leaves() -> None:
    before, after = shares(by_consistent_hash, 4, 64), shares(by_consistent_hash, 3, 64)
    for number in range(3):
        assert set(before[number]) <= set(after[number])
