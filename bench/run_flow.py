"""Messages by the clock: consumed at once (`flow`), and beside pulls from disk (`cold`)."""

from __future__ import annotations

from bench.judge import APACHE, OURS, Comparison, verdict
from bench.life import Measurement, say
from bench.loads import SCENARIOS, Numbers, Run, refusals, rmqload
from bench.machine import forget_files
from bench.report import Section, number
from bench.servers import Server
from bench.works import ASYNC

RATES = (1_000, 10_000, 50_000)
HELD_SHARE = 0.97
FLOW = Section(
    "Sent by the clock and consumed at once",
    "One process sends and has a long poll at each of 8 queues. End to end: from when a message was"
    " due to when a poll brought it, in µs. Medians of the rounds; ours / Apache's. CPU: of the"
    " broker, for storing and delivering. A rate that is not held is said so; its latencies grow"
    " without bound and tell nothing.",
    ("messages/s wanted", "reached", "p50", "p99", "p99.9", "p99 lower?", "µs CPU per message",
     "per CPU second"),
)  # fmt: skip

COLD_MIB = 192
COLD_SEND_RATE = 5_000
COLD_PULL_RATE = 4_000
COLD = Section(
    "Pulls from disk beside sends",
    f"Sends by the clock, {COLD_SEND_RATE:,} a second, alone and while a consumer reads a topic"
    f" that no page cache holds, {COLD_PULL_RATE:,} pulls of 32 a second; every round reads a"
    f" topic of {COLD_MIB} MiB that nobody has read since the start. p99 of the sends in µs, from"
    " when they were due; medians of the rounds.",
    ("server", "sends alone", "beside cold pulls", "ratio (aim ≤ 2×)", "messages pulled/s"),
)


def flow(measurement: Measurement) -> None:
    with measurement.serving("flow", ASYNC) as servers:
        for rate in RATES:
            if not servers or not measurement.has_time(f"flow at {rate:,}/s"):
                return

            def run(server: Server, rate: int = rate) -> Numbers:
                # Longer than the others' runs: at 1,000 a second p99 needs its thousands.
                seconds = max(measurement.options.run * 1.5, 1)
                return rmqload(
                    server,
                    ("flow", "--topic=Flow", "--group=FlowGroup", "--connections=4", "--depth=64",
                     f"--rate={rate}", f"--seconds={seconds}", "--warm-up=0.5",
                     f"--cpu={measurement.core}"),
                )  # fmt: skip

            found, remarks = measurement.alternating(servers, run)
            it = Comparison("flow", f"{rate:,}/s", ASYNC, "json", found, remarks)
            measurement.page.add(FLOW, flow_cells(it, rate))
            say(f"    {flow_cells(it, rate)}")


def flow_cells(it: Comparison, rate: int) -> list[str]:
    def both(*path: str, digits: int = 0) -> str:
        return " / ".join(number(it.median(side, *path), digits) for side in (OURS, APACHE))

    def lower() -> str:
        ours, theirs = (it.median(side, "end_to_end_us", "p99") for side in (OURS, APACHE))
        if ours is None or theirs is None:
            return "–"
        return f"{'yes' if ours < theirs else 'no'}, {theirs / ours:.1f}×"

    reached = []
    for side in (OURS, APACHE):
        speed = it.median(side, "messages_per_second")
        if side in it.remarks:
            reached.append(it.remarks[side])
        else:
            held = speed is not None and speed >= rate * HELD_SHARE
            busy = sum(map(refusals, it.sides.get(side, ())))
            reached.append(
                number(speed)
                + ("" if held or speed is None else " (not held)")
                + (f" ({busy:,} refused as busy)" if busy else "")
            )
    quantiles = [both("end_to_end_us", name) for name in ("p50", "p99", "p999")]
    return [
        it.text,
        " / ".join(reached),
        *quantiles,
        lower(),
        both("cpu_us_per_message", digits=1),
        verdict(it.ratio(OURS, "messages_per_cpu_second"), it.aims(OURS)[0]),
    ]


def cold(measurement: Measurement) -> None:
    """One server after the other: its page cache has to be empty, and it has to be restarted."""
    for server in measurement.made(ASYNC):
        measurement.attempt(f"cold, {server.name}", _cold, measurement, server)


def _cold(measurement: Measurement, server: Server) -> None:
    load, rounds = SCENARIOS["batches"], measurement.options.rounds
    count = (COLD_MIB << 20) // load.stored_size
    try:
        server.start()
        for number_ in range(rounds):
            rmqload(server, (*load.arguments, f"--topic=Cold{number_}", f"--count={count}"))
        server.stop()
        forget_files(server.data)
        server.start()
        measurement.warm_up(server)
        alone, beside, pulled = [], [], []
        for number_ in range(rounds):
            alone.append(_sends(measurement, server).numbers())
            sends = _sends(measurement, server)
            pulls = Run(
                server,
                ("pull", f"--topic=Cold{number_}", "--group=ColdGroup", "--depth=8",
                 f"--rate={COLD_PULL_RATE}", f"--seconds={measurement.options.run}",
                 f"--cpu={measurement.core}"),
            )  # fmt: skip
            try:
                beside.append(sends.numbers())
                pulled.append(pulls.numbers())
            finally:
                sends.kill()
                pulls.kill()
    finally:
        server.clear()
    it = Comparison("cold", "", ASYNC, "json", {"alone": alone, "beside": beside, "pull": pulled})
    before, during = (it.median(side, "latency_us", "p99") for side in ("alone", "beside"))
    ratio = None if not before or during is None else during / before
    measurement.page.add(
        COLD,
        (server.name, number(before), number(during), "–" if ratio is None else f"{ratio:.2f}×",
         number(it.median("pull", "messages_per_second"))),
    )  # fmt: skip


def _sends(measurement: Measurement, server: Server) -> Run:
    return Run(
        server,
        ("send", "--topic=Hot", "--connections=4", "--depth=64", f"--rate={COLD_SEND_RATE}",
         f"--seconds={measurement.options.run}", f"--cpu={measurement.core}"),
    )  # fmt: skip
