"""Delay levels: which is asked for, where a message waits, how long, and where it goes then."""

from __future__ import annotations

import pytest

from pyromq.domain.delay import (
    delay_level,
    delay_ms,
    delayed_place,
    is_undatable,
    level_of,
    real_place,
    schedule_queue,
)
from pyromq.domain.topic import SCHEDULE_TOPIC
from pyromq.errors import MessageIllegal
from tests.support.brokers import properties

STORED_MS = 1_700_000_000_000


@pytest.mark.parametrize(
    ("text", "level"), [("1", 1), ("+3", 3), ("18", 18), ("0", 0), ("-1", -1), ("007", 7)]
)
def test_the_level_is_what_java_reads(text: str, level: int) -> None:
    assert delay_level(properties(TAGS="DELAY", DELAY=text)) == level


def test_no_property_is_no_delay() -> None:
    assert delay_level(properties(MY_DELAY="5")) == 0
    assert delay_level("") == 0


@pytest.mark.parametrize("text", ["abc", " 1", "1 ", "1.5", "1_0", "0x1", "2147483648", "9" * 40])
def test_what_is_no_java_integer_is_refused_with_the_text(text: str) -> None:
    with pytest.raises(MessageIllegal, match="DELAY is no number") as refused:
        delay_level(properties(DELAY=text))
    assert text[:30] in str(refused.value)


def test_a_delayed_message_waits_in_its_levels_queue_with_the_place_it_wants() -> None:
    text = properties(UNIQ_KEY="ID1", DELAY="3", TAGS="a")
    topic, queue_id, waiting = delayed_place("T", 5, text, 3, 18)
    assert (topic, queue_id) == (SCHEDULE_TOPIC, 2)
    assert waiting == properties(UNIQ_KEY="ID1", TAGS="a", DELAY="3", REAL_TOPIC="T", REAL_QID="5")
    assert real_place(waiting.encode()) == ("T", 5)


def test_a_level_over_the_highest_is_the_highest_and_says_so() -> None:
    _, queue_id, waiting = delayed_place("T", 0, properties(DELAY="30"), 30, 18)
    assert queue_id == 17
    assert delay_level(waiting) == 18


def test_nobody_forges_where_a_message_goes() -> None:
    forged = properties(REAL_TOPIC="other", REAL_QID="9") + properties(REAL_TOPIC="again")
    _, _, waiting = delayed_place("T", 1, forged, 1, 18)
    assert real_place(waiting.encode()) == ("T", 1)
    assert "other" not in waiting
    assert "again" not in waiting


def test_a_delay_level_ends_what_a_timer_was_asked_for() -> None:
    timers = properties(TIMER_DELIVER_MS="1", TIMER_DELAY_SEC="2", TIMER_DELAY_MS="3", a="b")
    assert "TIMER" not in delayed_place("T", 0, timers, 1, 18)[2]


def test_a_level_that_exists_no_more_waits_like_the_highest() -> None:
    assert [delay_ms(level, (1000, 5000)) for level in (1, 2, 3, 64)] == [1000, 5000, 5000, 5000]


def test_levels_and_queues_belong_together() -> None:
    assert [level_of(schedule_queue(level)) for level in (1, 2, 18)] == [1, 2, 18]


@pytest.mark.parametrize(("waited_ms", "is_told"), [(0, True), (-1000, True), (-1001, False)])
def test_a_clock_set_back_by_more_than_the_delay_makes_store_times_useless(
    waited_ms: int, is_told: bool
) -> None:
    assert is_undatable(STORED_MS, 1000, STORED_MS + waited_ms) is not is_told


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"REAL_TOPIC\x01T\x02",
        b"REAL_QID\x010\x02",
        b"REAL_TOPIC\x01\x02REAL_QID\x010\x02",
        b"REAL_TOPIC\x01T\x02REAL_QID\x01\x02",
        b"REAL_TOPIC\x01T\x02REAL_QID\x01-1\x02",
        b"REAL_TOPIC\x01T\x02REAL_QID\x01x\x02",
        b"REAL_TOPIC\x01T\x02REAL_QID\x0199999999999\x02",
        b"MY_REAL_TOPIC\x01T\x02REAL_QID\x011\x02",
    ],
)
def test_a_stored_message_without_a_place_says_what_it_has(text: bytes) -> None:
    with pytest.raises(MessageIllegal, match="are no place for a message"):
        real_place(text)


def test_a_place_is_found_anywhere_in_the_text_and_without_a_last_separator() -> None:
    assert real_place(
        b"a\x01REAL_TOPIC\x02X_REAL_QID\x017\x02REAL_QID\x0112\x02REAL_TOPIC\x01T"
    ) == (
        "T",
        12,
    )
