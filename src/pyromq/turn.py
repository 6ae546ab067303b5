"""A turn of the loop: what arrived together is written once and answered together.

Everything that happens between two polls of the sockets belongs to one turn. Its end runs the
stages in their order (write the log, write the journal, release what waited for them, wake long
polls, send what each connection has to say): the shape of redis' `beforesleep`.

Most turns of a busy broker are the express lane's alone: a write of the log, and what it releases.
These have a short end, which does that in one call; all stages are run as soon as anybody asked for
more, or the short end finds that there is more to do.

A stage that raises has a fault of ours in it. The other stages still run: nobody is let go without
its promise by that, as promises are positions that only a write or a sync moves; and who waits for
the stage that failed waits for the next turn, or until its time is over.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Final

_log = logging.getLogger(__name__)

_SHORT_END: Final = -1
"""Among the stages."""
_FAULTS_SHOWN_MAX: Final = 64
"""Faults that are told with their traceback: kinds of error, by stage."""


class Turn:
    """Ends at most once per loop iteration, however many callers ask for it."""

    def __init__(self, call_soon: Callable[[Callable[[], None]], object]) -> None:
        self._call_soon = call_soon
        self._stages: Sequence[Callable[[], None]] = ()
        self._short_end: Callable[[], bool] = _never
        self._is_due = False
        self._is_whole = False
        """More is to be done than the short end does."""
        self.number = 0
        """Of the turn that ended last, or is ending."""
        self.is_ending = False
        """A stage runs now; what it leaves to a later stage of the same turn asks for no other."""
        self._faults: set[tuple[int, type[Exception]]] = set()

    def set_stages(
        self, stages: Sequence[Callable[[], None]], short_end: Callable[[], bool] | None = None
    ) -> None:
        """What the end of a turn does, in order. A stage should not raise.

        `short_end` takes the place of all stages in a turn of which nobody asked for more. False:
        the stages must run after all.
        """
        self._stages = tuple(stages)
        self._short_end = _never if short_end is None else short_end

    def request_end(self) -> None:
        """Something was appended, changed or queued for sending: end the turn soon."""
        self._is_whole = True
        self.request_short_end()

    def request_short_end(self) -> None:
        """The same, if the short end is enough for it."""
        if not self._is_due:
            self._is_due = True
            self._call_soon(self.end_short)

    def end_short(self) -> None:
        """Ends the turn now, by its short end if that is enough."""
        if not self._is_whole:
            self._is_due = False
            try:
                if self._short_end():
                    self.number += 1
                    return
            except Exception as error:  # noqa: BLE001 — the stages go on where it stopped
                self._tell(_SHORT_END, error)
        self.end()

    def end(self) -> None:
        """Runs the stages now; what they cause themselves belongs to the same turn if it can."""
        self._is_due = self._is_whole = False
        self.number += 1
        self.is_ending = True
        try:
            for index, stage in enumerate(self._stages):
                try:
                    stage()
                except Exception as error:  # noqa: BLE001 — the other stages must run all the same
                    self._tell(index, error)
        finally:
            self.is_ending = False

    def _tell(self, index: int, error: Exception) -> None:
        fault = (index, type(error))
        if fault not in self._faults and len(self._faults) < _FAULTS_SHOWN_MAX:
            self._faults.add(fault)
            _log.error(
                "%s of a turn failed unexpectedly; repetitions are not shown",
                "the short end" if index == _SHORT_END else f"stage {index}",
                exc_info=error,
            )


def _never() -> bool:
    """All stages are needed."""
    return False


__all__ = ["Turn"]
