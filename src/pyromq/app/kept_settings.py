"""Where settings go that an operator changed while the server ran (`config/remote.py`).

With -c they go into that file, as with Apache: each into the line of its key, and unlike with
Apache everything else in the file stays as it was. Without, they go into a file of ours in the data
directory, which the next start reads before anything else: file, environment and options override
it.

The file is replaced as a whole, by a thread of the loop's executor: who looks, and who starts after
a power cut, finds the old content or the new.
"""

from __future__ import annotations

import asyncio
import logging
import os
import stat
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from pyromq.config import Source, file_source
from pyromq.config.properties import with_values
from pyromq.errors import ConfigInvalid, ServiceUnavailable, StoreDamaged
from pyromq.store.files import Files, replace_file
from pyromq.store.metadata import FOLDER
from pyromq.waiting import Latch

FILE: Final = "settings.properties"
HEADER: Final = b"# pyromq settings, format 1, read by format 1 on\n"
"""First line of a file of ours."""
_MODE: Final = 0o644

_log = logging.getLogger("pyromq.app")


class KeptSettings:
    """One settings file. `keep` belongs to the loop thread."""

    def __init__(self, path: Path, *, is_given: bool, overrides: Mapping[str, str]) -> None:
        """`is_given`: with -c. `overrides`: keys that the environment or an option sets at each
        start, with where."""
        self.path = path
        self.name = str(path) if is_given else "a property file given with -c"
        self._is_given = is_given
        self._overrides = overrides
        self._lock = threading.Lock()

    def keep(self, values: Mapping[str, str]) -> Latch[None]:
        """Set when the file has these values; fails with ServiceUnavailable."""
        latch: Latch[None] = Latch()
        for key in values:
            if key in self._overrides:
                _log.warning(
                    "%s=%s counts until the server ends: %s sets it at each start",
                    key,
                    values[key],
                    self._overrides[key],
                )
        writing = asyncio.get_running_loop().run_in_executor(None, self._write, dict(values))

        def written(done: asyncio.Future[None]) -> None:
            error = None if done.cancelled() else done.exception()
            if error is None and not done.cancelled():
                latch.set(None)
            else:
                why = getattr(error, "strerror", None) or error or "the server stops"
                latch.fail(ServiceUnavailable(f"{self.path} cannot be changed: {why}"))

        writing.add_done_callback(written)
        return latch

    def _write(self, values: Mapping[str, str]) -> None:
        path = self.path.resolve()  # a link stays one
        with self._lock:
            if path.exists() or self._is_given:
                data, mode = path.read_bytes(), stat.S_IMODE(path.stat().st_mode)
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                data, mode = HEADER, _MODE
            replace_file(_FilesWithMode(mode), path, with_values(data, values, str(path)))


class _FilesWithMode(Files):
    def __init__(self, mode: int) -> None:
        self._mode = mode

    def open(self, path: Path) -> int:
        descriptor = super().open(path)
        os.fchmod(descriptor, self._mode)
        return descriptor


def own_path(root: Path) -> Path:
    """The file of ours of a broker that stores in `root`, or of a name server."""
    return root / FOLDER / FILE


def kept_source(path: Path, keys: frozenset[str]) -> list[Source]:
    """What a file of ours says about these keys, as one source; none if there is no file.

    Raises StoreDamaged for a file of a later format, ConfigInvalid for one that cannot be read.
    """
    if not path.exists():
        return []
    try:
        with path.open("rb") as file:
            header = file.readline(len(HEADER))
    except OSError as error:
        raise ConfigInvalid(f"{path} cannot be read: {error.strerror}") from error
    if header != HEADER:
        raise StoreDamaged(
            f"{path} is no settings file this version reads: its first line is not "
            f"{HEADER.decode().strip()!r}; move it away to start without it"
        )
    source = file_source(path)
    return [source.without(*(key for key in source.values if key not in keys))]


__all__ = ["FILE", "HEADER", "KeptSettings", "kept_source", "own_path"]
