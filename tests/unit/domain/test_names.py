"""Topic and group names: Apache's rules and texts, and no name can leave its folder."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyromq.domain.group import check_group_name
from pyromq.domain.topic import TopicConfig, check_topic_name, is_system_topic, perm_text
from pyromq.errors import InvalidParameter


@pytest.mark.parametrize("name", ["TopicTest", "%RETRY%CG", "a|b", "A-1_b", "x" * 127])
def test_a_legal_topic_name_is_taken(name: str) -> None:
    check_topic_name(name)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", "is blank"),
        ("  ", "is blank"),
        ("bad topic!", "contains illegal characters"),
        ("../etc/passwd", "contains illegal characters"),
        ("..", "contains illegal characters"),
        ("a/b", "contains illegal characters"),
        ("名", "contains illegal characters"),
        ("a\n", "contains illegal characters"),
        ("x" * 128, "longer than topic max length: 127"),
        ("%RETRY%" + "x" * 249, "longer than topic max length: 255"),
    ],
)
def test_an_illegal_topic_name_is_refused_with_its_reason(name: str, reason: str) -> None:
    with pytest.raises(InvalidParameter, match=reason):
        check_topic_name(name)


def test_a_group_name_may_have_120_characters() -> None:
    check_group_name("g" * 120)
    with pytest.raises(InvalidParameter, match="120"):
        check_group_name("g" * 121)


@given(st.text(max_size=300))
def test_a_name_that_is_taken_is_a_safe_folder_name(name: str) -> None:
    try:
        check_topic_name(name)
    except InvalidParameter:
        return
    assert name not in {"", ".", ".."}
    assert not set(name) & set("/\\.\0\n")


def test_permissions_print_as_admin_tools_print_them() -> None:
    assert [perm_text(p) for p in (6, 4, 2, 7)] == ["RW-", "R--", "-W-", "RWX"]


def test_a_topic_prints_as_apache_prints_it() -> None:
    assert str(TopicConfig(topic_name="T", read_queue_nums=4, write_queue_nums=4)) == (
        "TopicConfig [topicName=T, readQueueNums=4, writeQueueNums=4, perm=RW-, "
        "topicFilterType=SINGLE_TAG, topicSysFlag=0, order=false, attributes={}]"
    )


def test_reserved_names_are_known() -> None:
    assert is_system_topic("TBW102")
    assert is_system_topic("rmq_sys_wheel_timer")
    assert not is_system_topic("TopicTest")
