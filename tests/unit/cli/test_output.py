from __future__ import annotations

import io
import json

import pytest

from pyromq.cli.calls import Fields, Moment, Rows
from pyromq.cli.output import aligned, printable, progress, show

TABLE = Rows(
    ("topic", "queues", "rate", "seen", "tags"),
    [("orders", 4, 1.5, Moment(0), ["a", "b"]), ("x", 16, None, Moment(0), [])],
    title="topics",
)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_columns_are_aligned_numbers_to_the_right() -> None:
    assert aligned(TABLE) == (
        "topics\n"
        "topic   queues  rate  seen  tags\n"
        "orders       4  1.50  -     a, b\n"
        "x           16     -  -     -\n"
    )
    assert aligned(Fields({"a": True, "longer": {"k": "v"}})) == "a       true\nlonger  k=v\n"


def test_json_is_the_values_themselves() -> None:
    out = io.StringIO()
    show([TABLE], as_json=True, out=out)
    assert json.loads(out.getvalue()) == [
        {"topic": "orders", "queues": 4, "rate": 1.5, "seen": 0, "tags": ["a", "b"]},
        {"topic": "x", "queues": 16, "rate": None, "seen": 0, "tags": []},
    ]
    out = io.StringIO()
    show([TABLE, Fields({"at": Moment(5)}, title="total")], as_json=True, out=out)
    assert json.loads(out.getvalue())["total"] == {"at": 5}


def test_a_strangers_text_cannot_steer_the_terminal() -> None:
    hostile = "a\x1b[2Jb\r\n\x9b31m\u202ec\ud800"
    shown = printable(hostile)
    assert shown == "a\\x1b[2Jb\\r\\n\\x9b31m\\u202ec\\ud800"
    assert "\x1b" not in aligned(Rows(("t",), [(hostile,)]))
    out = io.StringIO()
    show([Fields({"body": hostile})], as_json=True, out=out)
    assert json.loads(out.getvalue()) == {"body": hostile}


def test_on_a_terminal_a_table_is_drawn_and_markup_is_text() -> None:
    pytest.importorskip("rich")
    out = Terminal()
    show([Rows(("topic",), [("[red]orders[/red]",)], title="[b]t")], as_json=False, out=out)
    text = out.getvalue()
    assert "[red]orders[/red]" in text
    assert "[b]t" in text
    assert "┃" in text or "│" in text


def test_without_rich_a_terminal_gets_aligned_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "rich.console", None)
    out = Terminal()
    show([Rows(("topic",), [("orders",)])], as_json=False, out=out)
    assert out.getvalue() == "topic\norders\n"


def test_a_bar_is_shown_after_a_second_on_a_terminal_only() -> None:
    seconds = iter([0.0, 0.4, 1.0, 1.5, 2.0])
    out = Terminal()
    items = list(progress(range(4), "topics", out=out, clock=lambda: next(seconds)))
    assert items == [0, 1, 2, 3]
    assert out.getvalue().count("\r") == 4  # three bars, and one to wipe the last
    assert "1 of 4 topics" in out.getvalue()
    assert "0 of 4" not in out.getvalue()
    quick = Terminal()
    assert list(progress(range(4), "topics", out=quick, clock=lambda: 0.0)) == [0, 1, 2, 3]
    assert quick.getvalue() == ""
    piped = io.StringIO()
    assert list(progress(range(2), "topics", out=piped)) == [0, 1]
    assert piped.getvalue() == ""


def test_moments_are_local_time_for_people() -> None:
    shown = str(Moment(1_700_000_000_123))
    assert shown.startswith("2023-11-1")
    assert shown.endswith(".123")
    assert str(Moment(0)) == "-"
    assert str(Moment(2**62)) == str(2**62)
