"""Properties of the message store: MessageStoreConfig of org.apache.rocketmq.store 5.5.0.

Defaults are Apache's, except that an acknowledged message is on disk (`flushDiskType`), and that
the store lies in the working directory instead of the home directory.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from pyromq.config.prop import LONG_MAX, Origins, check_ranges, prop, require
from pyromq.units import GIB, HOUR_MS, KIB, MIB, MINUTE_MS, SECOND_MS

MESSAGE_SIZE_CEILING: Final = 512 * MIB
"""The most that maxMessageSize may be."""
CONSUME_QUEUE_ENTRY_SIZE: Final = 20
"""Bytes of one consume queue entry; a queue file is a whole number of them."""
DELAY_LEVEL_COUNT_MAX: Final = 64

_RESERVE_AUTOMATIC: Final = -1

_DELAY_UNITS_MS: Final = {
    "s": SECOND_MS,
    "m": MINUTE_MS,
    "h": HOUR_MS,
    "d": 24 * HOUR_MS,
}
_HOUR: Final = re.compile(r"[0-9]{1,2}\Z")
_DAY_HOURS: Final = 24
_DELAY_LEVEL: Final = re.compile(r"([0-9]{1,9})([smhd])\Z")


class FlushDiskType(StrEnum):
    """When a send is answered."""

    SYNC_FLUSH = "SYNC_FLUSH"
    """When the message is on disk."""
    ASYNC_FLUSH = "ASYNC_FLUSH"
    """When the message was handed to the operating system."""


class BrokerRole(StrEnum):
    """Part of a broker in its group."""

    ASYNC_MASTER = "ASYNC_MASTER"
    SYNC_MASTER = "SYNC_MASTER"


@dataclass(frozen=True, kw_only=True)
class StoreConfig:
    """Where and how messages are kept."""

    store_path_root_dir: str = prop(
        "storePathRootDir",
        "pyromq-data",
        boot_only=True,
        doc="Directory of the store. `--data-dir` sets it. Apache's default is ~/store.",
    )
    store_path_commit_log: str = prop(
        "storePathCommitLog",
        "",
        boot_only=True,
        doc="Accepted if it names `commitlog` in the store's directory; anything else is refused.",
    )
    broker_role: BrokerRole = prop(  # noqa: RUF009 — a field, not a value
        "brokerRole",
        BrokerRole.ASYNC_MASTER,
        boot_only=True,
        doc="Part of this broker in its group. SLAVE is refused as long as replication is missing.",
    )
    flush_disk_type: FlushDiskType = prop(  # noqa: RUF009
        "flushDiskType",
        FlushDiskType.SYNC_FLUSH,
        boot_only=True,
        doc="SYNC_FLUSH answers a send when the message is on disk, ASYNC_FLUSH when the operating "
        "system has it: faster, and a power failure loses the last `flushIntervalCommitLog`. "
        "Apache's default is ASYNC_FLUSH.",
    )
    sync_flush_timeout_ms: int = prop(
        "syncFlushTimeout",
        5_000,
        low=1,
        high=HOUR_MS,
        doc="Longest wait (ms) of a SYNC_FLUSH send for its sync; then FLUSH_DISK_TIMEOUT.",
    )
    os_page_cache_busy_time_out_mills: int = prop(
        "osPageCacheBusyTimeOutMills",
        1_000,
        low=1,
        high=HOUR_MS,
        boot_only=True,
        doc="A write of the log that has taken this long (ms) keeps new messages out: SYSTEM_BUSY.",
    )
    flush_interval_commit_log_ms: int = prop(
        "flushIntervalCommitLog",
        500,
        low=1,
        high=HOUR_MS,
        boot_only=True,
        doc="Longest time (ms) an ASYNC_FLUSH message stays only in memory. Smaller loses less on "
        "power failure, costs syncs.",
    )
    flush_interval_consume_queue_ms: int = prop(
        "flushIntervalConsumeQueue",
        1_000,
        low=1,
        high=HOUR_MS,
        boot_only=True,
        doc="Time (ms) between writes of consume queues and index; they are rebuilt from the log.",
    )
    mapped_file_size_commit_log_bytes: int = prop(
        "mappedFileSizeCommitLog",
        GIB,
        low=4 * KIB,
        boot_only=True,
        doc="Length (bytes) of one commit log file. Must not change once a store exists.",
    )
    mapped_file_size_consume_queue_bytes: int = prop(
        "mappedFileSizeConsumeQueue",
        300_000 * CONSUME_QUEUE_ENTRY_SIZE,
        low=CONSUME_QUEUE_ENTRY_SIZE,
        boot_only=True,
        doc="Length (bytes) of one consume queue file, rounded up to whole entries of 20 bytes. "
        "Must not change once a store exists.",
    )
    message_index_enable: bool = prop(
        "messageIndexEnable",
        True,
        boot_only=True,
        doc="Keep the index by key, which queries by key and by unique id need.",
    )
    max_hash_slot_num: int = prop(
        "maxHashSlotNum",
        5_000_000,
        low=1,
        high=500_000_000,
        boot_only=True,
        doc="Hash slots of one index file. Must not change once a store exists.",
    )
    max_index_num: int = prop(
        "maxIndexNum",
        20_000_000,
        low=2,
        high=100_000_000,
        boot_only=True,
        doc="Entries of one index file. Must not change once a store exists.",
    )
    max_message_size_bytes: int = prop(
        "maxMessageSize",
        4 * MIB,
        low=1,
        high=MESSAGE_SIZE_CEILING,
        boot_only=True,
        doc="Largest body (bytes) of a message, and of a whole batch.",
    )
    message_delay_level: str = prop(
        "messageDelayLevel",
        "1s 5s 10s 30s 1m 2m 3m 4m 5m 6m 7m 8m 9m 10m 20m 30m 1h 2h",
        boot_only=True,
        doc="Delays of level 1, 2, …: numbers with s, m, h or d, separated by blanks. What waits "
        "already waits as long as its level says now; a level that is gone, like the highest.",
    )
    max_transfer_bytes_on_message_in_memory: int = prop(
        "maxTransferBytesOnMessageInMemory",
        256 * KIB,
        low=1,
        high=64 * MIB,
        doc="A pull stops adding messages beyond this many bytes (at least one is given).",
    )
    max_transfer_count_on_message_in_memory: int = prop(
        "maxTransferCountOnMessageInMemory",
        32,
        low=1,
        high=100_000,
        doc="Most messages one pull gets, however many it asks for.",
    )
    max_msgs_num_batch: int = prop(
        "maxMsgsNumBatch",
        64,
        low=1,
        high=10_000,
        doc="Most messages one query by key gets.",
    )
    ha_listen_port: int = prop(
        "haListenPort",
        0,
        high=65_535,
        boot_only=True,
        doc="Port for replicas, told to name servers; 0: `listenPort` + 1.",
    )
    delete_when: str = prop(
        "deleteWhen",
        "04",
        doc="Hours of the day (0 to 23, local time, separated by `;`) at which old log files go.",
    )
    file_reserved_time_hours: int = prop(
        "fileReservedTime",
        72,
        high=1_000_000,
        doc="Hours a log file is kept after its last message, unless the disk fills up.",
    )
    delete_file_batch_max: int = prop(
        "deleteFileBatchMax",
        10,
        low=1,
        doc="Most log files that one round removes.",
    )
    delete_commit_log_files_interval_ms: int = prop(
        "deleteCommitLogFilesInterval",
        100,
        high=HOUR_MS,
        doc="Pause (ms) between two log files of a round.",
    )
    delete_consume_queue_files_interval_ms: int = prop(
        "deleteConsumeQueueFilesInterval",
        100,
        high=HOUR_MS,
        doc="Pause (ms) between two queue or index files, which follow the log files.",
    )
    clean_resource_interval_ms: int = prop(
        "cleanResourceInterval",
        10_000,
        low=100,
        high=HOUR_MS,
        doc="How often (ms) it is asked whether files are to be removed; first after a minute.",
    )
    disk_max_used_space_ratio: int = prop(
        "diskMaxUsedSpaceRatio",
        75,
        high=100,
        doc="Disk usage (percent) above which log files older than `fileReservedTime` go at any "
        "hour. Counts as 10 at least and 95 at most.",
    )
    disk_space_clean_forcibly_ratio: int = prop(
        "diskSpaceCleanForciblyRatio",
        85,
        high=100,
        doc="Disk usage (percent) above which the oldest log files go whatever their age. Counts "
        "as 30 at least and 85 at most.",
    )
    clean_file_forcibly_enable: bool = prop(
        "cleanFileForciblyEnable",
        True,
        doc="Whether a disk that fills up takes files younger than `fileReservedTime`.",
    )
    disk_space_warning_level_ratio: int = prop(
        "diskSpaceWarningLevelRatio",
        90,
        high=100,
        doc="Disk usage (percent) above which a small disk takes no messages any more; a large one "
        "goes on until `diskReserveBytes` are left. Counts as 35 at least and 90 at most.",
    )
    disk_reserve_bytes: int = prop(
        "diskReserveBytes",
        _RESERVE_AUTOMATIC,
        low=_RESERVE_AUTOMATIC,
        high=LONG_MAX,
        ours=True,
        doc="Free disk space (bytes) that messages do not get: with less they are refused with "
        "code 14, while reading, offsets and deleting go on. 0: none. -1: 1 GiB, or two log files "
        "if that is more, but at most what `diskSpaceWarningLevelRatio` leaves of the disk.",
    )
    reserve_ahead_size_bytes: int = prop(
        "reserveAheadSize",
        32 * MIB,
        high=LONG_MAX,
        ours=True,
        boot_only=True,
        doc="Disk space (bytes) kept reserved ahead of the log's end, so that a disk that fills up "
        "is noticed before a message needs the space.",
    )

    @property
    def is_sync_flush(self) -> bool:
        return self.flush_disk_type is FlushDiskType.SYNC_FLUSH

    @property
    def root(self) -> Path:
        return Path(self.store_path_root_dir)

    @property
    def consume_queue_file_size(self) -> int:
        """Bytes of one consume queue file: whole entries, rounded up as Apache does."""
        entries = -(-self.mapped_file_size_consume_queue_bytes // CONSUME_QUEUE_ENTRY_SIZE)
        return entries * CONSUME_QUEUE_ENTRY_SIZE

    @property
    def delay_levels_ms(self) -> tuple[int, ...]:
        """Delay of level 1, 2, … in ms."""
        levels = delay_levels(self.message_delay_level)
        assert levels is not None, "checked by validate"
        return levels

    @property
    def delete_hours(self) -> frozenset[int]:
        """Hours of the day at which old log files go."""
        hours = delete_hours(self.delete_when)
        assert hours is not None, "checked by validate"
        return hours

    @property
    def disk_reserve(self) -> int | None:
        """Bytes to keep free; None if that follows from the disk's size."""
        is_automatic = self.disk_reserve_bytes == _RESERVE_AUTOMATIC
        return None if is_automatic else self.disk_reserve_bytes

    def validate(self, origins: Origins) -> None:
        check_ranges(self, origins)
        require(
            bool(self.store_path_root_dir),
            "storePathRootDir",
            self.store_path_root_dir,
            origins,
            "the path of a directory",
        )
        require(
            "\0" not in self.store_path_root_dir + self.store_path_commit_log,
            "storePathRootDir",
            self.store_path_root_dir,
            origins,
            "a path without NUL",
        )
        require(
            delay_levels(self.message_delay_level) is not None,
            "messageDelayLevel",
            self.message_delay_level,
            origins,
            f"1 to {DELAY_LEVEL_COUNT_MAX} delays such as 30s 5m 1h 1d, separated by blanks",
        )
        require(
            delete_hours(self.delete_when) is not None,
            "deleteWhen",
            self.delete_when,
            origins,
            "hours from 0 to 23 such as 04 or 4;16",
        )
        commit_log = self.store_path_commit_log
        require(
            not commit_log or Path(commit_log) == self.root / "commitlog",
            "storePathCommitLog",
            commit_log,
            origins,
            f"only {self.root / 'commitlog'} (or nothing): a store lies in one directory",
        )


def delete_hours(text: str) -> frozenset[int] | None:
    """The hours of a `deleteWhen` text, None if it cannot be read."""
    hours = set()
    for word in text.split(";"):
        match = _HOUR.match(word.strip())
        if match is None or int(match[0]) >= _DAY_HOURS:
            return None
        hours.add(int(match[0]))
    return frozenset(hours)


def delay_levels(text: str) -> tuple[int, ...] | None:
    """The delays of a `messageDelayLevel` text in ms, None if it cannot be read."""
    levels: list[int] = []
    for word in text.split():
        match = _DELAY_LEVEL.match(word)
        if match is None:
            return None
        levels.append(int(match[1]) * _DELAY_UNITS_MS[match[2]])
    if not 0 < len(levels) <= DELAY_LEVEL_COUNT_MAX:
        return None
    return tuple(levels)


__all__ = [
    "CONSUME_QUEUE_ENTRY_SIZE",
    "DELAY_LEVEL_COUNT_MAX",
    "MESSAGE_SIZE_CEILING",
    "BrokerRole",
    "FlushDiskType",
    "StoreConfig",
    "delay_levels",
    "delete_hours",
]
