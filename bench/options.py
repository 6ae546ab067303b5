"""The command line of `python -m bench.measure` (`make bench ARGS="…"`)."""

from __future__ import annotations

import argparse
import dataclasses
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.servers import SERVERS
from bench.works import WORKS

BOUNDS = {
    "rounds": (1, 20),
    "run": (0.2, 60),
    "warm_up": (0, 120),
    "seconds": (10, 36_000),
    "starts": (1, 100),
    "restart_log_mib": (8, 2048),
    "topics": (1, 10_000),
    "java_run": (1, 120),
    "touch_gib": (0, 64),
}


@dataclass(frozen=True)
class Options:
    label: str
    servers: tuple[str, ...]
    works: tuple[str, ...]
    settings: tuple[str, ...]
    rounds: int
    run: float
    warm_up: float
    seconds: float
    starts: int
    restart_log_mib: int
    topics: int
    java_run: float
    touch_gib: int


def parse(arguments: Sequence[str]) -> Options:
    parser = _parser()
    chosen = parser.parse_args(arguments)
    if chosen.label and not re.fullmatch(r"[a-z0-9][a-z0-9-]*", chosen.label):
        parser.error(f"--label {chosen.label}: a-z, 0-9 and dash are expected")
    if any("=" not in setting for setting in chosen.settings):
        parser.error("--set: KEY=VALUE is expected")
    for option, (least, most) in BOUNDS.items():
        if not least <= getattr(chosen, option) <= most:
            parser.error(f"--{option.replace('_', '-')}: {least} to {most} is expected")
    chosen.settings = tuple(chosen.settings)
    names = [field.name for field in dataclasses.fields(Options)]
    return Options(**{name: getattr(chosen, name) for name in names})


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="bench.measure",
        description="Measures pyromq and Apache RocketMQ under the same loads.",
        epilog="Works: " + "; ".join(f"{name}: {text}" for name, text in WORKS.items()),
    )
    add = parser.add_argument
    add("--works", type=_words(tuple(WORKS)), default=tuple(WORKS), metavar="NAME,…")
    add("--servers", type=_words(SERVERS), default=SERVERS, metavar="NAME,…")
    add("--seconds", type=float, default=1500.0,
        help="total time: what would begin later is left out, and the page says so")  # fmt: skip
    add("--rounds", type=int, default=3, help="counted runs of each row; medians are shown")
    add("--run", type=float, default=2.0, help="longest time (s) of one run")
    add("--warm-up", type=float, default=8.0, help="seconds of load before a server is measured")
    add("--set", dest="settings", action="append", default=[], metavar="KEY=VALUE",
        help="property of all servers; a work sets flushDiskType itself")  # fmt: skip
    add("--label", default="", help="name of the page instead of date, machine and commit")
    add("--starts", type=int, default=5, help="starts of each server in `ready`")
    add("--restart-log-mib", type=int, default=1024, help="log written before the kill -9")
    add("--topics", type=int, default=10_000, help="the most topics in `topics`")
    add("--java-run", type=float, default=8.0, help="seconds counted of each Java benchmark")
    add("--touch-gib", type=int, default=8,
        help="memory touched once before: a virtual machine gets it from its host")  # fmt: skip
    return parser


def _words(allowed: Sequence[str]) -> Callable[[str], tuple[str, ...]]:
    """Reads words with commas between them, each of them allowed."""

    def split(text: str) -> tuple[str, ...]:
        chosen = tuple(word for word in text.split(",") if word)
        if not chosen or not set(chosen) <= set(allowed):
            raise argparse.ArgumentTypeError(f"some of {','.join(allowed)} are expected")
        return chosen

    return split
