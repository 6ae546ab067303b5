"""Order locks of a broker: what may be locked, how many, and what a restart leaves."""

from __future__ import annotations

import pytest

from pyromq.api import LockRequest
from pyromq.broker import locks
from pyromq.broker.locks import REQUEST_QUEUES_MAX
from pyromq.domain.ordering import CLIENT_VALIDITY_MS, LOCK_LEASE_MS, OrderLocks
from pyromq.domain.route import MessageQueue
from pyromq.domain.topic import TopicConfig
from pyromq.errors import (
    GroupNotFound,
    InvalidParameter,
    RequestRefused,
    ServiceUnavailable,
    StoreFailed,
    SystemBusy,
)
from tests.support.brokers import BrokerInHand, caller, heartbeat


@pytest.fixture
def hand() -> BrokerInHand:
    """A broker with topic T of four queues, and client `a` of group CG."""
    hand = BrokerInHand()
    hand.create_topic("T", 4)
    hand.run(hand.broker.heartbeat(caller(), heartbeat("a", topics={"T": "*"})))
    return hand


def request(client: str, *queue_ids: int, topic: str = "T", **changed: str) -> LockRequest:
    broker = changed.get("broker", "broker-a")
    return LockRequest(
        group=changed.get("group", "CG"),
        client_id=client,
        queues=[MessageQueue(broker, queue_id, topic) for queue_id in queue_ids],
    )


def lock(hand: BrokerInHand, client: str, *queue_ids: int, **changed: str) -> list[int]:
    locked = hand.broker.lock_queues(request(client, *queue_ids, **changed))
    hand.end_turn()
    return [queue.queue_id for queue in locked]


def unlock(hand: BrokerInHand, client: str, *queue_ids: int, **changed: str) -> None:
    hand.broker.unlock_queues(request(client, *queue_ids, **changed))
    hand.end_turn()


def refused(hand: BrokerInHand, request: LockRequest) -> RequestRefused:
    with pytest.raises(RequestRefused) as error:
        hand.broker.lock_queues(request)
    return error.value


# --- who gets what --------------------------------------------------------------------------------


def test_the_answer_names_the_queues_as_they_were_asked_for(hand: BrokerInHand) -> None:
    wanted = request("a", 2, 0)
    assert list(hand.broker.lock_queues(wanted)) == wanted.queues


def test_two_clients_share_the_queues_of_a_topic(hand: BrokerInHand) -> None:
    assert lock(hand, "a", 0, 1) == [0, 1]
    assert lock(hand, "b", 0, 1, 2, 3) == [2, 3]
    unlock(hand, "a", 1)
    assert lock(hand, "b", 1) == [1]


def test_a_queue_named_twice_is_locked_once(hand: BrokerInHand) -> None:
    assert lock(hand, "a", 1, 1) == [1]


def test_a_lock_outlives_its_clients_connection_and_ends_by_time(hand: BrokerInHand) -> None:
    lock(hand, "a", 0)
    hand.broker.connection_lost(1)
    assert lock(hand, "b", 0) == []
    hand.advance(LOCK_LEASE_MS)
    assert lock(hand, "b", 0) == []
    hand.advance(1)
    assert lock(hand, "b", 0) == [0]


def test_the_lease_can_be_set_while_running(hand: BrokerInHand) -> None:
    lock(hand, "a", 0)
    hand.advance(1_001)
    assert lock(hand, "b", 0) == []
    hand.configure(order_lock_lease_ms=1_000)
    assert lock(hand, "b", 0) == [0]


def test_the_wall_clock_does_not_move_a_lease(hand: BrokerInHand) -> None:
    lock(hand, "a", 0)
    hand.clock.wall_ms += 10 * LOCK_LEASE_MS
    assert lock(hand, "b", 0) == []


def test_unlocking_what_another_client_holds_changes_nothing(hand: BrokerInHand) -> None:
    lock(hand, "a", 0)
    unlock(hand, "b", 0, 1)
    unlock(hand, "a", 0, broker="broker-b")
    unlock(hand, "a", 0, group="Nobody")
    assert lock(hand, "b", 0) == []


# --- what may be locked ---------------------------------------------------------------------------


def test_the_queues_of_the_groups_retry_topic_are_locked_like_others(hand: BrokerInHand) -> None:
    assert lock(hand, "a", 0, topic="%RETRY%CG") == [0]


@pytest.mark.parametrize(
    ("topic", "broker", "queue_id"),
    [("Nope", "broker-a", 0), ("T", "broker-b", 0), ("T", "broker-a", 4), ("T", "broker-a", -1)],
)
def test_what_is_no_queue_of_this_broker_is_not_given_and_not_remembered(
    hand: BrokerInHand, topic: str, broker: str, queue_id: int
) -> None:
    assert lock(hand, "a", queue_id, topic=topic, broker=broker) == []
    assert list(hand.metadata.tables.held_locks()) == []


def test_a_topic_with_more_queues_to_write_than_to_read_keeps_all_its_locks(
    hand: BrokerInHand,
) -> None:
    config = TopicConfig(topic_name="T", read_queue_nums=2, write_queue_nums=4)
    hand.run(hand.broker.put_topic(config))
    assert lock(hand, "a", 1, 3) == [1, 3]


