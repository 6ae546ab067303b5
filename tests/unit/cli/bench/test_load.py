"""Workers: how many requests are under way, what failures do, and how a run ends."""

from __future__ import annotations

import asyncio

import pytest

from pyromq.cli.bench.load import Load, kind_of
from pyromq.cli.bench.meter import Meter
from pyromq.cli.bench.pace import Pace, Ticket
from pyromq.client import PeerUnreachable, SendFailed
from tests.support.connections import WAIT_SECONDS


class Ticks:
    """A clock that says how often it was read, in seconds."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


async def test_all_messages_are_sent_once_by_so_many_workers() -> None:
    meter, under_way, most = Meter(0.0), 0, 0
    seen: list[int] = []

    async def request(worker: int, ticket: Ticket) -> int:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0)
        under_way -= 1
        seen.extend(range(ticket.first, ticket.first + ticket.message_count))
        return 100 * ticket.message_count

    await Load(Pace(0.0, count=50, batch_size=4), meter, Ticks()).run(request, 3)
    assert sorted(seen) == list(range(50))
    assert most == 3
    assert (meter.messages, meter.failed, meter.size_bytes) == (50, 0, 5_000)


async def test_latency_counts_from_when_a_request_was_due() -> None:
    meter, clock = Meter(0.0), Ticks()

    async def slow(worker: int, ticket: Ticket) -> int:
        clock.now_s += 5.0
        return 1

    # Due at 0, 1 and 2 s; done at 5, 10 and 15 s.
    await Load(Pace(0.0, rate=1, count=3), meter, clock).run(slow, 1)
    meter.end_interval(clock())
    assert (meter.latency.max_us, meter.latency.count) == (13_000_000, 3)
    assert meter.latency.mean_us == 9_000_000


async def test_failures_are_counted_and_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pyromq.cli.bench.load.FAILURE_PAUSE_S", 0.001)
    meter = Meter(0.0)

    async def request(worker: int, ticket: Ticket) -> int:
        if ticket.first % 2:
            raise SendFailed("no room", code=14, may_be_stored=False)
        return 1

    await Load(Pace(0.0, count=10), meter, Ticks()).run(request, 2)
    assert (meter.messages, meter.failed) == (5, 5)
    assert meter.errors == {"SendFailed SERVICE_NOT_AVAILABLE": 5}
    assert meter.examples == {"SendFailed SERVICE_NOT_AVAILABLE": "no room"}


async def test_what_is_no_failure_of_a_server_ends_the_run() -> None:
    async def request(worker: int, ticket: Ticket) -> int:
        raise ZeroDivisionError

    with pytest.raises(ExceptionGroup) as raised:
        await Load(Pace(0.0, count=10), Meter(0.0), Ticks()).run(request, 2)
    assert raised.group_contains(ZeroDivisionError)


async def test_a_stop_waits_for_those_under_way_and_sends_no_more() -> None:
    meter, may_answer = Meter(0.0), asyncio.Event()

    async def request(worker: int, ticket: Ticket) -> int:
        load.stop()
        await may_answer.wait()
        return 1

    load = Load(Pace(0.0), meter, Ticks())
    async with asyncio.timeout(WAIT_SECONDS):
        running = asyncio.create_task(load.run(request, 1))
        await asyncio.sleep(0)
        may_answer.set()
        await running
    assert meter.messages == 1


@pytest.mark.parametrize("waits_for", ["the next message", "a failure's pause"])
async def test_a_stop_ends_waiting_workers_at_once(
    waits_for: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pyromq.cli.bench.load.FAILURE_PAUSE_S", 3600)
    waiting = asyncio.Event()

    async def request(worker: int, ticket: Ticket) -> int:
        waiting.set()
        if waits_for == "a failure's pause":
            raise PeerUnreachable("gone")
        return 1

    load = Load(Pace(0.0, rate=1 / 3600), Meter(0.0), Ticks())
    async with asyncio.timeout(WAIT_SECONDS):
        running = asyncio.create_task(load.run(request, 1))
        await waiting.wait()
        load.stop()
        await running


def test_errors_are_told_apart_by_the_servers_code() -> None:
    assert kind_of(PeerUnreachable("x")) == "PeerUnreachable"
    assert kind_of(SendFailed("x", code=None, may_be_stored=True)) == "SendFailed"
    assert kind_of(SendFailed("x", code=2, may_be_stored=True)) == "SendFailed SYSTEM_BUSY"
    assert kind_of(SendFailed("x", code=31_999, may_be_stored=True)) == "SendFailed code 31999"
