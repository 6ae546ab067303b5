"""What the parts of a SQL filter compute, with Java's types and its ways to read numbers.

A value is NULL (None), a string, a truth value, or a number: `Int32` where Java has an Integer, int
for a Long, float for a Double. Source: ComparisonExpression, LogicExpression and UnaryExpression of
org.apache.rocketmq.filter.expression 5.5.0; Integer, Long and Double of java.lang.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Final

from pyromq.errors import PyromqError

SHOWN_LENGTH_MAX: Final = 40
INT32_MAX: Final = 2**31 - 1
INT64_MAX: Final = 2**63 - 1
INT64_DIGITS: Final = 19

Properties = Mapping[str, str]


class FilterFailed(PyromqError):
    """A property's value cannot be compared as the filter demands; the message is not taken."""


class Int32(int):
    """A Java Integer: a property compared with one must be readable as 32 bits."""


Value = str | bool | int | float | None
Evaluation = Callable[[Properties], Value]


def any_of(parts: list[Evaluation]) -> Evaluation:
    def any_true(properties: Properties) -> Value:
        answer: Value = False
        for part in parts:
            value = part(properties)
            if value is True:
                return True
            if value is None:
                answer = None
        return answer

    return any_true


def all_of(parts: list[Evaluation]) -> Evaluation:
    def all_true(properties: Properties) -> Value:
        answer: Value = True
        for part in parts:
            value = part(properties)
            if value is False:
                return False
            if value is None:
                answer = None
        return answer

    return all_true


def negation(part: Evaluation) -> Evaluation:
    def not_it(properties: Properties) -> Value:
        value = part(properties)
        return None if value is None else not value

    return not_it


def is_null(part: Evaluation, is_not: bool) -> Evaluation:
    return lambda properties: (part(properties) is None) is not is_not


def substring_test(part: Evaluation, kind: str, search: str, is_not: bool) -> Evaluation:
    """False, negated or not, where there is nothing to look into or to look for."""
    test = SUBSTRING_TESTS[kind]

    def found(properties: Properties) -> Value:
        value = part(properties)
        if not search or not isinstance(value, str):
            return False
        return test(value, search) is not is_not

    return found


def equality(left: Evaluation, right: Evaluation) -> Evaluation:
    def equal(properties: Properties) -> Value:
        a, b = left(properties), right(properties)
        if a is None:
            return True if b is None else None
        if b is None:
            return False
        return compare(a, b) == 0

    return equal


def ordering(left: Evaluation, right: Evaluation, sign: str) -> Evaluation:
    holds = ORDERINGS[sign]

    def ordered(properties: Properties) -> Value:
        a = left(properties)
        if a is None:
            return None
        b = right(properties)
        if b is None:
            return None
        if isinstance(a, str) and isinstance(b, str):
            a, b = _double(a), _double(b)
        return holds(compare(a, b))

    return ordered


def compare(left: Value, right: Value) -> int:
    """As __compare of ComparisonExpression: below, at or above zero; -1 where types do not fit."""
    if isinstance(left, str) and isinstance(right, str):
        return 0 if left == right else 1  # strings are never ordered here
    if isinstance(left, bool) and isinstance(right, str):
        raise FilterFailed(f"a truth value cannot be compared with the string {right!r}")
    if isinstance(left, str) and isinstance(right, bool):
        return (left.lower() == "true") - right
    if isinstance(left, bool) is not isinstance(right, bool):
        return -1
    a, b = _number(left, like=right), _number(right, like=left)
    if isinstance(a, float) or isinstance(b, float):
        return _compare_doubles(float(a), float(b))
    return (a > b) - (a < b)


def _compare_doubles(left: float, right: float) -> int:
    """Double.compareTo: NaN equals itself and is above all, -0.0 is below 0.0."""
    if left < right:
        return -1
    if left > right:
        return 1
    if left == right:
        a, b = math.copysign(1.0, left), math.copysign(1.0, right)
        return 0 if left != 0.0 else int(a > b) - int(a < b)
    return int(math.isnan(left)) - int(math.isnan(right))


def _number(value: Value, like: Value) -> int | float:
    """The value itself; or the number a property's text stands for, of the kind of `like`."""
    assert value is not None
    if not isinstance(value, str):
        return value
    if isinstance(like, float):
        return _double(value)
    limit = INT32_MAX if isinstance(like, Int32) else INT64_MAX
    found = _INTEGER.fullmatch(value)
    # So many digits are no number of 64 bits; int() itself refuses thousands of them.
    if found is not None and len(found["digits"]) <= INT64_DIGITS:
        number = int(found["sign"] + found["digits"]) if found["digits"] else 0
        if -limit - 1 <= number <= limit:
            return number
    raise FilterFailed(f"{value[:SHOWN_LENGTH_MAX]!r} is not a whole number from {-limit - 1} on")


def _double(text: str) -> float:
    """Double.valueOf."""
    found = _DOUBLE.fullmatch(text.strip(_UP_TO_BLANK))
    if found is None:
        raise FilterFailed(f"{text[:SHOWN_LENGTH_MAX]!r} is not a number")
    sign = -1.0 if found["sign"] == "-" else 1.0
    if found["word"]:
        return sign * (math.nan if found["word"] == "NaN" else math.inf)
    if found["hex"]:
        try:
            return sign * float.fromhex(found["hex"])
        except OverflowError:
            return sign * math.inf
    return sign * float(found["decimal"])


ORDERINGS: Final[Mapping[str, Callable[[int], bool]]] = {
    "<": lambda order: order < 0,
    "<=": lambda order: order <= 0,
    ">": lambda order: order > 0,
    ">=": lambda order: order >= 0,
}
SUBSTRING_TESTS: Final[Mapping[str, Callable[[str, str], bool]]] = {
    "CONTAINS": lambda value, search: search in value,
    "STARTSWITH": str.startswith,
    "ENDSWITH": str.endswith,
}
_UP_TO_BLANK: Final = "".join(map(chr, range(0x21)))
# Java's digits are those of any script, but only of the basic plane.
_INTEGER: Final = re.compile(
    r"(?P<sign>[+-]?)(?=\d)0*(?P<digits>(?:(?![\U00010000-\U0010FFFF])\d)*)"
)
_DOUBLE: Final = re.compile(
    r"""
    (?P<sign>[+-]?)
    (?: (?P<word>NaN|Infinity)
      | (?P<hex>0[xX](?:[0-9a-fA-F]+\.?|[0-9a-fA-F]*\.[0-9a-fA-F]+)[pP][+-]?[0-9]+)[fFdD]?
      | (?P<decimal>(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)[fFdD]?
    )
    """,
    re.VERBOSE,
)

__all__ = [
    "INT32_MAX",
    "INT64_DIGITS",
    "INT64_MAX",
    "ORDERINGS",
    "SHOWN_LENGTH_MAX",
    "SUBSTRING_TESTS",
    "Evaluation",
    "FilterFailed",
    "Int32",
    "Properties",
    "Value",
    "all_of",
    "any_of",
    "compare",
    "equality",
    "is_null",
    "negation",
    "ordering",
    "substring_test",
]
