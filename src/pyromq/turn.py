"""A turn of the loop: what arrived together is written once and answered together.

Everything that happens between two polls of the sockets belongs to one turn. Its end runs the
stages in their order (write the log, write the journal, release what waited for them, wake long
polls, send what each connection has to say): the shape of redis' `beforesleep`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence


class Turn:
    """Ends at most once per loop iteration, however many callers ask for it."""

    def __init__(self, call_soon: Callable[[Callable[[], None]], object]) -> None:
        self._call_soon = call_soon
        self._stages: Sequence[Callable[[], None]] = ()
        self._is_due = False

    def set_stages(self, stages: Sequence[Callable[[], None]]) -> None:
        """What the end of a turn does, in order. A stage must not raise."""
        self._stages = tuple(stages)

    def request_end(self) -> None:
        """Something was appended, changed or queued for sending: end the turn soon."""
        if not self._is_due:
            self._is_due = True
            self._call_soon(self.end)

    def end(self) -> None:
        """Runs the stages now; what they cause themselves belongs to the same turn if it can."""
        self._is_due = False
        for stage in self._stages:
            stage()


__all__ = ["Turn"]
