"""Who calls a verb."""

from __future__ import annotations

import msgspec


class Caller(msgspec.Struct, frozen=True, gc=False):
    """The connection a request came by."""

    connection_id: int
    """Given by the door, unique within the process's life."""
    address: str
    """`ip:port` as the client sees itself (behind HAProxy: the client's, not the proxy's)."""
    host: bytes
    """The same as stored in records: 4 or 16 address bytes and a 4-byte port."""
    language: str = "OTHER"
    version: int = 0


__all__ = ["Caller"]
