"""Attributes of topics and groups: the text that changes them, and what may be changed."""

from __future__ import annotations

import pytest

from pyromq.domain.attributes import (
    GROUP_ATTRIBUTES,
    TOPIC_ATTRIBUTES,
    altered_attributes,
    parse_attribute_changes,
)
from pyromq.errors import RequestFailed


def test_changes_keep_their_sign() -> None:
    assert parse_attribute_changes("+message.type=FIFO,-reserve.time") == {
        "+message.type": "FIFO",
        "-reserve.time": "",
    }
    assert parse_attribute_changes("") == {}
    assert parse_attribute_changes(None) == {}


@pytest.mark.parametrize(
    ("text", "remark"),
    [
        ("message.type=FIFO", "add/alter attribute format is wrong: message.type"),
        ("message.type", "delete attribute format is wrong: message.type"),
        ("+a=1,+a=2", "key duplication: +a"),
        ("a" * 5000, "the attributes have 5000 characters, at most 4096 are taken"),
    ],
)
def test_malformed_changes_are_refused(text: str, remark: str) -> None:
    with pytest.raises(RequestFailed) as refused:
        parse_attribute_changes(text)
    assert refused.value.remark == remark


def test_a_new_topic_gets_its_attributes_without_sign() -> None:
    changes = {"+message.type": "FIFO", "+queue.type": "SimpleCQ"}
    assert altered_attributes(None, changes, TOPIC_ATTRIBUTES) == {
        "message.type": "FIFO",
        "queue.type": "SimpleCQ",
    }


def test_existing_attributes_are_changed_added_and_removed() -> None:
    current = {"message.type": "FIFO", "lite.topic.expiration": "5"}
    changes = {"+message.type": "NORMAL", "-lite.topic.expiration": "", "+reserve.time": "7"}
    assert altered_attributes(current, changes, TOPIC_ATTRIBUTES) == {
        "message.type": "NORMAL",
        "reserve.time": "7",
    }


@pytest.mark.parametrize(
    ("current", "changes", "remark"),
    [
        (
            None,
            {"-message.type": ""},
            "only add attribute is supported while creating topic. key: message.type",
        ),
        ({}, {"-message.type": ""}, "attempt to delete a nonexistent key: message.type"),
        ({}, {"*message.type": "FIFO"}, "wrong format key: message.type"),
        (None, {"+": "FIFO"}, "kv string format wrong."),
        (None, {"+a-b": "FIFO"}, "kv string format wrong."),
        (None, {"+colour": "red"}, "unsupported key: colour"),
        (
            {"queue.type": "SimpleCQ"},
            {"+queue.type": "BatchCQ"},
            "attempt to update an unchangeable attribute. key: queue.type",
        ),
        (
            {"message.type": "FIFO"},
            {"+message.type": "NORMAL", "-message.type": ""},
            "alter duplication key. key: message.type",
        ),
        (None, {"+reserve.time": "-2"}, "value is not in range(-1, 9223372036854775807)"),
        (None, {"+reserve.time": "soon"}, 'For input string: "soon"'),
        (None, {"+cleanup.policy": "KEEP"}, "value is not in set: [COMPACTION, DELETE]"),
    ],
)
def test_changes_that_may_not_be_made_are_refused(
    current: dict[str, str] | None, changes: dict[str, str], remark: str
) -> None:
    with pytest.raises(RequestFailed) as refused:
        altered_attributes(current, changes, TOPIC_ATTRIBUTES)
    assert refused.value.remark == remark


def test_groups_have_attributes_of_their_own() -> None:
    changes = {"+priority.factor": "50", "+lite.bind.topic": "anything"}
    assert altered_attributes(None, changes, GROUP_ATTRIBUTES)["priority.factor"] == "50"
    with pytest.raises(RequestFailed, match=r"not in range\(0, 100\)"):
        altered_attributes(None, {"+priority.factor": "101"}, GROUP_ATTRIBUTES)
