"""Offsets as rules: resets, corrections, lag."""

from __future__ import annotations

import pytest

from pyromq.domain.offsets import (
    NEVER,
    correction_offsets,
    forwarded_reset,
    must_be_told,
    total_lag,
)

# --- who must be told of a reset ------------------------------------------------------------------


def test_the_first_who_pulls_a_reset_queue_is_told_wherever_he_pulls() -> None:
    assert must_be_told(5, told_to=None, puller=1, queue_offset=9)
    assert must_be_told(5, told_to=None, puller=1, queue_offset=5)


def test_who_was_told_and_pulls_again_knows() -> None:
    assert not must_be_told(5, told_to=1, puller=1, queue_offset=5)
    assert not must_be_told(5, told_to=1, puller=1, queue_offset=9)


def test_another_one_is_told_too_unless_he_begins_at_the_reset_offset() -> None:
    assert must_be_told(5, told_to=1, puller=2, queue_offset=9)
    assert not must_be_told(5, told_to=1, puller=2, queue_offset=5)


# --- where a reset leads --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("found", "committed", "is_forced", "result"),
    [(3, 7, False, 3), (7, 3, False, 3), (3, 7, True, 3), (7, 3, True, 7), (4, 4, False, 4)],
)
def test_a_gentle_reset_only_goes_back(
    found: int, committed: int, is_forced: bool, result: int
) -> None:
    assert forwarded_reset(found, committed, is_forced=is_forced) == result


# --- corrections ----------------------------------------------------------------------------------


def test_the_correction_is_the_least_offset_of_all_groups() -> None:
    groups = {"a": {0: 5, 1: 8}, "b": {0: 3}, "c": {1: 9}}
    assert correction_offsets(groups, {}, {}, left_out=()) == {0: 3, 1: 8}


def test_groups_may_be_left_out_of_it() -> None:
    groups = {"a": {0: 5}, "b": {0: 3}}
    assert correction_offsets(groups, {}, {}, left_out=("b", "z")) == {0: 5}


def test_offsets_before_the_begin_of_a_queue_do_not_count() -> None:
    groups = {"a": {0: 5}, "b": {0: 3}}
    assert correction_offsets(groups, {}, {0: 4}, left_out=()) == {0: 5}
    assert correction_offsets(groups, {}, {0: 6}, left_out=()) == {}


def test_a_compared_group_behind_all_others_needs_no_correction() -> None:
    groups = {"a": {0: 5, 1: 5, 2: 5}}
    compared = {0: 4, 1: 5, 2: 6, 3: 1}
    assert correction_offsets(groups, compared, {}, left_out=()) == {0: NEVER, 1: 5, 2: 5}
    assert NEVER == 2**63 - 1


# --- lag ------------------------------------------------------------------------------------------


def test_lag_is_what_lies_between_behind_and_ahead() -> None:
    assert total_lag([]) == 0
    assert total_lag([(3, 10), (7, 7), (2, 3)]) == 8
