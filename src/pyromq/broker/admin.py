"""The broker as a whole: the table that `brokerStatus`, `clusterList`, dashboard and exporter read.

The exporter stops at the first value whose form it cannot parse, so every key has Apache's form,
also where the thing it measures does not exist here (thread pools, page cache locks): those are
constants. Sources: prepareRuntimeInfo of processor.AdminBrokerProcessor, StoreStatsService and
DefaultMessageStore.getRuntimeInfo of org.apache.rocketmq 5.5.0.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, NamedTuple

from pyromq.clock import Clock
from pyromq.codes import VERSION_DESCRIPTION
from pyromq.config import BrokerConfig, Settings, StoreConfig
from pyromq.domain.retention import used_percent
from pyromq.observe.counters import PUT_TIME_LABELS, BrokerCounters
from pyromq.store.engine import Engine
from pyromq.units import HOUR_MS, KIB, MINUTE_MS, SECOND_MS

DAY_MS: Final = 24 * HOUR_MS

_STORE_TIMESTAMP: Final = struct.Struct(">q")
_SYS_FLAG_OFFSET: Final = 36
_BORN_HOST_OFFSET: Final = 48
_BORN_HOST_V6: Final = 0x10

_QUEUE_CAPACITIES: Final[Mapping[str, int]] = {
    "send": 10_000,
    "pull": 100_000,
    "litePull": 100_000,
    "query": 20_000,
    "ack": 100_000,
}
"""Apache's thread pools and the capacity of their queues; there are none here, so none waits."""
_END_TRANSACTION_QUEUE_CAPACITY: Final = 100_000
_NO_TRANSIENT_STORE: Final = 2_147_483_647


class DiskSpace(NamedTuple):
    """Room of the file system the store is on, in bytes, for who may not use its last reserve."""

    total: int
    free: int


DiskSpaceOf = Callable[[Path], DiskSpace | None]
"""Asks the operating system; None if the path has no file system (a store in memory)."""
DelayProgress = Callable[[], Mapping[int, tuple[int, int]]]
"""Delay level → (offset up to which its queue is delivered, end of the queue)."""


class RuntimeInfo:
    """Answers how the broker is."""

    def __init__(
        self,
        engine: Engine,
        settings: Settings[BrokerConfig],
        store_settings: Settings[StoreConfig],
        clock: Clock,
        counters: BrokerCounters,
        disk_space_of: DiskSpaceOf,
        delay_progress: DelayProgress,
    ) -> None:
        self._engine = engine
        self._settings = settings
        self._store_settings = store_settings
        self._clock = clock
        self._counters = counters
        self._disk_space_of = disk_space_of
        self._delay_progress = delay_progress
        self._started_at_ms = clock.now_ms()
        self._started_monotonic_ms = clock.monotonic_ms()

    def table(self) -> dict[str, str]:
        return {
            **self._process(),
            **self._puts(),
            **self._rates(),
            **self._log(),
            **self._disk(),
            **self._delays(),
            **_absent_parts(),
        }

    def _process(self) -> dict[str, str]:
        uptime_ms = self._clock.monotonic_ms() - self._started_monotonic_ms
        return {
            "brokerVersionDesc": VERSION_DESCRIPTION,
            "brokerActive": "true",
            "bootTimestamp": str(self._started_at_ms),
            "runtime": (
                f"[ {uptime_ms // DAY_MS} days, {uptime_ms % DAY_MS // HOUR_MS} hours, "
                f"{uptime_ms % HOUR_MS // MINUTE_MS} minutes, "
                f"{uptime_ms % MINUTE_MS // SECOND_MS} seconds ]"
            ),
            "startAcceptSendRequestTimeStamp": str(
                self._settings.current.start_accept_send_request_timestamp_ms
            ),
        }

    def _puts(self) -> dict[str, str]:
        counters = self._counters
        counters.catch_up()
        # As Apache: 1 before the first message, so that averages never divide by zero.
        count = max(counters.put_count, 1)
        put_yesterday, get_yesterday = counters.yesterday_morning
        put_today, get_today = counters.this_morning
        return {
            "putMessageTimesTotal": str(count),
            "putMessageFailedTimes": str(counters.put_failed_count),
            "putMessageSizeTotal": str(counters.put_size),
            "putMessageAverageSize": str(counters.put_size / count),
            "putMessageEntireTimeMax": str(counters.put_time_max_ms),
            "putMessageDistributeTime": "".join(
                f"[{label}]:{times} "
                for label, times in zip(PUT_TIME_LABELS, counters.put_times, strict=True)
            ),
            "putLatency99": f"{counters.put_time_quantile_ms(0.99):.2f}",
            "putLatency999": f"{counters.put_time_quantile_ms(0.999):.2f}",
            "msgPutTotalYesterdayMorning": str(put_yesterday),
            "msgPutTotalTodayMorning": str(put_today),
            "msgPutTotalTodayNow": str(counters.put_count),
            "msgGetTotalYesterdayMorning": str(get_yesterday),
            "msgGetTotalTodayMorning": str(get_today),
            "msgGetTotalTodayNow": str(counters.transferred_count),
            # Not Apache's: it says so in its log only.
            "lowerOffsetCommitTimes": str(counters.lower_commit_count),
            # Nor this: it would have cut the log there.
            "storeCorruptRecords": str(self._engine.damage().place_count),
            **self._rebuild(),
        }

    def _rebuild(self) -> dict[str, str]:
        """Apache rebuilds before it serves anybody, so it has no word for it."""
        rebuild = self._engine.rebuild()
        return {
            "storeRebuildPercent": str(rebuild.percent),
            "storeRebuildQueues": str(rebuild.queue_count),
            "storeRebuildIndex": str(int(rebuild.has_index)),
        }

    def _rates(self) -> dict[str, str]:
        found = self._counters.rates("found")
        miss = self._counters.rates("miss")
        total = [a + b for a, b in zip(found, miss, strict=True)]
        return {
            "putTps": _joined(self._counters.rates("put")),
            "getFoundTps": _joined(found),
            "getMissTps": _joined(miss),
            "getTotalTps": _joined(total),
            "getTransferredTps": _joined(self._counters.rates("transferred")),
        }

    def _log(self) -> dict[str, str]:
        positions = self._engine.positions()
        log_min = self._engine.log_min()
        first = self._engine.record_at(log_min)
        return {
            "commitLogMinOffset": str(log_min),
            "commitLogMaxOffset": str(positions.written),
            "dispatchBehindBytes": str(positions.written - positions.commit),
            "remainHowManyDataToFlush": _byte_count(positions.written - positions.flushed),
            "earliestMessageTimeStamp": str(-1 if first is None else _store_timestamp(first)),
        }

    def _delays(self) -> dict[str, str]:
        if self._engine.rebuild().has_queues:
            return {}  # delay levels wait in queues, which may not be whole
        return {
            f"scheduleMessageOffset_{level}": f"{delivered},{end}"
            for level, (delivered, end) in self._delay_progress().items()
        }

    def _disk(self) -> dict[str, str]:
        root = self._store_settings.current.root
        space = self._disk_space_of(root)
        if space is None:
            return {"commitLogDiskRatio": "-1", "consumeQueueDiskRatio": "-1"}
        ratio = str(used_percent(space.total - space.free, space.free) / 100)
        return {
            "commitLogDiskRatio": ratio,
            f"commitLogDiskRatio_{root / 'commitlog'}": ratio,
            "consumeQueueDiskRatio": ratio,
            "commitLogDirCapacity": (
                f"Total : {_byte_count(space.total)}, Free : {_byte_count(space.free)}."
            ),
        }


