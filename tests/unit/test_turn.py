"""The end of a turn when a stage of it has a fault."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest

from pyromq.turn import Turn


def test_a_stage_that_raises_does_not_keep_the_others_from_running(
    caplog: pytest.LogCaptureFixture,
) -> None:
    soon: list[Callable[[], None]] = []
    turn = Turn(soon.append)
    seen: list[str] = []

    def fail() -> None:
        seen.append("fails")
        raise ZeroDivisionError("a fault of ours")

    turn.set_stages([lambda: seen.append("write"), fail, lambda: seen.append("answer")])
    turn.request_end()
    soon.pop()()
    assert seen == ["write", "fails", "answer"]
    turn.request_end()
    soon.pop()()
    assert seen == ["write", "fails", "answer"] * 2
    (told,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert told.exc_info is not None
    assert "stage 1" in told.getMessage()


class _Loop:
    """Calls what was asked for, when the test says so."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.is_short_enough = True
        self._soon: list[Callable[[], None]] = []
        self.turn = Turn(self._soon.append)
        self.turn.set_stages([lambda: self.seen.append("all")], self._short_end)

    def _short_end(self) -> bool:
        self.seen.append("short")
        return self.is_short_enough

    def run(self) -> list[str]:
        while self._soon:
            self._soon.pop(0)()
        seen, self.seen[:] = list(self.seen), []
        return seen


def test_a_turn_of_the_express_lane_alone_has_a_short_end() -> None:
    loop = _Loop()
    loop.turn.request_short_end()
    loop.turn.request_short_end()
    assert loop.run() == ["short"]
    assert loop.turn.number == 1


@pytest.mark.parametrize("is_whole_first", [True, False])
def test_all_stages_run_if_anybody_asks_for_them(*, is_whole_first: bool) -> None:
    loop = _Loop()
    asks = [loop.turn.request_end, loop.turn.request_short_end]
    for ask in asks if is_whole_first else reversed(asks):
        ask()
    assert loop.run() == ["all"]
    loop.turn.request_short_end()
    assert loop.run() == ["short"], "what was asked for is done"


def test_all_stages_run_if_the_short_end_is_not_enough(caplog: pytest.LogCaptureFixture) -> None:
    loop = _Loop()
    loop.is_short_enough = False
    loop.turn.request_short_end()
    assert loop.run() == ["short", "all"]

    def fail() -> bool:
        raise ZeroDivisionError("a fault of ours")

    loop.turn.set_stages([lambda: loop.seen.append("all")], fail)
    loop.turn.request_short_end()
    assert loop.run() == ["all"]
    assert "short end" in caplog.text


def test_progress_ends_a_turn_as_short_as_it_may_be() -> None:
    loop = _Loop()
    loop.turn.end_short()
    assert loop.run() == ["short"]
    loop.turn.request_end()
    loop.turn.end_short()
    assert loop.seen == ["all"]
