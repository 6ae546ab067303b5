"""A run's result: one value, shown as rows and a summary for people, and as JSON for scripts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from pyromq.cli.bench.histogram import LatencyHistogram
from pyromq.cli.bench.meter import Interval, Meter

QUANTILES: Final = (("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999))
HEADER: Final = (
    f"{'time':>8} {'messages':>11} {'msg/s':>10} {'MB/s':>8} "
    f"{'p50 ms':>9} {'p99 ms':>9} {'max ms':>9} {'failed':>9}"
)


@dataclass(frozen=True)
class Result:
    """What a run did. Its fields are the JSON's."""

    kind: str
    """producer, batch, ordered or consumer."""
    topic: str
    namesrv: str
    options: Mapping[str, object]
    """What was asked for."""
    latency_is: str
    """From what to what a latency was measured."""
    seconds: float
    messages: int
    failed: int
    size_bytes: int
    messages_per_second: float
    latency_ms: Mapping[str, float]
    """mean, p50, p90, p99, p99.9, max of requests (consumers: of messages)."""
    errors: Mapping[str, int]
    """Failed messages by what went wrong."""
    examples: Mapping[str, str]
    """For each kind of error the text of the first."""
    intervals: Sequence[Interval]
    more: Mapping[str, object] = field(default_factory=dict)
    """What only this kind of run has."""

    def json(self) -> dict[str, Any]:
        """Plain values, rows with their rates."""
        rows = [{**asdict(row), "messages_per_second": row.rate} for row in self.intervals]
        return {**asdict(self), "intervals": rows}


def result_of(
    meter: Meter,
    *,
    kind: str,
    topic: str,
    namesrv: str,
    options: Mapping[str, object],
    latency_is: str,
    more: Mapping[str, object] | None = None,
) -> Result:
    """After the meter's last interval."""
    seconds = meter.intervals[-1].end_s if meter.intervals else 0.0
    return Result(
        kind=kind,
        topic=topic,
        namesrv=namesrv,
        options=options,
        latency_is=latency_is,
        seconds=seconds,
        messages=meter.messages,
        failed=meter.failed,
        size_bytes=meter.size_bytes,
        messages_per_second=meter.messages / seconds if seconds > 0 else 0.0,
        latency_ms=latencies_ms(meter.latency),
        errors=dict(meter.errors.most_common()),
        examples=dict(meter.examples),
        intervals=tuple(meter.intervals),
        more=more or {},
    )


def latencies_ms(histogram: LatencyHistogram) -> dict[str, float]:
    """Mean, quantiles and maximum in milliseconds."""
    return {
        "mean": histogram.mean_us / 1000,
        **{name: histogram.quantile_us(part) / 1000 for name, part in QUANTILES},
        "max": histogram.max_us / 1000,
    }


def row_line(row: Interval) -> str:
    """One row of the live table, under HEADER."""
    megabytes = row.size_bytes / 1e6 / row.seconds if row.seconds > 0 else 0.0
    return (
        f"{row.end_s:>7.1f}s {row.messages:>11,} {row.rate:>10,.0f} {megabytes:>8.2f} "
        f"{row.p50_us / 1000:>9.2f} {row.p99_us / 1000:>9.2f} {row.max_us / 1000:>9.2f} "
        f"{row.failed:>9,}"
    )


def summary_lines(result: Result) -> Iterator[str]:
    """The result in words."""
    megabytes = result.size_bytes / 1e6 / result.seconds if result.seconds > 0 else 0.0
    yield (
        f"{result.kind} on {result.topic}: {result.messages:,} messages in {result.seconds:.1f} s, "
        f"{result.messages_per_second:,.0f} per second, {megabytes:.2f} MB/s; "
        f"{result.failed:,} failed"
    )
    shown = ", ".join(f"{name} {value:.2f}" for name, value in result.latency_ms.items())
    yield f"latency in ms, {result.latency_is}: {shown}"
    for name, value in result.more.items():
        shown = str(value)
        if isinstance(value, Mapping):
            shown = ", ".join(f"{key} {number:.2f}" for key, number in value.items())
        yield f"{name.replace('_', ' ')}: {shown}"
    for kind, count in result.errors.items():
        example = result.examples.get(kind, "")
        yield f"failed, {count:,} × {kind}" + (f": {example}" if example else "")


__all__ = [
    "HEADER",
    "QUANTILES",
    "Result",
    "latencies_ms",
    "result_of",
    "row_line",
    "summary_lines",
]
