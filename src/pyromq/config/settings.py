"""Settings: the cell that a part holds and reads per use.

The snapshot inside is frozen and was checked as a whole; a change swaps it in one step, so a reader
never sees half of an update.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from pyromq.config.prop import Configuration

C = TypeVar("C", bound=Configuration)


class Settings(Generic[C]):
    """Holds one validated configuration. Belongs to the loop thread."""

    __slots__ = ("_current", "_listeners")

    def __init__(self, configuration: C) -> None:
        configuration.validate(lambda _name: "default")
        self._current = configuration
        self._listeners: list[Callable[[C, C], None]] = []

    @property
    def current(self) -> C:
        """The snapshot that counts now. Do not keep it: read it again at the next use."""
        return self._current

    def replace(self, configuration: C, origin: str = "update") -> None:
        """Swaps the snapshot, then tells the listeners (old, new).

        Raises ConfigInvalid and changes nothing if the new one is not valid.
        """
        configuration.validate(lambda _name: origin)
        old, self._current = self._current, configuration
        for listener in tuple(self._listeners):
            listener(old, configuration)

    def on_change(self, listener: Callable[[C, C], None]) -> Callable[[], None]:
        """Registers a listener; the returned function takes it back."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)


__all__ = ["Settings"]
