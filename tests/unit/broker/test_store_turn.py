"""The log's side of a turn: two promises, one write, and what happens when it fails."""

from __future__ import annotations

from datetime import UTC

from pyromq.broker.store_turn import StoreTurn
from pyromq.errors import PyromqError
from pyromq.observe.counters import BrokerCounters
from pyromq.store.engine import StoreSettings
from pyromq.store.memory import MemoryEngine
from pyromq.units import LogOffset
from pyromq.waiting import Latch
from tests.support.brokers import STORE_HOST
from tests.support.clock import ManualClock


class StoreTurnInHand:
    """A store turn over the memory engine."""

    def __init__(self, *, sync_flush: bool = True) -> None:
        self.clock = ManualClock()
        self.engine = MemoryEngine(
            StoreSettings(root="", store_host=STORE_HOST, sync_flush=sync_flush)
        )
        self.counters = BrokerCounters(0, 0, UTC)
        self.turn = StoreTurn(self.engine, self.clock, self.counters)

    def append(self) -> LogOffset:
        return self.engine.append(
            "T",
            0,
            b"body",
            b"",
            flag=0,
            sys_flag=0,
            born_timestamp_ms=0,
            born_host=STORE_HOST,
            reconsume_times=0,
            prepared_transaction_offset=0,
            now_ms=0,
        ).end


def state(latch: Latch[None]) -> str:
    if not latch.is_set:
        return "waits"
    try:
        latch.result()
    except PyromqError as error:
        return str(error)
    return "kept"


def test_written_comes_before_committed() -> None:
    hand = StoreTurnInHand()
    end = hand.append()
    written, committed = hand.turn.written.until(end), hand.turn.committed.until(end)
    hand.turn.end_turn()
    assert (state(written), state(committed)) == ("kept", "waits")
    hand.engine.flush()
    hand.turn.end_turn()
    assert state(committed) == "kept"
    assert hand.turn.waiter_count == 0


def test_without_sync_both_are_kept_by_the_write() -> None:
    hand = StoreTurnInHand(sync_flush=False)
    end = hand.append()
    both = hand.turn.written.until(end), hand.turn.committed.until(end)
    hand.turn.end_turn()
    assert [state(one) for one in both] == ["kept", "kept"]


def test_a_failed_write_takes_back_its_turn_only() -> None:
    hand = StoreTurnInHand()
    first = hand.turn.committed.until(hand.append())
    hand.turn.end_turn()
    hand.engine.fail_next_write("disk full", is_final=False)
    end = hand.append()
    written, committed = hand.turn.written.until(end), hand.turn.committed.until(end)
    hand.turn.end_turn()
    assert state(written) == state(committed) == "the store failed: disk full"
    assert state(first) == "waits"
    hand.engine.flush()
    hand.turn.end_turn()
    assert state(first) == "kept"


def test_a_failed_sync_ends_all_waits_for_it() -> None:
    hand = StoreTurnInHand()
    end = hand.append()
    written, committed = hand.turn.written.until(end), hand.turn.committed.until(end)
    hand.turn.end_turn()
    hand.engine.fail_next_flush("medium error")
    hand.engine.flush()
    hand.turn.end_turn()
    assert state(written) == "kept"
    assert state(committed) == "the store failed: medium error"


def test_the_wait_for_the_sync_is_measured() -> None:
    hand = StoreTurnInHand()
    hand.turn.committed.until(hand.append())
    hand.turn.committed.until(hand.append())
    hand.turn.end_turn()
    hand.clock.advance(30)
    hand.engine.flush()
    hand.turn.end_turn()
    assert hand.counters.put_times[2] == 2
    assert hand.counters.put_time_max_ms == 30


def test_both_waits_have_an_end() -> None:
    hand = StoreTurnInHand()
    end = hand.append()
    committed = hand.turn.committed.until(end)
    hand.turn.end_turn()
    hand.clock.advance(5_000)
    hand.turn.expire(5_000)
    assert state(committed) == "the disk took longer than 5000 ms"
