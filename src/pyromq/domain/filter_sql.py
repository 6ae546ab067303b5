"""SQL-92 filters: text → a predicate over a message's properties.

A hand-written recursive-descent parser compiles the text to nested closures; nothing is looked up
or parsed again per message, except the numbers inside property values. Properties are strings, so
the types of every value are known early: a property gives a string or NULL, a literal gives a
string, a truth value, or a number of one of Java's three kinds (an Integer, a Long, a Double). The
kinds matter, because a property compared with a number is read as a number of that kind, and one
that cannot be read so makes the whole filter fail for that message.

Logic is three-valued. A filter that ends with NULL, or fails, does not take the message.

Grammar, loosest first: OR · AND · `=` `<>` IS [NOT] NULL · `<` `<=` `>` `>=` [NOT] BETWEEN, IN,
CONTAINS, STARTSWITH, ENDSWITH · `+` `-` NOT · literal, name, parentheses. As in Apache's, what
follows a complete expression is not looked at, except that its first token must be one: so
`a LIKE 'x'` is the property `a` alone, which is never true.

Source: SelectorParser and ComparisonExpression, LogicExpression, UnaryExpression,
ConstantExpression of org.apache.rocketmq.filter 5.5.0; tests/vectors/filter holds what it answered.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple, NoReturn

from pyromq.domain.filter_values import (
    INT32_MAX,
    INT64_DIGITS,
    INT64_MAX,
    ORDERINGS,
    SHOWN_LENGTH_MAX,
    SUBSTRING_TESTS,
    Evaluation,
    FilterFailed,
    Int32,
    Properties,
    Value,
    all_of,
    any_of,
    compare,
    equality,
    is_null,
    negation,
    ordering,
    substring_test,
)
from pyromq.domain.subscription import EXPRESSION_LENGTH_MAX
from pyromq.errors import SubscriptionParseFailed

DEPTH_MAX: Final = 80
"""Levels of parentheses, signs and NOT: what a person or a generator writes stays far below, and a
text cannot exhaust the stack. Apache's ends with its thread's stack, at some thousands."""
TEST_DEPTH_MAX: Final = 400
"""Tests inside each other, as in `a = b = c`: how deep the stack becomes that evaluates them."""


class FilterExpression:
    """A compiled filter. Immutable; may be used by any number of consumers."""

    __slots__ = ("_evaluate", "text")

    def __init__(self, text: str, evaluate: Evaluation) -> None:
        self.text = text
        self._evaluate = evaluate

    def evaluate(self, properties: Properties) -> bool | None:
        """True, False, or None for NULL. Raises FilterFailed."""
        value = self._evaluate(properties)
        assert value is None or isinstance(value, bool), value
        return value

    def matches(self, properties: Properties) -> bool:
        """Whether the message is wanted; never raises."""
        try:
            return self._evaluate(properties) is True
        except FilterFailed:
            return False


def compile_filter(text: str) -> FilterExpression:
    """The filter of a text; raises SubscriptionParseFailed, which names position and reason."""
    if len(text) > EXPRESSION_LENGTH_MAX:
        raise SubscriptionParseFailed(
            f"the SQL filter has {len(text)} characters, at most {EXPRESSION_LENGTH_MAX} are taken"
        )
    return FilterExpression(text, _Parser(text).parse())


# ── tokens ──────────────────────────────────────────────────────────────────────────────────────


_TOKEN: Final = re.compile(
    r"""
    (?P<skip>   [ \t\n\r\f]+ | --[^\n\r]*[\n\r] | /\*(?s:.*?)\*/ )
  | (?P<float>  [0-9]+\.[0-9]*(?:[eE][+-]?[0-9]+)? | \.[0-9]+(?:[eE][+-]?[0-9]+)?
              | [0-9]+[eE][+-]?[0-9]+ )
  | (?P<int>    0 | [1-9][0-9]*[lL]? )
  | (?P<string> '(?:''|[^'])*' )
  | (?P<name>   [A-Za-z_$][A-Za-z0-9_$]* )
  | (?P<sign>   <> | <= | >= | [=<>(),+-] )
    """,
    re.VERBOSE,
)
_KEYWORDS: Final = frozenset(
    {"NOT", "AND", "OR", "BETWEEN", "IN", "TRUE", "FALSE", "NULL", "IS"}
    | {"CONTAINS", "STARTSWITH", "ENDSWITH"}
)
_END: Final = "end"


class _Token(NamedTuple):
    """`kind` is `int`, `float`, `string`, `name`, `end`, or the sign or keyword itself."""

    kind: str
    text: str
    at: int


class _Node(NamedTuple):
    """A part of the expression: how to compute it, and what the rules need to know of it."""

    evaluate: Evaluation
    shown: str
    is_boolean: bool = False
    is_literal: bool = False
    """Written as a literal, without a sign before it."""
    value: Value = None
    """Of a literal."""
    name: str | None = None
    """Of a property."""
    depth: int = 0


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._depth = 0
        self._peeked: _Token | None = None

    def parse(self) -> Evaluation:
        node = self._or()
        self._peek()  # what follows need not make sense, but must be a token
        return self._as_boolean(node).evaluate

    # ── tokens ──────────────────────────────────────────────────────────────────────────────────

    def _peek(self) -> _Token:
        if self._peeked is None:
            self._peeked = self._read()
        return self._peeked

    def _read(self) -> _Token:
        text = self._text
        while self._at < len(text):
            at = self._at
            found = _TOKEN.match(text, at)
            if found is None:
                if text[at] == "'":
                    self._refuse(at, "a string without its closing quote")
                self._refuse(at, f"{text[at]!r} is not part of the language")
            self._at = found.end()
            kind, image = str(found.lastgroup), found.group()
            if kind == "skip":
                continue
            if kind == "sign":
                kind = image
            elif kind == "name" and image.upper() in _KEYWORDS:
                kind = image.upper()
            return _Token(kind, image, at)
        return _Token(_END, "", len(text))

    def _take(self) -> _Token:
        token = self._peek()
        self._peeked = None
        return token

    def _expect(self, kind: str, wanted: str = "") -> _Token:
        token = self._take()
        if token.kind != kind:
            self._unexpected(token, wanted or kind)
        return token

    def _unexpected(self, token: _Token, wanted: str) -> NoReturn:
        met = "the end" if token.kind == _END else f"`{token.text[:SHOWN_LENGTH_MAX]}`"
        self._refuse(token.at, f"{wanted} was expected, not {met}")

    def _refuse(self, at: int, reason: str) -> NoReturn:
        raise SubscriptionParseFailed(f"SQL filter, character {at + 1}: {reason}")

    # ── grammar ─────────────────────────────────────────────────────────────────────────────────

    def _or(self) -> _Node:
        return self._logic("OR", lambda: self._logic("AND", self._equality, all_of), any_of)

    def _logic(
        self,
        keyword: str,
        operand: Callable[[], _Node],
        join: Callable[[list[Evaluation]], Evaluation],
    ) -> _Node:
        node = operand()
        if self._peek().kind != keyword:
            return node
        parts = [self._as_boolean(node)]
        while self._peek().kind == keyword:
            self._take()
            parts.append(self._as_boolean(operand()))
        return self._test(self._at, join([part.evaluate for part in parts]), *parts)

    def _equality(self) -> _Node:
        left = self._comparison()
        while (token := self._peek()).kind in ("=", "<>", "IS"):
            self._take()
            if token.kind == "IS":
                is_not = self._peek().kind == "NOT"
                if is_not:
                    self._take()
                self._expect("NULL", "NULL" if is_not else "NULL or NOT NULL")
                left = self._test(token.at, is_null(left.evaluate, is_not), left)
                continue
            right = self._comparison()
            self._check_equal(token, left, right)
            evaluate = equality(left.evaluate, right.evaluate)
            if token.kind == "<>":
                evaluate = negation(evaluate)
            left = self._test(token.at, evaluate, left, right)
        return left

    def _comparison(self) -> _Node:
        left = self._unary()
        while (token := self._peek()).kind in _AFTER_OPERAND:
            self._take()
            if token.kind in ORDERINGS:
                right = self._unary()
                evaluate = self._ordering(token.at, token.kind, left, right)
                left = self._test(token.at, evaluate, left, right)
                continue
            is_not = token.kind == "NOT"
            if is_not:
                token = self._take()
            if token.kind == "BETWEEN":
                low = self._unary()
                self._expect("AND")
                high = self._unary()
                evaluate = self._between(token.at, left, low, high, is_not)
                left = self._test(token.at, evaluate, left, low, high)
            elif token.kind == "IN":
                left = self._test(token.at, self._in(token.at, left, is_not), left)
            elif token.kind in SUBSTRING_TESTS:
                search = self._string()
                evaluate = substring_test(left.evaluate, token.kind, search, is_not)
                left = self._test(token.at, evaluate, left)
            else:
                self._unexpected(token, "BETWEEN, IN, CONTAINS, STARTSWITH or ENDSWITH after NOT")
        return left

    def _unary(self) -> _Node:
        token = self._take()
        kind = token.kind
        if kind in ("+", "-", "NOT", "("):
            self._depth += 1
            if self._depth > DEPTH_MAX:
                self._refuse(token.at, f"nested deeper than {DEPTH_MAX} levels")
            try:
                if kind == "(":
                    node = self._or()
                    self._expect(")")
                    return node
                node = self._unary()
                if kind == "NOT":
                    node = self._as_boolean(node)
                    return self._test(token.at, negation(node.evaluate), node)
                return node if kind == "+" else _negated(node)
            finally:
                self._depth -= 1
        if kind == "name":
            name = token.text
            return _Node(lambda properties: properties.get(name), name, name=name)
        if kind == "int":
            return _literal(self._integer(token), token.text)
        if kind == "float":
            return _literal(self._float(token), token.text)
        if kind == "string":
            return _literal(_unquoted(token.text), token.text)
        if kind not in _TRUTH:
            self._unexpected(token, "a value")
        return _literal(_TRUTH[kind], kind)

    def _string(self) -> str:
        return _unquoted(self._expect("string", "a string").text)

    def _integer(self, token: _Token) -> int:
        digits = token.text.rstrip("lL")
        number = int(digits) if len(digits) <= INT64_DIGITS else INT64_MAX + 1
        if number > INT64_MAX:
            self._refuse(token.at, f"{digits[:SHOWN_LENGTH_MAX]} is above {INT64_MAX}")
        return Int32(number) if number <= INT32_MAX else number

    def _float(self, token: _Token) -> float:
        number = float(token.text)
        if math.isinf(number) or number == 0.0:
            # Apache compares with Double.MIN_VALUE, the smallest above zero, so 0.0 is refused too
            self._refuse(token.at, f"{token.text} is not between 4.9E-324 and 1.8E308")
        return number

    # ── rules ───────────────────────────────────────────────────────────────────────────────────

    def _test(self, at: int, evaluate: Evaluation, *parts: _Node) -> _Node:
        depth = max(part.depth for part in parts) + 2  # some, such as `<>`, are two functions
        if depth > TEST_DEPTH_MAX:
            self._refuse(at, f"more than {TEST_DEPTH_MAX // 2} tests inside each other")
        return _Node(evaluate, "(a test)", is_boolean=True, depth=depth)

    def _as_boolean(self, node: _Node) -> _Node:
        if node.is_boolean:
            return node
        if node.name is None:
            self._refuse(self._peek().at, f"{node.shown} before it is neither true nor false")
        read = node.evaluate
        # A property is a string, never TRUE: a property alone wants no message.
        return node._replace(
            evaluate=lambda properties: None if read(properties) is None else False,
            is_boolean=True,
            name=None,
        )

    def _check_equal(self, token: _Token, left: _Node, right: _Node) -> None:
        for node in (left, right):
            if node.is_literal and node.value is None:
                self._refuse(token.at, f"`{token.kind}` NULL; write IS NULL or IS NOT NULL")
        if left.is_literal and right.is_literal and left.is_boolean and not right.is_boolean:
            self._refuse(token.at, f"{left.shown} cannot be compared with {right.shown}")

    def _ordering(self, at: int, sign: str, left: _Node, right: _Node) -> Evaluation:
        for node in (left, right):
            if node.is_boolean or (node.is_literal and isinstance(node.value, str)):
                self._refuse(at, f"`{sign}` compares numbers; {node.shown} is none")
        return ordering(left.evaluate, right.evaluate, sign)

    def _between(self, at: int, value: _Node, low: _Node, high: _Node, is_not: bool) -> Evaluation:
        if is_not:
            below = self._ordering(at, "<", value, low)
            return any_of([below, self._ordering(at, ">", value, high)])
        from_low = self._ordering(at, ">=", value, low)
        to_high = self._ordering(at, "<=", value, high)
        if low.is_literal and high.is_literal and compare(high.value, low.value) < 0:
            self._refuse(at, f"BETWEEN {low.shown} AND {high.shown}: the first is greater")
        return all_of([from_low, to_high])

    def _in(self, at: int, left: _Node, is_not: bool) -> Evaluation:
        self._expect("(")
        members = {self._string()}
        while self._peek().kind == ",":
            self._take()
            members.add(self._string())
        self._expect(")", "`,` or `)`")
        if left.name is None:
            self._refuse(at, f"IN wants a property before it, not {left.shown}")
        name = left.name

        def is_in(properties: Properties) -> Value:
            value = properties.get(name)
            return None if value is None else (value in members) is not is_not

        return is_in


def _literal(value: Value, shown: str) -> _Node:
    is_boolean = value is None or isinstance(value, bool)
    return _Node(lambda _: value, shown, is_boolean, is_literal=True, value=value)


def _unquoted(image: str) -> str:
    return image[1:-1].replace("''", "'")


def _negated(node: _Node) -> _Node:
    """Of a number; of anything else it is NULL."""
    value = node.value
    if isinstance(value, bool) or not isinstance(value, int | float):
        return _Node(lambda _: None, f"-{node.shown}")
    negative: Value = Int32(-value) if isinstance(value, Int32) else -value
    return _Node(lambda _: negative, f"-{node.shown}", value=negative)


_TRUTH: Final[Mapping[str, Value]] = {"TRUE": True, "FALSE": False, "NULL": None}
_AFTER_OPERAND: Final = frozenset({*ORDERINGS, *SUBSTRING_TESTS, "NOT", "BETWEEN", "IN"})

__all__ = ["DEPTH_MAX", "TEST_DEPTH_MAX", "FilterExpression", "FilterFailed", "compile_filter"]
