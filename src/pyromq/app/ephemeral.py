"""A temporary store directory, gone when its owner ends, in whatever way.

Its owner holds a lock on a file in it; the kernel gives that back also after kill -9. So who makes
the next one can tell a directory in use from one left behind, and removes the latter. The lock is
of the kind that belongs to an open file and not to a process (flock): several brokers of one
process tell each other's apart.

The lock file goes last and is looked at twice, so that at any step a kill leaves either a
directory that the next owner can remove, or none.
"""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from pyromq.errors import StartFailed

PREFIX: Final = "pyromq-ephemeral-"
LOCK_NAME: Final = "ephemeral.lock"
_ATTEMPTS_MAX: Final = 20
"""Each is lost only to another process that cleans up in the instant between two of our calls."""

_log = logging.getLogger("pyromq.app")


@contextmanager
def ephemeral_directory(parent: Path | None = None) -> Iterator[Path]:
    """A new directory in `parent` (the system's temporary directory), removed after the block.

    Removes what earlier owners left behind, too. Raises StartFailed if none can be made.
    """
    parent = Path(tempfile.gettempdir()) if parent is None else parent
    remove_left_behind(parent)
    try:
        path, lock = _made(parent)
    except OSError as error:
        raise StartFailed(
            f"no temporary directory can be made in {parent}: {error.strerror}; "
            "TMPDIR names another place"
        ) from error
    try:
        yield path
    finally:
        _remove(path)
        os.close(lock)


def remove_left_behind(parent: Path) -> None:
    """Removes directories of ours whose owner has ended. Never raises: what cannot be removed
    stays."""
    try:
        entries = [entry for entry in os.scandir(parent) if entry.name.startswith(PREFIX)]
    except OSError:
        return
    for entry in entries:
        try:
            is_ours = entry.stat(follow_symlinks=False).st_uid == os.geteuid()
            if is_ours and entry.is_dir(follow_symlinks=False):
                _remove_if_free(Path(entry.path))
        except OSError as error:
            _log.info("%s is left as it is: %s", entry.path, error.strerror)


def _remove_if_free(path: Path) -> None:
    try:
        lock = os.open(path / LOCK_NAME, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        # Its owner ended before there was a lock, or is about to make it and will notice.
        path.rmdir()
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _log.info("%s was left behind by a process that was killed; removed", path)
        _remove(path)
    except BlockingIOError:
        pass  # in use
    finally:
        os.close(lock)


def _made(parent: Path) -> tuple[Path, int]:
    """A new directory and the descriptor that holds its lock."""
    for _ in range(_ATTEMPTS_MAX):
        path = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
        try:
            lock = os.open(path / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(lock), (path / LOCK_NAME).stat()):
                return path, lock
        except (BlockingIOError, FileNotFoundError):
            pass
        os.close(lock)
    raise OSError(0, f"{_ATTEMPTS_MAX} new directories in a row were removed by somebody")


def _remove(path: Path) -> None:
    for entry in path.iterdir():
        if entry.name == LOCK_NAME:
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink(missing_ok=True)
    (path / LOCK_NAME).unlink(missing_ok=True)
    shutil.rmtree(path, ignore_errors=True)


__all__ = ["LOCK_NAME", "PREFIX", "ephemeral_directory", "remove_left_behind"]
