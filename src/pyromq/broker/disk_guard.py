"""Refusing messages before the disk is full.

Twice a second, and after a write that failed, the free space is looked at. Of it all but the
reserve (`domain/retention.py: disk_reserve`) may be given to messages until the next look: the
engine is told the log position where that ends, and refuses appends behind it. So no message costs
a system call, and none that comes between two looks can reach into the reserve. Sends, given back
messages and copies of delayed ones are refused alike; reads and the metadata journal know nothing
of it. When space is back the next look lifts the limit, and has the journal go on if it met a full
disk.
"""

from __future__ import annotations

import logging
from typing import Final

from pyromq.broker.admin import DiskSpaceOf
from pyromq.config import Settings, StoreConfig
from pyromq.domain.retention import disk_reserve
from pyromq.store.engine import Engine
from pyromq.store.metadata import Metadata
from pyromq.units import LogOffset

LOOK_INTERVAL_MS: Final = 500
"""Messages are taken again so long after space came back; 2 s are promised."""

_log = logging.getLogger(__name__)


class DiskGuard:
    """Belongs to the loop thread."""

    def __init__(
        self,
        engine: Engine,
        metadata: Metadata,
        store_settings: Settings[StoreConfig],
        disk_space_of: DiskSpaceOf,
    ) -> None:
        self._engine = engine
        self._metadata = metadata
        self._settings = store_settings
        self._disk_space_of = disk_space_of
        self.is_full = False
        """Messages are refused since the last look."""

    def look(self) -> None:
        """Compares what is free with the reserve."""
        self._metadata.resume()
        settings = self._settings.current
        space = self._disk_space_of(settings.root)
        if space is None:
            self._engine.limit_appends(LogOffset(0), None)
            return
        reserve = disk_reserve(
            settings.disk_reserve,
            segment_size=settings.mapped_file_size_commit_log_bytes,
            disk_size=space.total,
            warning_percent=settings.disk_space_warning_level_ratio,
        )
        room = max(space.free - reserve, 0)
        where = f"{settings.root.absolute()} has {space.free} of {space.total} bytes free"
        kept = f"{reserve} are kept free (diskReserveBytes)"
        reason = (
            f"the disk is full: {where}, {kept}"
            if not room and reserve
            else f"the disk is nearly full: {where}, {kept}, the rest was used since the last look"
        )
        if reserve:
            self._engine.limit_appends(LogOffset(self._engine.positions().written + room), reason)
        else:
            self._engine.limit_appends(LogOffset(0), None)
        is_full = reserve > 0 and not room
        if is_full and not self.is_full:
            _log.error("messages are refused: %s", reason)
        elif self.is_full and not is_full:
            _log.warning("messages are taken again: %s", where)
        self.is_full = is_full


__all__ = ["LOOK_INTERVAL_MS", "DiskGuard"]
