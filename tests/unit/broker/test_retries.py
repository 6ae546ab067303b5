"""Messages that could not be consumed: given back by their place, or sent again."""

from __future__ import annotations

from typing import Any

import pytest

from pyromq.api import LockRequest, SendBackRequest
from pyromq.domain.group import GroupConfig
from pyromq.domain.ordering import LOCK_LEASE_MS
from pyromq.domain.route import MessageQueue
from pyromq.domain.topic import TopicConfig
from pyromq.errors import (
    FlushTimedOut,
    GroupNotFound,
    MessageIllegal,
    NoPermission,
    RequestFailed,
    RequestRefused,
    ServiceUnavailable,
    StoreFailed,
)
from pyromq.units import LogOffset
from pyromq.wire.record import Record, decode_record
from tests.support.brokers import (
    STORE_HOST,
    Asked,
    BrokerInHand,
    caller,
    heartbeat,
    properties,
    send_request,
)

SCHEDULE = "SCHEDULE_TOPIC_XXXX"
FAQ = "\nSee https://rocketmq.apache.org/docs/bestPractice/06FAQ for further details."
FIRST_ID = "7F00000100002A9F0000000000000000"


@pytest.fixture
def hand() -> BrokerInHand:
    """A broker with one message, at log offset 0, and client `a` of group CG."""
    hand = BrokerInHand()
    hand.create_topic("T")
    hand.run(hand.broker.heartbeat(caller(), heartbeat("a", topics={"T": "*"})))
    hand.send("T", b"hello", queue_id=2, properties=properties(UNIQ_KEY="K", TAGS="a", WAIT="true"))
    hand.changed_topics.clear()
    return hand


def give_back(hand: BrokerInHand, log_offset: int = 0, **changed: Any) -> Asked[None]:
    """Starts to give a message back, by a client of version 5.5.0 unless told otherwise."""
    version = changed.pop("version", 513)
    fields = {"group": "CG", "log_offset": LogOffset(log_offset), "delay_level": 0, **changed}
    asked = hand.ask(hand.broker.send_back(caller(version=version), SendBackRequest(**fields)))
    hand.end_turn()
    return asked


def given_back(hand: BrokerInHand, log_offset: int = 0, **changed: Any) -> Record:
    """The record that was stored because of it."""
    asked = give_back(hand, log_offset, **changed)
    assert asked.result is None
    return records(hand)[-1]


def refused(hand: BrokerInHand, log_offset: int = 0, **changed: Any) -> RequestRefused:
    count = len(records(hand))
    error = give_back(hand, log_offset, **changed).error
    assert isinstance(error, RequestRefused)
    assert len(records(hand)) == count, "nothing refused is stored"
    return error


def records(hand: BrokerInHand) -> list[Record]:
    """All records, in the order of the log."""
    found = []
    offset = LogOffset(0)
    while (data := hand.engine.record_at(offset)) is not None:
        found.append(decode_record(data))
        offset = LogOffset(offset + len(data))
    return found


def come_again(hand: BrokerInHand, seconds: int) -> Record:
    """The record of the message that was given back, in the retry topic after that time."""
    hand.advance(seconds * 1000)
    record = records(hand)[-1]
    assert record.topic == "%RETRY%CG"
    return record


def pairs(record: Record) -> dict[str, str]:
    return dict(item.split("\x01") for item in record.properties.decode().split("\x02") if item)


def put_group(hand: BrokerInHand, **settings: Any) -> None:
    hand.run(hand.broker.put_group(GroupConfig(group_name="CG", **settings)))


def test_messages_given_back_are_counted_by_topic_and_group(hand: BrokerInHand) -> None:
    given_back(hand)
    again = come_again(hand, seconds=10)
    given_back(hand, again.log_offset)
    hand.advance(1_000)
    assert hand.broker.stats_of("SNDBCK_PUT_NUMS", "T@CG").minute.sum == 2


# --- again, later ---------------------------------------------------------------------------------


def test_a_message_given_back_waits_for_its_group_as_it_was(hand: BrokerInHand) -> None:
    [original] = records(hand)
    stored = given_back(hand)
    assert (stored.topic, stored.queue_id, stored.queue_offset) == (SCHEDULE, 2, 0)
    assert pairs(stored) == {
        "UNIQ_KEY": "K",
        "TAGS": "a",
        "MSG_REGION": "DefaultRegion",
        "TRACE_ON": "true",
        "CLUSTER": "DefaultCluster",
        "RETRY_TOPIC": "T",
        "ORIGIN_MESSAGE_ID": FIRST_ID,
        "WAIT": "false",
        "DELAY": "3",
        "REAL_TOPIC": "%RETRY%CG",
        "REAL_QID": "0",
    }
    assert stored.reconsume_times == 1
    assert (stored.body, stored.flag, stored.sys_flag) == (b"hello", 0, original.sys_flag)
    assert stored.born_timestamp_ms == original.born_timestamp_ms
    assert stored.born_host == original.born_host
    assert stored.store_host == STORE_HOST


