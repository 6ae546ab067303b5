"""No answer before its promise is kept, and an honest one when it cannot be kept."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pyromq.domain.topic import TopicConfig
from pyromq.errors import ServiceUnavailable, SystemBusy
from pyromq.waiting import Latch
from tests.support.brokers import BrokerInHand, batch, caller, properties, send_request

WAIVED = properties(UNIQ_KEY="ID1", WAIT="false")


def test_nothing_is_answered_before_the_turn_is_written() -> None:
    hand = BrokerInHand()
    asked = hand.ask(hand.broker.send(caller(), send_request()))
    assert asked.is_waiting
    hand.end_turn()
    assert asked.result.queue_offset == 0


def test_all_sends_of_a_turn_are_answered_together_in_order() -> None:
    hand = BrokerInHand()
    asked = [hand.ask(hand.broker.send(caller(), send_request())) for _ in range(5)]
    hand.end_turn()
    assert [one.result.queue_offset for one in asked] == [0, 1, 2, 3, 4]


def test_with_sync_flush_the_answer_waits_for_the_sync() -> None:
    hand = BrokerInHand(sync_flush=True)
    asked = hand.ask(hand.broker.send(caller(), send_request()))
    hand.end_turn()
    assert asked.is_waiting
    hand.flush()
    assert asked.result.queue_offset == 0


@pytest.mark.parametrize(
    "changed",
    [{"properties": WAIVED}, {"properties": properties(WAIT="no")}, {"is_oneway": True}],
    ids=["WAIT=false", "WAIT=no", "one-way"],
)
def test_who_does_not_want_to_wait_for_the_sync_is_answered_when_it_is_written(
    changed: dict[str, Any],
) -> None:
    hand = BrokerInHand(sync_flush=True)
    hand.create_topic("TopicTest")
    asked = hand.ask(hand.broker.send(caller(), send_request(**changed)))
    assert asked.is_waiting
    hand.end_turn()
    assert not asked.is_waiting


def test_a_sync_that_does_not_end_is_told_after_five_seconds_and_not_later() -> None:
    hand = BrokerInHand(sync_flush=True)
    hand.create_topic("TopicTest")
    asked = []
    for _ in range(3):
        hand.advance(137)
        asked.append(hand.ask(hand.broker.send(caller(), send_request())))
        hand.end_turn()
    hand.advance(5_000 - 2 * 137 - 1)
    assert asked[0].is_waiting
    for index, one in enumerate(asked):
        hand.advance(1)
        assert one.result.is_sync_late
        assert one.result.queue_offset == index
        hand.advance(136)
    hand.engine.flush()
    hand.end_turn()
    last = hand.ask(hand.broker.send(caller(), send_request()))
    hand.end_turn()
    hand.advance(4_999)
    assert last.is_waiting
    hand.advance(1)
    assert last.result.is_sync_late


def test_a_shorter_timeout_counts_for_those_who_wait_already() -> None:
    hand = BrokerInHand(sync_flush=True)
    hand.create_topic("TopicTest")
    asked = hand.ask(hand.broker.send(caller(), send_request()))
    hand.end_turn()
    hand.advance(1_000)
    now = hand.store_settings.current
    hand.store_settings.replace(replace(now, sync_flush_timeout_ms=900))
    assert asked.result.is_sync_late


def test_a_slow_disk_refuses_with_busy_not_with_unavailable() -> None:
    hand = BrokerInHand()
    hand.create_topic("TopicTest")
    hand.engine.be_busy("the disk is slow")
    asked = hand.ask(hand.broker.send(caller(), send_request()))
    with pytest.raises(SystemBusy, match="broker busy: the disk is slow"):
        _ = asked.result
    hand.engine.be_busy(None)
    assert hand.run(hand.broker.send(caller(), send_request())).queue_offset == 0


def test_nobody_is_answered_before_the_topic_that_another_created_is_kept() -> None:
    hand = BrokerInHand(sync_flush=True)
    first = hand.ask(hand.broker.send(caller(), send_request("New")))
    hand.end_turn()
    hand.ask(hand.broker.put_topic(TopicConfig(topic_name="Other")))
    later = [hand.ask(hand.broker.send(caller(), send_request("New"))) for _ in range(2)]
    hand.end_turn()
    hand.engine.flush()
    hand.broker.end_turn()
    assert first.is_waiting
    assert all(one.is_waiting for one in later)
    hand.metadata.flush()
    hand.broker.end_turn()
    assert [one.result.queue_offset for one in later] == [1, 2]
    last = hand.ask(hand.broker.send(caller(), send_request("New")))
    hand.end_turn()
    hand.engine.flush()
    hand.broker.end_turn()
    assert last.result.queue_offset == 3


@pytest.mark.parametrize("kind", ["single", "batch", "one-way"])
def test_a_send_that_creates_a_topic_is_answered_when_name_servers_know_it(kind: str) -> None:
    """A client that has its answer may ask for the route at once, as with Apache's broker."""
    hand = BrokerInHand()
    heard: Latch[None] = Latch()
    hand.announced = lambda: heard
    if kind == "batch":
        request = send_request("New", batch((b"one", "")))
        asked = hand.ask(hand.broker.send_batch(caller(), request))
    else:
        request = send_request("New", is_oneway=kind == "one-way")
        asked = hand.ask(hand.broker.send(caller(), request))
    hand.end_turn()
    hand.flush()
    assert asked.is_waiting == (kind != "one-way")
    heard.set(None)
    assert asked.result.queue_offset == 0


