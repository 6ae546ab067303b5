"""Commands about brokers."""

from __future__ import annotations

import asyncio
import functools

from pyromq.cli.calls import Answer, Call, Cell, Moment, Plan, Rows, Step
from pyromq.cli.output import show
from pyromq.client.admin import AnswerRefused
from pyromq.client.admin.brokers import Cleaning
from pyromq.client.remoting import AnswerOverdue, PeerUnreachable

UNREACHABLE = (AnswerRefused, AnswerOverdue, PeerUnreachable)


def first_number(text: str) -> float | None:
    """The first of runtime info's three rates ("10s 60s 600s")."""
    try:
        return float(text.split()[0])
    except (IndexError, ValueError):
        return None


def whole(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() else None


async def cluster_list(call: Call) -> Answer:
    interval = call.number("interval", 0)
    if interval <= 0:
        return await _clusters(call)
    while True:
        show([await _clusters(call)], as_json=call.wants_json)
        await asyncio.sleep(interval)


async def _clusters(call: Call) -> Rows:
    brokers = await call.admin.brokers.addresses(call.optional("clusterName"), with_slaves=True)
    rows: list[tuple[Cell, ...]] = []
    for broker in brokers:
        reason: str | None = None
        info: dict[str, str] = {}
        try:
            info = await call.admin.brokers.runtime(broker.address)
        except UNREACHABLE as error:
            reason = str(error)
        place = (broker.cluster, broker.name, broker.broker_id, broker.address)
        if call.is_set("moreStats"):
            totals = [
                whole(info.get(f"msg{verb}Total{day}", ""))
                for verb in ("Put", "Get")
                for day in ("YesterdayMorning", "TodayMorning", "TodayNow")
            ]
            put, get = totals[:3], totals[3:]
            rows.append((*place[:2], *_day(put), *_day(get), reason))
        else:
            rows.append(
                (
                    *place,
                    info.get("brokerVersionDesc"),
                    first_number(info.get("putTps", "")),
                    first_number(info.get("getTransferredTps", "")),
                    whole(info.get("sendThreadPoolQueueSize", "")),
                    whole(info.get("pullThreadPoolQueueSize", "")),
                    whole(info.get("pageCacheLockTimeMills", "")),
                    Moment(whole(info.get("earliestMessageTimeStamp", "")) or 0),
                    first_number(info.get("commitLogDiskRatio", "")),
                    info.get("brokerActive", "false") == "true",
                    reason,
                )
            )
    if call.is_set("moreStats"):
        columns: tuple[str, ...] = (
            "cluster", "broker", "inYesterday", "inToday", "outYesterday", "outToday", "error",
        )  # fmt: skip
    else:
        columns = (
            "cluster", "broker", "brokerId", "address", "version", "inTps", "outTps", "sendQueue",
            "pullQueue", "pageCacheLockMs", "oldestMessage", "diskRatio", "active", "error",
        )  # fmt: skip
    return Rows(columns, rows)


def _day(totals: list[int | None]) -> tuple[int | None, int | None]:
    """Counted yesterday and today, from the totals at two midnights and now."""
    yesterday, today, now = totals
    return (
        None if yesterday is None or today is None else today - yesterday,
        None if today is None or now is None else now - today,
    )


async def broker_status(call: Call) -> Answer:
    rows: list[tuple[Cell, ...]] = []
    for broker in await call.brokers():
        info = await call.admin.brokers.runtime(broker.address)
        rows += [(broker.address, key, value) for key, value in sorted(info.items())]
    return Rows(("address", "key", "value"), rows)


async def get_broker_config(call: Call) -> Answer:
    cluster = call.optional("clusterName")
    if cluster is None:
        brokers = await call.brokers()
    else:
        brokers = await call.admin.brokers.addresses(cluster, with_slaves=True)
    rows: list[tuple[Cell, ...]] = []
    for broker in brokers:
        config = await call.admin.brokers.config(broker.address)
        rows += [(broker.address, key, value) for key, value in sorted(config.items())]
    return Rows(("address", "key", "value"), rows)


async def update_broker_config(call: Call) -> Answer:
    key, value = call.text("key"), call.text("value")
    cluster = call.optional("clusterName")
    if cluster is not None and call.is_set("updateAllBroker"):
        brokers = await call.admin.brokers.addresses(cluster, with_slaves=True)
    else:
        brokers = await call.brokers()
    return Plan(
        [
            Step(
                f"set property {key} to {value} on {broker.address}",
                functools.partial(call.admin.brokers.change_config, broker.address, {key: value}),
            )
            for broker in brokers
        ]
    )


async def clean_expired_cq(call: Call) -> Answer:
    return await _cleaning(call, "expired consume queues")


async def delete_expired_commit_log(call: Call) -> Answer:
    return await _cleaning(call, "expired commit log files")


async def clean_unused_topic(call: Call) -> Answer:
    return await _cleaning(call, "unused topics")


async def _cleaning(call: Call, what: Cleaning) -> Plan:
    return Plan(
        [
            Step(
                f"delete {what} on {broker.address}",
                functools.partial(call.admin.brokers.clean, broker.address, what),
            )
            for broker in await call.brokers()
        ],
        destroys=True,
    )


__all__ = [
    "broker_status",
    "clean_expired_cq",
    "clean_unused_topic",
    "cluster_list",
    "delete_expired_commit_log",
    "first_number",
    "get_broker_config",
    "update_broker_config",
    "whole",
]
