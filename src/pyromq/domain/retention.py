"""How long messages are kept, and how full a disk may be.

A rule says when old log files go: at an hour of the day, when the disk fills up, or when an
operator asks. Only files whose last message is old enough go, unless the disk is so full that it
comes first. Another one says how much of a disk is never given to messages: it is for offsets and
topics, which go on when sends are refused.

Time and disk come in as arguments. Source: DefaultMessageStore.CleanCommitLogService
(isSpaceToDelete, deleteExpiredFiles) and MappedFileQueue.deleteExpiredFileByTime of
org.apache.rocketmq.store 5.5.0.
"""

from __future__ import annotations

from enum import Enum
from typing import Final, NamedTuple

from pyromq.units import GIB, HOUR_MS

MANUAL_ROUNDS: Final = 20
"""Rounds that an operator's request (code 329) makes due: MAX_MANUAL_DELETE_FILE_TIMES."""

_WARNING_MIN: Final = 35
_WARNING_MAX: Final = 90
_FORCIBLY_MIN: Final = 30
_FORCIBLY_MAX: Final = 85
_USED_MIN: Final = 10
_USED_MAX: Final = 95
_RESERVE_SEGMENTS: Final = 2


class Cause(Enum):
    """Why a round of removals is due."""

    HOUR = "deleteWhen"
    SPACE = "disk usage"
    MANUAL = "a request"


class RetentionRules(NamedTuple):
    """Ratios are whole percent, each within the bounds that Apache gives it."""

    delete_hours: frozenset[int]
    reserved_ms: int
    """Age at which a file may go."""
    used_percent_max: int
    """Above, files that are old enough go at any hour."""
    forcibly_percent: int
    """Above, the oldest files go whatever their age, if `is_forcible`."""
    warning_percent: int
    is_forcible: bool


class Round(NamedTuple):
    """A round of removals: the oldest files, one after another."""

    causes: frozenset[Cause]
    is_forced: bool
    """Whatever their age."""


def retention_rules(
    *,
    delete_hours: frozenset[int],
    reserved_hours: int,
    used_percent_max: int,
    forcibly_percent: int,
    warning_percent: int,
    is_forcible: bool,
) -> RetentionRules:
    """From the values of the properties, which Apache takes as the nearest that it accepts."""
    return RetentionRules(
        delete_hours=delete_hours,
        reserved_ms=reserved_hours * HOUR_MS,
        used_percent_max=_within(used_percent_max, _USED_MIN, _USED_MAX),
        forcibly_percent=_within(forcibly_percent, _FORCIBLY_MIN, _FORCIBLY_MAX),
        warning_percent=_within(warning_percent, _WARNING_MIN, _WARNING_MAX),
        is_forcible=is_forcible,
    )


def used_percent(used: int, available: int) -> int:
    """How full a file system is for who may not use its last reserve; rounded up, 0 if it has no
    size (UtilAll.getDiskPartitionSpaceUsedPercent)."""
    whole = used + available
    return -(-used * 100 // whole) if whole > 0 else 0


def due_round(
    rules: RetentionRules, hour: int, percent: int | None, *, is_requested: bool
) -> Round | None:
    """Whether files are to be removed now. `percent` is how full the disk is, None if unknown."""
    causes = set()
    if hour in rules.delete_hours:
        causes.add(Cause.HOUR)
    is_tight = percent is not None and percent > min(rules.forcibly_percent, rules.warning_percent)
    if is_tight or (percent is not None and percent > rules.used_percent_max):
        causes.add(Cause.SPACE)
    if is_requested:
        causes.add(Cause.MANUAL)
    return Round(frozenset(causes), is_tight and rules.is_forcible) if causes else None


def may_go(rules: RetentionRules, due: Round, modified_ms: int | None, now_ms: int) -> bool:
    """Whether a log file, the oldest, goes in this round. One of unknown age is not old."""
    if due.is_forced:
        return True
    return modified_ms is not None and now_ms >= modified_ms + rules.reserved_ms


def disk_reserve(
    configured: int | None, *, segment_size: int, disk_size: int, warning_percent: int
) -> int:
    """Bytes of the disk that messages do not get.

    Unless configured: 1 GiB, or two segments if that is more; but on a small disk no more than what
    Apache leaves there, which refuses messages above diskSpaceWarningLevelRatio. So a large disk is
    not refused for being 92 % full, and a small one is refused where Apache's would be.
    """
    if configured is not None:
        return configured
    share = disk_size * (100 - _within(warning_percent, _WARNING_MIN, _WARNING_MAX)) // 100
    return min(max(GIB, _RESERVE_SEGMENTS * segment_size), share)


def _within(value: int, low: int, high: int) -> int:
    return max(low, min(value, high))


__all__ = [
    "MANUAL_ROUNDS",
    "Cause",
    "RetentionRules",
    "Round",
    "disk_reserve",
    "due_round",
    "may_go",
    "retention_rules",
    "used_percent",
]
