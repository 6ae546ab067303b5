"""What a broker may tell and ask connected clients by itself."""

from __future__ import annotations

from typing import Protocol


class Peers(Protocol):
    """What a broker may tell and ask connected clients by itself; each door supplies one.

    Telling (a plain method) is one-way, and a connection that is gone is ignored. Asking (an
    `async` method) raises ConsumerNotOnline if it is gone, RequestFailed if no answer comes.
    """

    def is_connected(self, connection_id: int) -> bool:
        """Whether the connection is one of this door's."""
        ...

    def notify_consumer_ids_changed(self, connection_id: int, group: str) -> None:
        """Code 40, one-way; a connection that is gone is ignored."""
        ...


__all__ = ["Peers"]
