"""A log that clients cannot flood."""

from __future__ import annotations

import logging

import pytest

from pyromq.observe.limited_log import LimitedLog


def test_the_first_lines_of_a_period_are_said_and_the_rest_is_counted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    log = LimitedLog(logging.getLogger("limited"), "oddities", 2)
    for number in range(5):
        log.warn("oddity %d", number)
    assert caplog.messages == ["oddity 0", "oddity 1"]
    log.begin_period()
    assert caplog.messages[2:] == ["3 more oddities not shown"]
    log.begin_period()
    log.warn("oddity %d", 9)
    assert caplog.messages[3:] == ["oddity 9"]
