"""Sockets: moves bytes between peers and whatever speaks on the connection; knows no protocol."""

from __future__ import annotations

from pyromq.transport.connection import Connect, Connection, Outlet, Peer
from pyromq.transport.limits import TransportLimits, connection_count_max
from pyromq.transport.tcp import Listener, Transport

__all__ = [
    "Connect",
    "Connection",
    "Listener",
    "Outlet",
    "Peer",
    "Transport",
    "TransportLimits",
    "connection_count_max",
]
