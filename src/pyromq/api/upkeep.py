"""What keeps a broker going: its configuration, its left-overs, its replicas, its cold reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from pyromq.domain.version import DataVersion
from pyromq.units import LogOffset


class UpkeepApi(Protocol):
    """What keeps a broker going."""

    def configuration(self) -> tuple[DataVersion, Mapping[str, str]]:
        """Every property with the value that counts now."""
        ...

    async def update_configuration(self, values: Mapping[str, str]) -> None:
        """Changes all of these properties for now and for later starts, or none of them."""
        ...

    def clean_unused_topics(self) -> int:
        """Drops queues of topics that do not exist; returns of how many topics."""
        ...

    def set_consume_mode(self, topic: str, group: str, mode: str) -> None:
        """How the group's consumers get their messages of the topic: only PULL is accepted."""
        ...

    def log_end(self) -> LogOffset:
        """End of the log, up to which replicas would follow."""
        ...

    def put_cold_read_limit(self, group: str, limit: int) -> None:
        """Bytes a group may read from the disk each second: kept and shown, not enforced."""
        ...

    def delete_cold_read_limit(self, group: str) -> None: ...

    def cold_read_limits(self) -> Mapping[str, int]:
        """Those put, by group."""
        ...


__all__ = ["UpkeepApi"]
