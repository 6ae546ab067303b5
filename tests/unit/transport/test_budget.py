"""Memory of unfinished frames, counted."""

from __future__ import annotations

import pytest

from pyromq.transport.budget import PendingBytes
from pyromq.transport.limits import TransportLimits

LIMITS = TransportLimits(unproven_bytes_max=100, pending_bytes_max=1_000)


@pytest.mark.parametrize(
    ("total", "unproven", "words"),
    [
        (100, 100, None),
        (101, 101, "without a served request hold over 100 bytes"),
        (1_000, 100, None),
        (1_001, 100, "unfinished frames hold over 1000 bytes"),
        (1_001, 101, "unfinished frames hold over 1000 bytes"),
    ],
)
def test_limits_are_kept_to_the_byte(total: int, unproven: int, words: str | None) -> None:
    budget = PendingBytes(LIMITS)
    budget.change(total, unproven)
    if words is None:
        assert budget.excess is None
    else:
        assert budget.excess is not None
        assert words in budget.excess


def test_a_share_cannot_be_taken_back_twice() -> None:
    budget = PendingBytes(LIMITS)
    budget.change(10, 10)
    budget.change(-10, -10)
    with pytest.raises(AssertionError):
        budget.change(-1, 0)
