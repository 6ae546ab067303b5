"""Delays: what waits comes on time, in turns that end, and is not forgotten before it is safe."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from pyromq.broker import delays
from pyromq.broker.delays import LOOK_INTERVAL_MS, REST_MS, RETRY_INTERVAL_MS, TURN_COUNT_MAX
from pyromq.config import StoreConfig
from pyromq.domain.topic import SCHEDULE_TOPIC
from pyromq.errors import StoreFailed
from pyromq.store.engine import QueueRead
from pyromq.units import QueueOffset
from pyromq.wire.record import Record, decode_records, parse_properties
from tests.support.brokers import BrokerInHand, caller, properties, send_request
from tests.support.engines import split_records

MINUTE_MS = 60_000


@pytest.fixture
def hand() -> BrokerInHand:
    made = BrokerInHand()
    made.create_topic("TopicTest")
    return made


def send_later(
    hand: BrokerInHand, level: int = 1, topic: str = "TopicTest", count: int = 1, **more: str
) -> None:
    for _ in range(count):
        hand.send(topic, properties=properties(UNIQ_KEY="ID1", DELAY=str(level), **more))


def stored(hand: BrokerInHand, topic: str = "TopicTest", queue_id: int = 0) -> list[Record]:
    read = hand.engine.read(
        topic,
        queue_id,
        QueueOffset(0),
        message_count_max=100_000,
        body_size_max=1 << 30,
        tag_hashes=None,
    )
    return decode_records(read.body)


def properties_of(record: Record) -> dict[str, str]:
    return parse_properties(record.properties.decode())


def ring_in(hand: BrokerInHand) -> int | None:
    """Milliseconds until the broker wakes up for a delay, None if it does not."""
    due_ms = hand.broker._delays.alarm.due_ms
    return None if due_ms is None else due_ms - hand.clock.monotonic_ms()


def noted(hand: BrokerInHand) -> dict[int, int]:
    """Level → offset in the journal."""
    return hand.metadata.tables.delay_offsets


# --- on time ------------------------------------------------------------------------------------


def test_a_message_is_delivered_when_its_delay_is_over(hand: BrokerInHand) -> None:
    send_later(hand, 2)
    hand.advance(4_999)
    assert stored(hand) == []
    hand.advance(1)
    [record] = stored(hand)
    assert record.store_timestamp_ms == hand.clock.now_ms()


def test_nothing_wakes_the_broker_while_nothing_waits(hand: BrokerInHand) -> None:
    assert ring_in(hand) is None
    hand.send()
    assert ring_in(hand) is None
    send_later(hand)
    assert ring_in(hand) == 1_000
    hand.advance(1_000)
    assert ring_in(hand) is None


def test_the_first_of_all_levels_sets_the_alarm(hand: BrokerInHand) -> None:
    send_later(hand, 4)
    assert ring_in(hand) == LOOK_INTERVAL_MS
    hand.advance(600)
    send_later(hand, 1)
    hand.advance(700)
    assert ring_in(hand) == 300


def test_what_is_due_in_quick_succession_goes_together(hand: BrokerInHand) -> None:
    for _ in range(3):
        send_later(hand)
        hand.clock.advance(1)
    hand.advance(997)
    assert len(stored(hand)) == 1
    assert ring_in(hand) == REST_MS
    hand.advance(REST_MS)
    assert len(stored(hand)) == 3


def test_a_level_is_first_in_first_out(hand: BrokerInHand) -> None:
    for name in "abc":
        send_later(hand, 1, a=name)
        hand.clock.advance(10)
    hand.advance(2_000)
    assert [properties_of(record)["a"] for record in stored(hand)] == ["a", "b", "c"]


def test_each_message_comes_back_to_its_own_topic_and_queue(hand: BrokerInHand) -> None:
    hand.create_topic("Other", 8)
    hand.send(queue_id=3, properties=properties(UNIQ_KEY="ID1", DELAY="1"))
    hand.send("Other", queue_id=7, properties=properties(UNIQ_KEY="ID2", DELAY="1"))
    hand.advance(1_000)
    assert [record.queue_id for record in stored(hand, "TopicTest", 3)] == [3]
    assert [record.queue_id for record in stored(hand, "Other", 7)] == [7]


def test_a_parked_pull_gets_a_message_when_it_comes(hand: BrokerInHand) -> None:
    send_later(hand)
    pull = hand.start_pull()
    hand.advance(1_000)
    assert pull.result.message_count == 1


def test_the_copy_keeps_what_the_sender_said_and_is_found_by_its_tag(hand: BrokerInHand) -> None:
    hand.send(
        body=b"later",
        properties=properties(UNIQ_KEY="ID1", TAGS="TagB", DELAY="1", a="b"),
        flag=7,
        reconsume_times=3,
        born_timestamp_ms=123,
    )
    [waiting] = stored(hand, SCHEDULE_TOPIC)
    hand.advance(1_000)
    [record] = stored(hand)
    assert (record.body, record.flag, record.reconsume_times) == (b"later", 7, 3)
    assert (record.born_timestamp_ms, record.born_host) == (123, waiting.born_host)
    assert record.properties == waiting.properties
    assert properties_of(record)["REAL_TOPIC"] == "TopicTest"
    assert hand.pull(subscription="TagB").message_count == 1
    assert hand.pull(subscription="TagA").message_count == 0


def test_a_clock_set_forward_is_noticed_within_a_second(hand: BrokerInHand) -> None:
    send_later(hand, 18)
    hand.clock.wall_ms += 2 * 60 * MINUTE_MS
    hand.advance(LOOK_INTERVAL_MS)
    assert len(stored(hand)) == 1


def test_a_clock_set_back_makes_messages_late_by_their_delay_at_most(hand: BrokerInHand) -> None:
    send_later(hand, 2)
    hand.clock.wall_ms -= 60 * MINUTE_MS
    hand.advance(LOOK_INTERVAL_MS)
    hand.advance(4_999)
    assert stored(hand) == []
    hand.advance(1)
    assert len(stored(hand)) == 1


def test_what_is_delayed_after_the_clock_was_set_back_is_not_early(hand: BrokerInHand) -> None:
    hand.send()
    hand.clock.wall_ms -= 60 * MINUTE_MS
    send_later(hand, 2, a="1")
    hand.advance(1_000)
    send_later(hand, 2, a="2")
    hand.advance(3_999)
    assert len(stored(hand)) == 1
    hand.advance(1)
    assert [properties_of(record).get("a") for record in stored(hand)] == [None, "1"]
    hand.advance(4_999)
    assert len(stored(hand)) == 2
    hand.advance(1)
    assert [properties_of(record).get("a") for record in stored(hand)] == [None, "1", "2"]
    hand.flush()
    assert noted(hand) == {2: 2}


def test_after_a_restart_with_the_clock_set_back_messages_wait_from_then_on(
    hand: BrokerInHand,
) -> None:
    send_later(hand, 2, count=3)
    hand.clock.wall_ms -= 60 * MINUTE_MS
    hand.restart()
    hand.advance(4_999)
    assert stored(hand) == []
    hand.advance(1)
    assert len(stored(hand)) == 3


# --- in turns that end --------------------------------------------------------------------------


def test_a_turn_delivers_its_share_and_the_next_one_goes_on_at_once(hand: BrokerInHand) -> None:
    send_later(hand, 1, count=TURN_COUNT_MAX + 3)
    hand.advance(1_000)
    assert len(stored(hand)) == TURN_COUNT_MAX
    assert ring_in(hand) == 0
    hand.advance(0)
    assert len(stored(hand)) == TURN_COUNT_MAX + 3
    assert ring_in(hand) is None


def test_levels_that_are_due_share_a_turn(hand: BrokerInHand) -> None:
    hand.create_topic("Other")
    send_later(hand, 2, count=TURN_COUNT_MAX)
    hand.clock.advance(4_000)
    send_later(hand, 1, "Other")
    hand.clock.advance(1_000)
    hand.advance(0)
    assert len(stored(hand, "Other")) == 1
    assert len(stored(hand)) == TURN_COUNT_MAX // 2


def test_large_messages_make_a_turn_shorter(
    hand: BrokerInHand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delays, "TURN_SIZE_MAX", 3_000)
    for _ in range(5):
        hand.send(body=bytes(1_000), properties=properties(UNIQ_KEY="ID1", DELAY="1"))
    hand.advance(1_000)
    assert len(stored(hand)) == 3
    hand.advance(0)
    assert len(stored(hand)) == 5


def test_only_committed_messages_are_delivered() -> None:
    hand = BrokerInHand(sync_flush=True)
    hand.create_topic("TopicTest")
    later = properties(UNIQ_KEY="ID1", DELAY="1")
    hand.ask(hand.broker.send(caller(), send_request(properties=later)))
    hand.end_turn()
    hand.advance(1_000)
    assert ring_in(hand) is None
    hand.flush()
    assert ring_in(hand) == 0
    hand.advance(0)
    hand.flush()
    assert len(stored(hand)) == 1


# --- never forgotten before it is safe ----------------------------------------------------------


def test_the_journal_follows_the_flush_of_the_copies_not_their_write(hand: BrokerInHand) -> None:
    send_later(hand, 1, count=2)
    hand.advance(1_000)
    assert len(stored(hand)) == 2
    assert noted(hand) == {}
    hand.flush()
    assert noted(hand) == {1: 2}


def test_after_a_crash_what_was_not_safe_is_delivered_again(hand: BrokerInHand) -> None:
    send_later(hand)
    hand.advance(1_000)
    hand.flush()
    send_later(hand)
    hand.advance(1_000)
    assert len(stored(hand)) == 2
    hand.restart()
    hand.advance(0)
    assert len(stored(hand)) == 3


def test_after_a_clean_stop_nothing_is_delivered_again(hand: BrokerInHand) -> None:
    send_later(hand)
    hand.advance(1_000)
    hand.run(hand.broker.stop())
    hand.engine.flush()  # as the engine's close does
    hand.broker.store_closed()
    assert noted(hand) == {1: 1}
    hand.restart()
    hand.advance(0)
    assert len(stored(hand)) == 1


def test_a_closed_store_is_not_written_any_more(hand: BrokerInHand) -> None:
    hand.run(hand.broker.stop())
    hand.engine.close()
    hand.broker.store_closed()
    hand.metadata.put_kv("n", "k", "v")
    hand.broker.end_turn()
    assert hand.metadata.positions().written == hand.metadata.positions().appended


def test_a_broker_that_stops_delivers_no_more(hand: BrokerInHand) -> None:
    send_later(hand)
    hand.run(hand.broker.stop())
    hand.advance(5_000)
    assert ring_in(hand) is None
    assert stored(hand) == []


async def test_what_is_committed_during_the_stop_waits_for_the_next_start() -> None:
    hand = BrokerInHand(sync_flush=True)
    hand.create_topic("TopicTest")
    later = properties(UNIQ_KEY="ID1", DELAY="1")
    hand.ask(hand.broker.send(caller(), send_request(properties=later)))
    stopping = asyncio.create_task(hand.broker.stop())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    hand.flush()
    async with asyncio.timeout(5):
        await stopping
    assert ring_in(hand) is None
    hand.restart()
    assert ring_in(hand) is not None


@pytest.mark.parametrize("is_final", [False, True])
def test_a_write_that_fails_is_made_up_for_while_the_store_lives(
    hand: BrokerInHand, is_final: bool, caplog: pytest.LogCaptureFixture
) -> None:
    send_later(hand, 1, count=2)
    hand.engine.fail_next_write("no space", is_final=is_final)
    hand.advance(1_000)
    assert stored(hand) == []
    assert "delayed messages are held back" in caplog.text
    if is_final:
        assert ring_in(hand) is None
        return
    assert ring_in(hand) == RETRY_INTERVAL_MS
    hand.advance(RETRY_INTERVAL_MS)
    hand.flush()
    assert len(stored(hand)) == 2
    assert noted(hand) == {1: 2}
    assert ring_in(hand) is None


def test_a_store_that_refuses_is_asked_again_and_told_once(
    hand: BrokerInHand, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise StoreFailed("busy")

    send_later(hand)
    with monkeypatch.context() as patched:
        patched.setattr(hand.engine, "append", refuse)
        for _ in range(3):
            hand.advance(1_000)
    assert caplog.text.count("delayed messages are held back: busy") == 1
    hand.advance(1_000)
    assert len(stored(hand)) == 1


def test_a_level_that_cannot_be_read_holds_no_other_back(
    hand: BrokerInHand, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    read = hand.engine.read

    def refuse_level_2(topic: str, queue_id: int, *place: Any, **how: Any) -> QueueRead:
        if (topic, queue_id) == (SCHEDULE_TOPIC, 1):
            raise StoreFailed("bad sector")
        return read(topic, queue_id, *place, **how)

    send_later(hand, 2, a="2")
    hand.clock.advance(4_000)
    with monkeypatch.context() as patched:
        patched.setattr(hand.engine, "read", refuse_level_2)
        for _ in range(5):
            send_later(hand, 1, a="1")
            hand.advance(1_000)
    assert [properties_of(record)["a"] for record in stored(hand)] == ["1"] * 5
    assert caplog.text.count("delayed messages are held back: bad sector") == 1
    hand.advance(RETRY_INTERVAL_MS)
    assert len(stored(hand)) == 6


def test_a_level_whose_head_cannot_be_seen_is_looked_at_again(
    hand: BrokerInHand, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> int:
        raise StoreFailed("bad sector")

    with monkeypatch.context() as patched:
        patched.setattr(hand.engine, "store_time", refuse)
        send_later(hand, 2)
    assert ring_in(hand) == RETRY_INTERVAL_MS
    hand.advance(RETRY_INTERVAL_MS)
    assert stored(hand) == []
    hand.advance(4_000)
    assert len(stored(hand)) == 1


def test_a_fault_with_one_message_stops_no_other_level_and_repeats_nothing(
    hand: BrokerInHand, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    append = hand.engine.append

    def trip_over_7(*place: Any, **how: Any) -> Any:
        if how["flag"] == 7:
            raise OverflowError("nobody thought of that")
        return append(*place, **how)

    send_later(hand, 2, a="before")
    hand.send(properties=properties(UNIQ_KEY="ID1", DELAY="2"), flag=7)
    send_later(hand, 1, a="other")
    monkeypatch.setattr(hand.engine, "append", trip_over_7)
    for _ in range(8):
        hand.advance(1_000)
    assert [properties_of(record)["a"] for record in stored(hand)] == ["other", "before"]
    assert caplog.text.count("held back: nobody thought of that") == 1
    assert "Traceback" in caplog.text
    monkeypatch.undo()
    hand.advance(RETRY_INTERVAL_MS)
    assert len(stored(hand)) == 3


def test_a_fault_in_the_stage_of_the_log_makes_no_delivery_forgotten(
    hand: BrokerInHand, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("a fault of ours")

    send_later(hand, 1, count=2)
    hand.engine.fail_next_write("no space", is_final=False)
    with monkeypatch.context() as patched:
        patched.setattr(hand.broker._store_turn.committed, "fail_beyond", fail)
        with pytest.raises(RuntimeError):
            hand.advance(1_000)
        hand.end_turn()
    hand.advance(RETRY_INTERVAL_MS)
    hand.flush()
    assert len(stored(hand)) == 2


def test_a_fault_in_waking_polls_makes_no_delayed_message_forgotten(
    hand: BrokerInHand, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("a fault of ours")

    with monkeypatch.context() as patched:
        patched.setattr(hand.broker._parked, "wake", fail)
        with pytest.raises(RuntimeError):
            send_later(hand)
        hand.end_turn()
    hand.advance(1_000)
    assert len(stored(hand)) == 1


def test_a_message_the_log_does_not_have_is_passed_over(
    hand: BrokerInHand, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    read = hand.engine.read

    def miss_the_first(topic: str, queue_id: int, offset: QueueOffset, **how: Any) -> QueueRead:
        found = read(topic, queue_id, offset, **how)
        if offset:
            return found
        return found._replace(body=b"", message_count=0, next_offset=QueueOffset(1))

    send_later(hand, 1, count=3)
    with monkeypatch.context() as patched:
        patched.setattr(hand.engine, "read", miss_the_first)
        hand.advance(1_000)
    hand.flush()
    assert len(stored(hand)) == 2
    assert noted(hand) == {1: 3}
    assert "delay level 1: no message is found at some of the places 0 to 0" in caplog.text


@pytest.mark.parametrize("damaged", [{0}, {1}, {2}, {0, 1}, {1, 2}, {0, 1, 2}])
def test_messages_the_log_has_no_more_do_not_hold_up_those_around_them(
    hand: BrokerInHand,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    damaged: set[int],
) -> None:
    read = hand.engine.read

    def pass_over(topic: str, queue_id: int, offset: QueueOffset, **how: Any) -> QueueRead:
        found = read(topic, queue_id, offset, **how)
        records = [
            record
            for record in split_records(found.body)
            if int.from_bytes(record[20:28], "big") not in damaged
        ]
        return found._replace(body=b"".join(records), message_count=len(records))

    send_later(hand, 1, count=3)
    with monkeypatch.context() as patched:
        patched.setattr(hand.engine, "read", pass_over)
        hand.advance(1_000)
    hand.flush()
    assert len(stored(hand)) == 3 - len(damaged)
    assert noted(hand) == {1: 3}
    assert caplog.text.count("no message is found at some of the places 0 to 2") == 1
    send_later(hand, 1)
    hand.advance(1_000)
    assert len(stored(hand)) == 4 - len(damaged)


def test_a_journal_that_failed_does_not_stop_deliveries(hand: BrokerInHand) -> None:
    send_later(hand)
    hand.metadata._journal.fail_next_write("gone")  # type: ignore[attr-defined]
    hand.metadata.put_kv("n", "k", "v")
    hand.broker.end_turn()
    hand.advance(1_000)
    hand.flush()
    assert len(stored(hand)) == 1
    assert noted(hand) == {}


# --- at the start -------------------------------------------------------------------------------


@pytest.mark.parametrize(("offset", "delivered"), [(-5, 2), (0, 2), (1, 1), (2, 0), (9, 0)])
def test_the_start_goes_on_where_the_journal_says_within_the_queue(
    hand: BrokerInHand, offset: int, delivered: int
) -> None:
    send_later(hand, 1, count=2)
    hand.metadata.move_delay_offsets({1: offset})
    hand.restart()
    hand.advance(1_000)
    hand.flush()
    assert len(stored(hand)) == delivered
    assert noted(hand) == {1: 2}


def test_a_corrected_offset_is_noted_before_the_queue_grows_past_the_wrong_one(
    hand: BrokerInHand, caplog: pytest.LogCaptureFixture
) -> None:
    send_later(hand)
    hand.metadata.move_delay_offsets({1: 5})
    hand.restart()
    assert noted(hand) == {1: 1}
    assert "delay level 1: delivered up to 5, but its queue has 0 to 1: corrected" in caplog.text


def test_what_fell_due_while_the_broker_was_away_comes_at_once(hand: BrokerInHand) -> None:
    send_later(hand, 2, count=3)
    hand.clock.advance(MINUTE_MS)
    hand.restart()
    assert ring_in(hand) == 0
    hand.advance(0)
    assert len(stored(hand)) == 3


def test_other_delays_count_for_what_waits_already(hand: BrokerInHand) -> None:
    send_later(hand, 2)
    hand.store_settings.replace(StoreConfig(message_delay_level="1s 20s"))
    hand.restart()
    hand.advance(19_999)
    assert stored(hand) == []
    hand.advance(1)
    assert len(stored(hand)) == 1


def test_a_level_that_is_not_configured_any_more_is_delivered_like_the_highest(
    hand: BrokerInHand,
) -> None:
    send_later(hand, 18)
    hand.store_settings.replace(StoreConfig(message_delay_level="1s 3s"))
    hand.restart()
    hand.advance(3_000)
    assert len(stored(hand)) == 1


def test_a_level_whose_queue_was_taken_away_goes_on_with_what_comes_then(
    hand: BrokerInHand,
) -> None:
    send_later(hand, 1, count=3)
    hand.engine.drop_topic(SCHEDULE_TOPIC)
    hand.advance(1_000)
    assert ring_in(hand) is None
    send_later(hand)
    hand.advance(1_000)
    hand.flush()
    assert len(stored(hand)) == 1
    assert noted(hand) == {1: 1}


def test_what_comes_to_a_new_queue_was_not_seen_waiting_in_the_old_one(hand: BrokerInHand) -> None:
    send_later(hand, 1, count=3)
    hand.clock.wall_ms -= 60 * MINUTE_MS
    hand.advance(LOOK_INTERVAL_MS)
    hand.engine.drop_topic(SCHEDULE_TOPIC)
    hand.advance(LOOK_INTERVAL_MS)
    send_later(hand)
    hand.advance(999)
    assert stored(hand) == []
    hand.advance(1)
    assert len(stored(hand)) == 1


# --- what is asked ------------------------------------------------------------------------------


def test_progress_is_told_in_apaches_form(hand: BrokerInHand) -> None:
    send_later(hand, 1, count=2)
    send_later(hand, 18)
    info = hand.broker.runtime_info()
    assert info["scheduleMessageOffset_1"] == "0,2"
    assert info["scheduleMessageOffset_18"] == "0,1"
    assert "scheduleMessageOffset_2" not in info
    hand.advance(1_000)
    assert hand.broker.runtime_info()["scheduleMessageOffset_1"] == "2,2"


def test_all_delay_offsets_are_the_file_as_it_would_be_written(hand: BrokerInHand) -> None:
    stamp = hand.metadata.tables.delay_offsets_version.timestamp
    head = f'{{"dataVersion":{{"counter":0,"stateVersion":0,"timestamp":{stamp}}},"offsetTable":{{'
    assert hand.broker.all_delay_offsets().decode() == head + "}}"
    send_later(hand, 1, count=2)
    send_later(hand, 18)
    hand.advance(1_000)
    hand.flush()
    assert hand.broker.all_delay_offsets().decode() == head + "1:2,18:0}}"


def test_delivered_messages_count_as_stored_ones(hand: BrokerInHand) -> None:
    send_later(hand, 1, count=2)
    count, size = hand.broker.counters.put_count, hand.broker.counters.put_size
    hand.advance(1_000)
    assert hand.broker.counters.put_count == count + 2
    assert size < hand.broker.counters.put_size < 2 * size + 100
