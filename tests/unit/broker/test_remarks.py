"""What a client sent is repeated in a remark, but never without end."""

from __future__ import annotations

from pyromq.broker.remarks import SHOWN_LENGTH_MAX, shown


def test_a_short_value_is_repeated_as_it_is() -> None:
    assert shown("TopicTest") == "TopicTest"
    assert shown("x" * SHOWN_LENGTH_MAX) == "x" * SHOWN_LENGTH_MAX


def test_a_long_value_is_cut_and_its_length_told() -> None:
    text = shown("x" * 100_000)
    assert text == "x" * SHOWN_LENGTH_MAX + "… (100000 characters)"
