"""Commands that send messages and say how long that took."""

from __future__ import annotations

import asyncio
import functools
import sys
import time
from collections.abc import Sequence
from datetime import datetime

from pyromq.cli.calls import Answer, Call, CallRefused, Cell, Plan, Rows, Shown, Step
from pyromq.cli.commands.messages import new_unique_keys, queues_of
from pyromq.cli.output import show
from pyromq.client.admin import Admin, AnswerRefused
from pyromq.client.remoting import AnswerOverdue, PeerUnreachable
from pyromq.domain.route import MessageQueue
from pyromq.domain.topic import PERM_WRITE

SIZE_MAX = 4 * 1024 * 1024
COUNT_MAX = 1_000_000
_FAILURES = (AnswerRefused, AnswerOverdue, PeerUnreachable)

Place = tuple[str, str, MessageQueue]
"""Broker name, address, queue."""


async def send_msg_status(call: Call) -> Answer:
    """Sends to the topic that every broker has under its own name."""
    broker = call.text("brokerName")
    size, count = _size(call, "messageSize"), _count(call, "count", 50)
    places = await queues_of(call.admin, broker, perm=PERM_WRITE)
    act = functools.partial(_timed, call, places, size, count)
    return Plan([Step(f"send {count} messages of {size} bytes to topic {broker}", act)])


async def check_msg_send_rt(call: Call) -> Answer:
    topic = call.text("topic")
    size, count = _size(call, "size"), _count(call, "amount", 100)
    places = await queues_of(call.admin, topic, perm=PERM_WRITE)
    act = functools.partial(_timed, call, places, size, count)
    return Plan([Step(f"send {count} messages of {size} bytes to topic {topic}", act)])


async def cluster_rt(call: Call) -> Answer:
    size, count = _size(call, "size"), _count(call, "amount", 100)
    interval = call.number("interval", 0)
    brokers = await call.admin.brokers.addresses(call.optional("cluster"))

    async def look() -> Rows:
        rows: list[tuple[Cell, ...]] = []
        for broker in brokers:
            places = await queues_of(call.admin, broker.name, perm=PERM_WRITE)
            times, failed = await _send_many(call.admin, places, size, count)
            mean = sum(times[1:]) / (len(times) - 1) if len(times) > 1 else None
            rows.append((broker.cluster, broker.name, mean, len(times), failed))
        return Rows(("cluster", "broker", "meanMs", "sent", "failed"), rows, title="times")

    async def act() -> Shown:
        while interval > 0:
            _print(call, await look())
            await asyncio.sleep(interval)
        return await look()

    names = ", ".join(broker.name for broker in brokers)
    text = f"send {count} messages of {size} bytes to each of the topics {names}"
    return Plan([Step(text, act)])


def _print(call: Call, rows: Rows) -> None:
    if not call.is_set("printLog"):
        show([rows], as_json=call.wants_json)
        return
    room = call.text("machineRoom", "noname")
    now = datetime.fromtimestamp(call.now_ms / 1000).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    for cluster, broker, mean, *_ in rows.rows:
        taken = f"{mean:.0f}" if isinstance(mean, float) else "-"
        sys.stdout.write(f"{now}|{room}|{cluster}|{broker}|{taken}\n")


async def _timed(call: Call, places: Sequence[Place], size: int, count: int) -> Shown:
    rows: list[tuple[Cell, ...]] = []
    keys = new_unique_keys()
    body = b"a" * size
    for number in call.progress(range(count), "messages"):
        name, address, queue = places[number % len(places)]
        began = time.perf_counter()
        try:
            key = keys.next(int(time.time() * 1000))
            sent = await call.admin.messages.send(address, queue, body, unique_key=key)
            status: str = sent.status
        except _FAILURES as error:
            status = str(error)
        taken_ms = (time.perf_counter() - began) * 1000
        rows.append((name, queue.queue_id, taken_ms, status))
    times = [float(row[2]) for row in rows if isinstance(row[2], float)]
    rows.append(("mean", None, sum(times) / len(times), None))
    return Rows(("broker", "queueId", "ms", "status"), rows, title="times")


async def _send_many(
    admin: Admin, places: Sequence[Place], size: int, count: int
) -> tuple[list[float], int]:
    """The times in ms of what was sent, and how many were not."""
    keys, body = new_unique_keys(), b"a" * size
    times: list[float] = []
    failed = 0
    for number in range(count):
        _, address, queue = places[number % len(places)]
        began = time.perf_counter()
        try:
            key = keys.next(int(time.time() * 1000))
            await admin.messages.send(address, queue, body, unique_key=key)
        except _FAILURES:
            failed += 1
        else:
            times.append((time.perf_counter() - began) * 1000)
    return times, failed


def _size(call: Call, name: str) -> int:
    return _between(name, call.number(name, 128), SIZE_MAX)


def _count(call: Call, name: str, otherwise: int) -> int:
    return _between(name, call.number(name, otherwise), COUNT_MAX)


def _between(name: str, value: int, high: int) -> int:
    if not 1 <= value <= high:
        raise CallRefused(f"--{name} {value} is not accepted: 1 to {high}")
    return value


__all__ = ["check_msg_send_rt", "cluster_rt", "send_msg_status"]
