"""Log lines about peers, so few that a flood of bad connections cannot become a flood of lines."""

from __future__ import annotations

import logging

_log = logging.getLogger("pyromq.transport")


class Incidents:
    """Says the first few of each period, counts the rest and says how many they were."""

    def __init__(self, lines_per_period: int) -> None:
        self._lines_per_period = lines_per_period
        self._said = 0
        self._unsaid = 0

    def report(self, text: str, *args: object) -> None:
        if self._said < self._lines_per_period:
            self._said += 1
            _log.warning(text, *args)
        else:
            self._unsaid += 1

    def begin_period(self) -> None:
        if self._unsaid:
            _log.warning("%d more connection incidents not shown", self._unsaid)
        self._said = 0
        self._unsaid = 0


__all__ = ["Incidents"]
