"""Our own asyncio client of RocketMQ servers."""

from __future__ import annotations

from pyromq.client.remoting import AnswerOverdue, PeerUnreachable, RemotingClient

__all__ = ["AnswerOverdue", "PeerUnreachable", "RemotingClient"]
