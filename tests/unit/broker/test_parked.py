"""Long polls: what wakes them, what does not, and what they cost."""

from __future__ import annotations

import time
from typing import Any

import pytest

from pyromq.api import PullStatus
from pyromq.broker.parked import CONNECTION_POLLS_MAX, POLLS_MAX, ParkedPolls, Poll
from pyromq.domain.group import GroupConfig
from pyromq.domain.topic import TopicConfig
from pyromq.errors import (
    InvalidParameter,
    NoPermission,
    ServiceUnavailable,
    SystemBusy,
    TopicNotFound,
)
from pyromq.store.engine import StoreSettings
from pyromq.store.memory import MemoryEngine
from pyromq.units import QueueOffset
from tests.support.brokers import (
    STORE_HOST,
    BrokerInHand,
    batch,
    caller,
    properties,
    send_request,
)


@pytest.fixture
def hand() -> BrokerInHand:
    hand = BrokerInHand()
    hand.create_topic("TopicTest", 4)
    return hand


def send(hand: BrokerInHand, tag: str = "A", queue_id: int = 0) -> None:
    hand.send(queue_id=queue_id, properties=properties(TAGS=tag))


# --- woken by a message ---------------------------------------------------------------------------


def test_pull_past_the_end_parks_until_a_message_arrives(hand: BrokerInHand) -> None:
    send(hand)
    pull = hand.start_pull(queue_offset=1)
    assert pull.is_waiting
    assert hand.broker.parked_count == 1
    send(hand)
    assert pull.result.status == PullStatus.FOUND
    assert pull.result.message_count == 1
    assert pull.result.next_begin_offset == 2
    assert hand.broker.parked_count == 0


def test_pull_of_an_empty_queue_parks_too(hand: BrokerInHand) -> None:
    pull = hand.start_pull()
    assert pull.is_waiting
    send(hand)
    assert pull.result.message_count == 1


def test_all_messages_of_the_turn_are_given(hand: BrokerInHand) -> None:
    pull = hand.start_pull()
    for _ in range(5):
        hand.ask(hand.broker.send(caller(), send_request()))
    hand.end_turn()
    assert pull.result.message_count == 5


def test_a_message_of_another_queue_or_topic_wakes_nobody(hand: BrokerInHand) -> None:
    pull = hand.start_pull()
    send(hand, queue_id=1)
    hand.send("Other")
    assert pull.is_waiting


def test_a_message_wakes_all_who_wait_for_it(hand: BrokerInHand) -> None:
    pulls = [hand.start_pull(by=caller(number), consumer_group=f"G{number}") for number in range(3)]
    send(hand)
    assert [pull.result.message_count for pull in pulls] == [1, 1, 1]


def test_a_message_is_not_given_before_it_is_committed() -> None:
    hand = BrokerInHand(sync_flush=True)
    hand.create_topic("TopicTest")
    pull = hand.start_pull()
    hand.ask(hand.broker.send(caller(), send_request()))
    hand.end_turn()
    assert pull.is_waiting
    hand.flush()
    assert pull.result.message_count == 1


def test_an_unwanted_message_wakes_nobody_and_is_not_read_again(hand: BrokerInHand) -> None:
    pull = hand.start_pull(subscription="B")
    send(hand, "A")
    send(hand, "A")
    assert pull.is_waiting
    send(hand, "B")
    assert pull.result.message_count == 1
    assert pull.result.next_begin_offset == 3


def test_long_runs_of_unwanted_messages_are_passed_in_one_go(hand: BrokerInHand) -> None:
    """One scan looks at 800 queue entries; a turn may bring more."""
    items = [(b"x", properties(TAGS="A"))] * 1_000
    pull = hand.start_pull(subscription="B", message_count_max=1)
    for body in (batch(*items), batch((b"y", properties(TAGS="B")))):
        hand.ask(hand.broker.send_batch(caller(), send_request(body=body)))
    hand.end_turn()
    assert pull.result.message_count == 1
    assert pull.result.next_begin_offset == 1_001


# --- woken by time --------------------------------------------------------------------------------


def test_after_the_suspend_time_nothing_was_found(hand: BrokerInHand) -> None:
    send(hand)
    pull = hand.start_pull(queue_offset=1, suspend_timeout_ms=15_000)
    hand.advance(14_900)
    assert pull.is_waiting
    hand.advance(100)
    assert pull.result.status == PullStatus.NOT_FOUND
    assert pull.result.remark == "OFFSET_OVERFLOW_ONE"
    assert pull.result.next_begin_offset == 1


