"""Meters that write their samples late equal ones that remember every sample."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from pyromq.observe.meters import DAY, HOUR, MINUTE, Meters
from pyromq.units import SECOND_MS

WINDOWS = (MINUTE, HOUR, DAY)
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["count", "pass", "read"]),
        st.sampled_from([1, 9, 10, 61, 599, 600, 3_600]),
    ),
    max_size=60,
)


@given(steps=STEPS)
@settings(max_examples=200, deadline=None)
def test_a_window_holds_what_came_since_its_oldest_sample(steps: list[tuple[str, int]]) -> None:
    meters = Meters(0)
    now_ms = 0
    total = 0
    samples = {window: [(0, 0)] for window in WINDOWS}
    """(time, total then) of every sample of each window."""
    meters.add("t", 0, 0)
    for what, number in steps:
        if what == "count":
            meters.add("t", number, 2 * number)
            total += number
        elif what == "pass":
            now_ms += number * SECOND_MS
            meters.sample(now_ms)
            for window, taken in samples.items():
                if now_ms - taken[-1][0] >= window.interval_ms:
                    taken.append((now_ms, total))
        elif "t" in meters:
            for window, taken in samples.items():
                since_ms, before = taken[-window.kept :][0]
                reading = meters.messages("t", window, now_ms)
                assert reading.sum == total - before
                assert reading.per_second == reading.sum * 1000 / max(
                    now_ms - since_ms, window.interval_ms
                )
                assert meters.sizes("t", window, now_ms).sum == 2 * reading.sum
