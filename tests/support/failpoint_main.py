"""`pyromq` with failpoints: `python -m tests.support.failpoint_main NATIVE ARGUMENTS…`.

NATIVE is the engine's module as built with the feature `failpoints`; it is loaded in place of the
installed one, for this process only. The metadata gets `FailFiles`. Nothing of this is in the
package: the hooks are names that the package looks up anyway, so the server has no switch for it.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import sys
from importlib.machinery import ExtensionFileLoader
from pathlib import Path
from typing import Final

NATIVE: Final = "pyromq._native"
JOURNAL_SIZE_MIN: Final = 16 * 1024
PROJECTION_INTERVAL_MS: Final = "300"
"""Small, so that a short run sees new generations and projections."""


def load_native(path: Path) -> None:
    """Makes the file the module that everybody gets as `pyromq._native`."""
    loader = ExtensionFileLoader(NATIVE, str(path))
    spec = importlib.util.spec_from_file_location(NATIVE, path, loader=loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    sys.modules[NATIVE] = module


def hang_points() -> None:
    """Gives the broker's metadata files with points, and tells them the phases."""
    from pyromq.clock import Clock
    from pyromq.store import metadata
    from pyromq.store.journal import Journal
    from pyromq.store.metadata import Metadata
    from tests.support.failpoint_files import PROJECTION_VARIABLE, RUN, STOP, FailFiles, Points

    points = Points(os.environ)
    interval = os.environ.get(PROJECTION_VARIABLE, PROJECTION_INTERVAL_MS)
    names = vars(metadata)
    names["PROJECTION_INTERVAL_MS"] = int(interval)
    names["Journal"] = functools.partial(Journal, size_min=JOURNAL_SIZE_MIN)

    def open_broker(root: Path, *, sync_flush: bool, clock: Clock) -> Metadata:
        opened = plain_open(root, sync_flush=sync_flush, clock=clock, files=FailFiles(points))
        points.phase = RUN
        return opened

    async def stop(self: Metadata) -> None:
        if self.tables.topics:  # the broker's: a name server's metadata has none
            points.phase = STOP
        await plain_stop(self)

    plain_open, plain_stop = Metadata.open_broker, Metadata.stop
    Metadata.open_broker = open_broker  # type: ignore[method-assign, assignment]
    Metadata.stop = stop  # type: ignore[method-assign]


def main() -> int:
    load_native(Path(sys.argv[1]))
    hang_points()
    from pyromq.app.main import main as pyromq

    return pyromq(sys.argv[2:])


if __name__ == "__main__":
    sys.exit(main())
