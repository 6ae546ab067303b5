"""The consumer run: messages as a member of a group gets them, or as one who reads all queues.

Latency is from a message's birth at its producer to its consumption here (Apache's B2C); the
summary also has the one from its storage (S2C). Both compare clocks of different machines, in
milliseconds: between machines whose clocks differ they say nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import time
from collections.abc import Callable

from pyromq.cli.bench.histogram import LatencyHistogram
from pyromq.cli.bench.messages import OrderCheck
from pyromq.cli.bench.meter import Meter
from pyromq.cli.bench.result import Result, latencies_ms, result_of
from pyromq.cli.bench.run import Say, asked_for, rows, stopped_by_signals
from pyromq.client import (
    ConsumeFromWhere,
    PullConsumer,
    PushConsumer,
    ReceivedMessage,
    ReconsumeLater,
)

POLL_MS = 200
"""A poll without messages ends after this, to look whether the run is over."""
COMMIT_INTERVAL_S = 5.0
"""Offsets are committed so often: as Apache's consumers."""
GIVEN_BACK = "given back"
"""The kind under which messages of --fail-rate are counted."""


class Consumption:
    """Looks at each message that was got, and knows when there were enough."""

    def __init__(
        self,
        meter: Meter,
        *,
        count: int | None,
        fail_rate: float,
        now_ms: Callable[[], int],
        chance: Callable[[], float],
    ) -> None:
        """`now_ms`: the wall clock. `chance`: a number from 0 to below 1 for each message."""
        self._meter = meter
        self._count = count
        self._fail_rate = fail_rate
        self._now_ms = now_ms
        self._chance = chance
        self.since_stored = LatencyHistogram()
        self.order = OrderCheck()
        self.is_over = asyncio.Event()
        """Enough was consumed, or the run was stopped."""

    def take(self, message: ReceivedMessage) -> bool:
        """Counts a message; False if it shall be given back."""
        if self._fail_rate > 0 and self._chance() < self._fail_rate:
            self._meter.has_failed(GIVEN_BACK, "as --fail-rate wants")
            return False
        now_ms = self._now_ms()
        self._meter.succeeded(
            (now_ms - message.born_timestamp_ms) * 1000, size_bytes=len(message.body)
        )
        self.since_stored.record((now_ms - message.store_timestamp_ms) * 1000)
        self.order.note(message.properties)
        if self._count is not None and self._meter.messages >= self._count:
            self.is_over.set()
        return True


async def consume(options: argparse.Namespace, say: Say) -> Result:
    """Runs until count, duration or a signal. Raises RouteNotFound, NamesrvUnreachable."""
    now = time.perf_counter
    meter = Meter(now())
    consumption = Consumption(
        meter,
        count=options.count,
        fail_rate=options.fail_rate,
        now_ms=lambda: time.time_ns() // 1_000_000,
        chance=random.random,
    )
    with stopped_by_signals(consumption.is_over.set):
        async with rows(meter, options.interval / 1000, now, say):
            # An event, not a cancellation: the consumer leaves its group and commits.
            if options.duration is not None:
                loop = asyncio.get_running_loop()
                loop.call_later(options.duration, consumption.is_over.set)
            await (_pull if options.pull else _push)(options, consumption)
    order = consumption.order
    return result_of(
        meter,
        kind="consumer",
        topic=options.topic,
        namesrv=options.namesrv,
        options=asked_for(options),
        latency_is="from a message's birth to its consumption",
        more={
            "latency_since_stored_ms": latencies_ms(consumption.since_stored),
            "ordered_messages": order.checked,
            "order_gaps": order.gaps,
            "order_repetitions": order.repeated,
        },
    )


async def _push(options: argparse.Namespace, consumption: Consumption) -> None:
    """Shares the topic's queues with the other members of the group."""

    async def listen(message: ReceivedMessage) -> None:
        if not consumption.take(message):
            raise ReconsumeLater(GIVEN_BACK)

    consumer = PushConsumer(
        options.namesrv,
        options.group,
        listen,
        ordered=options.ordered,
        consume_from=_begin(options),
        workers=options.workers,
    )
    consumer.subscribe(options.topic, options.expression, options.filter_type)
    async with consumer:
        # Without this a wrong name would look like a topic without messages.
        await consumer.instance.routes.readable_queues(options.topic)
        await consumption.is_over.wait()


async def _pull(options: argparse.Namespace, consumption: Consumption) -> None:
    """Reads all queues of the topic, whoever else does."""
    async with PullConsumer(
        options.namesrv,
        options.group,
        expression=options.expression,
        expression_type=options.filter_type,
        consume_from=_begin(options),
    ) as consumer:
        consumer.assign(await consumer.queues(options.topic))
        loop = asyncio.get_running_loop()
        committed_s = loop.time()
        while not consumption.is_over.is_set():
            for message in await consumer.poll(POLL_MS):
                consumption.take(message)
            if loop.time() - committed_s >= COMMIT_INTERVAL_S:
                await consumer.commit()
                committed_s = loop.time()
        await consumer.commit()


def _begin(options: argparse.Namespace) -> ConsumeFromWhere:
    if options.begin == "first":
        return ConsumeFromWhere.FIRST_OFFSET
    return ConsumeFromWhere.LAST_OFFSET


__all__ = ["COMMIT_INTERVAL_S", "GIVEN_BACK", "POLL_MS", "Consumption", "consume"]
