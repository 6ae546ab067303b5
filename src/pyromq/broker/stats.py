"""What was counted, under the names that tools ask for: messages per topic, group and broker.

Sources: ViewBrokerStatsData of processor.AdminBrokerProcessor of org.apache.rocketmq.broker 5.5.0,
stats.BrokerStatsManager of org.apache.rocketmq.store 5.5.0.
"""

from __future__ import annotations

from typing import Final

from pyromq.api import StatsReading, StatsReadings
from pyromq.broker.remarks import shown
from pyromq.clock import Clock
from pyromq.config import BrokerConfig, Settings
from pyromq.errors import RequestFailed
from pyromq.observe.counters import TOTAL_GET, TOTAL_PUT, BrokerCounters
from pyromq.observe.meters import DAY, HOUR, MINUTE, Meters, Reading, Window

TOPIC_PUT_NUMS: Final = "TOPIC_PUT_NUMS"
TOPIC_PUT_SIZE: Final = "TOPIC_PUT_SIZE"
GROUP_GET_NUMS: Final = "GROUP_GET_NUMS"
GROUP_GET_SIZE: Final = "GROUP_GET_SIZE"
SNDBCK_PUT_NUMS: Final = "SNDBCK_PUT_NUMS"
BROKER_PUT_NUMS: Final = "BROKER_PUT_NUMS"
BROKER_GET_NUMS: Final = "BROKER_GET_NUMS"


class Stats:
    """Reads the meters."""

    def __init__(
        self, clock: Clock, counters: BrokerCounters, settings: Settings[BrokerConfig]
    ) -> None:
        self._clock = clock
        self._counters = counters
        self._settings = settings

    def of(self, name: str, key: str) -> StatsReadings:
        """By the names that tools ask for; those of the whole broker have one key, its cluster."""
        meters, is_of_size, metered = self._meters_of(name, key)
        if metered not in meters:
            raise _nothing_counted(name, key)
        now_ms = self._clock.monotonic_ms()

        def reading(window: Window) -> StatsReading:
            read = meters.sizes if is_of_size else meters.messages
            return _stats_reading(read(metered, window, now_ms))

        return StatsReadings(minute=reading(MINUTE), hour=reading(HOUR), day=reading(DAY))

    def _meters_of(self, name: str, key: str) -> tuple[Meters, bool, str]:
        """Where it is counted, whether bytes are meant, and under which name."""
        counters = self._counters
        counters.catch_up()
        if name in (TOPIC_PUT_NUMS, TOPIC_PUT_SIZE):
            return counters.topic_puts, name == TOPIC_PUT_SIZE, key
        if name in (GROUP_GET_NUMS, GROUP_GET_SIZE):
            return counters.group_gets, name == GROUP_GET_SIZE, key
        if name == SNDBCK_PUT_NUMS:
            return counters.send_backs, False, key
        if key == self._settings.current.broker_cluster_name:
            if name == BROKER_PUT_NUMS:
                return counters.totals, False, TOTAL_PUT
            if name == BROKER_GET_NUMS:
                return counters.totals, False, TOTAL_GET
        raise _nothing_counted(name, key)


def _nothing_counted(name: str, key: str) -> RequestFailed:
    return RequestFailed(f"The stats <{shown(name)}> <{shown(key)}> not exist")


def _stats_reading(reading: Reading) -> StatsReading:
    return StatsReading(sum=reading.sum, per_second=reading.per_second, average=reading.average)


__all__ = ["Stats"]
