"""What the log tells of a rebuild: its beginning, now and then how far it is, and its end."""

from __future__ import annotations

import logging

import pytest

from pyromq.broker.rebuild import RebuildWatch
from pyromq.errors import StoreFailed, StoreRebuilding
from pyromq.store.engine import Rebuild
from pyromq.store.memory import MemoryEngine
from tests.support.clock import ManualClock
from tests.support.engines import settings


class RebuildingEngine(MemoryEngine):
    """Tells of a rebuild what it was told to."""

    def __init__(self) -> None:
        super().__init__(settings())
        self.now = Rebuild(0, 0, 0, has_queues=False, has_index=False, failure=None)

    def rebuild(self) -> Rebuild:
        return self.now


@pytest.fixture
def engine() -> RebuildingEngine:
    return RebuildingEngine()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def watch(engine: RebuildingEngine, clock: ManualClock) -> RebuildWatch:
    return RebuildWatch(engine, clock)


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    texts = [record.getMessage() for record in caplog.records]
    caplog.clear()
    return texts


def test_a_whole_store_is_nothing_to_tell_of(
    watch: RebuildWatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    watch.look()
    watch.look()
    assert told(caplog) == []


def test_it_tells_of_beginning_progress_whole_queues_and_end(
    watch: RebuildWatch,
    engine: RebuildingEngine,
    clock: ManualClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    engine.now = Rebuild(0, 1000, 3, has_queues=True, has_index=True, failure=None)
    watch.look()
    (begin,) = told(caplog)
    assert "3 queues are being rebuilt" in begin
    assert "index too" in begin
    engine.now = engine.now._replace(done=250)
    clock.advance(1000)
    watch.look()
    assert told(caplog) == []
    clock.advance(9000)
    watch.look()
    (progress,) = told(caplog)
    assert "25 % of 1000 bytes" in progress
    engine.now = Rebuild(1000, 1200, 0, has_queues=False, has_index=True, failure=None)
    clock.advance(1000)
    watch.look()
    (whole,) = told(caplog)
    assert "all queues are rebuilt, after 11000 ms" in whole
    engine.now = Rebuild(1200, 1200, 0, has_queues=False, has_index=False, failure=None)
    watch.look()
    (end,) = told(caplog)
    assert "done" in end
    watch.look()
    assert told(caplog) == []


def test_what_keeps_it_from_going_on_is_told_once(
    watch: RebuildWatch, engine: RebuildingEngine, caplog: pytest.LogCaptureFixture
) -> None:
    engine.now = Rebuild(0, 10, 1, has_queues=True, has_index=False, failure=None)
    watch.look()
    told(caplog)
    engine.now = engine.now._replace(failure="the disk")
    watch.look()
    watch.look()
    (failure,) = told(caplog)
    assert "the disk" in failure


@pytest.mark.parametrize(
    ("rebuild", "percent"),
    [
        (Rebuild(0, 0, 0, has_queues=False, has_index=False, failure=None), 100),
        (Rebuild(0, 0, 1, has_queues=True, has_index=False, failure=None), 0),
        (Rebuild(1, 3, 1, has_queues=True, has_index=False, failure=None), 33),
        (Rebuild(3, 3, 0, has_queues=False, has_index=True, failure=None), 99),
    ],
)
def test_a_hundred_percent_are_told_only_at_the_end(rebuild: Rebuild, percent: int) -> None:
    assert rebuild.percent == percent


def test_a_queue_that_is_rebuilt_counts_as_a_store_that_fails_for_now() -> None:
    """Every verb translates that to code 14 already."""
    assert issubclass(StoreRebuilding, StoreFailed)
