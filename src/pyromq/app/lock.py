"""A directory that one process at a time may serve from.

The broker's store has Apache's own `lock`, taken by the engine. The name server's directory gets
one of the same kind: an fcntl record lock on byte 0, which vanishes with its process.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from pyromq.errors import ConfigInvalid, Occupied


def usable_directory(directory: Path) -> Path:
    """Makes it if it is missing; raises ConfigInvalid if it cannot be written to."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigInvalid(
            f"data directory {directory} cannot be made: {error.strerror}"
        ) from error
    if not os.access(directory, os.W_OK | os.X_OK):
        raise ConfigInvalid(f"data directory {directory} cannot be written to")
    return directory


class DirectoryLock:
    """Held from construction to `release`."""

    def __init__(self, directory: Path) -> None:
        path = usable_directory(directory) / "lock"
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise ConfigInvalid(
                f"data directory {directory} cannot be used: {error.strerror}"
            ) from error
        try:
            fcntl.lockf(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, 0)
        except OSError as error:
            os.close(self._descriptor)
            raise Occupied(f"data directory {directory} is in use by another process") from error

    def release(self) -> None:
        os.close(self._descriptor)


__all__ = ["DirectoryLock", "usable_directory"]
