from __future__ import annotations

from pyromq.cli.calls import Rows
from pyromq.cli.output import plain
from pyromq.cli.top import Counts, Look, tables
from pyromq.client.admin import BrokerAddress

BROKER = BrokerAddress("C", "a", 0, "10.0.0.1:10911")
RUNTIME = {
    "putTps": "120.5 100.0 90.0",
    "getTransferredTps": "60 50 40",
    "msgPutTotalTodayNow": "1500",
    "msgPutTotalTodayMorning": "500",
    "commitLogDiskRatio": "0.42",
    "brokerVersionDesc": "V5_5_0",
}


def look(at: float, **groups: tuple[int, int]) -> Look:
    seen = Look(at, {BROKER: RUNTIME})
    for group, (written, consumed) in groups.items():
        seen.groups[group, "T"] = Counts(written, consumed)
    return seen


def rows(before: Look | None, now: Look, rows_max: int = 10) -> list[dict[str, object]]:
    _, groups = tables(before, now, {"busy": 3}, rows_max)
    found = plain(groups)
    assert isinstance(found, list)
    return found


def test_brokers_are_shown_with_the_first_of_their_rates() -> None:
    brokers, _ = tables(None, look(0.0), {}, 10)
    assert isinstance(brokers, Rows)
    assert plain(brokers) == [
        {
            "broker": "a",
            "address": "10.0.0.1:10911",
            "inTps": 120.5,
            "outTps": 60.0,
            "inToday": 1000,
            "outToday": None,
            "diskPercent": 42.0,
            "version": "V5_5_0",
            "error": "",
        }
    ]


def test_a_broker_that_does_not_answer_is_shown_with_the_reason() -> None:
    brokers, _ = tables(None, Look(0.0, {BROKER: "no connection"}), {}, 10)
    assert isinstance(brokers, Rows)
    ((name, address, *figures, error),) = brokers.rows
    assert (name, address, error) == ("a", "10.0.0.1:10911", "no connection")
    assert set(figures) == {None}


def test_rates_come_from_two_looks() -> None:
    before, now = look(10.0, busy=(100, 40)), look(12.0, busy=(120, 80))
    (row,) = rows(before, now)
    assert (row["clients"], row["backlog"]) == (3, 40)
    assert (row["writtenTps"], row["consumedTps"]) == (10.0, 20.0)
    assert row["secondsLeft"] == 4.0
    (first,) = rows(None, now)
    assert (first["writtenTps"], first["secondsLeft"]) == (None, None)


def test_a_reset_backwards_is_no_negative_rate() -> None:
    (row,) = rows(look(0.0, g=(100, 90)), look(1.0, g=(100, 0)))
    assert (row["consumedTps"], row["backlog"], row["secondsLeft"]) == (0.0, 100, None)


def test_the_largest_backlog_stands_first_and_lines_are_bounded() -> None:
    before = look(0.0, idle=(5, 5), quick=(5, 5), behind=(50, 5))
    now = look(1.0, idle=(5, 5), quick=(25, 25), behind=(50, 5))
    assert [row["group"] for row in rows(before, now)] == ["behind", "quick", "idle"]
    assert [row["group"] for row in rows(before, now, rows_max=1)] == ["behind"]


def test_retry_topics_are_shown_only_if_they_hold_something() -> None:
    now = look(0.0)
    now.groups["g", "%RETRY%g"] = Counts(5, 5)
    assert rows(None, now) == []
    now.groups["g", "%RETRY%g"] = Counts(6, 5)
    assert [row["topic"] for row in rows(None, now)] == ["%RETRY%g"]