def test_after_unwanted_messages_the_client_goes_on_behind_them(hand: BrokerInHand) -> None:
    pull = hand.start_pull(subscription="B")
    send(hand, "A")
    hand.advance(15_000)
    assert pull.result.status == PullStatus.RETRY_IMMEDIATELY
    assert pull.result.remark == "NO_MATCHED_MESSAGE"
    assert pull.result.next_begin_offset == 1


def test_deadlines_end_polls_one_by_one(hand: BrokerInHand) -> None:
    late = hand.start_pull(suspend_timeout_ms=20_000)
    early = hand.start_pull(suspend_timeout_ms=5_000)
    hand.advance(5_000)
    assert not early.is_waiting
    assert late.is_waiting
    hand.advance(15_000)
    assert not late.is_waiting


def test_who_may_not_wait_is_answered_at_once(hand: BrokerInHand) -> None:
    assert not hand.start_pull(may_suspend=False).is_waiting


def test_without_long_polling_the_hold_is_short(hand: BrokerInHand) -> None:
    hand.configure(long_polling_enable=False, short_polling_time_ms=1_000)
    pull = hand.start_pull(suspend_timeout_ms=15_000)
    hand.advance(1_000)
    assert pull.result.status == PullStatus.NOT_FOUND


@pytest.mark.parametrize("timeout_ms", [0, -5])
def test_no_suspend_time_ends_at_the_next_look_at_the_clock(
    hand: BrokerInHand, timeout_ms: int
) -> None:
    pull = hand.start_pull(suspend_timeout_ms=timeout_ms)
    hand.advance(100)
    assert pull.result.status == PullStatus.NOT_FOUND


def test_a_hold_has_an_upper_bound(hand: BrokerInHand) -> None:
    pull = hand.start_pull(suspend_timeout_ms=2**62)
    hand.advance(10 * 60_000)
    assert pull.result.status == PullStatus.NOT_FOUND


# --- woken by a change ----------------------------------------------------------------------------


def test_the_end_of_its_topic_ends_a_poll(hand: BrokerInHand) -> None:
    pull = hand.start_pull()
    hand.run(hand.broker.delete_topic("TopicTest"))
    assert isinstance(pull.error, TopicNotFound)


def test_a_topic_that_may_not_be_read_any_more_ends_its_polls_at_once(hand: BrokerInHand) -> None:
    pull = hand.start_pull()
    hand.create_topic("TopicTest", perm=2)
    assert isinstance(pull.error, NoPermission)


def test_a_queue_that_is_not_read_any_more_ends_its_polls_at_once(hand: BrokerInHand) -> None:
    gone, kept = hand.start_pull(queue_id=3), hand.start_pull(queue_id=0)
    config = TopicConfig(topic_name="TopicTest", read_queue_nums=3, write_queue_nums=4)
    hand.run(hand.broker.put_topic(config))
    assert isinstance(gone.error, InvalidParameter)
    assert kept.result.status == PullStatus.NOT_FOUND, "it comes again and finds what changed"


def test_a_topic_put_as_it_is_wakes_nobody(hand: BrokerInHand) -> None:
    pull = hand.start_pull()
    hand.run(hand.broker.put_topic(hand.broker.topic("TopicTest")))
    assert pull.is_waiting


def test_a_group_that_may_not_consume_any_more_ends_its_polls_at_once(hand: BrokerInHand) -> None:
    pulls = [hand.start_pull(by=caller(number), queue_id=number) for number in range(3)]
    other = hand.start_pull(consumer_group="Other")
    hand.run(hand.broker.put_group(GroupConfig(group_name="CG", consume_enable=False)))
    assert all(isinstance(pull.error, NoPermission) for pull in pulls)
    assert other.is_waiting
    assert hand.broker.parked_count == 1


def test_what_changed_while_it_waited_counts_when_it_wakes(hand: BrokerInHand) -> None:
    pull = hand.start_pull()
    hand.configure(broker_permission=2)
    send(hand)
    assert isinstance(pull.error, NoPermission)


def test_the_woken_pull_does_not_commit_again(hand: BrokerInHand) -> None:
    pull = hand.start_pull(commit_offset=QueueOffset(0))
    hand.run(hand.broker.commit_offset(caller(), "CG", "TopicTest", 0, QueueOffset(5)))
    send(hand)
    assert pull.result.message_count == 1
    assert hand.metadata.tables.offset("CG", "TopicTest", 0) == 5


