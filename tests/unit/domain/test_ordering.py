"""Order locks: who holds a queue, and until when."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pyromq.domain.ordering import CLIENT_VALIDITY_MS, LOCK_LEASE_MS, OrderLocks, Queue

Q0, Q1, Q2 = Queue("T", 0), Queue("T", 1), Queue("%RETRY%CG", 0)


def locked(locks: OrderLocks, client: str, *queues: Queue, at: int = 0) -> list[Queue]:
    return locks.lock("CG", client, queues, at)[0]


def test_who_asks_first_gets_the_queue_and_others_get_the_rest() -> None:
    locks = OrderLocks()
    assert locked(locks, "a", Q0) == [Q0]
    assert locked(locks, "b", Q0, Q1, Q2) == [Q1, Q2]
    assert len(locks) == 3


def test_groups_do_not_know_each_other() -> None:
    locks = OrderLocks()
    assert locked(locks, "a", Q0) == [Q0]
    assert locks.lock("other", "b", [Q0], 0)[0] == [Q0]


def test_a_lock_lasts_as_long_as_its_client_keeps_asking() -> None:
    locks = OrderLocks()
    for at in range(0, 10 * LOCK_LEASE_MS, LOCK_LEASE_MS):
        assert locked(locks, "a", Q0, at=at) == [Q0]
        assert locked(locks, "b", Q0, at=at) == []


def test_a_lock_that_expired_is_taken_by_the_next_client() -> None:
    locks = OrderLocks()
    locked(locks, "a", Q0, at=5)
    assert locked(locks, "b", Q0, at=5 + LOCK_LEASE_MS) == []
    assert locked(locks, "b", Q0, at=5 + LOCK_LEASE_MS + 1) == [Q0]
    assert locked(locks, "a", Q0, at=5 + LOCK_LEASE_MS + 2) == []


def test_an_expired_lock_that_nobody_wanted_is_still_the_first_clients() -> None:
    locks = OrderLocks()
    locked(locks, "a", Q0)
    assert locks.lock("CG", "a", [Q0], 9 * LOCK_LEASE_MS) == ([Q0], [])
    assert locked(locks, "b", Q0, at=9 * LOCK_LEASE_MS) == []


def test_only_what_was_not_the_clients_before_is_gained() -> None:
    locks = OrderLocks()
    assert locks.lock("CG", "a", [Q0], 0) == ([Q0], [Q0])
    assert locks.lock("CG", "a", [Q0, Q1], 1) == ([Q0, Q1], [Q1])
    assert locks.lock("CG", "b", [Q0], LOCK_LEASE_MS + 2) == ([Q0], [Q0])


def test_a_queue_that_was_given_back_is_free_at_once() -> None:
    locks = OrderLocks()
    locked(locks, "a", Q0, Q1)
    assert locks.unlock("CG", "a", [Q0, Q2]) == [Q0]
    assert locked(locks, "b", Q0, Q1) == [Q0]


def test_nobody_gives_back_what_another_client_holds() -> None:
    locks = OrderLocks()
    locked(locks, "a", Q0)
    assert locks.unlock("CG", "b", [Q0]) == []
    assert locks.unlock("other", "a", [Q0]) == []
    assert locked(locks, "b", Q0) == []


def test_a_group_consumes_in_order_while_one_of_its_locks_holds() -> None:
    locks = OrderLocks()
    assert not locks.is_any_held("CG", 0)
    locked(locks, "a", Q0)
    locked(locks, "a", Q1, at=10)
    assert locks.is_any_held("CG", LOCK_LEASE_MS + 10)
    assert not locks.is_any_held("CG", LOCK_LEASE_MS + 11)
    assert not locks.is_any_held("other", 0)


def test_expired_locks_are_swept_and_the_others_stay() -> None:
    locks = OrderLocks()
    locked(locks, "a", Q0)
    locked(locks, "a", Q1, at=10)
    assert locks.sweep(LOCK_LEASE_MS) == {}
    assert locks.sweep(LOCK_LEASE_MS + 10) == {"CG": [Q0]}
    assert len(locks) == 1
    assert locks.sweep(LOCK_LEASE_MS + 11) == {"CG": [Q1]}
    assert len(locks) == 0


def test_there_is_room_for_so_many_locks_and_for_those_that_are_held() -> None:
    locks = OrderLocks(locks_max=2)
    locked(locks, "a", Q0, Q1)
    assert locks.has_room("CG", [Q0, Q1])
    assert not locks.has_room("CG", [Q0, Q2])
    assert not locks.has_room("other", [Q0])
    locks.unlock("CG", "a", [Q1])
    assert locks.has_room("CG", [Q2])


def test_after_a_restart_a_queue_is_its_holders_for_as_long_as_he_trusts_in_it() -> None:
    locks = OrderLocks()
    locks.restore("CG", Q0, "a", 1_000)
    assert locked(locks, "b", Q0, at=1_000 + CLIENT_VALIDITY_MS) == []
    assert locked(locks, "b", Q0, at=1_001 + CLIENT_VALIDITY_MS) == [Q0]


def test_a_holder_that_asks_after_a_restart_has_the_whole_lease_again() -> None:
    locks = OrderLocks()
    locks.restore("CG", Q0, "a", 0)
    assert locks.lock("CG", "a", [Q0], 100) == ([Q0], [])
    assert locked(locks, "b", Q0, at=100 + LOCK_LEASE_MS) == []


def test_a_lease_shorter_than_clients_trust_is_kept_after_a_restart_too() -> None:
    locks = OrderLocks(200)
    locks.restore("CG", Q0, "a", 0)
    assert locked(locks, "b", Q0, at=200) == []
    assert locked(locks, "b", Q0, at=201) == [Q0]


def test_no_more_is_restored_than_there_is_room_for() -> None:
    locks = OrderLocks(locks_max=1)
    locks.restore("CG", Q0, "a", 0)
    locks.restore("CG", Q1, "a", 0)
    assert len(locks) == 1


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["lock", "unlock", "sweep"]),
        st.sampled_from(["a", "b", "c"]),
        st.lists(st.sampled_from([Q0, Q1, Q2]), unique=True),
        st.integers(0, 2 * LOCK_LEASE_MS),
    ),
    max_size=40,
)


@given(STEPS)
def test_two_clients_never_hold_one_queue_at_once(
    steps: list[tuple[str, str, list[Queue], int]],
) -> None:
    """What a client was told counts for it until the lease is over or it gave the queue back."""
    locks = OrderLocks()
    now = 0
    told: dict[Queue, tuple[str, int]] = {}
    for what, client, queues, passed in steps:
        now += passed
        if what == "sweep":
            locks.sweep(now)
        elif what == "unlock":
            locks.unlock("CG", client, queues)
            for queue in queues:
                if told.get(queue, ("", 0))[0] == client:
                    del told[queue]
        else:
            for queue in locked(locks, client, *queues, at=now):
                holder, since = told.get(queue, (client, now))
                assert holder == client or now - since > LOCK_LEASE_MS
                told[queue] = (client, now)
    assert len(locks) <= 3
