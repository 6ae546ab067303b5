"""Limits on what a group reads from the disk instead of memory (codes 2001 to 2003).

Apache's broker enforces them only with coldDataFlowControlEnable, which is off by default; here
they are never enforced, as reads do not tell yet where their bytes came from. So limits are kept
and shown like Apache's default broker keeps and shows them: in memory.

Source: coldctr.ColdDataCgCtrService of org.apache.rocketmq.broker 5.5.0.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from pyromq.errors import RequestFailed

LIMIT_COUNT_MAX: Final = 10_000


class ColdReadLimits:
    """By group."""

    def __init__(self) -> None:
        self._limits: dict[str, int] = {}

    def put(self, group: str, limit: int) -> None:
        """Raises RequestFailed beyond LIMIT_COUNT_MAX groups."""
        if group not in self._limits and len(self._limits) >= LIMIT_COUNT_MAX:
            raise RequestFailed(
                f"the broker has cold read limits of {LIMIT_COUNT_MAX} groups, the most it takes"
            )
        self._limits[group] = limit

    def delete(self, group: str) -> None:
        self._limits.pop(group, None)

    def all(self) -> Mapping[str, int]:
        return self._limits


__all__ = ["LIMIT_COUNT_MAX", "ColdReadLimits"]
