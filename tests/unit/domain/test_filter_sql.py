from __future__ import annotations

import pytest

from pyromq.domain.filter_sql import DEPTH_MAX, TEST_DEPTH_MAX, FilterFailed, compile_filter
from pyromq.domain.subscription import EXPRESSION_LENGTH_MAX
from pyromq.errors import SubscriptionParseFailed
from tests.support.filter_texts import our_outcome, random_cases, recorded


def refusal(text: str) -> str:
    with pytest.raises(SubscriptionParseFailed) as refused:
        compile_filter(text)
    return str(refused.value)


@pytest.mark.parametrize("name", ["written", "random"])
def test_every_filter_ends_as_with_apaches_evaluator(name: str) -> None:
    wrong = [
        (case, outcome, found)
        for case, outcome in recorded(name)
        if type(found := our_outcome(case)) is not type(outcome) or found != outcome
    ]
    assert wrong == []


def test_the_vectors_have_every_outcome() -> None:
    assert [case for case, _ in recorded("random")] == random_cases(20261127, 1500)
    for name in ("written", "random"):
        outcomes = [outcome for _, outcome in recorded(name)]
        for outcome in (True, False, None, "refused", "failed"):
            assert outcomes.count(outcome) >= 20, (name, outcome)


def test_null_is_neither_true_nor_false_and_takes_no_message() -> None:
    compiled = compile_filter("x > 1")
    assert compiled.evaluate({}) is None
    assert not compiled.matches({})
    assert not compile_filter("NOT (x > 1)").matches({})
    assert compile_filter("x > 1 OR a = 10").matches({"a": "10"})


def test_a_value_that_cannot_be_compared_takes_no_message_and_says_why() -> None:
    compiled = compile_filter("a > 5")
    with pytest.raises(FilterFailed, match=r"'3\.5' is not a whole number"):
        compiled.evaluate({"a": "3.5"})
    assert not compiled.matches({"a": "3.5"})
    assert compile_filter("a > 5.0 OR b = 'x'").matches({"a": "6.5"})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "character 1: a value was expected, not the end"),
        ("a >", "character 4: a value was expected, not the end"),
        ("a > 'x'", "character 3: `>` compares numbers; 'x' is none"),
        ("a = 10 AND (b = 'x'", r"character 20: \) was expected, not the end"),
        ("a == 10", "character 4: a value was expected, not `=`"),
        ("a != 10", "character 3: '!' is not part of the language"),
        ("b = 'it", "character 5: a string without its closing quote"),
        ("a = NULL", "character 3: `=` NULL; write IS NULL or IS NOT NULL"),
        ("a BETWEEN 9 AND 5", "character 3: BETWEEN 9 AND 5: the first is greater"),
        ("a IN (5)", "character 7: a string was expected, not `5`"),
        ("5 IN ('5')", "character 3: IN wants a property before it, not 5"),
        ("a IS 5", "character 6: NULL or NOT NULL was expected, not `5`"),
        ("a NOT 5", "after NOT was expected, not `5`"),
        (
            "a = 9223372036854775808",
            "character 5: 9223372036854775808 is above 9223372036854775807",
        ),
        ("a > 0.0", "character 5: 0.0 is not between"),
        ("5 AND a", "5 before it is neither true nor false"),
    ],
)
def test_a_refusal_names_the_place_and_what_was_wrong(text: str, said: str) -> None:
    with pytest.raises(SubscriptionParseFailed, match=said):
        compile_filter(text)


def test_depth_is_bounded() -> None:
    for opening, closing in (("(", ")"), ("NOT ", ""), ("+", "")):
        compile_filter(opening * DEPTH_MAX + "TRUE" + closing * DEPTH_MAX)
        deep = opening * (DEPTH_MAX + 1) + "TRUE" + closing * (DEPTH_MAX + 1)
        assert f"nested deeper than {DEPTH_MAX} levels" in refusal(deep)


def test_tests_inside_each_other_are_bounded_and_the_deepest_can_be_evaluated() -> None:
    for test in (" IS NULL", " <> TRUE", " = TRUE"):
        taken = "a IS NULL" + test * (TEST_DEPTH_MAX // 2 - 1)
        assert compile_filter(taken).evaluate({}) in (True, False)
        assert f"more than {TEST_DEPTH_MAX // 2} tests inside each other" in refusal(taken + test)
    inner = "a = 10"
    for _ in range(DEPTH_MAX // 2):
        inner = f"({inner} AND TRUE OR x = 1) = TRUE"
    assert compile_filter(inner).matches({"a": "10"})


def test_a_list_of_tests_may_be_as_long_as_the_text() -> None:
    many = " OR ".join(f"a = {number}" for number in range(2000))
    assert compile_filter(many).matches({"a": "1999"})
    assert not compile_filter(many).matches({"a": "2000"})


def test_length_is_bounded() -> None:
    compile_filter("a = 10".ljust(EXPRESSION_LENGTH_MAX))
    assert "characters, at most" in refusal("a = 10".ljust(EXPRESSION_LENGTH_MAX + 1))


def test_logic_stops_where_the_answer_is_known() -> None:
    assert compile_filter("a = 10 OR b > 5").matches({"a": "10", "b": "hello"})
    assert compile_filter("a = 9 AND b > 5").evaluate({"a": "10", "b": "hello"}) is False
    with pytest.raises(FilterFailed):
        compile_filter("b > 5 OR a = 10").evaluate({"a": "10", "b": "hello"})
