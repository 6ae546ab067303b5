"""The native engine: Apache's files, written by Rust, behind the `Engine` protocol.

`LogEngine` answers the protocol's own values, so nothing stands between a caller and it. What is
added here is the loop: its threads only make an eventfd readable; `start` has the running loop
watch that, so that `on_progress` callbacks run on the loop like everything else of the broker.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Self

from pyromq._native import (
    LogEngine,
    StoreCheck,
    StoreRebuild,
    StoreRecords,
    clear_log_tail,
    note_newest_index,
    remake_record_crcs,
)
from pyromq.store.engine import StoreSettings

_log = logging.getLogger(__name__)


class NativeEngine(LogEngine):
    """A store on disk. `open_store` makes one; `start` connects it to the loop."""

    def __new__(cls, settings: StoreSettings) -> Self:
        return super().__new__(cls, **settings._asdict())

    def __init__(self, settings: StoreSettings) -> None:
        self.settings = settings
        self._callbacks: list[Callable[[], None]] = []
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Lets `loop` watch the flusher, until `close`."""
        assert self._loop is None, "started twice"
        self._loop = loop
        loop.add_reader(self.descriptor(), self._progress)

    def on_progress(self, callback: Callable[[], None]) -> None:
        """See `Engine.on_progress`; called once `start` was."""
        self._callbacks.append(callback)

    def _progress(self) -> None:
        self.collect()
        for callback in self._callbacks:
            callback()

    def close(self) -> None:
        """See `Engine.close`."""
        if self._loop is not None:
            self._loop.remove_reader(self.descriptor())
            self._loop = None
        super().close()


def open_store(settings: StoreSettings) -> NativeEngine:
    """Opens the store under `settings.root`, making or repairing it as needed.

    Damaged records are passed over, which the log tells. Raises Occupied if it is open already,
    StoreDamaged if its segments cannot be told apart, or all are gone.
    """
    engine = NativeEngine(settings)
    for note in engine.notes():
        _log.warning("store: %s", note)
    return engine


__all__ = [
    "NativeEngine",
    "StoreCheck",
    "StoreRebuild",
    "StoreRecords",
    "clear_log_tail",
    "note_newest_index",
    "open_store",
    "remake_record_crcs",
]
