"""Which brokers to avoid for a while: those that were slow or failed.

Source: latency.{MQFaultStrategy,LatencyFaultToleranceImpl} of org.apache.rocketmq.client 5.5.0.
There it is off unless `sendLatencyFaultEnable` is set; with one broker it makes no difference.
"""

from __future__ import annotations

from typing import Final

LATENCIES_MS: Final = (
    (15_000, 30_000),
    (5_000, 10_000),
    (3_000, 6_000),
    (1_800, 5_000),
    (550, 2_000),
)
"""From a latency of the first number on, the broker is avoided for the second."""
FAILURE_LATENCY_MS: Final = 10_000
"""What a failure counts as."""


class FaultTable:
    """Brokers by name, and until when (monotonic ms) each is avoided."""

    def __init__(self) -> None:
        self._avoided_until_ms: dict[str, int] = {}

    def note(self, broker_name: str, latency_ms: int, now_ms: int, *, has_failed: bool) -> None:
        """What became of a request to that broker."""
        pause_ms = avoidance_ms(FAILURE_LATENCY_MS if has_failed else latency_ms)
        if pause_ms:
            until_ms = max(now_ms + pause_ms, self._avoided_until_ms.get(broker_name, 0))
            self._avoided_until_ms[broker_name] = until_ms

    def is_available(self, broker_name: str, now_ms: int) -> bool:
        until_ms = self._avoided_until_ms.get(broker_name)
        if until_ms is None:
            return True
        if until_ms <= now_ms:
            del self._avoided_until_ms[broker_name]
            return True
        return False


def avoidance_ms(latency_ms: int) -> int:
    """How long a broker with that latency is avoided."""
    for least_ms, pause_ms in LATENCIES_MS:
        if latency_ms >= least_ms:
            return pause_ms
    return 0


__all__ = ["FAILURE_LATENCY_MS", "LATENCIES_MS", "FaultTable", "avoidance_ms"]
