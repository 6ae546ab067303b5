"""Administration of a broker: code 26 (18, 28, 43, 200, 225 and 305 have no header).

Source: GetBrokerConfigResponseHeader of org.apache.rocketmq.remoting.protocol.header 5.5.0.
"""

from __future__ import annotations

from msgspec import Struct


class BrokerConfigResponse(Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """The body is properties text."""

    version: str
    """DataVersion of the configuration, as JSON."""


__all__ = ["BrokerConfigResponse"]
