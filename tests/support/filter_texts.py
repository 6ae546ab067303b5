"""SQL filters to compare with Apache's own evaluator: written ones and seeded random ones.

`tests/vectors/filter/*.json` are what Apache 5.5.0 answered for them (tests/integration/
test_filter_interop.py records and compares live). A row is the text, the properties (null stands
for `PROPERTIES`) and the outcome: true, false, null, "refused" (it is no filter) or "failed" (it is
one, and cannot be evaluated for these properties). To add a case, write it into written.json with
any outcome and record anew.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any, Final

from pyromq.domain.filter_sql import FilterFailed, compile_filter
from pyromq.errors import SubscriptionParseFailed

FOLDER: Final = Path(__file__).parents[1] / "vectors" / "filter"

Case = tuple[str, dict[str, str]]

PROPERTIES: Final = {
    "a": "10",
    "b": "hello",
    "c": "3.5",
    "t": "true",
    "TAGS": "TagA",
    "big": "3000000000",
    "n": "-7",
    "q": "it's",
    "u": "Grüße",
    "e": "",
}
"""`x` is absent; `e` is empty."""


def random_cases(seed: int, count: int) -> list[Case]:
    """Filters of the grammar, with now and then a token that does not belong there."""
    dice = random.Random(seed)
    return [(_expression(dice, 4), PROPERTIES) for _ in range(count)]


_OPERANDS: Final = (
    "a", "b", "c", "t", "x", "big", "n", "TAGS", "5", "10", "3.5", "2147483648", "'hello'", "'10'",
    "'true'", "TRUE", "FALSE", "NULL", "-7", "-a", "+10", "10L", "'TagA'",
)  # fmt: skip
_SIGNS: Final = ("=", "<>", "<", "<=", ">", ">=")
_NOISE: Final = ("AND", "(", ")", "NOT", "''", ",", "IS", "-", "x", "10", "#", "'")


def _expression(dice: random.Random, depth: int) -> str:
    if dice.random() < 0.02:
        return dice.choice(_NOISE)
    shape = dice.randrange(9 if depth else 5)
    operand, other = dice.choice(_OPERANDS), dice.choice(_OPERANDS)
    is_not = dice.choice(("", "NOT "))
    if shape == 0:
        return operand
    if shape in (1, 2):
        return f"{operand} {dice.choice(_SIGNS)} {other}"
    if shape == 3:
        return dice.choice(
            (
                f"{operand} {is_not}BETWEEN {other} AND {dice.choice(_OPERANDS)}",
                f"{operand} {is_not}IN ('10', '{dice.choice(list(PROPERTIES.values())[:4])}')",
                f"{operand} IS {is_not}NULL",
            )
        )
    if shape == 4:
        kind = dice.choice(("CONTAINS", "STARTSWITH", "ENDSWITH"))
        return f"{operand} {is_not}{kind} '{dice.choice(('1', 'he', 'lo', '', 'TagA'))}'"
    if shape == 5:
        return f"NOT {_expression(dice, depth - 1)}"
    if shape == 6:
        return f"({_expression(dice, depth - 1)})"
    left, right = _expression(dice, depth - 1), _expression(dice, depth - 1)
    if shape == 7:
        return f"{left} {dice.choice(('AND', 'OR'))} {right}"
    return f"({left}) {dice.choice((*_SIGNS, 'AND', 'OR'))} ({right})"


_WORDS: Final = (
    "a", "b", "c", "t", "x", "e", "big", "n", "TAGS", "5", "10", "10L", "0", "007", "1.5", ".5",
    "5.", "1e3", "0.0", "2147483647", "2147483648", "'hello'", "'10'", "''", "'it''s'", "TRUE",
    "false", "NULL", "(", ")", ",", "=", "<>", "<", "<=", ">", ">=", "+", "-", "NOT", "not",
    "AND", "Or", "OR", "IN", "IS", "is", "BETWEEN", "CONTAINS", "startswith", "ENDSWITH", "--",
    "/*", "*/", "/**/", "#", "'", "$a", "_x", "9223372036854775807", "9223372036854775808",
)  # fmt: skip
_VALUES: Final = (
    "5", "-5", "+5", "5.0", "1e5", "x", "true", "TRUE", "NaN", "Infinity", "0x1p1", " 7 ", "07",
    "2147483648", "-2147483649", "9223372036854775808", "1e400", "5f", "", "0x", "1e", "٣", "１２",
)  # fmt: skip
_COMPARISONS: Final = (
    "p {} 5", "p {} 5L", "p {} 5.5", "p {} -5", "p {} 2147483648", "5 {} p", "p {} q", "-7.5 {} p",
)  # fmt: skip


def soup_cases(seed: int, count: int) -> list[Case]:
    """Words in any order, with blanks between them or none; and odd values compared."""
    dice = random.Random(seed)
    soup: list[Case] = [
        (
            dice.choice((" ", "", " \n")).join(dice.choices(_WORDS, k=dice.randint(1, 9))),
            PROPERTIES,
        )
        for _ in range(count)
    ]
    compared: list[Case] = [
        (
            dice.choice(_COMPARISONS).format(dice.choice(_SIGNS)),
            {"p": dice.choice(_VALUES), "q": dice.choice(_VALUES)},
        )
        for _ in range(count)
    ]
    return soup + compared


def our_outcome(case: Case) -> Any:
    text, properties = case
    try:
        compiled = compile_filter(text)
    except SubscriptionParseFailed:
        return "refused"
    try:
        return compiled.evaluate(properties)
    except FilterFailed:
        return "failed"


def case_lines(cases: list[Case]) -> str:
    """As the Java program reads them."""
    lines = []
    for text, properties in cases:
        words = [text, *(word for pair in properties.items() for word in pair)]
        lines.append("\t".join(word.encode().hex() for word in words) + "\n")
    return "".join(lines)


def recorded(name: str) -> list[tuple[Case, Any]]:
    rows = json.loads((FOLDER / f"{name}.json").read_text())
    return [((text, properties or PROPERTIES), outcome) for text, properties, outcome in rows]


def record(name: str, cases: list[Case], outcomes: list[Any]) -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    rows = [
        json.dumps([text, None if properties == PROPERTIES else properties, outcome])
        for (text, properties), outcome in zip(cases, outcomes, strict=True)
    ]
    (FOLDER / f"{name}.json").write_text("[\n" + ",\n".join(rows) + "\n]\n")


__all__ = [
    "PROPERTIES",
    "case_lines",
    "our_outcome",
    "random_cases",
    "record",
    "recorded",
    "soup_cases",
]
