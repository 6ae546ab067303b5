"""The checker of histories: a good one breaks no rule, and each planted fault breaks its own."""

from __future__ import annotations

import dataclasses

import pytest

from tests.support.checker import LATE_MS_MAX, LIVE_SECONDS_MAX, check
from tests.support.history import (
    POISON_EVERY,
    Asked,
    Committed,
    Delivered,
    GivenBack,
    History,
    Instant,
    MaxSeen,
    Outcome,
    Queue,
    Sent,
    Stored,
    Try,
    Uptime,
    body_of,
    outcome_of,
    try_of,
)

PLAIN, DELAYED = Queue("plain", 0), Queue("delayed", 0)
RETRY, DEAD = Queue("%RETRY%givers", 0), Queue("%DLQ%givers", 0)
DELAY_MS = 1_000
KILLED_S = 20.0


def at(second: float) -> Instant:
    return Instant(second, int(second * 1000))


def sent(which: Try, queue: Queue, second: float, offset: int | None, **more: object) -> Sent:
    call = Sent(which, queue, body_of(which, 5), at(second), at(second + 0.1), Outcome.OK, offset)
    return dataclasses.replace(call, **more)  # type: ignore[arg-type]


def stored(queue: Queue, offset: int, which: Try, second: float = 0, times: int = 0) -> Stored:
    return Stored(queue, offset, body_of(which, 5), times, int(second * 1000))


def good() -> History:
    """Five messages, one with a delay, one a dead letter after one retry; one kill between."""
    poison = Try("sync-1", POISON_EVERY, 0)
    tries = [Try("sync-1", 1, 0), Try("sync-1", 2, 1), poison, Try("async-1", 1, 0)]
    late = Try("delayed-1", 0, 0)
    history = History(
        subscriptions={"takers": frozenset({"plain", "delayed"}), "givers": frozenset({"plain"})},
        delay_topics=frozenset({"delayed"}),
        retry_topics={"givers": (RETRY.topic, DEAD.topic)},
        retries_max=1,
    )
    history.sent = [sent(which, PLAIN, 1 + n, n) for n, which in enumerate(tries)]
    lost = Try("sync-1", 2, 0)
    history.sent.insert(1, sent(lost, PLAIN, 1.5, None, outcome=Outcome.UNKNOWN))
    history.sent.append(sent(late, DELAYED, 5, None, delay_ms=DELAY_MS))
    history.sent.append(sent(Try("sync-1", 30, 0), PLAIN, KILLED_S + 1, 4))
    log = [stored(PLAIN, n, which, 1 + n) for n, which in enumerate(tries)]
    log.append(stored(PLAIN, 4, Try("sync-1", 30, 0), KILLED_S + 1))
    log += [stored(DELAYED, 0, late, 6.2), stored(RETRY, 0, poison, 8, 1), stored(DEAD, 0, poison)]
    history.log = log
    history.ranges = {PLAIN: (0, 5), DELAYED: (0, 1), RETRY: (0, 1), DEAD: (0, 1)}
    for group, queues in (("takers", (PLAIN, DELAYED)), ("givers", (PLAIN, RETRY))):
        for what in log:
            if what.queue in queues:
                history.delivered.append(Delivered(group, what, at(KILLED_S + 2)))
    for what, second in ((log[2], 6), (log[6], 9)):
        history.given_back.append(GivenBack("givers", what, at(second), at(second), Outcome.OK))
    history.committed = [
        Committed("takers", PLAIN, 2, at(5), at(6), Outcome.OK),
        Committed("takers", PLAIN, 4, at(7), at(KILLED_S), Outcome.UNKNOWN),
    ]
    history.asked = [
        Asked("takers", PLAIN, -1, at(1), at(2)),
        Asked("takers", PLAIN, 2, at(KILLED_S + 1), at(KILLED_S + 1)),
    ]
    history.max_seen = [
        MaxSeen(PLAIN, 4, at(19), at(19.5)),
        MaxSeen(PLAIN, 5, at(KILLED_S + 3), at(KILLED_S + 3)),
    ]
    history.uptimes = [Uptime(at(0), at(KILLED_S)), Uptime(at(KILLED_S + 0.5))]
    return history


def broken(history: History) -> set[str]:
    return {violation.rule for violation in check(history)}


