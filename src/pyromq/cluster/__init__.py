"""What brokers do together: registration at name servers."""

from pyromq.cluster.registration import Identity, Registration

__all__ = ["Identity", "Registration"]
