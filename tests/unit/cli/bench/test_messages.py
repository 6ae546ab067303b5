"""What is sent, and the check of its order."""

from __future__ import annotations

import pytest

from pyromq.cli.bench.messages import KEYS_MAX, ORDER_KEY, SEQUENCE, MessageSource, OrderCheck


def test_messages_have_the_wanted_size_tags_keys_and_properties() -> None:
    source = MessageSource(
        "T", size=1000, has_keys=True, tag_count=2, property_size=50, delay_level=3, run="r"
    )
    messages = [source.plain(number) for number in range(3)]
    assert {len(message.body) for message in messages} == {1000}
    assert [message.tag for message in messages] == ["tag0", "tag1", "tag0"]
    assert [list(message.keys) for message in messages] == [["r-0"], ["r-1"], ["r-2"]]
    assert sum(len(k) + len(v) for k, v in messages[0].properties.items()) in range(50, 80)
    assert messages[0].delay_level == 3
    for message in messages:
        message.check()


def test_without_wishes_there_is_nothing_but_a_body() -> None:
    message = MessageSource("T", size=1).plain(7)
    assert (message.tag, message.keys, message.properties, message.delay_level) == (
        None, (), {}, 0,
    )  # fmt: skip
    assert message.sharding_key is None
    message.check()


def test_ordered_messages_say_their_key_and_number() -> None:
    message = MessageSource("T", size=10, property_size=5, run="r").ordered(40, 2, 9)
    assert message.sharding_key == "r-2"
    assert (message.properties[ORDER_KEY], message.properties[SEQUENCE]) == ("r-2", "9")
    assert "prop0" in message.properties
    message.check()


@pytest.mark.parametrize(
    ("sequence", "gaps", "repeated"),
    [
        ([0, 1, 2, 3], 0, 0),
        ([7, 8, 9], 0, 0),  # a group that begins in the middle
        ([0, 1, 3, 4], 1, 0),
        ([0, 1, 1, 2], 0, 1),
        ([0, 2, 1, 3], 1, 1),
    ],
)
def test_gaps_and_repetitions_are_seen(sequence: list[int], gaps: int, repeated: int) -> None:
    check = OrderCheck()
    for number in sequence:
        check.note({ORDER_KEY: "a", SEQUENCE: str(number)})
        check.note({ORDER_KEY: "b", SEQUENCE: "0"}) if number == sequence[0] else None
    assert (check.checked, check.gaps, check.repeated) == (len(sequence) + 1, gaps, repeated)


def test_messages_that_are_not_ordered_do_not_count() -> None:
    check = OrderCheck()
    check.note({})
    check.note({ORDER_KEY: "a", SEQUENCE: "x"})
    check.note({ORDER_KEY: "a", SEQUENCE: "²"})
    check.note({ORDER_KEY: "a", SEQUENCE: "9" * 5_000})
    assert check.checked == 0


def test_the_keys_that_are_looked_after_are_bounded() -> None:
    check = OrderCheck()
    for key in range(KEYS_MAX + 5):
        check.note({ORDER_KEY: str(key), SEQUENCE: "0"})
    assert check.checked == KEYS_MAX
