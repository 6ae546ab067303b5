"""One call of a command: its options with types, and the kinds of answers commands give.

A command reads and returns `Rows` or `Fields`, or it changes something and returns a `Plan`: steps
that say what they do and do it only when they are run. So `--dry-run` and the question before
something is destroyed need no code in any command.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol, TypeVar

from pyromq.errors import PyromqError

if TYPE_CHECKING:
    from pyromq.client.admin import Admin, BrokerAddress

T = TypeVar("T")

TIME_FORMS: Final = ("%Y-%m-%d#%H:%M:%S:%f", "%Y-%m-%d#%H:%M:%S", "%Y%m%d%H%M%S")


class CallRefused(PyromqError):
    """Options that do not fit together, or a value that is not accepted: exit code 2."""


class CallFailed(PyromqError):
    """The command cannot go on; its text is the line that is printed: exit code 1."""


class Moment(int):
    """A time in ms since 1970: a number for scripts, local time for people. Below 1: none."""

    def __str__(self) -> str:
        if self < 1:
            return "-"
        try:
            moment = datetime.fromtimestamp(int(self) / 1000).astimezone()
        except (ValueError, OverflowError, OSError):
            return str(int(self))
        return moment.strftime("%Y-%m-%d %H:%M:%S.") + f"{int(self) % 1000:03d}"


Cell = str | int | float | bool | None | Sequence[str]


class Rows(NamedTuple):
    """A table; the columns' names are also the members' names in JSON."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    title: str = ""


class Fields(NamedTuple):
    """Names and values of one thing."""

    values: Mapping[str, Cell | Mapping[str, Cell]]
    title: str = ""


Shown = Rows | Fields


class Step(NamedTuple):
    """One change: `text` begins with a verb, such as `delete topic T on 10.0.0.1:10911`."""

    text: str
    act: Callable[[], Awaitable[Shown | str | None]]


class Plan(NamedTuple):
    """What a command is about to change, in order."""

    steps: Sequence[Step]
    destroys: bool = False
    """Whether something is lost that cannot be brought back by the opposite command."""


Answer = Shown | Sequence[Shown] | Plan | None
"""None: the command has printed already what there is."""


class Progress(Protocol):
    """Shows people how far a long command is."""

    def __call__(self, items: Iterable[T], what: str) -> Iterator[T]: ...


class Call:
    """A command's options, and what it works with."""

    def __init__(
        self,
        options: argparse.Namespace,
        admin: Admin,
        progress: Progress,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.options = options
        self.admin = admin
        self.progress = progress
        self.clock = clock

    def optional(self, name: str) -> str | None:
        """The option's trimmed text; None if it was not given or is empty."""
        value = getattr(self.options, name)
        return (str(value).strip() or None) if value is not None else None

    def text(self, name: str, otherwise: str | None = None) -> str:
        value = self.optional(name)
        if value is None:
            value = otherwise
        if value is None:
            raise CallRefused(f"--{name} needs a value")
        return value

    def number(self, name: str, otherwise: int) -> int:
        value = getattr(self.options, name)
        return otherwise if value is None else int(value)

    def is_set(self, name: str, otherwise: bool = False) -> bool:
        value = getattr(self.options, name)
        return otherwise if value is None else bool(value)

    @property
    def wants_json(self) -> bool:
        return bool(self.options.json)

    @property
    def now_ms(self) -> int:
        return int(self.clock() * 1000)

    def time_ms(self, name: str, otherwise: int) -> int:
        """`now`, ms since 1970, yyyy-MM-dd#HH:mm:ss:SSS (local time), or ISO 8601."""
        text = self.optional(name)
        if text is None:
            return otherwise
        return parse_time(name, text, self.now_ms)

    async def brokers(self) -> list[BrokerAddress]:
        """The broker of -b, or the masters of the cluster of -c, or of all clusters."""
        from pyromq.client.admin import BrokerAddress

        address = self.optional("brokerAddr")
        if address is not None:
            return [BrokerAddress("", address, 0, checked_address("-b", address))]
        options = vars(self.options)
        name = "clusterName" if "clusterName" in options else "cluster"
        return await self.admin.brokers.addresses(self.optional(name))


def checked_address(option: str, text: str) -> str:
    host, _, port = text.rpartition(":")
    if not host or not (port.isascii() and port.isdigit() and len(port) <= 5):
        raise CallRefused(f"{option} {text[:100]!r} is not accepted: host:port is")
    return text


def parse_time(option: str, text: str, now_ms: int) -> int:
    """Raises CallRefused."""
    if text == "now":
        return now_ms
    if text.removeprefix("-").isascii() and text.removeprefix("-").isdigit() and len(text) <= 16:
        return int(text)
    for form in TIME_FORMS:
        try:
            return int(datetime.strptime(text, form).astimezone().timestamp() * 1000)
        except ValueError:
            continue
    try:
        return int(datetime.fromisoformat(text).astimezone().timestamp() * 1000)
    except ValueError:
        raise CallRefused(
            f"--{option} {text[:60]!r} is not accepted: now, ms since 1970, "
            "yyyy-MM-dd#HH:mm:ss:SSS and ISO 8601 are"
        ) from None


__all__ = [
    "Answer",
    "Call",
    "CallFailed",
    "CallRefused",
    "Cell",
    "Fields",
    "Moment",
    "Plan",
    "Progress",
    "Rows",
    "Shown",
    "Step",
    "checked_address",
    "parse_time",
]
