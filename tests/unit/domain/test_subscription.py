"""Filter texts: which tag hashes they stand for, and which cannot be read."""

from __future__ import annotations

import pytest

from pyromq.domain.group import Subscription
from pyromq.domain.subscription import (
    EXPRESSION_LENGTH_MAX,
    parse_subscription,
    tag_hash,
    tag_hashes,
)
from pyromq.errors import SubscriptionParseFailed


@pytest.mark.parametrize(
    ("tag", "value"),
    [
        ("", 0),
        ("TagA", 2598919),
        ("TagB", 2598920),
        ("TagX", 2598942),
        ("polygenelubricants", -(2**31)),
        ("标签", 857175),
        ("\U0001f600", 1772899),
    ],
)
def test_tag_hash_is_javas_string_hash(tag: str, value: int) -> None:
    assert tag_hash(tag) == value


def test_tags_are_separated_by_double_bars_and_trimmed() -> None:
    subscription = parse_subscription("T", "TagA || TagB||TagA || ", version=7)
    assert subscription.tags_set == ["TagA", "TagB"]
    assert subscription.code_set == [2598919, 2598920]
    assert subscription.sub_string == "TagA || TagB||TagA || "
    assert subscription.sub_version == 7
    assert tag_hashes(subscription) == frozenset({2598919, 2598920})


@pytest.mark.parametrize("text", ["*", "", None])
def test_a_star_or_nothing_wants_everything(text: str | None) -> None:
    subscription = parse_subscription("T", text)
    assert subscription.sub_string == "*"
    assert tag_hashes(subscription) is None


@pytest.mark.parametrize("text", ["||", "||||"])
def test_only_separators_cannot_be_read(text: str) -> None:
    with pytest.raises(SubscriptionParseFailed, match="only separators"):
        parse_subscription("T", text)


def test_blank_tags_match_nothing() -> None:
    assert tag_hashes(parse_subscription("T", " || ")) == frozenset()


def test_an_expression_beyond_the_limit_is_refused_with_its_length() -> None:
    with pytest.raises(SubscriptionParseFailed, match=f"{EXPRESSION_LENGTH_MAX + 1} characters"):
        parse_subscription("T", "a" * (EXPRESSION_LENGTH_MAX + 1))


def test_sql_is_kept_as_it_is() -> None:
    subscription = parse_subscription("T", "a > 1", "SQL92", 3)
    assert (subscription.sub_string, subscription.expression_type) == ("a > 1", "SQL92")
    assert subscription.sub_version == 3
    assert tag_hashes(subscription) is None


def test_empty_sql_cannot_be_read() -> None:
    with pytest.raises(SubscriptionParseFailed, match="empty SQL92"):
        parse_subscription("T", "", "SQL92")


def test_a_class_filter_lets_everything_through() -> None:
    subscription = Subscription(topic="T", sub_string="X", class_filter_mode=True)
    assert tag_hashes(subscription) is None


def test_the_hashes_a_client_sent_count_not_its_tags() -> None:
    subscription = Subscription(topic="T", sub_string="TagA", tags_set=["TagA"], code_set=[5])
    assert tag_hashes(subscription) == frozenset({5})
