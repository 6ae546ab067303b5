"""The broker as a whole: it is a BrokerApi, starts, stops, and orders the end of a turn."""

from __future__ import annotations

import asyncio

import pytest

from pyromq.api import BrokerApi
from pyromq.broker import Broker
from pyromq.domain.topic import TopicConfig
from tests.support.brokers import BrokerInHand, caller, pull_request, send_request


def as_api(broker: Broker) -> BrokerApi:
    """mypy checks this line: every verb has the promised form."""
    return broker


def test_a_broker_is_a_broker_api() -> None:
    api = as_api(BrokerInHand(broker_name="b1", broker_cluster_name="C1").broker)
    assert (api.broker_name, api.cluster_name) == ("b1", "C1")


def test_a_message_sent_and_pulled_in_one_turn_is_delivered_in_that_turn() -> None:
    """Write, release, arrivals, polls: one end of a turn does all of it, in this order."""
    hand = BrokerInHand()
    hand.create_topic("TopicTest")
    pull = hand.start_pull()
    sent = hand.ask(hand.broker.send(caller(), send_request()))
    hand.broker.end_turn()
    assert sent.result.queue_offset == 0
    assert pull.result.message_count == 1


def test_an_idle_turn_does_nothing() -> None:
    hand = BrokerInHand()
    before = hand.engine.positions(), hand.metadata.positions()
    hand.broker.end_turn()
    assert (hand.engine.positions(), hand.metadata.positions()) == before


async def test_verbs_may_be_awaited_by_ordinary_tasks() -> None:
    hand = BrokerInHand()
    hand.create_topic("TopicTest")
    waiting = asyncio.create_task(
        hand.broker.pull(caller(), pull_request(may_suspend=True, suspend_timeout_ms=5_000))
    )
    sending = asyncio.create_task(hand.broker.send(caller(), send_request()))
    async with asyncio.timeout(5):
        while not (waiting.done() and sending.done()):
            await asyncio.sleep(0)
            hand.end_turn()
    assert sending.result().queue_offset == 0
    assert waiting.result().message_count == 1


def test_stopping_releases_what_was_stored_in_the_last_turn() -> None:
    hand = BrokerInHand()
    hand.create_topic("TopicTest")
    sent = hand.ask(hand.broker.send(caller(), send_request()))
    stopped = hand.ask(hand.broker.stop())
    assert sent.result.queue_offset == 0
    assert stopped.result is None


async def test_the_stop_waits_for_syncs_under_way() -> None:
    hand = BrokerInHand(sync_flush=True)
    hand.create_topic("TopicTest")
    sent = hand.ask(hand.broker.send(caller(), send_request()))
    stopping = asyncio.create_task(hand.broker.stop())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert sent.is_waiting
    assert not stopping.done()
    hand.flush()
    async with asyncio.timeout(5):
        await stopping
    assert sent.result.queue_offset == 0


async def test_the_stop_does_not_wait_for_ever(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("pyromq.broker.broker.DRAIN_TIMEOUT_MS", 1)
    hand = BrokerInHand(sync_flush=True)
    hand.create_topic("TopicTest")
    hand.ask(hand.broker.send(caller(), send_request()))
    async with asyncio.timeout(5):
        await hand.broker.stop()
    assert "1 requests were not answered at the stop" in caplog.text


def test_the_address_told_in_refusals_is_the_configured_one() -> None:
    hand = BrokerInHand(broker_ip1="192.168.7.7", broker_permission=2)
    hand.create_topic("TopicTest")
    pull = hand.ask(hand.broker.pull(caller(), pull_request()))
    assert str(pull.error) == "the broker[192.168.7.7] pulling message is forbidden"


def test_a_fault_in_the_log_does_not_keep_the_journal_from_its_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hand = BrokerInHand()

    def fail() -> None:
        raise ZeroDivisionError("a fault of ours")

    monkeypatch.setattr(hand.engine, "write", fail)
    asked = hand.ask(hand.broker.put_topic(TopicConfig(topic_name="T")))
    with pytest.raises(ZeroDivisionError):
        hand.end_turn()
    assert asked.result is None
