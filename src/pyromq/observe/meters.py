"""Meters: how often something happened per topic or per group, over the last minute, hour and day.

Counting is one dictionary look-up and three additions. What a meter had counted every 10 s, 10 min
and 1 h is in a ring of 7, 7 and 25 places; a rate is the difference between now and the oldest
place. A meter that rested for a whole day goes.

Source of windows and meaning: stats.StatsItem of org.apache.rocketmq.common 5.5.0. There a rate
ends at the newest sample, so that it shows nothing of the last 10 s.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Final, NamedTuple

from pyromq.units import HOUR_MS, MINUTE_MS, SECOND_MS

METERS_MAX: Final = 20_000
"""Meters of one table, each about 1.5 KiB. What has no room is not counted."""


class Window(NamedTuple):
    """A span to look back over: so many samples, so often."""

    interval_ms: int
    kept: int


MINUTE: Final = Window(10 * SECOND_MS, 7)
HOUR: Final = Window(10 * MINUTE_MS, 7)
DAY: Final = Window(HOUR_MS, 25)
_WINDOWS: Final = (MINUTE, HOUR, DAY)
_FIELDS: Final = 3
_RING_STARTS: Final = (0, MINUTE.kept, MINUTE.kept + HOUR.kept)
_PLACES: Final = _FIELDS * sum(window.kept for window in _WINDOWS)


class Reading(NamedTuple):
    """What happened within a window."""

    sum: int
    per_second: float
    average: float
    """Of one request."""


class Meter:
    """What was counted, and what had been at each sample."""

    __slots__ = ("count", "day", "rings", "seen", "size", "times", "version")

    def __init__(self, sample_counts: Sequence[int]) -> None:
        self.count = 0
        """Messages."""
        self.size = 0
        """Bytes."""
        self.times = 0
        """Requests."""
        self.rings = array("q", bytes(8 * _PLACES))
        """Count, size and times of each place of each window's ring."""
        self.seen = list(sample_counts)
        """Samples of each window that are in the rings."""
        self.version = -1
        """When it last counted, as samples go."""
        self.day = 0
        """Sample of the day window in which it last counted."""


class Meters:
    """Meters by name. The names are topics, or what `offset_key` makes of a topic and a group.

    A sample only notes the time. A meter writes the samples it has missed into its rings when it
    counts again, or is read: until then it has not changed.
    """

    def __init__(self, monotonic_ms: int) -> None:
        self._meters: dict[str, Meter] = {}
        self._sampled_ms = [[monotonic_ms] * window.kept for window in _WINDOWS]
        """When each place of each ring was written."""
        self._sample_counts = [1] * len(_WINDOWS)
        self._version = 0
        """Rises with each sample."""

    def __contains__(self, name: str) -> bool:
        return name in self._meters

    def add(self, name: str, count: int, size: int, times: int = 1) -> None:
        """So many messages and bytes, by so many requests."""
        meter = self._meters.get(name)
        if meter is None:
            if len(self._meters) >= METERS_MAX:
                return
            meter = self._meters[name] = Meter(self._sample_counts)
        if meter.version != self._version:
            self._catch_up(meter)
            meter.version = self._version
            meter.day = self._sample_counts[-1]
        meter.count += count
        meter.size += size
        meter.times += times

    def sample(self, monotonic_ms: int) -> None:
        """Takes the samples that are due; to be called once a second or so."""
        for index, window in enumerate(_WINDOWS):
            times = self._sampled_ms[index]
            count = self._sample_counts[index]
            if monotonic_ms - times[(count - 1) % window.kept] < window.interval_ms:
                continue
            times[count % window.kept] = monotonic_ms
            self._sample_counts[index] = count + 1
            self._version += 1
            if window is DAY:
                self._drop_resting()

    def messages(self, name: str, window: Window, monotonic_ms: int) -> Reading:
        """Messages within the window; nothing of a name that was never counted."""
        return self._reading(name, window, monotonic_ms, is_of_size=False)

    def sizes(self, name: str, window: Window, monotonic_ms: int) -> Reading:
        """Bytes within the window."""
        return self._reading(name, window, monotonic_ms, is_of_size=True)

    def _reading(
        self, name: str, window: Window, monotonic_ms: int, *, is_of_size: bool
    ) -> Reading:
        meter = self._meters.get(name)
        if meter is None:
            return Reading(0, 0.0, 0.0)
        self._catch_up(meter)
        index = _WINDOWS.index(window)
        place = max(self._sample_counts[index] - window.kept, 0) % window.kept
        at = _place_at(index, place)
        count, size, times = meter.rings[at : at + _FIELDS]
        total = meter.size - size if is_of_size else meter.count - count
        requests = meter.times - times
        # Right after the start a rate would be of moments: it is of one interval at least.
        elapsed_ms = max(monotonic_ms - self._sampled_ms[index][place], window.interval_ms)
        return Reading(total, total * 1000 / elapsed_ms, total / requests if requests else 0.0)

    def _catch_up(self, meter: Meter) -> None:
        """At all samples since it last counted the meter was as it is."""
        now = array("q", (meter.count, meter.size, meter.times))
        for index, window in enumerate(_WINDOWS):
            count = self._sample_counts[index]
            for number in range(max(meter.seen[index], count - window.kept), count):
                at = _place_at(index, number % window.kept)
                meter.rings[at : at + _FIELDS] = now
            meter.seen[index] = count

    def _drop_resting(self) -> None:
        oldest = self._sample_counts[-1] - DAY.kept
        for name in [name for name, meter in self._meters.items() if meter.day < oldest]:
            del self._meters[name]


def _place_at(index: int, place: int) -> int:
    """Where a place of a ring begins."""
    return _FIELDS * (_RING_STARTS[index] + place)


__all__ = ["DAY", "HOUR", "METERS_MAX", "MINUTE", "Meter", "Meters", "Reading", "Window"]
