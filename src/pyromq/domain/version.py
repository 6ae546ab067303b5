"""DataVersion: how RocketMQ tells two states of a table apart."""

from __future__ import annotations

import msgspec


class DataVersion(msgspec.Struct, frozen=True, rename="camel", omit_defaults=False):
    """Grows with every change of the table it belongs to.

    Name servers compare it to see whether a broker's topics changed. Source:
    org.apache.rocketmq.remoting.protocol.DataVersion.
    """

    counter: int = 0
    """Number of changes so far."""
    state_version: int = 0
    """Controller epoch; 0 without a controller."""
    timestamp: int = 0
    """Wall-clock ms of the last change."""

    def next(self, now_ms: int, state_version: int = 0) -> DataVersion:
        """The version after one more change."""
        return DataVersion(self.counter + 1, state_version, now_ms)


__all__ = ["DataVersion"]