def test_each_time_it_waits_longer_and_still_tells_where_it_was_first(hand: BrokerInHand) -> None:
    given_back(hand)
    second = given_back(hand, come_again(hand, 10).log_offset)
    assert (second.queue_id, second.reconsume_times) == (3, 2)
    assert pairs(second)["DELAY"] == "4"
    assert pairs(second)["RETRY_TOPIC"] == "T"
    assert pairs(second)["ORIGIN_MESSAGE_ID"] == FIRST_ID
    third = given_back(hand, come_again(hand, 30).log_offset, delay_level=1)
    assert (third.queue_id, third.reconsume_times) == (0, 3)


def test_a_level_beyond_the_last_one_counts_as_the_last(hand: BrokerInHand) -> None:
    assert given_back(hand, delay_level=99).queue_id == 17
    hand.send("T", reconsume_times=15, queue_id=0)
    last = records(hand)[-1]
    stored = given_back(hand, last.log_offset)
    assert (pairs(stored)["DELAY"], stored.reconsume_times) == ("18", 16)


def test_delays_and_timers_of_its_own_do_not_count_any_more(hand: BrokerInHand) -> None:
    text = b"TAGS\x01a\x02DELAY\x012\x02REAL_TOPIC\x01T\x02REAL_QID\x011\x02TIMER_DELAY_MS\x015\x02"
    hand.engine.append(
        "T", 0, b"x", text, flag=7, sys_flag=0, born_timestamp_ms=1, born_host=bytes(8),
        reconsume_times=0, prepared_transaction_offset=9, now_ms=2,
    )  # fmt: skip
    hand.engine.write()
    stored = given_back(hand, records(hand)[-1].log_offset)
    told = pairs(stored)
    assert (told["DELAY"], told["REAL_TOPIC"], told["REAL_QID"]) == ("3", "%RETRY%CG", "0")
    assert "TIMER_DELAY_MS" not in told
    assert (stored.flag, stored.prepared_transaction_offset) == (7, 0)


def test_bytes_of_properties_that_are_no_text_stay_as_they_are(hand: BrokerInHand) -> None:
    hand.engine.append(
        "T", 0, b"x", b"k\x01\xff\xfe\x02", flag=0, sys_flag=0, born_timestamp_ms=1,
        born_host=bytes(20), reconsume_times=0, prepared_transaction_offset=0, now_ms=2,
    )  # fmt: skip
    hand.engine.write()
    stored = given_back(hand, records(hand)[-1].log_offset)
    assert stored.properties.startswith(b"k\x01\xff\xfe\x02RETRY_TOPIC\x01T\x02")
    assert stored.born_host == bytes(20)


def test_retries_are_spread_over_the_queues_of_the_retry_topic(hand: BrokerInHand) -> None:
    put_group(hand, retry_queue_nums=3)
    hand.run(hand.broker.delete_topic("%RETRY%CG"))
    hand.randoms = [2]
    assert pairs(given_back(hand))["REAL_QID"] == "2"


def test_no_retry_goes_to_a_queue_that_nobody_reads(hand: BrokerInHand) -> None:
    put_group(hand, retry_queue_nums=8)  # the topic is older and has one
    hand.randoms = [0]
    assert pairs(given_back(hand))["REAL_QID"] == "0"


def test_the_retry_topic_is_created_and_announced(hand: BrokerInHand) -> None:
    assert given_back(hand, group="New", unit_mode=True).topic == SCHEDULE
    config = hand.broker.topic("%RETRY%New")
    assert (config.read_queue_nums, config.perm, config.topic_sys_flag) == (1, 6, 2)
    assert hand.changed_topics == ["%RETRY%New"]


def test_the_retry_topic_of_an_order_topic_stays_one(hand: BrokerInHand) -> None:
    hand.create_topic("T", order=True)
    hand.run(hand.broker.heartbeat(caller(), heartbeat("a", topics={"T": "*"})))
    given_back(hand)
    given_back(hand, delay_level=-1)
    assert hand.broker.topic("%RETRY%CG").order is True