def test_a_topic_that_cannot_be_kept_takes_no_messages() -> None:
    hand = BrokerInHand()
    hand.metadata._journal.fail_next_write("gone")  # type: ignore[attr-defined]
    asked = hand.ask(hand.broker.send(caller(), send_request("New")))
    hand.end_turn()
    assert isinstance(asked.error, ServiceUnavailable)
    again = hand.ask(hand.broker.send(caller(), send_request("New")))
    assert isinstance(again.error, ServiceUnavailable)
    assert "topic[New] cannot be kept: gone" in again.error.remark


def test_a_failed_write_is_told_and_its_offsets_are_given_again() -> None:
    hand = BrokerInHand()
    hand.send()
    hand.engine.fail_next_write("disk full", is_final=False)
    asked = [hand.ask(hand.broker.send(caller(), send_request())) for _ in range(2)]
    hand.end_turn()
    for one in asked:
        assert isinstance(one.error, ServiceUnavailable)
        assert one.error.remark == "the store failed: disk full"
    assert hand.send().queue_offset == 1


def test_a_store_that_is_read_only_refuses_at_once() -> None:
    hand = BrokerInHand()
    hand.engine.fail_next_write("disk broken", is_final=True)
    lost = hand.ask(hand.broker.send(caller(), send_request()))
    hand.end_turn()
    assert isinstance(lost.error, ServiceUnavailable)
    refused = hand.ask(hand.broker.send(caller(), send_request()))
    assert isinstance(refused.error, ServiceUnavailable)
    assert "disk broken" in refused.error.remark
    assert hand.broker.runtime_info()["putMessageFailedTimes"] == "1"


def test_a_failed_sync_is_told_to_all_who_waited_for_it() -> None:
    hand = BrokerInHand(sync_flush=True)
    hand.create_topic("TopicTest")
    hand.engine.fail_next_flush("medium error")
    asked = [hand.ask(hand.broker.send(caller(), send_request())) for _ in range(3)]
    hand.end_turn()
    hand.flush()
    for one in asked:
        assert isinstance(one.error, ServiceUnavailable)
        assert "medium error" in one.error.remark


def test_a_message_that_created_its_topic_waits_for_the_topic_too() -> None:
    hand = BrokerInHand(sync_flush=True)
    asked = hand.ask(hand.broker.send(caller(), send_request("New")))
    hand.end_turn()
    hand.engine.flush()
    hand.broker.end_turn()
    assert asked.is_waiting, "the message is safe, its topic is not"
    hand.metadata.flush()
    hand.broker.end_turn()
    assert asked.result.queue_offset == 0


def test_puts_are_counted_when_they_are_acknowledged() -> None:
    hand = BrokerInHand(sync_flush=True)
    hand.create_topic("TopicTest")
    hand.ask(hand.broker.send(caller(), send_request()))
    hand.end_turn()
    hand.clock.advance(60)
    assert hand.broker.counters.put_count == 0
    hand.flush()
    assert hand.broker.counters.put_count == 1
    assert hand.broker.counters.put_size == hand.engine.positions().commit
    assert "[50~100ms]:1 " in hand.broker.runtime_info()["putMessageDistributeTime"]


def test_a_topic_kept_late_may_be_waited_for_after_a_younger_change() -> None:
    """The message is safe before its topic; meanwhile others wait for younger changes."""
    hand = BrokerInHand(sync_flush=True)
    sent = hand.ask(hand.broker.send(caller(), send_request("New")))
    younger = hand.ask(hand.broker.put_topic(TopicConfig(topic_name="Younger")))
    hand.end_turn()
    hand.engine.flush()
    hand.broker.end_turn()
    assert sent.is_waiting, sent.error
    assert younger.is_waiting
    hand.metadata.flush()
    hand.broker.end_turn()
    assert sent.result.queue_offset == 0
    assert younger.result is None


def test_a_journal_that_fails_is_told_to_who_created_a_topic(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hand = BrokerInHand(sync_flush=True)
    sent = hand.ask(hand.broker.send(caller(), send_request("New")))
    hand.end_turn()
    monkeypatch.setattr(hand.metadata, "failure", lambda: "disk full")
    hand.broker.end_turn()
    hand.engine.flush()
    hand.broker.end_turn()
    assert isinstance(sent.error, ServiceUnavailable)
    assert sent.error.remark == "the metadata journal failed: disk full"
