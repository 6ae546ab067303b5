"""Copies of delayed messages: odd ones do not stop those behind them, and the log tells of each."""

from __future__ import annotations

import pytest

from pyromq.broker import copies
from pyromq.broker.copies import Copies
from pyromq.domain.topic import SCHEDULE_TOPIC
from pyromq.units import LogOffset, QueueOffset
from pyromq.wire.record import decode_records
from tests.support.brokers import BrokerInHand
from tests.support.engines import BORN_HOST_V6, properties, put

DELAY_MS = 1_000


class Queue:
    """Level 1's queue of an engine in memory, filled by hand."""

    def __init__(self) -> None:
        self.hand = BrokerInHand()
        self.hand.create_topic("T")
        self.copies = Copies(
            self.hand.engine, self.hand.broker.topics()[1], self.hand.broker.counters
        )
        self.ends: list[LogOffset] = []

    def put(self, topic: str = "T", queue_id: str = "0", **more: str) -> None:
        now_ms = self.hand.clock.now_ms()
        pairs = {"REAL_TOPIC": topic, "REAL_QID": queue_id, "DELAY": "1", **more}
        stored = properties(**pairs)
        put(self.hand.engine, SCHEDULE_TOPIC, now_ms=now_ms, stored_properties=stored)
        self.hand.engine.write()

    def records(self, topic: str = SCHEDULE_TOPIC) -> bytes:
        return self.hand.engine.read(
            topic,
            0,
            QueueOffset(0),
            message_count_max=1_000,
            body_size_max=1 << 20,
            tag_hashes=None,
        ).body

    def copy(self, data: bytes | None = None, *, after_ms: int = DELAY_MS) -> int | None:
        self.hand.clock.advance(after_ms)
        data = self.records() if data is None else data
        now_ms = self.hand.clock.now_ms()
        head_ms = self.copies.append_due(data, now_ms - DELAY_MS, now_ms, self.ends)
        self.hand.engine.write()
        return head_ms

    def length(self, topic: str = "T", queue_id: int = 0) -> int:
        return self.hand.engine.queue_range(topic, queue_id).max_offset


@pytest.fixture
def queue() -> Queue:
    return Queue()


def test_the_first_record_that_is_not_due_ends_it_and_is_the_head(queue: Queue) -> None:
    queue.put()
    queue.hand.clock.advance(1)
    second_ms = queue.hand.clock.now_ms()
    queue.put()
    assert queue.copy(after_ms=DELAY_MS - 1) == second_ms
    assert queue.length() == len(queue.ends) == 1


@pytest.mark.parametrize(
    ("topic", "queue_id"),
    [("T", "x"), ("T", "-1"), ("", "0"), ("RMQ_SYS_TRANS_HALF_TOPIC", "0"), (SCHEDULE_TOPIC, "0")],
)
def test_a_message_without_a_place_is_passed_over_and_told(
    queue: Queue, topic: str, queue_id: str, caplog: pytest.LogCaptureFixture
) -> None:
    queue.put()
    queue.put(topic, queue_id)
    queue.put()
    assert queue.copy() is None
    assert queue.length() == 2
    assert len(queue.ends) == 3
    assert queue.ends == sorted(queue.ends)
    assert "a delayed message cannot be delivered and stays where it is: " in caplog.text


def test_a_message_too_large_for_this_store_is_passed_over(
    queue: Queue, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    queue.put()
    smaller = queue.hand.engine._settings._replace(message_size_max=1)
    monkeypatch.setattr(queue.hand.engine, "_settings", smaller)
    queue.copy()
    assert queue.length() == 0
    assert len(queue.ends) == 1
    assert "at most 1 are taken" in caplog.text


def test_behind_a_damaged_record_the_queue_has_to_tell_where_to_go_on(
    queue: Queue, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(3):
        queue.put()
    data = bytearray(queue.records())
    second = int.from_bytes(data[:4])
    data[second : second + 4] = bytes(4)
    assert queue.copy(bytes(data)) is None
    assert queue.length() == 1
    assert len(queue.ends) == 2
    assert "record size 0" in caplog.text


def test_a_damaged_body_is_never_given_a_crc_that_fits(
    queue: Queue, caplog: pytest.LogCaptureFixture
) -> None:
    queue.put()
    data = queue.records()
    at = int(data.index(decode_records(data)[0].body))
    queue.copy(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
    assert queue.length() == 0
    assert len(queue.ends) == 1
    assert "its CRC does not fit" in caplog.text


def test_a_message_whose_queue_was_taken_away_comes_to_one_that_is_read(queue: Queue) -> None:
    queue.hand.create_topic("T", 8)
    queue.put("T", "7")
    queue.hand.create_topic("T", 4)
    queue.copy()
    assert queue.length("T", 7) == 0
    assert queue.length("T", 3) == 1


def test_a_topic_that_is_gone_gets_its_messages_and_that_is_told_once(
    queue: Queue, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(3):
        queue.put("Gone", "5")
    queue.copy()
    assert queue.length("Gone", 5) == 3
    assert caplog.text.count("topic[Gone] does not exist any more") == 1


def test_complaints_are_bounded(
    queue: Queue, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(copies, "TOLD_MAX", 2)
    for number in range(5):
        queue.put(f"Gone{number}")
    queue.copy()
    assert caplog.text.count("does not exist any more") == 2


def test_a_sender_with_an_ipv6_address_keeps_it(queue: Queue) -> None:
    engine = queue.hand.engine
    put(
        engine,
        SCHEDULE_TOPIC,
        now_ms=queue.hand.clock.now_ms(),
        born_host=BORN_HOST_V6,
        stored_properties=properties(REAL_TOPIC="T", REAL_QID="0", DELAY="1"),
    )
    engine.write()
    queue.copy()
    [waiting] = decode_records(queue.records())
    [copied] = decode_records(queue.records("T"))
    assert copied.born_host == waiting.born_host == BORN_HOST_V6