def without(history: History, place: int) -> Stored:
    """Takes a record out of the log and closes the gap, as a store would that never had it."""
    gone = history.log.pop(place)
    low, high = history.ranges[gone.queue]
    history.ranges[gone.queue] = (low, high - 1)
    history.log = [
        dataclasses.replace(record, queue_offset=record.queue_offset - 1)
        if record.queue == gone.queue and record.queue_offset > gone.queue_offset
        else record
        for record in history.log
    ]
    return gone


def test_a_good_history_breaks_no_rule() -> None:
    assert check(good()) == []


def test_an_unknown_try_may_be_there_or_not() -> None:
    history = good()
    other = Try("sync-1", 40, 0)
    history.sent.append(sent(other, PLAIN, KILLED_S + 3, None, outcome=Outcome.UNKNOWN))
    assert check(history) == []
    history.log.insert(5, stored(PLAIN, 5, other))
    history.ranges[PLAIN] = (0, 6)
    assert check(history) == []


def test_a_lost_acknowledged_message_is_caught() -> None:
    history = good()
    gone = without(history, 3)
    history.delivered = [d for d in history.delivered if d.what.queue_offset < 3]
    history.max_seen = []
    assert try_of(gone.body) == Try("async-1", 1, 0)
    assert "K1" in broken(history)


def test_a_message_at_another_place_than_answered_is_caught() -> None:
    history = good()
    history.sent[0] = dataclasses.replace(history.sent[0], queue_offset=1)
    assert broken(history) == {"K1"}


def test_a_flipped_bit_is_caught() -> None:
    history = good()
    body = bytearray(history.log[0].body)
    body[-1] ^= 1
    history.log[0] = dataclasses.replace(history.log[0], body=bytes(body))
    assert {"K1", "K2", "K3"} <= broken(history)


def test_bytes_that_nobody_sent_are_caught_also_if_only_a_consumer_saw_them() -> None:
    history = good()
    foreign = stored(PLAIN, 0, Try("stranger", 1, 0))
    history.delivered.append(Delivered("takers", foreign, at(3)))
    assert broken(history) == {"K2", "K3"}


def test_a_refused_message_in_the_log_is_caught() -> None:
    history = good()
    history.sent[4] = dataclasses.replace(history.sent[4], outcome=Outcome.REFUSED, code=14)
    assert broken(history) == {"K2"}


def test_a_message_in_another_queue_than_sent_to_is_caught() -> None:
    history = good()
    history.sent[4] = dataclasses.replace(
        history.sent[4], queue=Queue("plain", 1), queue_offset=None
    )
    assert broken(history) == {"K2"}


def test_a_hole_in_the_offsets_is_caught() -> None:
    history = good()
    history.ranges[PLAIN] = (0, 6)
    assert broken(history) == {"K3"}


def test_an_offset_that_was_used_again_is_caught() -> None:
    history = good()
    other = Try("sync-2", 7, 0)
    history.sent.append(sent(other, PLAIN, 2, None, outcome=Outcome.UNKNOWN))
    history.delivered.append(Delivered("takers", stored(PLAIN, 4, other), at(3)))
    assert broken(history) == {"K3"}


def test_a_record_that_was_read_and_is_gone_is_caught() -> None:
    history = good()
    other = Try("sync-2", 7, 0)
    history.sent.append(sent(other, PLAIN, 2, None, outcome=Outcome.UNKNOWN))
    history.delivered.append(Delivered("takers", stored(PLAIN, 5, other), at(3)))
    assert broken(history) == {"K3"}


def test_messages_of_a_producer_in_the_wrong_order_are_caught() -> None:
    history = good()
    first, second = history.log[0], history.log[1]
    history.log[0] = dataclasses.replace(first, body=second.body)
    history.log[1] = dataclasses.replace(second, body=first.body)
    history.delivered = [
        dataclasses.replace(d, what=history.log[d.what.queue_offset])
        if d.what.queue == PLAIN
        else d
        for d in history.delivered
    ]
    history.sent = [dataclasses.replace(call, queue_offset=None) for call in history.sent]
    assert broken(history) == {"K4"}


def test_a_second_copy_of_one_try_is_caught() -> None:
    history = good()
    again = try_of(history.log[4].body)
    assert again is not None
    history.log.insert(5, stored(PLAIN, 5, again))
    history.ranges[PLAIN] = (0, 6)
    assert broken(history) == {"K5"}


def test_a_message_a_group_never_got_is_caught() -> None:
    history = good()
    history.delivered = [d for d in history.delivered if d.what != history.log[1]]
    assert broken(history) == {"K6"}


