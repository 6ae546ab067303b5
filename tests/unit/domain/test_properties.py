"""The properties text: found, taken out and put together without a dictionary."""

from __future__ import annotations

import pytest

from pyromq.domain.properties import (
    may_be_special,
    properties_text,
    property_value,
    unique_key_of,
    without_properties,
)

TEXT = "KEYS\x01k1 k2\x02UNIQ_KEY\x01ID1\x02WAIT\x01true\x02"


def test_a_value_is_found_wherever_it_stands() -> None:
    assert property_value(TEXT, "KEYS") == "k1 k2"
    assert property_value(TEXT, "UNIQ_KEY") == "ID1"
    assert property_value(TEXT, "WAIT") == "true"


def test_the_last_separator_may_be_missing() -> None:
    assert property_value("a\x011\x02b\x0122", "b") == "22"


def test_a_longer_name_that_ends_alike_is_another_property() -> None:
    assert property_value("MY_KEYS\x01no\x02", "KEYS") is None
    assert property_value("MY_KEYS\x01no\x02KEYS\x01yes\x02", "KEYS") == "yes"


def test_an_empty_value_counts_as_absent() -> None:
    assert property_value("KEYS\x01\x02", "KEYS") is None
    assert property_value("KEYS\x01\x02KEYS\x01k\x02", "KEYS") == "k"


def test_a_name_in_a_value_is_no_property() -> None:
    assert property_value("a\x01KEYS\x02", "KEYS") is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "UNIQ_KEY\x01ID\x02",
        "UNIQ_KEY\x01ID",
        "UNIQ_KEY\x01",
        "UNIQ_KEY\x01\x02",
        "UNIQ_KEY\x01\x02UNIQ_KEY\x01ID\x02",
        "MY_UNIQ_KEY\x01no\x02",
        "MY_UNIQ_KEY\x01no\x02UNIQ_KEY\x01ID\x02",
        "a\x01b\x02UNIQ_KEY\x01ID\x02c\x01d\x02",
        "a\x01UNIQ_KEY\x02",
    ],
)
def test_the_fast_search_for_the_unique_key_agrees_with_the_general_one(text: str) -> None:
    assert unique_key_of(text) == property_value(text, "UNIQ_KEY")


def test_properties_are_taken_out_and_the_others_keep_their_order() -> None:
    assert without_properties(TEXT, "UNIQ_KEY") == "KEYS\x01k1 k2\x02WAIT\x01true\x02"
    assert without_properties(TEXT, "KEYS", "WAIT") == "UNIQ_KEY\x01ID1\x02"
    assert without_properties(TEXT, "KEY") == TEXT


def test_text_of_a_mapping_leaves_empty_values_out() -> None:
    assert properties_text({"a": "1", "b": "", "c": "3"}) == "a\x011\x02c\x013\x02"


def test_an_ordinary_message_needs_no_closer_look() -> None:
    assert not may_be_special(TEXT)
    assert not may_be_special("TAGS\x01TIMER\x02KEYS\x01DELAY\x02")


@pytest.mark.parametrize(
    "name",
    [
        "DELAY",
        "TIMER_DELAY_SEC",
        "TIMER_DELAY_MS",
        "TIMER_DELIVER_MS",
        "TRAN_MSG",
        "POP_CK",
        "MSG_REGION",
        "TRACE_ON",
        "CLUSTER",
        "__LITE_TOPIC",
        "_SYS_MSG_PRIORITY_",
        "INNER_NUM",
    ],
)
def test_every_property_of_special_meaning_asks_for_a_closer_look(name: str) -> None:
    assert may_be_special(f"TAGS\x01a\x02{name}\x011\x02")
