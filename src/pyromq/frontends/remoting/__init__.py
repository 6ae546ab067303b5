"""The remoting doors: RocketMQ's own protocol in front of a broker or a name server."""

from __future__ import annotations

from pyromq.frontends.remoting.broker_table import broker_table
from pyromq.frontends.remoting.door import RemotingDoor
from pyromq.frontends.remoting.express import ExpressLane, begin_turn_of
from pyromq.frontends.remoting.namesrv_table import namesrv_table
from pyromq.frontends.remoting.peers import RemotingPeers

__all__ = [
    "ExpressLane",
    "RemotingDoor",
    "RemotingPeers",
    "begin_turn_of",
    "broker_table",
    "namesrv_table",
]