@pytest.mark.parametrize("offset", [-1, 0, 1, 3, 5])
def test_a_commit_that_was_forgotten_or_made_up_is_caught(offset: int) -> None:
    history = good()
    history.asked[1] = dataclasses.replace(history.asked[1], offset=offset)
    assert broken(history) == {"K6"}


def test_a_commit_whose_answer_is_missing_may_count() -> None:
    history = good()
    history.asked[1] = dataclasses.replace(history.asked[1], offset=4)
    assert check(history) == []


@pytest.mark.parametrize(("second", "is_right"), [(5.999, False), (6.0, True), (11.1, True)])
def test_a_delayed_message_that_comes_early_is_caught(second: float, is_right: bool) -> None:
    history = good()
    history.log[5] = dataclasses.replace(history.log[5], store_timestamp_ms=int(second * 1000))
    assert broken(history) == (set() if is_right else {"K8"})


def test_a_delayed_message_that_comes_late_is_caught_and_a_fault_excuses_it() -> None:
    history = good()
    late_ms = 5_100 + DELAY_MS + LATE_MS_MAX + 1
    history.log[5] = dataclasses.replace(history.log[5], store_timestamp_ms=late_ms)
    assert broken(history) == {"K8"}
    history.uptimes = [Uptime(at(0), at(6)), Uptime(at(KILLED_S - 5), at(KILLED_S)), Uptime(at(21))]
    assert check(history) == []


def test_a_delayed_message_that_never_comes_is_caught() -> None:
    history = good()
    without(history, 5)
    history.delivered = [d for d in history.delivered if d.what.queue != DELAYED]
    assert broken(history) == {"K1", "K6", "K8"}


def test_a_delayed_message_that_comes_twice_without_a_fault_is_caught() -> None:
    history = good()
    late = try_of(history.log[5].body)
    assert late is not None
    history.log.insert(6, stored(DELAYED, 1, late, 7))
    history.ranges[DELAYED] = (0, 2)
    assert check(history) == [], "a fault may bring it again"
    history.uptimes = [Uptime(at(0))]
    assert broken(history) == {"K8"}


def test_a_dead_letter_too_many_or_too_few_is_caught() -> None:
    history = good()
    dead = try_of(history.log[7].body)
    assert dead is not None
    history.log.append(stored(DEAD, 1, dead))
    history.ranges[DEAD] = (0, 2)
    assert broken(history) == {"K9"}
    history = good()
    without(history, 7)
    assert broken(history) == {"K9"}


def test_a_retry_too_many_or_lost_is_caught() -> None:
    history = good()
    history.log[6] = dataclasses.replace(history.log[6], reconsume_times=2)
    assert broken(history) == {"K9"}
    history = good()
    without(history, 6)
    history.delivered = [d for d in history.delivered if d.what.queue != RETRY]
    assert broken(history) == {"K9"}


def test_a_queue_that_shrank_is_caught() -> None:
    history = good()
    history.max_seen.insert(0, MaxSeen(PLAIN, 6, at(10), at(10)))
    assert broken(history) == {"K10"}


def test_answers_that_overlap_may_come_in_any_order() -> None:
    history = good()
    history.max_seen.insert(0, MaxSeen(PLAIN, 5, at(10), at(19.2)))
    assert check(history) == []


def test_a_broker_that_stays_dead_is_caught() -> None:
    history = good()
    late = KILLED_S + LIVE_SECONDS_MAX
    history.sent[-1] = dataclasses.replace(history.sent[-1], invoked=at(late), ended=at(late + 0.1))
    assert broken(history) == {"K13"}
    history = good()
    history.delivered = [dataclasses.replace(d, at=at(late + 1)) for d in history.delivered]
    assert broken(history) == {"K13"}


def test_bodies_tell_their_try_and_any_changed_byte() -> None:
    which = Try("sync-1", 12, 3)
    body = body_of(which, 20)
    assert try_of(body) == which
    for place in range(len(body)):
        changed = bytearray(body)
        changed[place] ^= 0x10
        assert try_of(bytes(changed)) is None


@pytest.mark.parametrize(
    ("code", "remark", "outcome"),
    [
        (0, None, Outcome.OK),
        (10, None, Outcome.UNKNOWN),
        (14, "service not available now", Outcome.REFUSED),
        (14, "the store failed: sync: EIO", Outcome.UNKNOWN),
        (2, "busy", Outcome.REFUSED),
    ],
)
def test_what_an_answer_promises(code: int, remark: str | None, outcome: Outcome) -> None:
    assert outcome_of(code, remark) is outcome
