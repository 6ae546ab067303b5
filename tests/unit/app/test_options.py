"""Command lines: what parses, what does not, and what is said about it."""

from __future__ import annotations

import pytest

from pyromq.app.options import not_built_lines, option_source, parse
from pyromq.errors import ConfigInvalid


def test_every_option_of_standalone_parses() -> None:
    options = parse(
        [
            "standalone", "--data-dir", "d", "--config", "f", "--set", "a=b", "--set", "c=d",
            "--host", "::1", "--insecure", "--namesrv-port", "0", "--broker-port", "65535",
            "--grpc-port", "off", "--http-port", "8088", "--mqtt-port", "1883", "--brokers", "1",
            "--ephemeral",
        ]
    )  # fmt: skip
    assert options.command == "standalone"
    assert options.set == ["a=b", "c=d"]
    assert (options.namesrv_port, options.broker_port, options.grpc_port) == ("0", "65535", "off")


def test_apaches_letters_are_accepted() -> None:
    broker = parse(["broker", "-c", "broker.conf", "-n", "a:1;b:2", "-p"])
    assert (broker.config, broker.namesrv_addr, broker.print_config) == (
        "broker.conf",
        "a:1;b:2",
        True,
    )
    assert parse(["broker", "-m"]).print_important_config
    namesrv = parse(["namesrv", "-c", "namesrv.conf", "-n", "ignored", "-p"])
    assert (namesrv.config, namesrv.print_config) == ("namesrv.conf", True)


@pytest.mark.parametrize("command", ["proxy"])
def test_commands_not_built_yet_take_any_arguments(command: str) -> None:
    assert parse([command, "sub", "-x", "--whatever", "1"]).command == command


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "no command given"),
        (["standalone", "extra"], "unknown argument extra"),
        (["standalone", "--eph"], "unknown argument --eph"),
        (["standalone", "--broker-port", "x"], "'x' is not accepted"),
        (["standalone", "--broker-port", "٣"], "is not accepted"),
        (["standalone", "--broker-port", "000000"], "is not accepted"),
        (["standalone", "--broker-port"], "expected one argument"),
        (["standalone", "--brokers", "0"], "'0' is not accepted: 1 to 26"),
        (["standalone", "--brokers", "27"], "'27' is not accepted: 1 to 26"),
        (["standalone", "--brokers", "1e1"], "is not accepted: 1 to 26"),
        (["standalone", "--brokers", "٣"], "is not accepted: 1 to 26"),
        (["what"], "invalid choice"),
    ],
)
def test_what_does_not_parse_is_a_configuration_error(arguments: list[str], words: str) -> None:
    with pytest.raises(ConfigInvalid, match=words):
        parse(arguments)


def test_options_become_sources_with_their_own_names() -> None:
    sources = option_source(parse(["broker", "--data-dir", "d", "--host", "h", "--insecure"]))
    assert [(source.name, dict(source.values)) for source in sources] == [
        ("--data-dir", {"storePathRootDir": "d"}),
        ("--host", {"bindAddress": "h"}),
        ("--insecure", {"allowInsecure": "true"}),
    ]
    assert option_source(parse(["broker"])) == []


def test_doors_that_were_asked_for_and_are_not_built_are_named() -> None:
    assert not_built_lines(parse(["standalone"])) == []
    assert not_built_lines(parse(["standalone", "--grpc-port", "off"])) == []
    assert not_built_lines(parse(["standalone", "--grpc-port", "0", "--mqtt-port", "1883"])) == [
        "doors not built yet, not opened: grpc, mqtt"
    ]
    assert not_built_lines(parse(["namesrv"])) == []
