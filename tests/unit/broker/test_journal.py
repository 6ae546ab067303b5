"""The journal as verbs use it: changes ask for the end of the turn, failures become refusals."""

from __future__ import annotations

import pytest

from pyromq.broker.journal import Journal
from pyromq.domain.topic import TopicConfig
from pyromq.errors import FlushTimedOut, ServiceUnavailable, StoreFailed
from pyromq.store.metadata import Metadata
from pyromq.turn import Turn
from tests.support.clock import ManualClock

CONFIG = TopicConfig(topic_name="T")


class JournalInHand:
    """A journal over metadata in memory; counts the turns it asks for."""

    def __init__(self, *, sync_flush: bool = False) -> None:
        self.metadata = Metadata.in_memory(clock=ManualClock(), sync_flush=sync_flush)
        self.turns_asked = 0
        self.journal = Journal(self.metadata, Turn(self._note))

    def _note(self, _end: object) -> None:
        self.turns_asked += 1


def test_a_change_applies_at_once_and_asks_for_the_end_of_the_turn() -> None:
    hand = JournalInHand()
    hand.journal.change(hand.metadata.put_topic, CONFIG)
    assert hand.metadata.tables.topics == {"T": CONFIG}
    assert hand.turns_asked == 1


def test_a_change_is_kept_when_its_turn_is_written_or_synced() -> None:
    for sync_flush in (False, True):
        hand = JournalInHand(sync_flush=sync_flush)
        kept = hand.journal.kept(hand.journal.change(hand.metadata.put_topic, CONFIG))
        hand.journal.end_turn(0)
        assert kept.is_set is not sync_flush
        hand.metadata.flush()
        hand.journal.end_turn(0)
        assert kept.is_set


def test_a_journal_that_takes_no_changes_makes_the_service_unavailable() -> None:
    hand = JournalInHand()

    def broken() -> int:
        raise StoreFailed("disk full")

    with pytest.raises(ServiceUnavailable, match="does not take changes: disk full"):
        hand.journal.change(broken)


def test_a_failed_write_is_told_to_those_who_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    hand = JournalInHand()
    kept = hand.journal.kept(hand.journal.change(hand.metadata.put_topic, CONFIG))

    def broken() -> None:
        raise StoreFailed("disk full")

    monkeypatch.setattr(hand.metadata, "write", broken)
    hand.journal.end_turn(0)
    with pytest.raises(ServiceUnavailable, match="the metadata journal failed: disk full"):
        kept.result()


def test_a_sync_that_does_not_end_is_told() -> None:
    hand = JournalInHand(sync_flush=True)
    kept = hand.journal.kept(hand.journal.change(hand.metadata.put_topic, CONFIG))
    hand.journal.end_turn(1_000)
    hand.journal.expire(5_999, 5_000)
    assert not kept.is_set
    hand.journal.expire(6_000, 5_000)
    with pytest.raises(FlushTimedOut):
        kept.result()
