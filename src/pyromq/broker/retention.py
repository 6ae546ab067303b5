"""Removing old log files, one at a time.

Every cleanResourceInterval the rules (`domain/retention.py`) are asked whether a round is due. A
round removes the oldest segments that may go, at most deleteFileBatchMax of them, one each
deleteCommitLogFilesInterval and never before the engine's thread is done with the one before. Then
the queue and index files follow whose records are gone. The loop only ever takes a segment out of
the log in memory; the removing itself, which can take long, is the engine's.

Source: DefaultMessageStore.CleanCommitLogService and CleanConsumeQueueService of
org.apache.rocketmq.store 5.5.0. Unlike Apache's, a request (code 329) begins its first round at
once.
"""

from __future__ import annotations

import logging
from datetime import datetime, tzinfo
from typing import Final

from pyromq.broker.admin import DiskSpaceOf
from pyromq.broker.alarm import Alarm
from pyromq.clock import Clock
from pyromq.config import Settings, StoreConfig
from pyromq.domain.retention import (
    MANUAL_ROUNDS,
    RetentionRules,
    Round,
    due_round,
    may_go,
    retention_rules,
    used_percent,
)
from pyromq.errors import StoreFailed
from pyromq.store.engine import Engine
from pyromq.units import MINUTE_MS, SECOND_MS

FIRST_ROUND_MS: Final = MINUTE_MS
"""So long after the start the rules are asked for the first time."""
BUSY_INTERVAL_MS: Final = 100
"""Time after which the engine's thread is asked again whether it is done."""

_log = logging.getLogger(__name__)


class Retention:
    """Belongs to the loop thread; `alarm` is started and stopped by its owner."""

    def __init__(
        self,
        engine: Engine,
        store_settings: Settings[StoreConfig],
        clock: Clock,
        zone: tzinfo,
        disk_space_of: DiskSpaceOf,
    ) -> None:
        """`zone`: whose hours deleteWhen counts."""
        self._engine = engine
        self._settings = store_settings
        self._clock = clock
        self._zone = zone
        self._disk_space_of = disk_space_of
        self.alarm = Alarm(clock, self._step)
        self.alarm.set(clock.monotonic_ms() + FIRST_ROUND_MS)
        store_settings.on_change(self._settings_changed)
        self.removed_count = 0
        """Segments removed since the start."""
        self._requested = 0
        """Rounds an operator's request still makes due."""
        self._round: Round | None = None
        self._round_left = 0
        self._next_round_ms = 0
        self._told_failure: str | None = None

    def remove_expired(self) -> None:
        """Code 329: files that are old enough go now, whatever the hour."""
        self._requested = MANUAL_ROUNDS
        if self._round is None:
            self.alarm.set(self._clock.monotonic_ms())

    def clean_queues(self) -> None:
        """Code 306: queue and index files without records go now. A queue keeps its last file, and
        with it its end; Apache's server drops the queue, which gives its offsets out again."""
        self._engine.remove_derived(self._settings.current.delete_consume_queue_files_interval_ms)

    def _settings_changed(self, old: StoreConfig, new: StoreConfig) -> None:
        """A shorter interval does not wait for the end of a longer one."""
        due_ms = self._clock.monotonic_ms() + new.clean_resource_interval_ms
        is_shorter = new.clean_resource_interval_ms < old.clean_resource_interval_ms
        if is_shorter and self._round is None and self._next_round_ms > due_ms:
            self._next_round_ms = due_ms
            self.alarm.set(due_ms)

    def _step(self) -> None:
        settings = self._settings.current
        now_ms = self._clock.monotonic_ms()
        wait_ms = settings.clean_resource_interval_ms
        try:
            if self._round is None:
                self._next_round_ms = now_ms + wait_ms
                self._begin_round(settings)
            if self._round is not None and not self._is_thread_busy():
                self._go_on(settings, self._round)
        except StoreFailed as error:
            _log.error("old log files are not removed: %s", error)
            self._round = None
        if self._round is None:
            due_ms = self._next_round_ms
        elif self._engine.removals_left().left:
            due_ms = now_ms + max(settings.delete_commit_log_files_interval_ms, BUSY_INTERVAL_MS)
        else:
            due_ms = now_ms + settings.delete_commit_log_files_interval_ms
        self.alarm.set(due_ms)

    def _begin_round(self, settings: StoreConfig) -> None:
        space = self._disk_space_of(settings.root)
        percent = None if space is None else used_percent(space.total - space.free, space.free)
        hour = datetime.fromtimestamp(self._clock.now_ms() / SECOND_MS, self._zone).hour
        is_requested = self._requested > 0
        self._round = due_round(_rules(settings), hour, percent, is_requested=is_requested)
        self._requested -= is_requested
        self._round_left = settings.delete_file_batch_max

    def _is_thread_busy(self) -> bool:
        left, failure = self._engine.removals_left()
        if failure is not None and failure != self._told_failure:
            _log.error("an old file cannot be removed, it is tried again: %s", failure)
        self._told_failure = failure
        return left > 0

    def _go_on(self, settings: StoreConfig, due: Round) -> None:
        """Removes one segment, or ends the round."""
        oldest = self._engine.oldest_segment() if self._round_left else None
        now_ms = self._clock.now_ms()
        is_due = oldest is not None and may_go(_rules(settings), due, oldest.modified_ms, now_ms)
        if oldest is not None and is_due and self._engine.remove_segment(oldest.log_offset):
            self._round_left -= 1
            self.removed_count += 1
            _log.info(
                "the log's segment %020d is removed (%s%s)",
                oldest.log_offset,
                ", ".join(sorted(cause.value for cause in due.causes)),
                "; whatever its age" if due.is_forced else "",
            )
            return
        self._round = None
        self._engine.remove_derived(settings.delete_consume_queue_files_interval_ms)


def _rules(settings: StoreConfig) -> RetentionRules:
    return retention_rules(
        delete_hours=settings.delete_hours,
        reserved_hours=settings.file_reserved_time_hours,
        used_percent_max=settings.disk_max_used_space_ratio,
        forcibly_percent=settings.disk_space_clean_forcibly_ratio,
        warning_percent=settings.disk_space_warning_level_ratio,
        is_forcible=settings.clean_file_forcibly_enable,
    )


__all__ = ["BUSY_INTERVAL_MS", "FIRST_ROUND_MS", "Retention"]
