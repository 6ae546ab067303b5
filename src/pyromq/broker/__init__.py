"""The verbs of a broker; owns all broker state on one loop thread."""

from __future__ import annotations

from pyromq.broker.broker import Broker

__all__ = ["Broker"]
