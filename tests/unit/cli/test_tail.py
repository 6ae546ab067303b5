from __future__ import annotations

import json

import pytest

from pyromq.cli.calls import CallFailed
from pyromq.cli.commands import messages as commands
from pyromq.cli.commands.messages import Kept, body_text, wanted_tags
from pyromq.cli.tail import Wanted, write_message
from pyromq.client.admin.messages import StoredMessage, stored_message
from pyromq.domain.filter_sql import compile_filter
from pyromq.wire.record import Record


def message(tags: str = "A", keys: str = "k1 k2", body: bytes = b"hello") -> StoredMessage:
    properties = f"TAGS\x01{tags}\x02KEYS\x01{keys}\x02amount\x0112\x02UNIQ_KEY\x01U1"
    return stored_message(Record(topic="T", body=body, properties=properties.encode()))


@pytest.mark.parametrize(
    ("tags", "key", "sql", "takes"),
    [
        (None, None, None, True),
        ("A || B", None, None, True),
        ("B", None, None, False),
        (None, "k2", None, True),
        (None, "k", None, False),
        (None, None, "amount > 10 AND TAGS = 'A'", True),
        (None, None, "amount > 12", False),
        (None, None, "unknown > 12", False),
        (None, None, "KEYS > 5", False),
        ("A", "k1", "amount BETWEEN 12 AND 13", True),
        ("A", "k3", "amount BETWEEN 12 AND 13", False),
    ],
)
def test_a_message_must_pass_every_filter(
    tags: str | None, key: str | None, sql: str | None, takes: bool
) -> None:
    wanted = Wanted(wanted_tags(tags), key, None if sql is None else compile_filter(sql))
    assert wanted.takes(message()) is takes


def test_star_and_nothing_mean_every_tag() -> None:
    assert wanted_tags(None) is None
    assert wanted_tags(" * ") is None
    assert wanted_tags("A||B ") == frozenset({"A", "B"})


def test_a_message_is_one_line_whatever_is_in_it(capsys: pytest.CaptureFixture[str]) -> None:
    hostile = message(body=b"a\nb\x1b[2J", keys="k\rk")
    write_message("broker-a", hostile, as_json=False, with_body=True)
    line = capsys.readouterr().out
    assert line.endswith(" broker-a/0@0 U1 tags=A keys=k\\rk a\\nb\\x1b[2J\n")
    assert line.count("\n") == 1
    write_message("broker-a", hostile, as_json=True, with_body=False)
    row = json.loads(capsys.readouterr().out)
    assert (row["keys"], row["properties"]["amount"]) == ("k\rk", "12")
    assert "body" not in row


def test_a_body_that_is_no_text_is_base64() -> None:
    assert body_text(message(body=b"\xff\x00")) == "base64:/wA="
    assert body_text(message(body="ü".encode("latin-1")), "latin-1") == "ü"


def test_an_answer_holds_no_more_than_a_process_can(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "KEPT_SIZE_MAX", 10)
    kept = Kept()
    kept.add(message(body=b"12345"))
    kept.add(message(body=b"12345"))
    with pytest.raises(CallFailed, match="ask for less"):
        kept.add(message(body=b"1"))
    monkeypatch.setattr(commands, "KEPT_MAX", 1)
    kept = Kept()
    kept.add(message(body=b""))
    with pytest.raises(CallFailed, match="more than 1 messages"):
        kept.add(message(body=b""))
    assert len(kept.messages) == 1