def test_a_group_that_wants_nothing_twice_is_told_that_all_is_well(hand: BrokerInHand) -> None:
    put_group(hand, retry_queue_nums=0)
    asked = give_back(hand, log_offset=12_345)
    assert asked.result is None
    assert len(records(hand)) == 1


# --- dead letters ---------------------------------------------------------------------------------


def test_after_as_many_times_as_the_group_allows_it_is_a_dead_letter(hand: BrokerInHand) -> None:
    put_group(hand, retry_max_times=1)
    given_back(hand)
    dead = given_back(hand, come_again(hand, 10).log_offset)
    assert (dead.topic, dead.queue_id, dead.reconsume_times) == ("%DLQ%CG", 0, 2)
    told = pairs(dead)
    assert (told["DELAY"], told["WAIT"], told["RETRY_TOPIC"]) == ("0", "false", "T")
    assert told["ORIGIN_MESSAGE_ID"] == FIRST_ID


def test_the_dead_letter_topic_is_created_readable_and_announced(hand: BrokerInHand) -> None:
    given_back(hand, delay_level=-1)
    config = hand.broker.topic("%DLQ%CG")
    assert (config.read_queue_nums, config.write_queue_nums, config.perm) == (1, 1, 6)
    assert hand.changed_topics == ["%DLQ%CG"]
    assert hand.pull("%DLQ%CG").message_count == 1


def test_a_consumer_may_give_a_message_up_at_once(hand: BrokerInHand) -> None:
    assert given_back(hand, delay_level=-1).topic == "%DLQ%CG"


def test_a_client_says_how_often_it_wants_a_message(hand: BrokerInHand) -> None:
    assert given_back(hand, max_reconsume_times=0).topic == "%DLQ%CG"
    assert given_back(hand, max_reconsume_times=1).topic == SCHEDULE
    assert given_back(hand, max_reconsume_times=0, version=120).topic == SCHEDULE


def test_a_dead_letter_sent_to_its_topic_again_is_an_ordinary_message(hand: BrokerInHand) -> None:
    dead = given_back(hand, delay_level=-1)
    hand.send("T", dead.body, properties=dead.properties.decode(), queue_id=0)
    again = records(hand)[-1]
    assert (again.topic, again.reconsume_times) == ("T", 0)
    assert hand.pull("T").message_count == 1


def test_a_count_of_times_that_cannot_grow_does_not(hand: BrokerInHand) -> None:
    hand.send("T", reconsume_times=(1 << 31) - 1, queue_id=0)
    dead = given_back(hand, records(hand)[-1].log_offset)
    assert (dead.topic, dead.reconsume_times) == ("%DLQ%CG", (1 << 31) - 1)


# --- the promise ----------------------------------------------------------------------------------


def test_the_answer_waits_for_the_commit_of_message_and_topic() -> None:
    hand = BrokerInHand(sync_flush=True)
    hand.send("T")
    asked = give_back(hand)
    assert asked.is_waiting
    hand.engine.flush()
    hand.broker.end_turn()
    hand.end_turn()
    assert asked.is_waiting, "the retry topic and the group are not durable yet"
    hand.flush()
    assert asked.result is None


def test_a_sync_that_never_ends_is_told() -> None:
    hand = BrokerInHand(sync_flush=True)
    hand.send("T")
    asked = give_back(hand)
    hand.advance(6_000)
    assert isinstance(asked.error, FlushTimedOut)


def test_after_the_stop_nothing_is_given_back(hand: BrokerInHand) -> None:
    hand.ask(hand.broker.stop())
    assert isinstance(refused(hand), ServiceUnavailable)


def test_a_store_that_failed_takes_nothing_back(
    hand: BrokerInHand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hand.engine, "append", _full)
    assert isinstance(refused(hand), ServiceUnavailable)
    assert hand.broker.counters.put_failed_count == 1


def test_a_message_given_back_counts_as_put(hand: BrokerInHand) -> None:
    before = hand.broker.counters.put_count
    given_back(hand)
    assert hand.broker.counters.put_count == before + 1


# --- refusals, in Apache's order ------------------------------------------------------------------


def test_refusals_come_in_apaches_order() -> None:
    hand = BrokerInHand(auto_create_subscription_group=False, broker_permission=4)
    error = refused(hand, group="Nobody", log_offset=-1)
    assert isinstance(error, GroupNotFound)
    assert error.remark == "subscription group not exist, Nobody " + FAQ

    put_group(hand)
    hand.run(hand.broker.put_topic(TopicConfig(topic_name="%RETRY%CG", perm=4)))
    error = refused(hand, log_offset=-1)
    assert isinstance(error, NoPermission)
    assert error.remark == "the broker[127.0.0.1] sending message is forbidden"

    hand.configure(broker_permission=6)
    error = refused(hand, log_offset=-1)
    assert isinstance(error, NoPermission)
    assert error.remark == "the topic[%RETRY%CG] sending message is forbidden"

    hand.run(hand.broker.put_topic(TopicConfig(topic_name="%RETRY%CG", perm=6)))
    error = refused(hand, log_offset=-1)
    assert isinstance(error, RequestFailed)
    assert error.remark == "look message by offset failed, -1"


