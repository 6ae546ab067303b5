"""Telling how far the rebuild of queues and index has come.

Which files are doubted, and how they are made anew, is the engine's. What a client is told of a
queue that is not whole follows from `StoreRebuilding` being a `StoreFailed`: code 14, upon which
producers try again and consumers ask again for the same offset.
"""

from __future__ import annotations

import logging
from typing import Final

from pyromq.clock import Clock
from pyromq.store.engine import Engine, Rebuild
from pyromq.units import SECOND_MS

WATCH_INTERVAL_MS: Final = SECOND_MS
_TELL_INTERVAL_MS: Final = 10 * SECOND_MS

_log = logging.getLogger(__name__)


class RebuildWatch:
    """Belongs to the loop thread."""

    def __init__(self, engine: Engine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock
        self._last: Rebuild | None = None
        self._began_ms = 0
        self._told_ms = 0

    def look(self) -> None:
        """Tells of the beginning, of progress now and then, of whole queues, and of the end."""
        now, last = self._engine.rebuild(), self._last
        now_ms = self._clock.monotonic_ms()
        if last is None:
            if not now.is_any:
                return
            self._began_ms = now_ms
            _log.warning("store: %s from the log; all else is served", _what(now))
            self._told_ms = now_ms
        elif now.failure != last.failure and now.failure is not None:
            _log.error("store: the rebuild cannot go on, it is tried again: %s", now.failure)
        elif last.has_queues and not now.has_queues:
            _log.warning("store: all queues are rebuilt, after %d ms", now_ms - self._began_ms)
        elif now.is_any and now_ms - self._told_ms >= _TELL_INTERVAL_MS:
            _log.info("store: %d %% of %d bytes are read: %s", now.percent, now.size, _what(now))
            self._told_ms = now_ms
        if not now.is_any:
            if now.failure is None:
                _log.warning("store: the rebuild is done, after %d ms", now_ms - self._began_ms)
            else:
                _log.error("store: rebuilt, but the next start does it again: %s", now.failure)
            self._last = None
        else:
            self._last = now


def _what(rebuild: Rebuild) -> str:
    """Of what it speaks, as a sentence's beginning."""
    if not rebuild.has_queues:
        return "the key index is being rebuilt"
    queues = f"{rebuild.queue_count} queues are being rebuilt and refuse what is asked of them"
    return f"{queues}, the key index too" if rebuild.has_index else queues


__all__ = ["WATCH_INTERVAL_MS", "RebuildWatch"]
