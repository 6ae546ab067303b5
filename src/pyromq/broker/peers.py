"""The clients of all doors, as the broker reaches them: by connection, whichever door it is."""

from __future__ import annotations

from pyromq.api import Peers
from pyromq.errors import ConsumerNotOnline


class AllPeers:
    """Every door that supplies `Peers`."""

    def __init__(self) -> None:
        self._doors: list[Peers] = []

    def add(self, peers: Peers) -> None:
        self._doors.append(peers)

    def find(self, connection_id: int) -> Peers | None:
        """The door of a connection; None if the connection is gone."""
        for door in self._doors:
            if door.is_connected(connection_id):
                return door
        return None

    def of(self, connection_id: int) -> Peers:
        """As `find`, for a question: raises ConsumerNotOnline if the connection is gone."""
        door = self.find(connection_id)
        if door is None:
            raise ConsumerNotOnline("the client is not connected")
        return door


__all__ = ["AllPeers"]
