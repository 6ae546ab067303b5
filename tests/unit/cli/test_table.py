from __future__ import annotations

import json
from pathlib import Path

import pytest

from pyromq.cli.admin import parser_of
from pyromq.cli.table import COMMANDS, Command, find, is_known_elsewhere
from pyromq.cli.words import NOT_SUPPORTED

MQADMIN = json.loads(
    (Path(__file__).parents[2] / "vectors" / "mqadmin" / "options.json").read_text()
)
"""Each command of mqadmin 5.5.0: letter, long name and whether a value follows, of each option."""

LEFT_OUT = {
    "queryMsgById": {"u"},  # unit names are for clients of several clusters in one process
}
OF_OURS = {"tail", "top", "doctor", "getConsumerStatus"}


def test_every_command_of_mqadmin_is_there_or_says_that_it_is_not_supported_yet() -> None:
    not_supported = {name for names in NOT_SUPPORTED.values() for name in names}
    ours = {command.name for command in COMMANDS}
    assert ours - OF_OURS | not_supported == set(MQADMIN)
    assert not ours & not_supported


@pytest.mark.parametrize(
    "command", [one for one in COMMANDS if one.name not in OF_OURS], ids=lambda one: one.name
)
def test_letters_and_long_names_are_mqadmins(command: Command) -> None:
    # Some commands have an option of theirs under -n, which all have.
    theirs = {
        letter: (name[0] + name.title().replace(" ", "")[1:] if " " in name else name, has_value)
        for letter, name, has_value in MQADMIN[command.name]
        if letter != "n" and letter not in LEFT_OUT.get(command.name, ())
    }
    ours = {
        option.letter: (option.name, option.kind != "flag")
        for option in command.all_options
        if option.letter
    }
    assert ours == theirs


@pytest.mark.parametrize("command", COMMANDS, ids=lambda one: one.name)
def test_every_command_has_a_function_and_a_parser(command: Command) -> None:
    module, _, function = command.function.partition(":")
    imported = __import__(f"pyromq.cli.{module}", fromlist=[function])
    assert callable(getattr(imported, function))
    assert command.text in " ".join(parser_of(command).format_help().split())
    assert command.text.endswith(".")


def test_names_are_found_in_any_case() -> None:
    command = find("TOPICLIST")
    assert command is not None
    assert command.name == "topicList"
    assert find("nothing") is None
    assert is_known_elsewhere("hastatus")
    assert not is_known_elsewhere("topicList")