def test_a_group_must_exist(hand: BrokerInHand) -> None:
    error = refused(hand, request("a", 0, group="Nobody"))
    assert isinstance(error, GroupNotFound)
    assert error.remark.startswith("subscription group not exist, Nobody ")


@pytest.mark.parametrize("group", ["", "  "])
def test_a_blank_group_is_refused(hand: BrokerInHand, group: str) -> None:
    error = refused(hand, request("a", 0, group=group))
    assert isinstance(error, InvalidParameter)
    assert error.remark == "consumerGroup is blank"


@pytest.mark.parametrize("client", ["", " ", "x" * 1_025])
def test_a_client_without_a_proper_id_is_refused(hand: BrokerInHand, client: str) -> None:
    error = refused(hand, request(client, 0))
    assert isinstance(error, InvalidParameter)
    assert error.remark.startswith("clientId[")
    assert len(error.remark) < 300


def test_one_request_names_a_bounded_number_of_queues(hand: BrokerInHand) -> None:
    lock(hand, "a", *range(REQUEST_QUEUES_MAX))
    error = refused(hand, request("a", *range(10_000)))
    assert isinstance(error, InvalidParameter)
    assert error.remark == "mqSet has 10000 queues, at most 8192 are accepted"
    with pytest.raises(InvalidParameter):
        hand.broker.unlock_queues(request("a", *range(10_000)))


def test_more_locks_than_there_is_room_for_are_refused_and_held_ones_stay(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(locks, "OrderLocks", lambda: OrderLocks(locks_max=3))
    hand = BrokerInHand()
    hand.create_topic("T", 4)
    hand.run(hand.broker.heartbeat(caller(), heartbeat("a", topics={"T": "*"})))
    assert lock(hand, "a", 0, 1) == [0, 1]
    error = refused(hand, request("a", 0, 1, 2, 3))
    assert isinstance(error, SystemBusy)
    assert error.remark == "2 queues are locked, 4 more of group[CG] find no room"
    assert lock(hand, "a", 0, 1, 2) == [0, 1, 2]


def test_expired_locks_do_not_stay_in_memory_nor_in_the_journal(hand: BrokerInHand) -> None:
    lock(hand, "a", 0, 1)
    hand.advance(LOCK_LEASE_MS + 1)
    assert list(hand.metadata.tables.held_locks()) == []
    assert hand.metadata.tables.locks == {}


# --- restarts -------------------------------------------------------------------------------------


def test_after_a_restart_a_queue_is_not_given_to_another_client(hand: BrokerInHand) -> None:
    lock(hand, "a", 0)
    hand.restart()
    assert lock(hand, "b", 0, 1) == [1]
    assert lock(hand, "a", 0) == [0]
    hand.advance(LOCK_LEASE_MS)
    assert lock(hand, "b", 0) == []


def test_a_holder_that_does_not_come_back_after_a_restart_loses_the_queue(
    hand: BrokerInHand,
) -> None:
    lock(hand, "a", 0)
    hand.restart()
    hand.advance(CLIENT_VALIDITY_MS)
    assert lock(hand, "b", 0) == []
    hand.advance(1)
    assert lock(hand, "b", 0) == [0]


def test_what_was_given_back_or_has_expired_is_free_after_a_restart(hand: BrokerInHand) -> None:
    lock(hand, "a", 0, 1)
    unlock(hand, "a", 0)
    hand.advance(LOCK_LEASE_MS + 1)
    hand.restart()
    assert lock(hand, "b", 0, 1) == [0, 1]


def test_the_client_that_took_over_an_expired_lock_has_it_after_a_restart(
    hand: BrokerInHand,
) -> None:
    lock(hand, "a", 0)
    hand.clock.advance(LOCK_LEASE_MS + 1)
    assert lock(hand, "b", 0) == [0]
    hand.restart()
    assert lock(hand, "a", 0) == []
    assert lock(hand, "b", 0) == [0]


def test_a_new_lock_is_journaled_before_its_answer_can_leave(hand: BrokerInHand) -> None:
    hand.broker.lock_queues(request("a", 0))
    appended = hand.metadata.positions().appended
    assert hand.metadata.positions().commit < appended
    hand.end_turn()
    assert hand.metadata.positions().commit == appended


def test_asking_again_costs_nothing_in_the_journal(hand: BrokerInHand) -> None:
    lock(hand, "a", 0)
    appended = hand.metadata.positions().appended
    for _ in range(5):
        hand.advance(20_000)
        assert lock(hand, "a", 0) == [0]
    assert hand.metadata.positions().appended == appended


def test_while_the_journal_takes_nothing_held_queues_stay_with_their_clients(
    hand: BrokerInHand, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object) -> int:
        del args
        raise StoreFailed("disk full")

    lock(hand, "a", 0)
    monkeypatch.setattr(hand.metadata, "put_locks", fail)
    monkeypatch.setattr(hand.metadata, "delete_locks", fail)
    assert lock(hand, "a", 0) == [0]
    for _ in range(2):
        assert isinstance(refused(hand, request("a", 1)), ServiceUnavailable)
    hand.advance(LOCK_LEASE_MS + 1)  # sweeping does not fail either
    assert isinstance(refused(hand, request("b", 0)), ServiceUnavailable)
