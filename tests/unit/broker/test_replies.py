"""Replies: what the broker holds while a requester is asked, and when it answers the responder."""

from __future__ import annotations

import pytest

from pyromq.api import ClientAnswer, ReplyResult
from pyromq.broker import replies
from pyromq.errors import AnswerTimedOut, SystemBusy
from tests.support.brokers import Asked, BrokerInHand, caller, heartbeat, properties, send_request

TOPIC = "C1_REPLY_TOPIC"
TAKEN = ClientAnswer(code=0, remark=None, ext={}, body=b"")


def with_requester(*, sync_flush: bool = False) -> BrokerInHand:
    hand = BrokerInHand(sync_flush=sync_flush)
    beat = heartbeat("requester", topics={}, producers=["PG"])
    hand.run(hand.broker.heartbeat(caller(7), beat))
    return hand


def reply(hand: BrokerInHand, body: bytes = b"answer") -> Asked[ReplyResult]:
    text = properties(UNIQ_KEY="ID", REPLY_TO_CLIENT="requester", CORRELATION_ID="R1")
    asked = hand.ask(hand.broker.reply(caller(), send_request(TOPIC, body, properties=text)))
    hand.end_turn()
    return asked


def length(hand: BrokerInHand) -> int:
    return hand.engine.queue_range(TOPIC, 0).max_offset


def test_what_waits_for_requesters_is_bounded_and_answers_make_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(replies, "HELD_SIZE_MAX", 10_000)
    hand = with_requester()
    held = reply(hand, bytes(6_000))
    assert isinstance(reply(hand, bytes(6_000)).error, SystemBusy)
    hand.peers.asked[0].latch.set(TAKEN)
    hand.end_turn()
    assert held.result.failure is None
    late = reply(hand, bytes(6_000))
    hand.peers.asked[1].latch.fail(AnswerTimedOut("no answer"))
    hand.end_turn()
    assert late.result.failure is not None
    assert reply(hand, bytes(6_000)).is_waiting


def test_a_reply_is_answered_when_it_and_its_new_topic_are_kept() -> None:
    hand = with_requester(sync_flush=True)
    asked = reply(hand)
    hand.peers.asked[0].latch.set(TAKEN)
    hand.end_turn()
    assert asked.is_waiting
    hand.engine.flush()
    hand.broker.end_turn()
    assert asked.is_waiting
    hand.metadata.flush()
    hand.broker.end_turn()
    assert asked.result.stored is not None


def test_a_reply_whose_requester_answers_after_the_stop_is_not_stored() -> None:
    hand = with_requester()
    asked = reply(hand)
    hand.run(hand.broker.stop())
    hand.peers.asked[0].latch.set(TAKEN)
    hand.end_turn()
    assert asked.result.failure is None
    assert length(hand) == 0
