"""UNIQ_KEY as Java clients make it: what identifies a message before it has an offset.

Layout, in upper-case hex: address (4 or 16 bytes), process id (2), a number that tells class
loaders apart (4), milliseconds since the begin of the month (4), counter (2). Tools read the time
back to know where to search. Source: message.MessageClientIDSetter of org.apache.rocketmq.common
5.5.0.
"""

from __future__ import annotations

from datetime import datetime, tzinfo


class UniqueKeys:
    """Makes keys for messages that came without one."""

    def __init__(self, address: bytes, process_id: int, salt: int, zone: tzinfo) -> None:
        """`zone` is the machine's: Java begins a month at local midnight."""
        assert len(address) in (4, 16)
        self._prefix = (
            (address + (process_id & 0xFFFF).to_bytes(2) + (salt & 0xFFFFFFFF).to_bytes(4))
            .hex()
            .upper()
        )
        self._zone = zone
        self._month_begin_ms = 0
        self._month_end_ms = 0
        self._counter = 0

    def next(self, now_ms: int) -> str:
        """A key that no other call returns within 65,536 calls of the same millisecond."""
        if not self._month_begin_ms <= now_ms < self._month_end_ms:
            self._enter_month(now_ms)
        counter = self._counter
        self._counter = (counter + 1) & 0xFFFF
        return f"{self._prefix}{now_ms - self._month_begin_ms:08X}{counter:04X}"

    def _enter_month(self, now_ms: int) -> None:
        begin = datetime.fromtimestamp(now_ms / 1000, self._zone).replace(
            day=1, hour=0, minute=0, second=0, microsecond=0
        )
        if begin.month == 12:
            end = begin.replace(year=begin.year + 1, month=1)
        else:
            end = begin.replace(month=begin.month + 1)
        self._month_begin_ms = int(begin.timestamp()) * 1000
        self._month_end_ms = int(end.timestamp()) * 1000


__all__ = ["UniqueKeys"]
