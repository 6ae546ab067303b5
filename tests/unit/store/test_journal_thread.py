"""The thread for slow file work: in order, reported on the loop, ended by its owner."""

from __future__ import annotations

import errno
import threading
from functools import partial

import pytest

from pyromq.store.journal_thread import JournalThread
from tests.support.faulty_files import HandLoop


def report(reported: list[int], n: int, error: BaseException | None) -> None:
    assert error is None
    reported.append(n)


def test_work_is_done_in_order_on_another_thread_and_reported_on_the_loop() -> None:
    loop, thread = HandLoop(), JournalThread("test")
    places: list[int] = []
    reported: list[int] = []
    for n in range(3):
        thread.hand_over(lambda: places.append(threading.get_ident()), partial(report, reported, n))
    thread.start(loop.call_on_loop)
    loop.turn_until(lambda: reported == [0, 1, 2])
    thread.stop()
    assert len(set(places)) == 1
    assert threading.get_ident() not in places


def test_what_fails_is_told_and_the_rest_goes_on() -> None:
    loop, thread = HandLoop(), JournalThread("test")
    errors: list[int | None] = []

    def fail() -> None:
        raise OSError(errno.EIO, "input/output error")

    for work in (fail, lambda: None):
        thread.hand_over(work, lambda error: errors.append(getattr(error, "errno", None)))
    thread.start(loop.call_on_loop)
    loop.turn_until(lambda: len(errors) == 2)
    thread.stop()
    assert errors == [errno.EIO, None]


@pytest.mark.parametrize("fault", [ZeroDivisionError("a fault of ours"), SystemExit(1)])
def test_a_fault_of_ours_is_told_too_and_does_not_end_the_thread(fault: BaseException) -> None:
    loop, thread = HandLoop(), JournalThread("test")
    errors: list[BaseException | None] = []

    def fail() -> None:
        raise fault

    for work in (fail, lambda: None):
        thread.hand_over(work, errors.append)
    thread.start(loop.call_on_loop)
    loop.turn_until(lambda: len(errors) == 2)
    thread.stop()
    assert errors == [fault, None]


def test_stop_does_what_was_handed_over_before() -> None:
    loop, thread = HandLoop(), JournalThread("test")
    done: list[int] = []
    thread.start(loop.call_on_loop)
    for n in range(50):
        thread.hand_over(partial(done.append, n), lambda _: None)
    thread.stop()
    assert done == list(range(50))


def test_a_thread_that_never_ran_can_be_stopped() -> None:
    thread = JournalThread("test")
    thread.stop()
    assert not thread.is_started


def test_a_closed_loop_ends_it_quietly() -> None:
    thread = JournalThread("test")

    def closed(call: object) -> None:
        raise RuntimeError("Event loop is closed")

    thread.hand_over(lambda: None, lambda _: None)
    thread.start(closed)
    thread.stop()
