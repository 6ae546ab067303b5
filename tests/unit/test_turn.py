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
