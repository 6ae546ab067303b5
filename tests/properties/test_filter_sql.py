"""SQL filters: whatever the text, it is refused or evaluated; the rules of three-valued logic."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pyromq.domain.filter_sql import FilterFailed, compile_filter
from pyromq.errors import SubscriptionParseFailed

NAMES = st.sampled_from(["a", "b", "x"])
VALUES = st.one_of(
    st.integers(-(10**20), 10**20).map(str),
    st.floats().map(str),
    st.text(max_size=8),
    st.sampled_from(["true", "0x1p3", "1e999", "0x1p999999999999", "+5", "٥"]),
)
PROPERTIES = st.dictionaries(NAMES, VALUES, max_size=3)
WORDS = "a b x 5 3.5 'q' TRUE NULL ( ) , = <> < >= + - NOT AND OR IN IS BETWEEN CONTAINS -- /* # '"
TOKENS = st.sampled_from(WORDS.split(" "))
ATOMS = st.sampled_from(
    ["a = 5", "b > 2.5", "x IS NULL", "a = 'q'", "b CONTAINS '1'", "a > b", "TRUE", "NULL"]
)
TEXTS = st.recursive(
    ATOMS.map("({})".format),
    lambda inner: st.one_of(
        inner.map("(NOT {})".format),
        st.builds("({} {} {})".format, inner, st.sampled_from(["AND", "OR"]), inner),
    ),
    max_leaves=12,
)


def outcome(text: str, properties: dict[str, str]) -> bool | str | None:
    try:
        return compile_filter(text).evaluate(properties)
    except FilterFailed:
        return "failed"


@given(st.one_of(st.lists(TOKENS, max_size=30).map(" ".join), st.text(max_size=60)), PROPERTIES)
def test_any_text_is_refused_or_evaluated(text: str, properties: dict[str, str]) -> None:
    try:
        compiled = compile_filter(text)
    except SubscriptionParseFailed:
        return
    assert compiled.matches(properties) in (True, False)


@given(TEXTS, PROPERTIES)
def test_not_turns_true_and_false_and_leaves_null(text: str, properties: dict[str, str]) -> None:
    turned = {True: False, False: True, None: None, "failed": "failed"}
    assert outcome(f"NOT ({text})", properties) is turned[outcome(text, properties)]


@given(TEXTS, TEXTS, PROPERTIES)
def test_and_or_follow_de_morgan(left: str, right: str, properties: dict[str, str]) -> None:
    both = outcome(f"NOT ({left} AND {right})", properties)
    assert both == outcome(f"(NOT {left}) OR (NOT {right})", properties)


@given(TEXTS, PROPERTIES)
def test_a_filter_takes_a_message_exactly_if_it_is_true(
    text: str, properties: dict[str, str]
) -> None:
    assert compile_filter(text).matches(properties) is (outcome(text, properties) is True)
