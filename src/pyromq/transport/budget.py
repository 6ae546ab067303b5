"""Memory that unfinished frames may hold, all connections together."""

from __future__ import annotations

from pyromq.transport.limits import TransportLimits


class PendingBytes:
    """Counts bytes of unfinished frames; apart those of peers that have proven nothing yet."""

    __slots__ = ("_limits", "total", "unproven")

    def __init__(self, limits: TransportLimits) -> None:
        self._limits = limits
        self.total = 0
        self.unproven = 0

    def change(self, total: int, unproven: int) -> None:
        """Adds the differences of one connection's share."""
        self.total += total
        self.unproven += unproven
        assert self.total >= self.unproven >= 0, "a share was taken back twice"

    @property
    def excess(self) -> str | None:
        """Which limit is exceeded, or None."""
        if self.total > self._limits.pending_bytes_max:
            return f"unfinished frames hold over {self._limits.pending_bytes_max} bytes"
        if self.unproven > self._limits.unproven_bytes_max:
            return (
                "unfinished frames of connections without a served request hold over "
                f"{self._limits.unproven_bytes_max} bytes"
            )
        return None


__all__ = ["PendingBytes"]
