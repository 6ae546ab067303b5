from __future__ import annotations

import argparse
import asyncio
import io
import json
import subprocess
import sys

import pytest

from pyromq.app.main import main as pyromq
from pyromq.cli.admin import carry_out, main
from pyromq.cli.calls import CallFailed, CallRefused, Fields, Plan, Rows, Step, parse_time
from pyromq.cli.table import COMMANDS

DELETE = next(command for command in COMMANDS if command.name == "deleteTopic")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "no command given"),
        (["nonsense"], "no command 'nonsense'"),
        (["topicRoute"], "the following arguments are required: -t/--topic"),
        (["topicRoute", "-t"], "argument -t/--topic: expected one argument"),
        (["topicRoute", "-t", "T", "--what"], "unrecognized arguments: --what"),
        (["topicRoute", "-t", "T"], "no name server given"),
        (["topicRoute", "-t", "T", "-n", "host"], "'host' is not accepted: host:port is"),
        (["topicRoute", "-t", "T", "-n", "h:1", "--timeout", "0"], "--timeout 0"),
        (["updateTopic", "-t", "T"], "one of the arguments -b/--brokerAddr -c/--clusterName"),
        (["updateTopic", "-t", "T", "-b", "h:1", "-c", "C"], "not allowed with argument -b"),
        (["updateTopic", "-t", "T", "-c", "C", "-r", "x"], "'x' is no whole number"),
        (["updateTopic", "-t", "T", "-c", "C", "-o", "yes"], "'yes' is not accepted"),
        (["brokerStatus", "-b", "host", "-n", "h:1"], "-b 'host' is not accepted: host:port is"),
        (["tail", "T", "--sql", "a >", "-n", "h:1"], "SQL filter, character 4"),
        (["top", "-i", "0", "-n", "h:1"], "-i and --rows are 1 or more"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(
    words: list[str],
    said: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("NAMESRV_ADDR", raising=False)
    assert pyromq(["admin", *words]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("name", ["haStatus", "createUser", "updateStaticTopic", "exportPopRecord"])
def test_commands_of_later_are_one_line_and_exit_code_1(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([name, "-whatever", "1"]) == 1
    out, err = capsys.readouterr()
    assert (out, err) == (
        "",
        f"pyromq admin {name}: not supported yet; see docs/reference/admin.md\n",
    )


def test_a_server_that_is_not_there_is_one_line_and_exit_code_1(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NAMESRV_ADDR", "127.0.0.1:1")
    assert main(["topicList"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("pyromq admin topicList: 127.0.0.1:1: no connection")
    assert err.count("\n") == 1


def test_a_file_that_is_not_there_is_one_line_and_exit_code_1(
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["updateTopicList", "-b", "h:1", "-n", "h:1", "-f"]
    assert main([*words, "/nowhere/topics.json"]) == 1
    assert capsys.readouterr().err == (
        "pyromq admin updateTopicList: /nowhere/topics.json: No such file or directory\n"
    )


def test_help_lists_every_command_and_names_options(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["help"]) == 0
    assert "  topicStatus " in capsys.readouterr().out
    assert main(["help", "topicStatus"]) == 0
    assert "-t TEXT, --topic TEXT" in capsys.readouterr().out
    assert main(["help", "what"]) == 2


def test_a_command_imports_neither_uvloop_nor_rich_nor_the_servers() -> None:
    program = (
        "import sys; from pyromq.app.main import main;"
        "main(['admin', 'topicList', '-n', '127.0.0.1:1']);"
        "print(*sorted(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    loaded = done.stdout.split()
    assert "pyromq.client.admin" in loaded
    for name in (
        "uvloop",
        "rich",
        "shutil",
        "pyromq.app.options",
        "pyromq.cli.top",
        "pyromq.cli.doctor",
    ):
        assert name not in loaded
    for part in ("broker", "store", "frontends", "transport", "config"):
        assert f"pyromq.{part}" not in loaded


def test_help_needs_no_loop_and_no_client() -> None:
    program = (
        "import sys; from pyromq.app.main import main; main(['admin', 'help']);"
        "print(*sorted(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert not {"asyncio", "msgspec", "pyromq.client"} & set(done.stderr.split())


# ── plans ───────────────────────────────────────────────────────────────────────────────────────


class Changes:
    """Steps that note what was done."""

    def __init__(self) -> None:
        self.done: list[str] = []

    def step(self, text: str, result: Rows | Fields | str | None = None) -> Step:
        async def act() -> Rows | Fields | str | None:
            self.done.append(text)
            return result

        return Step(text, act)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def options(**given: bool) -> argparse.Namespace:
    return argparse.Namespace(**{"json": False, "dry_run": False, "yes": False, **given})


def test_a_dry_run_says_what_would_be_done_and_does_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    changes = Changes()
    plan = Plan([changes.step("delete topic T"), changes.step("delete topic U")], destroys=True)
    asyncio.run(carry_out(DELETE, plan, options(dry_run=True)))
    assert capsys.readouterr().out == "would delete topic T\nwould delete topic U\n"
    asyncio.run(carry_out(DELETE, plan, options(dry_run=True, json=True)))
    assert json.loads(capsys.readouterr().out) == [
        {"wouldDo": "delete topic T"},
        {"wouldDo": "delete topic U"},
    ]
    assert changes.done == []


@pytest.mark.parametrize(("answer", "is_done"), [("y\n", True), ("n\n", False), ("", False)])
def test_on_a_terminal_is_asked_before_something_is_destroyed(
    answer: str,
    is_done: bool,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    changes = Changes()
    plan = Plan([changes.step("delete topic T")], destroys=True)
    monkeypatch.setattr("sys.stdin", Terminal(answer))
    if is_done:
        asyncio.run(carry_out(DELETE, plan, options()))
    else:
        with pytest.raises(CallFailed, match="nothing was changed"):
            asyncio.run(carry_out(DELETE, plan, options()))
    assert changes.done == (["delete topic T"] if is_done else [])
    assert capsys.readouterr().err == "will delete topic T\ndeleteTopic: go on? [y/N] "


def test_nobody_is_asked_with_yes_in_a_pipe_or_where_nothing_is_lost(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    changes = Changes()
    monkeypatch.setattr("sys.stdin", Terminal(""))
    asyncio.run(carry_out(DELETE, Plan([changes.step("a")], destroys=True), options(yes=True)))
    asyncio.run(carry_out(DELETE, Plan([changes.step("b")]), options()))
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    asyncio.run(carry_out(DELETE, Plan([changes.step("c")], destroys=True), options()))
    assert changes.done == ["a", "b", "c"]
    assert capsys.readouterr().out == "a: done\nb: done\nc: done\n"


def test_a_step_that_fails_ends_the_plan_after_those_before_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    changes = Changes()

    async def fails() -> str:
        raise CallFailed("no")

    plan = Plan([changes.step("a", "2 topics"), Step("b", fails), changes.step("c")])
    with pytest.raises(CallFailed):
        asyncio.run(carry_out(DELETE, plan, options()))
    assert changes.done == ["a"]
    assert capsys.readouterr().out == "a: 2 topics\n"


def test_results_of_steps_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    changes = Changes()
    plan = Plan([changes.step("a"), changes.step("b", Fields({"x": 1}, title="sent"))])
    asyncio.run(carry_out(DELETE, plan, options(json=True)))
    assert json.loads(capsys.readouterr().out) == {
        "steps": [{"step": "a", "result": "done"}],
        "sent": {"x": 1},
    }


def test_times_are_read_in_every_form(monkeypatch: pytest.MonkeyPatch) -> None:
    assert parse_time("timestamp", "now", 5) == 5
    assert parse_time("timestamp", "-1", 5) == -1
    assert parse_time("timestamp", "1700000000123", 5) == 1_700_000_000_123
    assert parse_time("timestamp", "2023-11-14T22:13:20+00:00", 5) == 1_700_000_000_000
    local = parse_time("timestamp", "2023-11-14#22:13:20:123", 5)
    assert parse_time("timestamp", "2023-11-14T22:13:20.123", 5) == local
    assert local % 1000 == 123
    with pytest.raises(CallRefused, match="'yesterday' is not accepted: now, ms since 1970"):
        parse_time("timestamp", "yesterday", 5)
