"""Single messages: by key, by unique key, by where they are stored."""

from __future__ import annotations

from typing import Any

import pytest

from pyromq.api import MessageQuery
from pyromq.errors import RequestFailed
from pyromq.units import LogOffset
from tests.support.brokers import BrokerInHand, properties
from tests.support.clock import START_MS


@pytest.fixture
def hand() -> BrokerInHand:
    hand = BrokerInHand()
    for number in range(100):
        text = properties(UNIQ_KEY=f"ID{number}", KEYS="many")
        hand.send(body=b"m%d" % number, properties=text)
        hand.advance(1_000)
    return hand


def query(hand: BrokerInHand, key: str, **changed: Any) -> MessageQuery:
    bounds: dict[str, Any] = {
        "count_max": 10,
        "begin_ms": 0,
        "end_ms": 2**63 - 1,
        "is_unique_key": False,
        "is_tag": False,
        **changed,
    }
    return hand.broker.query_by_key("TopicTest", key, **bounds)


def test_messages_are_found_by_key(hand: BrokerInHand) -> None:
    assert len(query(hand, "many").records) == 10
    found = query(hand, "ID42", is_unique_key=True)
    assert len(found.records) == 1
    assert b"m42" in found.records[0]
    assert found.index_last_log_offset > 0


def test_messages_are_found_by_tag_and_not_by_a_key_of_that_name(hand: BrokerInHand) -> None:
    hand.send(body=b"tagged", properties=properties(TAGS="red"))
    hand.send(body=b"keyed", properties=properties(KEYS="red"))
    (tagged,) = query(hand, "red", is_tag=True).records
    (keyed,) = query(hand, "red").records
    assert (b"tagged" in tagged, b"keyed" in keyed) == (True, True)
    assert query(hand, "red", is_tag=True, is_unique_key=True).records == [keyed]


def test_no_hit_is_no_error(hand: BrokerInHand) -> None:
    assert query(hand, "nothing").records == []


def test_no_query_gets_more_than_64_messages_and_by_unique_key_32(hand: BrokerInHand) -> None:
    assert len(query(hand, "many", count_max=1_000).records) == 64
    assert len(query(hand, "many", count_max=1_000, is_unique_key=True).records) == 32


def test_whoever_asks_for_none_or_less_gets_none(hand: BrokerInHand) -> None:
    assert query(hand, "many", count_max=0).records == []
    assert query(hand, "many", count_max=-5).records == []


def test_the_time_bounds_count(hand: BrokerInHand) -> None:
    begin = START_MS + 50_000
    assert len(query(hand, "many", begin_ms=begin, end_ms=begin + 3_000).records) == 4


def test_a_message_is_found_where_it_is_stored(hand: BrokerInHand) -> None:
    assert b"m0" in hand.broker.message_at(LogOffset(0))


@pytest.mark.parametrize("log_offset", [1, 10**12, -1])
def test_where_no_message_begins_none_is_found(hand: BrokerInHand, log_offset: int) -> None:
    with pytest.raises(RequestFailed) as error:
        hand.broker.message_at(LogOffset(log_offset))
    assert error.value.remark == f"can not find message by the offset, {log_offset}"
