"""When requests are due."""

from __future__ import annotations

from pyromq.cli.bench.pace import Pace, Ticket


def test_without_a_rate_the_next_one_is_due_now_until_all_are_taken() -> None:
    pace = Pace(10.0, batch_size=4, count=6)
    assert pace.take(11.0) == Ticket(11.0, 0, 4)
    assert pace.take(11.5) == Ticket(11.5, 4, 2)
    assert pace.take(11.5) is None


def test_with_a_rate_they_are_due_at_fixed_times_however_late_they_are_taken() -> None:
    pace = Pace(10.0, rate=2)
    assert [pace.take(now) for now in (10.0, 10.0, 17.0)] == [
        Ticket(10.0, 0, 1), Ticket(10.5, 1, 1), Ticket(11.0, 2, 1),
    ]  # fmt: skip


def test_a_rate_counts_messages_not_batches() -> None:
    pace = Pace(0.0, rate=100, batch_size=50)
    assert [pace.take(0.0), pace.take(0.0)] == [Ticket(0.0, 0, 50), Ticket(0.5, 50, 50)]


def test_nothing_is_due_at_or_after_the_end() -> None:
    assert Pace(10.0, duration_s=2).take(11.9) is not None
    assert Pace(10.0, duration_s=2).take(12.0) is None
    slow = Pace(10.0, duration_s=2, rate=1)
    assert [slow.take(10.0), slow.take(10.0), slow.take(10.0)] == [
        Ticket(10.0, 0, 1), Ticket(11.0, 1, 1), None,
    ]  # fmt: skip


def test_a_stopped_one_has_no_more() -> None:
    pace = Pace(10.0)
    assert pace.take(10.0) is not None
    pace.stop()
    assert pace.take(10.0) is None
