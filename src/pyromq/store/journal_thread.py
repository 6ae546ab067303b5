"""The one thread that syncs and replaces metadata files, so that the loop never waits for a disk.

It does one piece of work after another and reports each on the loop, whatever went wrong with it:
a thread that ended of a fault would leave its askers waiting for ever. Who hands over work keeps
the number of pieces small: one sync and one new generation at a time.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from queue import SimpleQueue
from typing import TypeAlias

CallOnLoop: TypeAlias = Callable[[Callable[[], None]], object]
"""`loop.call_soon_threadsafe`, or what a test has in its place."""

Done: TypeAlias = Callable[[BaseException | None], None]
"""Told what the work raised: an OSError is the disk's fault, anything else is one of ours."""


class JournalThread:
    """Work handed over before `start` is done after it."""

    def __init__(self, name: str) -> None:
        self._work: SimpleQueue[tuple[Callable[[], None], Done] | None] = SimpleQueue()
        self._call_on_loop: CallOnLoop | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self, call_on_loop: CallOnLoop) -> None:
        self._call_on_loop = call_on_loop
        self._thread.start()

    @property
    def is_started(self) -> bool:
        return self._call_on_loop is not None

    def hand_over(self, work: Callable[[], None], done: Done) -> None:
        """Calls `work` on the thread, then `done` on the loop with what it raised, if anything."""
        self._work.put((work, done))

    def stop(self) -> None:
        """Does what was handed over before, then ends."""
        self._work.put(None)
        if self.is_started:
            self._thread.join()

    def _run(self) -> None:
        assert self._call_on_loop is not None
        while (piece := self._work.get()) is not None:
            work, done = piece
            error: BaseException | None = None
            try:
                work()
            except BaseException as raised:  # noqa: BLE001 — handed on whole to who asked for it
                error = raised
            try:
                self._call_on_loop(partial(done, error))
            except RuntimeError:  # the loop is closed: nobody is left who could be told
                return


__all__ = ["CallOnLoop", "Done", "JournalThread"]
