"""The name server: routes kept and answered, and a small durable configuration."""

from pyromq.namesrv.brokers import MinBrokerIdChange, Registration
from pyromq.namesrv.namesrv import BrokerPeers, NameServer, Registered

__all__ = ["BrokerPeers", "MinBrokerIdChange", "NameServer", "Registered", "Registration"]
