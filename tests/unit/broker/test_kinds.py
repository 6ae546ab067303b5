"""Kinds of messages: what their properties become, and where they go."""

from __future__ import annotations

import pytest

from pyromq.broker.kinds import (
    Place,
    check_keys,
    refuse_delayed_batch,
    refuse_flags,
    resolve_special,
)
from pyromq.domain.topic import SCHEDULE_TOPIC, TopicConfig
from pyromq.errors import MessageIllegal
from tests.support.brokers import properties, send_request

TOPIC = TopicConfig(topic_name="T", write_queue_nums=4)
PLACE = Place("T", 1, 0)


def resolve(text: str, place: Place = PLACE, reconsume_times: int = 0) -> tuple[str, Place]:
    request = send_request("T", reconsume_times=reconsume_times)
    return resolve_special(request, TOPIC, text, place, delay_level_count=18)


def test_an_ordinary_message_stays_what_it_is() -> None:
    text = properties(UNIQ_KEY="ID1", a="1")
    assert resolve(text) == (text, PLACE)


def test_what_the_broker_adds_itself_is_taken_out() -> None:
    text = properties(POP_CK="x", MSG_REGION="r", a="1", TRACE_ON="true", CLUSTER="c")
    assert resolve(text)[0] == properties(a="1")


def test_priority_chooses_the_queue_only_for_messages_of_no_other_kind() -> None:
    assert resolve(properties(_SYS_MSG_PRIORITY_="3"))[1].queue_id == 3
    assert resolve(properties(_SYS_MSG_PRIORITY_="7"))[1].queue_id == 3
    text, place = resolve(properties(_SYS_MSG_PRIORITY_="3", DELAY="0"))
    assert place == PLACE
    assert text == properties(DELAY="0")


def test_a_dead_letter_loses_its_delay_and_its_transaction() -> None:
    dead = Place("%DLQ%CG", 0, 0, is_dead_letter=True)
    text, place = resolve(
        properties(UNIQ_KEY="ID1", DELAY="18", TRAN_MSG="true"), dead, reconsume_times=17
    )
    assert place == dead
    assert text == properties(UNIQ_KEY="ID1", TRAN_MSG="true", DELAY="-1")


def test_a_delayed_message_waits_and_its_sender_is_told_of_its_own_queue() -> None:
    text, place = resolve(properties(UNIQ_KEY="ID1", DELAY="3", TIMER_DELAY_SEC="9"))
    assert place == Place(SCHEDULE_TOPIC, 2, 0, told_queue_id=1)
    assert text == properties(UNIQ_KEY="ID1", DELAY="3", REAL_TOPIC="T", REAL_QID="1")


@pytest.mark.parametrize("level", ["0", "-1"])
def test_a_level_of_none_delays_nothing(level: str) -> None:
    text = properties(UNIQ_KEY="ID1", DELAY=level)
    assert resolve(text) == (text, PLACE)


@pytest.mark.parametrize("name", ["TIMER_DELAY_SEC", "TIMER_DELAY_MS", "TIMER_DELIVER_MS"])
def test_timers_are_refused_by_their_name(name: str) -> None:
    with pytest.raises(MessageIllegal, match=f"{name}: timer messages are not supported yet"):
        resolve(properties(**{name: "5", "DELAY": "0"}))


def test_a_delayed_message_of_another_kind_that_is_not_built_is_refused() -> None:
    for name in ("INNER_NUM", "__LITE_TOPIC"):
        with pytest.raises(MessageIllegal, match=name):
            resolve(properties(**{name: "5", "DELAY": "1"}))


def test_a_batch_cannot_be_delayed() -> None:
    refuse_delayed_batch(properties(DELAY="0"))
    with pytest.raises(MessageIllegal, match="DELAY: a batch cannot be delayed"):
        refuse_delayed_batch(properties(DELAY="1"))


def test_a_half_message_is_refused_however_its_switch_is_written() -> None:
    for value in ("true", "True", "TRUE"):
        with pytest.raises(MessageIllegal, match="TRAN_MSG"):
            resolve(properties(TRAN_MSG=value))
    resolve(properties(TRAN_MSG="yes"))


@pytest.mark.parametrize("sys_flag", [0x4, 0x8, 0xC, 0x40, 0x80])
def test_bits_of_kinds_not_built_yet_are_refused(sys_flag: int) -> None:
    with pytest.raises(MessageIllegal, match=f"{sys_flag}"):
        refuse_flags(sys_flag)


@pytest.mark.parametrize("text", ["", properties(MY_KEYS="k")])
def test_a_compaction_topic_wants_keys(text: str) -> None:
    with pytest.raises(MessageIllegal, match="Required message key is missing"):
        check_keys(text)
    check_keys(text + properties(KEYS="k"))


def test_blank_keys_are_no_keys() -> None:
    with pytest.raises(MessageIllegal):
        check_keys(properties(KEYS=" "))
