"""The key index of the memory twin: Apache's index files as lists.

Same arithmetic as the files, since it decides what a query finds: only a hash is kept, times are
whole seconds after the file's first entry, and a full file is followed by one that begins where it
ended. Source: org.apache.rocketmq.store.index.{IndexService,IndexFile} 5.5.0.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from pyromq.domain.subscription import tag_hash
from pyromq.units import SECOND_MS, LogOffset

_SECONDS_MAX: Final = 0x7FFFFFFF


class _Entry(NamedTuple):
    key_hash: int
    log_offset: LogOffset
    seconds: int


class _IndexFile:
    """One index file. Apache counts entries from 1, so one place stays empty."""

    def __init__(self, entry_count_max: int, end_timestamp_ms: int, end_log_offset: int) -> None:
        self.room = entry_count_max - 1
        self.begin_timestamp_ms = end_timestamp_ms
        self.end_timestamp_ms = end_timestamp_ms
        self.end_log_offset = LogOffset(end_log_offset)
        self.entries: list[_Entry] = []

    def put(self, key_hash: int, log_offset: LogOffset, store_timestamp_ms: int) -> None:
        seconds = 0
        if self.begin_timestamp_ms > 0:
            elapsed_ms = max(0, store_timestamp_ms - self.begin_timestamp_ms)
            seconds = min(elapsed_ms // SECOND_MS, _SECONDS_MAX)
        if not self.entries:
            self.begin_timestamp_ms = store_timestamp_ms
        self.entries.append(_Entry(key_hash, log_offset, seconds))
        self.end_timestamp_ms = store_timestamp_ms
        self.end_log_offset = log_offset

    def overlaps(self, begin_ms: int, end_ms: int) -> bool:
        first, last = self.begin_timestamp_ms, self.end_timestamp_ms
        return (
            (begin_ms < first and end_ms > last)
            or first <= begin_ms <= last
            or first <= end_ms <= last
        )

    def find(self, key_hash: int, begin_ms: int, end_ms: int) -> list[LogOffset]:
        """Newest first."""
        return [
            entry.log_offset
            for entry in reversed(self.entries)
            if entry.key_hash == key_hash
            and begin_ms <= self.begin_timestamp_ms + entry.seconds * SECOND_MS <= end_ms
        ]


class KeyIndex:
    """All index files, oldest first."""

    def __init__(self, entry_count_max: int) -> None:
        assert entry_count_max > 1, "an index file must hold at least one entry"
        self._entry_count_max = entry_count_max
        self._files: list[_IndexFile] = []

    @property
    def last_timestamp_ms(self) -> int:
        return self._files[-1].end_timestamp_ms if self._files else 0

    @property
    def last_log_offset(self) -> LogOffset:
        return self._files[-1].end_log_offset if self._files else LogOffset(0)

    def put(self, key: str, log_offset: LogOffset, store_timestamp_ms: int) -> None:
        """Adds one entry; `key` is already joined with its topic."""
        last = self._files[-1] if self._files else None
        if last is None or len(last.entries) >= last.room:
            last = _IndexFile(self._entry_count_max, self.last_timestamp_ms, self.last_log_offset)
            self._files.append(last)
        last.put(_key_hash(key), log_offset, store_timestamp_ms)

    def find(self, key: str, count_max: int, begin_ms: int, end_ms: int) -> list[LogOffset]:
        """Log offsets of the newest `count_max` entries, ascending."""
        key_hash = _key_hash(key)
        found: list[LogOffset] = []
        for file in reversed(self._files):
            if file.overlaps(begin_ms, end_ms):
                found += file.find(key_hash, begin_ms, end_ms)
            if file.begin_timestamp_ms < begin_ms or len(found) >= count_max:
                break
        return sorted(found[:count_max])


def _key_hash(key: str) -> int:
    """|String.hashCode|, and 0 for the one number that has no positive twin."""
    value = abs(tag_hash(key))
    return 0 if value > _SECONDS_MAX else value


__all__ = ["KeyIndex"]
