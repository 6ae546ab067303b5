"""The command line of `python -m bench.measure`."""

from __future__ import annotations

import argparse
import dataclasses
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.loads import NEW_DATA_MAX, SCENARIOS, STORED_EXTRA, WARM_UP_DATA_MAX
from bench.servers import SERVERS

PARTS = ("load", "ready", "memory", "restart")
HEADERS = ("json", "binary")
BOUNDS = {"restart_log_mib": 2048, "body": 65_536, "rounds": 20, "starts": 100}


@dataclass(frozen=True)
class Options:
    label: str
    servers: tuple[str, ...]
    parts: tuple[str, ...]
    scenarios: tuple[str, ...]
    headers: tuple[str, ...]
    settings: tuple[str, ...]
    rounds: int
    seconds: float
    warm_up: float
    starts: int
    settle: float
    body: int
    restart_log_mib: int
    is_ephemeral: bool
    has_ceiling: bool

    def messages_max(self) -> int:
        """Messages of one sending run, so that all runs together stay under the bound."""
        storing = sum(SCENARIOS[name].stores for name in self.scenarios) * len(self.headers)
        runs = (self.rounds + 1) * max(storing, 1) * len(self.servers)
        left = NEW_DATA_MAX - WARM_UP_DATA_MAX * len(self.servers)
        return max(left // runs // (self.body + STORED_EXTRA), 32)


def parse(arguments: Sequence[str]) -> Options:
    parser = _parser()
    chosen = parser.parse_args(arguments)
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]*", chosen.label):
        parser.error(f"--label {chosen.label}: a-z, 0-9 and dash are expected")
    if any("=" not in setting for setting in chosen.settings):
        parser.error("--set: KEY=VALUE is expected")
    for option, most in BOUNDS.items():
        if not 1 <= getattr(chosen, option) <= most:
            parser.error(f"--{option.replace('_', '-')}: 1 to {most} is expected")
    if not any(setting.startswith("flushDiskType=") for setting in chosen.settings):
        chosen.settings.append("flushDiskType=ASYNC_FLUSH")
    chosen.settings = tuple(chosen.settings)
    if chosen.is_ephemeral:
        chosen.parts = tuple(part for part in chosen.parts if part != "restart")
    names = [field.name for field in dataclasses.fields(Options)]
    return Options(**{name: getattr(chosen, name) for name in names})


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="bench.measure", description="Measures our server, and Apache's beside it."
    )
    add = parser.add_argument
    add("--label", required=True, help="name of the result page (a-z, 0-9, dash)")
    add("--servers", type=_words(SERVERS), default=("pyromq",))
    add("--parts", type=_words(PARTS), default=PARTS)
    add("--scenarios", type=_words(tuple(SCENARIOS)), default=tuple(SCENARIOS))
    add("--headers", type=_words(HEADERS), default=("json",))
    add("--set", dest="settings", action="append", default=[], metavar="KEY=VALUE",
        help="property of all servers; flushDiskType=ASYNC_FLUSH unless set")  # fmt: skip
    add("--rounds", type=int, default=3)
    add("--seconds", type=float, default=5.0, help="longest time of one run")
    add("--warm-up", type=float, default=10.0, help="seconds of load before the first round")
    add("--starts", type=int, default=5, help="starts for the READY time")
    add("--settle", type=float, default=2.0, help="seconds before memory is looked at")
    add("--body", type=int, default=128, help="bytes")
    add("--restart-log-mib", type=int, default=1024)
    add("--ephemeral", dest="is_ephemeral", action="store_true", help="no restart part then")
    add("--ceiling", dest="has_ceiling", action="store_true", help="measure the generator too")
    return parser


def _words(allowed: Sequence[str]) -> Callable[[str], tuple[str, ...]]:
    """Reads words with commas between them, each of them allowed."""

    def split(text: str) -> tuple[str, ...]:
        chosen = tuple(word for word in text.split(",") if word)
        if not chosen or not set(chosen) <= set(allowed):
            raise argparse.ArgumentTypeError(f"some of {','.join(allowed)} are expected")
        return chosen

    return split
