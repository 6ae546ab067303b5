"""Command lines: what each command takes, and which property an option stands for.

Options are one more source of properties (the highest), so every rule about a value lives in its
property and nowhere else. Letters are Apache's: NamesrvStartup, BrokerStartup 5.5.0.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Final, NoReturn

from pyromq import __version__
from pyromq.config import Source
from pyromq.errors import ConfigInvalid

PORT_MAX: Final = 65_535
BROKER_COUNT_MAX: Final = 26
"""As many as there are letters."""
OFF: Final = "off"

NOT_BUILT: Final = ("proxy",)
"""Commands whose names are taken and that do nothing yet."""
DOORS_NOT_BUILT: Final = ("grpc", "http", "mqtt")


class Options(argparse.ArgumentParser):
    """A parser that says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        raise ConfigInvalid(message)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The command and its options; raises ConfigInvalid. `--help` and `--version` end here."""
    parser = Options(
        prog="pyromq",
        description="A message server that speaks Apache RocketMQ.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"pyromq {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    _standalone(commands)
    _namesrv(commands)
    _broker(commands)
    _store(commands)
    for name in NOT_BUILT:
        commands.add_parser(name, help="not built yet", add_help=False)
    # Their arguments never come here (main.TOOLS): these are their lines in --help.
    commands.add_parser("admin", help="administer a cluster, ours or Apache's", add_help=False)
    commands.add_parser("bench", help="load for any RocketMQ", add_help=False)
    found, rest = parser.parse_known_args(arguments)
    if found.command is None:
        raise ConfigInvalid(
            "no command given; accepted are standalone, namesrv, broker, store, admin, bench; "
            "see --help"
        )
    if rest and found.command not in NOT_BUILT:
        raise ConfigInvalid(f"unknown argument {rest[0]}; see pyromq {found.command} --help")
    return found


_Commands = argparse._SubParsersAction  # argparse gives its type no public name


def _standalone(commands: _Commands[Options]) -> None:
    parser = commands.add_parser(
        "standalone", help="name server and broker, ready to use", allow_abbrev=False
    )
    _common(parser)
    _file(parser)
    _port(parser, "namesrv", "9876")
    _port(parser, "broker", "10911")
    _port(parser, "grpc", "8081; not built yet")
    _port(parser, "http", "8088; not built yet")
    _port(parser, "mqtt", "1883; not built yet")
    parser.add_argument(
        "--brokers",
        metavar="N",
        type=_brokers,
        default=1,
        help="broker processes (1: name server and broker in one process); broker-b, … are 10 "
        "ports further each, with their stores below the first one's",
    )
    parser.add_argument(
        "--ephemeral",
        action="store_true",
        help="free ports and a temporary directory that is removed at exit",
    )


def _namesrv(commands: _Commands[Options]) -> None:
    parser = commands.add_parser("namesrv", help="a name server alone", allow_abbrev=False)
    _common(parser)
    _file(parser)
    _port(parser, "namesrv", "9876")
    parser.add_argument("-n", dest="namesrv_addr", metavar="ADDR", help="accepted, without effect")
    _printing(parser)


def _broker(commands: _Commands[Options]) -> None:
    parser = commands.add_parser("broker", help="a broker alone", allow_abbrev=False)
    _common(parser)
    _file(parser)
    _port(parser, "broker", "10911")
    parser.add_argument(
        "-n",
        "--namesrv-addr",
        dest="namesrv_addr",
        metavar="ADDR",
        help="name servers, host:port separated by `;`",
    )
    parser.add_argument(
        "--supervised",
        metavar="NAME",
        help="be the broker of that name, and stop also when standard input ends: how standalone "
        "--brokers starts its brokers",
    )
    _printing(parser)
    parser.add_argument(
        "-m",
        "--print-important-config",
        action="store_true",
        help="print the most important properties and exit",
    )


def _store(commands: _Commands[Options]) -> None:
    parser = commands.add_parser(
        "store", help="check, repair or export a store that no broker has open", allow_abbrev=False
    )
    verbs = parser.add_subparsers(dest="verb", metavar="check|repair|export", required=True)
    check = verbs.add_parser("check", help="verify every file; changes nothing", allow_abbrev=False)
    _store_common(check)
    repair = verbs.add_parser(
        "repair", help="make anew what can be derived from the log", allow_abbrev=False
    )
    _store_common(repair)
    repair.add_argument("--dry-run", action="store_true", help="only say what would be done")
    repair.add_argument("--yes", action="store_true", help="do not ask")
    export = verbs.add_parser("export", help="messages as JSON lines", allow_abbrev=False)
    _store_common(export)
    export.add_argument("--topic", metavar="T", help="messages of this topic only")
    export.add_argument(
        "--from",
        dest="from_time",
        metavar="TIME",
        help="stored then or later: ms since 1970, or 2026-11-27T08:00 (UTC unless said)",
    )
    export.add_argument("--to", dest="to_time", metavar="TIME", help="stored before this time")
    export.add_argument("--output", metavar="FILE", help="a new file; stdout without")


def _store_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("directory", metavar="DIR", help="the broker's storePathRootDir")
    _file(parser)
    parser.add_argument(
        "--set",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="a property the broker runs with, such as maxIndexNum; may be repeated",
    )
    parser.add_argument("--json", action="store_true", help="the result as JSON, for scripts")


def _common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data-dir", metavar="DIR", help="where data is kept (./pyromq-data)")
    parser.add_argument(
        "--set",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="set a property; may be repeated",
    )
    parser.add_argument(
        "--stop-with-stdin",
        action="store_true",
        help="stop when standard input ends: with the program that started this one",
    )
    parser.add_argument("--host", metavar="HOST", help="address to listen on (127.0.0.1)")
    parser.add_argument(
        "--insecure",
        action="store_true",
        help="allow a --host that others can reach although there is no access control",
    )


def _file(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-c", "--config", metavar="FILE", help="property file, such as Apache's broker.conf"
    )


def _port(parser: argparse.ArgumentParser, door: str, default: str) -> None:
    parser.add_argument(
        f"--{door}-port",
        metavar="N",
        type=_port_text,
        help=f"port of the {door} door, 0 for a free one, `off` for none ({default})",
    )


def _printing(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-p", "--print-config", action="store_true", help="print all properties and exit"
    )


def _port_text(text: str) -> str:
    if text == OFF or (
        text.isascii() and text.isdigit() and len(text) <= 5 and int(text) <= PORT_MAX
    ):
        return text
    raise argparse.ArgumentTypeError(f"{text!r} is not accepted: 0 to {PORT_MAX}, or off")


def _brokers(text: str) -> int:
    if text.isascii() and text.isdigit() and 1 <= int(text[:3]) <= BROKER_COUNT_MAX:
        return int(text[:3])
    raise argparse.ArgumentTypeError(f"{text!r} is not accepted: 1 to {BROKER_COUNT_MAX}")


def option_source(
    options: argparse.Namespace, *, port: str | None = None, port_option: str = ""
) -> list[Source]:
    """The options of one part as sources, highest last. `port` is its own door's."""
    sources = []
    for option, key, value in (
        ("--data-dir", "storePathRootDir", options.data_dir),
        ("--host", "bindAddress", options.host),
        ("--insecure", "allowInsecure", "true" if options.insecure else None),
        ("--supervised", "brokerName", getattr(options, "supervised", None)),
        (port_option, "listenPort", port),
    ):
        if value is not None:
            sources.append(Source(option, {key: value}))
    return sources


def not_built_lines(options: argparse.Namespace) -> list[str]:
    """What was asked for and is not there, for the log."""
    asked = [
        door
        for door in DOORS_NOT_BUILT
        if getattr(options, f"{door}_port", None) not in (None, OFF)
    ]
    return [f"doors not built yet, not opened: {', '.join(asked)}"] if asked else []


__all__ = [
    "BROKER_COUNT_MAX",
    "DOORS_NOT_BUILT",
    "NOT_BUILT",
    "OFF",
    "Options",
    "not_built_lines",
    "option_source",
    "parse",
]
