"""Warnings that clients can cause as often as they like: a few lines per period, then a number."""

from __future__ import annotations

import logging


class LimitedLog:
    """Says the first few of each period, counts the rest and says how many they were."""

    def __init__(self, logger: logging.Logger, subject: str, lines_per_period: int) -> None:
        """`subject` names in plural what the lines are about."""
        self._logger = logger
        self._subject = subject
        self._lines_per_period = lines_per_period
        self._said = 0
        self._unsaid = 0

    def warn(self, text: str, *args: object) -> None:
        if self._said < self._lines_per_period:
            self._said += 1
            self._logger.warning(text, *args)
        else:
            self._unsaid += 1

    def begin_period(self) -> None:
        if self._unsaid:
            self._logger.warning("%d more %s not shown", self._unsaid, self._subject)
        self._said = 0
        self._unsaid = 0


__all__ = ["LimitedLog"]
