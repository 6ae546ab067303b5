"""`top`: rates, backlog and connections of a cluster, like top.

On a terminal the screen is drawn anew every few seconds until Ctrl-C. In a pipe, or with --once,
two looks are taken a second apart and shown once, so that there are rates. One look asks each
master for its runtime info and for the progress of all its groups: two requests per broker, however
many groups there are; clients are asked for only where lines are shown.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

from pyromq.cli.calls import Answer, Call, CallRefused, Cell, Moment, Rows, Shown
from pyromq.cli.commands.brokers import UNREACHABLE, first_number
from pyromq.cli.output import show
from pyromq.client.admin import Admin, AnswerRefused, BrokerAddress, NotThere
from pyromq.domain.topic import is_retry_or_dlq

INTERVAL_SECONDS = 3
ONCE_SECONDS = 1.0
ROWS = 15
_ANSWER_TIMEOUT_MS = 20_000

_SCREEN = "\x1b[?1049h\x1b[?25l"
_SCREEN_BACK = "\x1b[?25h\x1b[?1049l"
_CLEAR = "\x1b[H\x1b[2J"


@dataclass
class Counts:
    """Of one group in one topic: what was written, what is consumed, in all queues."""

    written: int = 0
    consumed: int = 0
    last_ms: int = 0

    @property
    def backlog(self) -> int:
        return self.written - self.consumed


@dataclass
class Look:
    """What one look saw. `at` is a monotonic clock in seconds."""

    at: float
    runtime: dict[BrokerAddress, Mapping[str, str] | str] = field(default_factory=dict)
    """Of each broker, or why it did not answer."""
    groups: dict[tuple[str, str], Counts] = field(default_factory=dict)
    """By group and topic."""


async def look(admin: Admin, cluster: str | None, now: float) -> Look:
    seen = Look(now)
    for broker in await admin.brokers.addresses(cluster):
        try:
            seen.runtime[broker] = await admin.brokers.runtime(broker.address)
            stats = await admin.groups.progress_of_all(
                broker.address, timeout_ms=_ANSWER_TIMEOUT_MS
            )
        except UNREACHABLE as error:
            seen.runtime.setdefault(broker, str(error))
            continue
        for table in stats.consume_stats_list:
            for group, parts in table.items():
                for part in parts:
                    for queue, offsets in part.offset_table.items():
                        counts = seen.groups.setdefault((group, queue.topic), Counts())
                        counts.written += offsets.broker_offset
                        counts.consumed += offsets.consumer_offset
                        counts.last_ms = max(counts.last_ms, offsets.last_timestamp)
    return seen


def tables(
    before: Look | None, now: Look, clients: Mapping[str, int], rows_max: int
) -> list[Shown]:
    """What is shown of a look; rates need the one before it."""
    brokers: list[tuple[Cell, ...]] = []
    for broker, info in now.runtime.items():
        if isinstance(info, str):
            brokers.append((broker.name, broker.address, *([None] * 6), info))
            continue
        used = first_number(info.get("commitLogDiskRatio", ""))
        brokers.append(
            (
                broker.name,
                broker.address,
                first_number(info.get("putTps", "")),
                first_number(info.get("getTransferredTps", "")),
                _total(info, "Put"),
                _total(info, "Get"),
                None if used is None else used * 100,
                info.get("brokerVersionDesc"),
                "",
            )
        )
    groups: list[tuple[Cell, ...]] = []
    for (group, topic), counts in _busiest(before, now)[:rows_max]:
        rates = _rates(before, now, (group, topic))
        groups.append(
            (
                group,
                topic,
                clients.get(group, 0),
                *rates,
                counts.backlog,
                _seconds_left(counts.backlog, rates),
                Moment(counts.last_ms),
            )
        )
    return [
        Rows(
            (
                "broker", "address", "inTps", "outTps", "inToday", "outToday", "diskPercent",
                "version", "error",
            ),
            brokers,
            title="brokers",
        ),
        Rows(
            (
                "group", "topic", "clients", "writtenTps", "consumedTps", "backlog",
                "secondsLeft", "lastConsumed",
            ),
            groups,
            title="groups",
        ),
    ]  # fmt: skip


def _busiest(before: Look | None, now: Look) -> list[tuple[tuple[str, str], Counts]]:
    """Largest backlog first, then most written; topics of retries only if they hold something."""

    def weight(item: tuple[tuple[str, str], Counts]) -> tuple[int, float, tuple[str, str]]:
        written, _ = _rates(before, now, item[0])
        return (-item[1].backlog, -(written or 0.0), item[0])

    shown = (
        (key, counts)
        for key, counts in now.groups.items()
        if counts.backlog > 0 or not is_retry_or_dlq(key[1])
    )
    return sorted(shown, key=weight)


def _rates(
    before: Look | None, now: Look, key: tuple[str, str]
) -> tuple[float | None, float | None]:
    """Written and consumed per second since the look before."""
    old = None if before is None else before.groups.get(key)
    if before is None or old is None or now.at <= before.at:
        return None, None
    seconds, new = now.at - before.at, now.groups[key]
    # Offsets that were reset backwards are no negative rate.
    return (
        max(new.written - old.written, 0) / seconds,
        max(new.consumed - old.consumed, 0) / seconds,
    )


def _seconds_left(backlog: int, rates: tuple[float | None, float | None]) -> float | None:
    """Until the backlog is gone at these rates; None if it grows."""
    written, consumed = rates
    if backlog <= 0 or written is None or consumed is None or consumed <= written:
        return None
    return backlog / (consumed - written)


def _total(info: Mapping[str, str], verb: str) -> int | None:
    try:
        now, morning = (int(info[f"msg{verb}TotalToday{part}"]) for part in ("Now", "Morning"))
    except (KeyError, ValueError):
        return None
    return now - morning


async def _clients(admin: Admin, shown: list[tuple[tuple[str, str], Counts]]) -> dict[str, int]:
    found: dict[str, int] = defaultdict(int)
    for group in {key[0] for key, _ in shown}:
        try:
            found[group] = len((await admin.clients.consumers(group)).connection_set)
        except (*UNREACHABLE, NotThere, AnswerRefused):
            continue  # nobody is connected
    return found


async def top(call: Call) -> Answer:
    interval, rows_max = call.number("interval", INTERVAL_SECONDS), call.number("rows", ROWS)
    if interval < 1 or rows_max < 1:
        raise CallRefused("-i and --rows are 1 or more")
    cluster = call.optional("clusterName")
    before = await look(call.admin, cluster, time.monotonic())
    if call.is_set("once") or call.wants_json or not sys.stdout.isatty():
        await asyncio.sleep(ONCE_SECONDS)
        now = await look(call.admin, cluster, time.monotonic())
        clients = await _clients(call.admin, _busiest(before, now)[:rows_max])
        return tables(before, now, clients, rows_max)
    sys.stdout.write(_SCREEN)
    try:
        last: Look | None = None
        now = before
        while True:
            clients = await _clients(call.admin, _busiest(last, now)[:rows_max])
            sys.stdout.write(
                _CLEAR + f"{Moment(call.now_ms)}   every {interval} s, Ctrl-C ends\n\n"
            )
            show(tables(last, now, clients, rows_max), as_json=False)
            sys.stdout.flush()
            await asyncio.sleep(interval)
            last, now = now, await look(call.admin, cluster, time.monotonic())
    finally:
        sys.stdout.write(_SCREEN_BACK)
        sys.stdout.flush()


__all__ = ["Counts", "Look", "look", "tables", "top"]
