"""Sends to 1, 100 and 10,000 topics in turn, 8 queues each.

Topics are not created one by one: both servers begin with a topics.json that has them, as a store
that was used before. Apache maps a file of 6 MB for every queue and keeps it open, which takes more
mappings and open files than Linux allows by default; both are raised for the time being.
"""

from __future__ import annotations

import json
import resource

from bench.judge import APACHE
from bench.life import UNCOUNTED_ROUNDS, Measurement, say, short
from bench.loads import SCENARIOS, Load, MeasureFailed, Numbers, rmqload
from bench.machine import Memory, many_maps_and_files
from bench.report import Section
from bench.servers import Server
from bench.works import ASYNC

QUEUES = 8
STEPS = (1, 100, 10_000)
# 16,000 files: what Apache can open where no more than 20,000 are allowed.
STEP_OF_FEW_FILES = 2_000
MAPS_PER_QUEUE = 3
FIRST_WRITE_SECONDS = 120
MEMORY = Section(
    "Memory with many topics",
    "Private memory of the broker after the sends to so many topics; of Apache's, store files"
    " that it maps count. Aim: ≤ 300 MiB.",
    ("topics × queues", "server", "private MiB", "of it anonymous"),
)


def run(measurement: Measurement) -> None:
    most = measurement.options.topics
    with many_maps_and_files(most * QUEUES * MAPS_PER_QUEUE + 100_000) as refused:
        if refused:
            measurement.page.remark(f"topics: {refused}")
        seeds = {"config/topics.json": topics_json(most)}
        with measurement.serving("topics", ASYNC, seeded=seeds) as servers:
            steps = (*STEPS, STEP_OF_FEW_FILES) if refused else STEPS
            for count in sorted({min(step, most) for step in steps}):
                if servers and measurement.has_time(f"{count:,} topics"):
                    _measured(measurement, servers, count)


def _measured(measurement: Measurement, servers: list[Server], count: int) -> None:
    """A server that does not hold so many topics is ended, for it would disturb the others."""
    topics: tuple[str, ...] = ("--topic=Seed", f"--topics={count}", f"--queues={QUEUES}")
    if count > 1:
        topics += ("--no-create",)
    for server in servers[:]:
        try:
            if server.name == APACHE:
                need_files(count * QUEUES)
            # Each queue's first message makes its files; this is not measured.
            first = ("send", "--connections=1", "--depth=64", *topics, f"--count={count * QUEUES}",
                     "--stored-wait=60", f"--seconds={FIRST_WRITE_SECONDS}")  # fmt: skip
            rmqload(server, first)
        except MeasureFailed as failed:
            text = f"{server.name} does not hold {count:,} topics: {short(failed)}"
            say(f"    {text}")
            measurement.page.remark(text)
            servers.remove(server)
            server.clear()
    load = Load(
        f"sends, 4 × 128, {count:,} topic{'s' if count > 1 else ''} × {QUEUES} queues in turn",
        (*SCENARIOS["pipelined"].arguments, *topics, "--stored-wait=60"),
    )
    rounds = UNCOUNTED_ROUNDS + measurement.options.rounds
    runs = len(STEPS) * rounds * max(len(servers), 1)

    def one(server: Server) -> Numbers:
        return measurement.run_load(server, load, "json", runs=runs)

    measurement.compare(servers, one, work="topics", text=load.name, flush=ASYNC, header="json",
                        aim_key=f"topics {count}")  # fmt: skip
    for server in servers:
        memory = Memory.of(server.broker_pid)
        measurement.page.add(
            MEMORY,
            (f"{count:,} × {QUEUES}", server.name, f"{memory.private_kb / 1024:,.0f}",
             f"{memory.anonymous_kb / 1024:,.0f}"),
        )  # fmt: skip


def need_files(count: int) -> None:
    """Apache keeps each queue's file open; without enough of them it only fills its log."""
    allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if allowed != resource.RLIM_INFINITY and allowed < count:
        raise MeasureFailed(f"it keeps {count:,} files open, {allowed:,} are allowed here")


def topics_json(count: int) -> bytes:
    """As both servers keep their topics: names as the generator numbers them."""
    table = {
        name: {
            "attributes": {}, "order": False, "perm": 6, "readQueueNums": QUEUES,
            "topicFilterType": "SINGLE_TAG", "topicName": name, "topicSysFlag": 0,
            "writeQueueNums": QUEUES,
        }
        for name in (f"Seed-{number:05}" for number in range(count))
    }  # fmt: skip
    version = {"counter": count, "stateVersion": 0, "timestamp": 1_700_000_000_000}
    return json.dumps({"dataVersion": version, "topicConfigTable": table}).encode()
