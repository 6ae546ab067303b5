"""How answers are shown: tables for people, JSON for scripts, one line for errors.

On a terminal tables are drawn by rich, if it is installed; otherwise, and in pipes, columns are
aligned with blanks. What comes from messages and clients is a stranger's text: characters that
would steer the terminal are shown as escapes.
"""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TextIO, TypeVar

from pyromq.cli.calls import Cell, Fields, Moment, Rows, Shown

T = TypeVar("T")

_STEERING = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_GAP = "  "
PROGRESS_AFTER_SECONDS = 1.0
_BAR_WIDTH = 30


def printable(text: str) -> str:
    """The text without characters that move the cursor, colour, or turn the writing around."""
    return _STEERING.sub(lambda found: found.group().encode("unicode_escape").decode(), text)


def cell_text(value: Cell | Mapping[str, Cell]) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:.2f}"
    if isinstance(value, Mapping):
        return ", ".join(f"{printable(k)}={cell_text(v)}" for k, v in value.items()) or "-"
    if isinstance(value, str | int):
        return printable(str(value))
    return ", ".join(printable(part) for part in value) or "-"


def show(parts: Sequence[Shown], *, as_json: bool, out: TextIO | None = None) -> None:
    """Writes the answer. JSON is one document: of one part itself, of several by their titles."""
    out = sys.stdout if out is None else out
    if as_json:
        several = {part.title: plain(part) for part in parts}
        data = plain(parts[0]) if len(parts) == 1 else several
        out.write(json.dumps(data, ensure_ascii=False) + "\n")
        return
    draw = _rich_or_none(out)
    for number, part in enumerate(parts):
        if number:
            out.write("\n")
        if draw is not None:
            draw(part)
        else:
            out.write(aligned(part))


def plain(part: Shown) -> object:
    """The part as values of JSON."""
    if isinstance(part, Rows):
        return [dict(zip(part.columns, map(_json, row), strict=True)) for row in part.rows]
    return {name: _json(value) for name, value in part.values.items()}


def _json(value: Cell | Mapping[str, Cell]) -> object:
    if isinstance(value, Moment):
        return int(value)
    if isinstance(value, Mapping):
        return {name: _json(member) for name, member in value.items()}
    if value is None or isinstance(value, str | int | float):
        return value
    return list(value)


def aligned(part: Shown) -> str:
    """Columns with blanks between them."""
    lines = [part.title] if part.title else []
    if isinstance(part, Fields):
        texts = [(name, cell_text(value)) for name, value in part.values.items()]
        width = max((len(name) for name, _ in texts), default=0)
        lines += [f"{name.ljust(width)}{_GAP}{text}" for name, text in texts]
    else:
        rows = [list(part.columns), *([cell_text(cell) for cell in row] for row in part.rows)]
        widths = [max(len(row[column]) for row in rows) for column in range(len(part.columns))]
        right = [_is_number(part, column) for column in range(len(part.columns))]
        for row in rows:
            cells = [
                text.rjust(width) if is_right else text.ljust(width)
                for text, width, is_right in zip(row, widths, right, strict=True)
            ]
            lines.append(_GAP.join(cells).rstrip())
    return "".join(line + "\n" for line in lines)


def _is_number(part: Rows, column: int) -> bool:
    cells = [row[column] for row in part.rows if row[column] is not None]
    return bool(cells) and all(
        isinstance(cell, int | float) and not isinstance(cell, bool | Moment) for cell in cells
    )


def _rich_or_none(out: TextIO) -> Callable[[Shown], None] | None:
    """What draws with rich on this terminal; None in a pipe or without rich."""
    if not out.isatty():
        return None
    try:
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text
    except ImportError:
        return None
    console = Console(file=out, highlight=False, markup=False, emoji=False)

    def draw(part: Shown) -> None:
        table = Table(title=Text(part.title) if part.title else None, title_justify="left")
        if isinstance(part, Fields):
            table.add_column("name")
            table.add_column("value", overflow="fold")
            for name, value in part.values.items():
                table.add_row(Text(name), Text(cell_text(value)))
        else:
            for column, name in enumerate(part.columns):
                justify = "right" if _is_number(part, column) else "left"
                table.add_column(name, justify=justify, overflow="fold")  # type: ignore[arg-type]
            for row in part.rows:
                table.add_row(*(Text(cell_text(cell)) for cell in row))
        console.print(table)

    return draw


def progress(
    items: Iterable[T],
    what: str,
    *,
    out: TextIO | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[T]:
    """The items one by one; on a terminal a bar shows how far it is, once a second has passed."""
    err = sys.stderr if out is None else out
    listed = list(items)
    if not err.isatty():
        yield from listed
        return
    began = clock()
    is_shown = False
    for number, item in enumerate(listed):
        if clock() - began >= PROGRESS_AFTER_SECONDS:
            filled = _BAR_WIDTH * number // len(listed)
            bar = "█" * filled + "·" * (_BAR_WIDTH - filled)
            err.write(f"\r{bar} {number} of {len(listed)} {what}")
            err.flush()
            is_shown = True
        yield item
    if is_shown:
        err.write("\r\x1b[K")
        err.flush()


__all__ = ["aligned", "cell_text", "plain", "printable", "progress", "show"]
