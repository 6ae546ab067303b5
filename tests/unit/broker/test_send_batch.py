"""Batches: all items or none, with consecutive offsets, stored as they came."""

from __future__ import annotations

from typing import Any

import pytest

from pyromq.api import SendResult
from pyromq.errors import (
    InvalidParameter,
    MessageIllegal,
    NoPermission,
    RequestRefused,
    TopicNotFound,
)
from pyromq.units import LogOffset
from tests.support.brokers import (
    BrokerInHand,
    batch,
    batch_item,
    caller,
    properties,
    send_request,
    stored_properties,
)

ITEMS = batch(
    (b"first", properties(UNIQ_KEY="A", TAGS="TagA")),
    (b"second", properties(UNIQ_KEY="B")),
    (b"third", ""),
)


@pytest.fixture
def hand() -> BrokerInHand:
    return BrokerInHand()


def send_batch(
    hand: BrokerInHand, topic: str = "TopicTest", body: bytes = ITEMS, **changed: Any
) -> SendResult:
    return hand.run(hand.broker.send_batch(caller(), send_request(topic, body, **changed)))


def refused(hand: BrokerInHand, **request: Any) -> RequestRefused:
    with pytest.raises(RequestRefused) as error:
        send_batch(hand, **request)
    return error.value


def test_items_get_consecutive_offsets_and_an_id_each(hand: BrokerInHand) -> None:
    hand.send()
    result = send_batch(hand, properties=properties(UNIQ_KEY="BATCH", WAIT="true"))
    assert result.queue_offset == 1
    assert result.transaction_id == "BATCH"
    offsets = [LogOffset(int(one[16:], 16)) for one in result.msg_id.split(",")]
    bodies = [hand.engine.record_at(offset) for offset in offsets]
    assert all(
        body in (stored or b"")
        for body, stored in zip((b"first", b"second", b"third"), bodies, strict=True)
    )
    assert hand.engine.queue_range("TopicTest", 0).max_offset == 4


def test_items_are_stored_with_their_own_properties_only(hand: BrokerInHand) -> None:
    send_batch(hand)
    stored = hand.engine.record_at(LogOffset(0))
    assert stored is not None
    assert stored_properties(stored) == {"UNIQ_KEY": "A", "TAGS": "TagA"}


def test_a_batch_without_unique_key_is_answered_without_one(hand: BrokerInHand) -> None:
    assert send_batch(hand, properties="").transaction_id == ""


def test_a_batch_may_create_its_topic_and_let_the_broker_choose_the_queue(
    hand: BrokerInHand,
) -> None:
    hand.randoms = [2]
    assert send_batch(hand, "New", queue_id=-1).queue_id == 2
    assert hand.changed_topics == ["New"]


def test_a_batch_to_a_retry_topic_is_refused(hand: BrokerInHand) -> None:
    error = refused(hand, topic="%RETRY%CG")
    assert isinstance(error, MessageIllegal)
    assert error.remark == "batch request does not support retry group %RETRY%CG"


def test_a_batch_to_a_topic_with_a_long_name_is_refused(hand: BrokerInHand) -> None:
    name = "%DLQ%" + "x" * 130
    error = refused(hand, topic=name)
    assert isinstance(error, MessageIllegal)
    assert error.remark == f"message topic length too long {len(name)}"


def test_a_batch_is_checked_like_a_message(hand: BrokerInHand) -> None:
    assert isinstance(refused(hand, topic="a b"), InvalidParameter)
    assert isinstance(refused(hand, topic="SELF_TEST_TOPIC"), NoPermission)
    assert isinstance(refused(hand, topic="New", default_topic=""), TopicNotFound)
    assert isinstance(refused(hand, queue_id=99), InvalidParameter)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\0",
        ITEMS[:-1],
        ITEMS + b"\0",
        batch_item(b"x", "")[:16] + b"\x7f\xff\xff\xff" + batch_item(b"x", "")[20:],
    ],
    ids=["empty", "one byte", "cut", "trailing byte", "lying length"],
)
def test_a_batch_that_does_not_parse_is_refused_whole(hand: BrokerInHand, body: bytes) -> None:
    assert isinstance(refused(hand, body=body), MessageIllegal)
    assert hand.engine.positions().appended == 0


def test_a_batch_over_the_limit_is_refused_with_its_size() -> None:
    hand = BrokerInHand(store={"max_message_size_bytes": 100})
    error = refused(hand, body=batch((bytes(100), "")))
    assert isinstance(error, MessageIllegal)
    assert "a body of 122B" in error.remark


@pytest.mark.parametrize(
    "changed",
    [
        {"properties": properties(TIMER_DELAY_SEC="3")},
        {"properties": properties(TRAN_MSG="true")},
        {"sys_flag": 0x80},
        {"sys_flag": 0x4},
    ],
)
def test_kinds_not_built_yet_are_refused_for_batches_too(
    hand: BrokerInHand, changed: dict[str, Any]
) -> None:
    error = refused(hand, **changed)
    assert isinstance(error, MessageIllegal)
    assert "not supported yet" in error.remark


def test_a_batch_waits_for_the_sync_unless_it_waives_it() -> None:
    hand = BrokerInHand(sync_flush=True)
    hand.create_topic("TopicTest")
    for text, waits in (("", True), (properties(WAIT="false"), False)):
        asked = hand.ask(
            hand.broker.send_batch(caller(), send_request("TopicTest", ITEMS, properties=text))
        )
        hand.end_turn()
        assert asked.is_waiting is waits
        hand.flush()
        assert not asked.is_waiting


def test_items_are_counted_one_by_one(hand: BrokerInHand) -> None:
    send_batch(hand)
    assert hand.broker.counters.put_count == 3


def test_a_batch_cannot_be_delayed(hand: BrokerInHand) -> None:
    error = refused(hand, properties=properties(DELAY="3"))
    assert isinstance(error, MessageIllegal)
    assert error.remark == "DELAY: a batch cannot be delayed; nothing was stored"