@pytest.mark.parametrize("log_offset", [-1, 1, 88, 1 << 40, (1 << 63) - 1, -(1 << 63)])
def test_an_offset_at_which_no_message_begins_is_refused(
    hand: BrokerInHand, log_offset: int
) -> None:
    error = refused(hand, log_offset)
    assert isinstance(error, RequestFailed)
    assert error.remark == f"look message by offset failed, {log_offset}"


def test_a_message_that_waits_for_its_time_cannot_be_given_back(hand: BrokerInHand) -> None:
    waiting = given_back(hand)
    error = refused(hand, waiting.log_offset)
    assert error.remark == f"look message by offset failed, {waiting.log_offset}"


def test_the_answer_waits_for_the_sync_of_the_message_also_where_the_topic_exists() -> None:
    hand = BrokerInHand(sync_flush=True)
    hand.create_topic("T")
    hand.run(hand.broker.heartbeat(caller(), heartbeat("a", topics={"T": "*"})))
    hand.send("T")
    asked = give_back(hand)
    hand.metadata.flush()
    hand.broker.end_turn()
    assert asked.is_waiting
    hand.engine.flush()
    hand.broker.end_turn()
    assert asked.result is None


def test_a_message_that_is_not_committed_cannot_be_given_back() -> None:
    hand = BrokerInHand(sync_flush=True)
    hand.ask(hand.broker.send(caller(), send_request("T")))
    hand.end_turn()
    assert isinstance(give_back(hand).error, RequestFailed)


def test_a_group_with_an_impossible_name_is_refused(hand: BrokerInHand) -> None:
    error = refused(hand, group="no way" * 100)
    assert isinstance(error, GroupNotFound)
    assert len(error.remark) < 300


def test_properties_that_find_no_room_for_more_are_refused(hand: BrokerInHand) -> None:
    hand.send("T", properties=properties(UNIQ_KEY="K", big="x" * 32_600), queue_id=0)
    assert isinstance(refused(hand, records(hand)[-1].log_offset), MessageIllegal)


# --- sent again by a producer ---------------------------------------------------------------------


def lock(hand: BrokerInHand, group: str = "CG") -> None:
    queue = MessageQueue("broker-a", 0, "T")
    request = LockRequest(group=group, client_id="a", queues=[queue])
    assert hand.broker.lock_queues(request) == [queue]


def test_what_a_group_that_consumes_in_order_sends_again_is_a_dead_letter(
    hand: BrokerInHand,
) -> None:
    lock(hand)
    hand.send("%RETRY%CG", properties=properties(UNIQ_KEY="K", DELAY="3"), reconsume_times=1)
    dead = records(hand)[-1]
    assert (dead.topic, pairs(dead)["DELAY"]) == ("%DLQ%CG", "-1")


def test_a_group_whose_locks_have_expired_gets_its_retries_again(hand: BrokerInHand) -> None:
    lock(hand)
    hand.clock.advance(LOCK_LEASE_MS + 1)
    hand.send("%RETRY%CG", reconsume_times=1)
    assert records(hand)[-1].topic == "%RETRY%CG"


def test_locks_of_another_group_do_not_matter(hand: BrokerInHand) -> None:
    hand.run(hand.broker.put_group(GroupConfig(group_name="Other")))
    lock(hand, "Other")
    hand.send("%RETRY%CG", reconsume_times=1)
    assert records(hand)[-1].topic == "%RETRY%CG"


def test_what_a_group_that_consumes_in_order_gives_back_by_its_place_comes_again(
    hand: BrokerInHand,
) -> None:
    lock(hand)
    assert given_back(hand).topic == SCHEDULE, "as in Apache only what is sent again is dead"


def test_the_group_of_a_pop_retry_topic_is_asked(hand: BrokerInHand) -> None:
    hand.run(hand.broker.put_group(GroupConfig(group_name="G_T", retry_max_times=0)))
    hand.send("%RETRY%G_T", reconsume_times=1)
    assert records(hand)[-1].topic == "%DLQ%G_T"


def _full(*_what: object, **_more: object) -> None:
    raise StoreFailed("disk full")
