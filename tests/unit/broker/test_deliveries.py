"""Deliveries under way: an offset moves when the copies before it are safe, never sooner."""

from __future__ import annotations

import pytest

from pyromq.broker import deliveries
from pyromq.broker.deliveries import Deliveries
from pyromq.units import LogOffset, QueueOffset


def add(made: Deliveries, level: int, first_offset: int, *ends: int) -> None:
    made.add(level, QueueOffset(first_offset), [LogOffset(end) for end in ends])


def end_turn(made: Deliveries, appended: int) -> dict[int, QueueOffset]:
    return made.end_turn(LogOffset(appended))


def safe(made: Deliveries, flushed: int) -> dict[int, int]:
    return made.safe(LogOffset(flushed))


def test_a_level_moves_when_all_of_its_turn_is_flushed() -> None:
    made = Deliveries()
    add(made, 1, 10, 100, 200, 300)
    assert end_turn(made, 300) == {}
    assert safe(made, 299) == {}
    assert len(made) == 1
    assert safe(made, 300) == {1: 13}
    assert not made


def test_nothing_moves_before_the_turn_has_ended() -> None:
    made = Deliveries()
    add(made, 1, 0, 100)
    assert safe(made, 1_000) == {}
    assert made


def test_a_flush_that_covers_several_turns_moves_each_level_once() -> None:
    made = Deliveries()
    add(made, 1, 0, 100)
    add(made, 2, 7, 200)
    end_turn(made, 200)
    add(made, 1, 1, 300, 400)
    end_turn(made, 400)
    add(made, 3, 5, 500)
    end_turn(made, 500)
    assert safe(made, 450) == {1: 3, 2: 8}
    assert safe(made, 500) == {3: 6}


def test_a_write_that_failed_rewinds_to_the_first_message_that_is_gone() -> None:
    made = Deliveries()
    add(made, 1, 10, 100, 200, 300)
    add(made, 2, 0, 400)
    assert end_turn(made, 250) == {1: 12, 2: 0}
    assert safe(made, 250) == {1: 12}
    assert not made


def test_what_follows_a_lost_message_of_its_level_is_lost_with_it() -> None:
    """Messages passed over need no bytes: their ends say nothing of what came before."""
    made = Deliveries()
    add(made, 1, 0, 300)
    add(made, 1, 1, 100, 300)
    assert end_turn(made, 100) == {1: 0}
    assert safe(made, 1_000) == {}


def test_earlier_turns_stay_when_a_later_one_is_lost() -> None:
    made = Deliveries()
    add(made, 1, 0, 100)
    end_turn(made, 100)
    add(made, 1, 1, 200)
    assert end_turn(made, 100) == {1: 1}
    assert safe(made, 100) == {1: 1}


def test_many_turns_without_a_flush_are_counted_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deliveries, "UNSAFE_TURNS_MAX", 3)
    made = Deliveries()
    for turn in range(10):
        add(made, 1 + turn % 2, turn, 100 * (turn + 1))
        end_turn(made, 100 * (turn + 1))
    assert len(made) == 3
    assert safe(made, 200) == {1: 1, 2: 2}
    assert safe(made, 999) == {}
    assert safe(made, 1000) == {1: 9, 2: 10}


def test_a_write_that_fails_later_rewinds_all_turns_that_a_slow_disk_had_not_written() -> None:
    made = Deliveries()
    add(made, 1, 10, 100)
    assert end_turn(made, 100) == {}
    add(made, 1, 11, 200)
    add(made, 2, 5, 300)
    assert end_turn(made, 300) == {}
    add(made, 1, 12, 400)
    add(made, 3, 0, 500)
    assert end_turn(made, 100) == {1: 11, 2: 5, 3: 0}
    assert safe(made, 1_000) == {1: 11}
    assert not made


def test_what_became_one_group_of_many_is_rewound_to_its_beginning(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(deliveries, "UNSAFE_TURNS_MAX", 1)
    made = Deliveries()
    for turn in range(3):
        add(made, 1, turn, 100 * (turn + 1))
        assert end_turn(made, 100 * (turn + 1)) == {}
    assert len(made) == 1
    assert end_turn(made, 50) == {1: 0}
    assert not made
