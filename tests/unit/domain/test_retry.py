"""Retries: when a message comes again, and when it is a dead letter."""

from __future__ import annotations

import pytest

from pyromq.domain.group import GroupConfig
from pyromq.domain.properties import property_value
from pyromq.domain.retry import (
    delay_level_of_retry,
    group_of_retry_topic,
    is_dead_when_sent_again,
    is_dead_when_sent_back,
    may_be_given_back,
    reconsume_times_max,
    sent_back_properties,
)

ID = "7F00000100002A9F0000000000000117"
OTHER_ID = "7F00000100002A9F0000000000000000"


@pytest.mark.parametrize(
    ("topic", "group"),
    [
        ("%RETRY%CG", "CG"),
        ("%RETRY%CG+Topic", "CG"),
        ("%RETRY%CG_Topic", "CG_Topic"),
        ("%RETRY%CG+a+b", "CG+a+b"),
        ("%RETRY%", ""),
    ],
)
def test_a_retry_topic_names_its_group(topic: str, group: str) -> None:
    assert group_of_retry_topic(topic) == group


@pytest.mark.parametrize("topic", ["T", "%RETRY%CG", "%DLQ%CG", "OFFSET_MOVED_EVENT"])
@pytest.mark.parametrize("sys_flag", [0, 0x1, 0x8, 0x333])
def test_what_consumers_get_they_may_give_back(topic: str, sys_flag: int) -> None:
    assert may_be_given_back(topic, sys_flag)


@pytest.mark.parametrize(
    ("topic", "sys_flag"),
    [
        ("SCHEDULE_TOPIC_XXXX", 0),
        ("rmq_sys_wheel_timer", 0),
        ("RMQ_SYS_TRANS_HALF_TOPIC", 0),
        ("RMQ_SYS_TRANS_OP_HALF_TOPIC", 0),
        ("rmq_sys_REVIVE_LOG_DefaultCluster", 0),
        ("T", 0x4),
        ("T", 0xC),
        ("T", 0x40),
        ("T", 0x80),
    ],
)
def test_what_waits_for_its_time_or_its_transaction_is_not_given_back(
    topic: str, sys_flag: int
) -> None:
    assert not may_be_given_back(topic, sys_flag)


def test_a_client_knows_better_than_its_group_how_often_it_wants_a_message() -> None:
    group = GroupConfig(group_name="CG", retry_max_times=7)
    assert reconsume_times_max(group, 513, None) == 7
    assert reconsume_times_max(group, 513, 3) == 3
    assert reconsume_times_max(group, 120, 3) == 7, "clients before 3.4.9 mean something else"


def test_a_message_sent_back_is_dead_after_as_many_times_as_allowed() -> None:
    assert not is_dead_when_sent_back(15, 16, 0)
    assert is_dead_when_sent_back(16, 16, 0)
    assert is_dead_when_sent_back(0, 16, -1), "its consumer does not want it any more"


def test_a_message_sent_again_counts_the_time_that_is_to_come() -> None:
    assert not is_dead_when_sent_again(16, 16, is_consumed_in_order=False)
    assert is_dead_when_sent_again(17, 16, is_consumed_in_order=False)


def test_what_a_group_that_consumes_in_order_gives_up_is_dead_at_once() -> None:
    assert is_dead_when_sent_again(0, 16, is_consumed_in_order=True)


def test_each_time_comes_one_level_later_unless_the_consumer_asks_for_another() -> None:
    assert [delay_level_of_retry(times, 0) for times in (0, 1, 13)] == [3, 4, 16]
    assert delay_level_of_retry(5, 2) == 2


def test_a_message_remembers_where_it_was_first() -> None:
    first = sent_back_properties("TAGS\x01a\x02UNIQ_KEY\x01K\x02WAIT\x01true\x02", "T", ID, 3)
    assert first == (
        "TAGS\x01a\x02UNIQ_KEY\x01K\x02RETRY_TOPIC\x01T\x02"
        f"ORIGIN_MESSAGE_ID\x01{ID}\x02WAIT\x01false\x02DELAY\x013\x02"
    )
    again = sent_back_properties(first, "%RETRY%CG", OTHER_ID, 4)
    assert property_value(again, "RETRY_TOPIC") == "T"
    assert property_value(again, "ORIGIN_MESSAGE_ID") == ID
    assert property_value(again, "DELAY") == "4"
    assert again.count("WAIT\x01") == again.count("DELAY\x01") == 1


def test_a_blank_first_id_does_not_count() -> None:
    text = sent_back_properties("ORIGIN_MESSAGE_ID\x01  \x02RETRY_TOPIC\x01\x02", "T", ID, 0)
    assert property_value(text, "ORIGIN_MESSAGE_ID") == ID
    assert property_value(text, "RETRY_TOPIC") == "T"
    assert property_value(text, "DELAY") == "0"