def test_the_woken_pull_tells_how_far_the_group_has_pulled(hand: BrokerInHand) -> None:
    pull = hand.start_pull()
    assert hand.metadata.tables.pull_offset("CG", "TopicTest", 0) == 0
    send(hand)
    assert pull.result.next_begin_offset == 1
    assert hand.metadata.tables.pull_offset("CG", "TopicTest", 0) == 1


def test_a_lost_connection_ends_its_polls_only(hand: BrokerInHand) -> None:
    lost = hand.start_pull(by=caller(1))
    kept = hand.start_pull(by=caller(2))
    hand.broker.connection_lost(1)
    assert isinstance(lost.error, ServiceUnavailable)
    assert kept.is_waiting
    assert hand.broker.parked_count == 1


def test_the_end_of_the_broker_ends_all_polls(hand: BrokerInHand) -> None:
    pulls = [hand.start_pull(queue_id=queue_id) for queue_id in range(4)]
    hand.ask(hand.broker.stop())
    assert all(isinstance(pull.error, ServiceUnavailable) for pull in pulls)
    late = hand.start_pull()
    assert isinstance(late.error, ServiceUnavailable)


# --- bounds and cost ------------------------------------------------------------------------------


def polls_over(engine: MemoryEngine | None = None) -> ParkedPolls:
    return ParkedPolls(engine or MemoryEngine(StoreSettings(root="", store_host=STORE_HOST)))


def poll(**changed: Any) -> Poll:
    fields: dict[str, Any] = {
        "message_count_max": 32,
        "body_size_max": 1 << 18,
        "tag_hashes": None,
        "group": "CG",
        "connection_id": 1,
        "deadline_ms": 15_000,
        **changed,
    }
    queue_id = fields.pop("queue_id", 0)
    return Poll("T", queue_id, QueueOffset(0), **fields)


def test_one_connection_holds_a_bounded_number_of_polls() -> None:
    parked = polls_over()
    for _ in range(CONNECTION_POLLS_MAX):
        parked.park(poll())
    with pytest.raises(SystemBusy, match=f"{CONNECTION_POLLS_MAX} pulls of this connection"):
        parked.park(poll())
    parked.park(poll(connection_id=2))


def test_all_connections_together_hold_a_bounded_number(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pyromq.broker.parked.POLLS_MAX", 10)
    assert POLLS_MAX == 200_000
    parked = polls_over()
    for number in range(10):
        parked.park(poll(connection_id=number))
    with pytest.raises(SystemBusy, match="10 pulls are waiting"):
        parked.park(poll(connection_id=11))
    assert len(parked) == 10


def test_a_hundred_thousand_idle_polls_cost_next_to_nothing() -> None:
    parked = polls_over()
    for number in range(100_000):
        parked.park(
            poll(queue_id=number % 1000, connection_id=number // 1000, deadline_ms=15_000 + number)
        )
    begin = time.process_time()
    for now_ms in range(0, 15_000, 100):
        parked.expire(now_ms)
    assert time.process_time() - begin < 0.5, "150 looks at the clock"
    assert len(parked) == 100_000
    parked.expire(15_000 + 100_000)
    assert len(parked) == 0


def test_finished_polls_leave_no_deadlines_behind() -> None:
    parked = polls_over()
    for number in range(5_000):
        parked.park(poll(connection_id=number, deadline_ms=10**9))
        parked.drop_connection(number)
    assert len(parked._deadlines) == 5_000
    parked.expire(0)
    assert len(parked._deadlines) == 0
    assert not parked._by_topic
    assert not parked._by_connection


def test_polls_that_want_the_same_share_one_read() -> None:
    engine = MemoryEngine(StoreSettings(root="", store_host=STORE_HOST, sync_flush=False))
    reads = []
    read = engine.read

    def counting(*place: Any, **bounds: Any) -> Any:
        reads.append(place)
        return read(*place, **bounds)

    engine.read = counting  # type: ignore[method-assign]
    parked = polls_over(engine)
    latches = [parked.park(poll(connection_id=number)) for number in range(50)]
    engine.append(
        "T",
        0,
        b"x",
        b"",
        flag=0,
        sys_flag=0,
        born_timestamp_ms=0,
        born_host=STORE_HOST,
        reconsume_times=0,
        prepared_transaction_offset=0,
        now_ms=0,
    )
    engine.write()
    parked.wake(engine.take_arrivals())
    assert all(latch.is_set for latch in latches)
    assert len(reads) == 1