def _absent_parts() -> dict[str, str]:
    """Keys of parts that Apache has and this broker does not: always at rest."""
    table = {
        "dispatchMaxBuffer": "0",
        "getMessageEntireTimeMax": "0",
        "pageCacheLockTimeMills": "0",
        "remainTransientStoreBufferNumbs": str(_NO_TRANSIENT_STORE),
        "timerReadBehind": "0",
        "timerOffsetBehind": "0",
        "timerCongestNum": "0",
        "timerEnqueueTps": "0.0",
        "timerDequeueTps": "0.0",
        "EndTransactionQueueSize": "0",
        "EndTransactionThreadPoolQueueCapacity": str(_END_TRANSACTION_QUEUE_CAPACITY),
    }
    for name, capacity in _QUEUE_CAPACITIES.items():
        table[f"{name}ThreadPoolQueueSize"] = "0"
        table[f"{name}ThreadPoolQueueCapacity"] = str(capacity)
        table[f"{name}ThreadPoolQueueHeadWaitTimeMills"] = "0"
    return table


def _joined(rates: tuple[float, ...] | list[float]) -> str:
    return " ".join(f"{rate:f}" for rate in rates)


def _byte_count(size: int) -> str:
    """`512 B`, `2.0 KiB`, …: MixAll.humanReadableByteCount."""
    if size < KIB:
        return f"{size} B"
    value, exponent = float(size), 0
    while value >= KIB and exponent < len("KMGTPE"):
        value /= KIB
        exponent += 1
    return f"{value:.1f} {'KMGTPE'[exponent - 1]}iB"


def _store_timestamp(record: bytes) -> int:
    """Store time of a record: it stands behind the born host (message record, fields 8 to 11)."""
    sys_flag = int.from_bytes(record[_SYS_FLAG_OFFSET : _SYS_FLAG_OFFSET + 4])
    host_size = 20 if sys_flag & _BORN_HOST_V6 else 8
    timestamp: int = _STORE_TIMESTAMP.unpack_from(record, _BORN_HOST_OFFSET + host_size)[0]
    return timestamp


__all__ = ["DiskSpace", "DiskSpaceOf", "RuntimeInfo"]
