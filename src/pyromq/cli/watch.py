"""`startMonitoring`: every minute a line for each group that is behind."""

from __future__ import annotations

import asyncio

from pyromq.cli.calls import Answer, Call, Cell, Moment, Rows
from pyromq.cli.output import show
from pyromq.client.admin import Admin, AnswerRefused, NotThere
from pyromq.domain.topic import RETRY_PREFIX

ROUND_SECONDS = 60.0
"""As Apache's MonitorConfig."""


async def start_monitoring(call: Call) -> Answer:
    rounds = call.number("rounds", 0)
    done = 0
    while True:
        show([await backlog(call.admin, call.now_ms)], as_json=call.wants_json)
        done += 1
        if done == rounds:
            return None
        await asyncio.sleep(ROUND_SECONDS)


async def backlog(admin: Admin, now_ms: int) -> Rows:
    """What the groups have not consumed yet: in all, in the worst queue, and since when."""
    rows: list[tuple[Cell, ...]] = []
    for name in await admin.topics.names():
        if not name.startswith(RETRY_PREFIX):
            continue
        group = name.removeprefix(RETRY_PREFIX)
        try:
            stats = await admin.groups.progress(group)
        except (AnswerRefused, NotThere):
            continue  # it has consumed nothing yet
        topics: dict[str, list[tuple[int, int]]] = {}
        for queue, one in stats.offset_table.items():
            behind = one.broker_offset - one.consumer_offset
            topics.setdefault(queue.topic, []).append((behind, one.last_timestamp))
        for topic, queues in sorted(topics.items()):
            total = sum(behind for behind, _ in queues)
            if total > 0:
                worst = max(behind for behind, _ in queues)
                oldest = min((at for behind, at in queues if behind and at), default=0)
                delay = (now_ms - oldest) / 1000 if oldest else None
                rows.append((Moment(now_ms), group, topic, total, worst, delay))
    return Rows(("time", "group", "topic", "behind", "worstQueue", "delaySeconds"), rows)


__all__ = ["backlog", "start_monitoring"]
