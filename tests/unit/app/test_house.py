"""The life of a process: order of parts, failures on the way up, signals."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Mapping, Sequence

import pytest

from pyromq.app.house import House, ready_line
from pyromq.config import RemotingConfig
from pyromq.errors import StoreDamaged
from pyromq.transport import Transport
from tests.support.connections import WAIT_SECONDS


class ToyPart:
    """A part that writes down what happens to it."""

    def __init__(self, name: str, log: list[str], *, fails_to: str | None = None) -> None:
        self.name = name
        self.log = log
        self.fails_to = fails_to
        self.may_start = asyncio.Event()
        self.may_start.set()

    def _note(self, what: str) -> None:
        if self.fails_to == what:
            raise StoreDamaged(f"{self.name} cannot {what}")
        self.log.append(f"{what} {self.name}")

    def bind(self) -> None:
        self._note("bind")

    def open(self) -> None:
        self._note("open")

    def prepare(self) -> None:
        self._note("prepare")

    def stages(self) -> Sequence[Callable[[], None]]:
        return [lambda: self._note("write")]

    def short_end(self) -> None:
        pass

    def flushes(self) -> Sequence[Callable[[], None]]:
        return [lambda: self._note("flush")]

    async def start(self) -> None:
        await self.may_start.wait()
        self._note("start")

    async def stop(self) -> None:
        self._note("stop")

    async def close(self) -> None:
        self._note("close")

    def doors(self) -> Mapping[str, str]:
        return {self.name: f"127.0.0.1:{len(self.name)}"}


def end(number: int = signal.SIGTERM) -> None:
    os.kill(os.getpid(), number)


async def live(parts: Sequence[ToyPart], announce: Callable[[str], None]) -> House:
    house = House(RemotingConfig())
    async with asyncio.timeout(WAIT_SECONDS):
        await house.live(parts, announce)
    return house


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_parts_come_up_in_order_and_go_down_in_reverse(number: int) -> None:
    log: list[str] = []

    def announce(line: str) -> None:
        log.append(line)
        end(number)

    await live([ToyPart("one", log), ToyPart("second", log)], announce)
    assert log == [
        "bind one", "bind second", "open one", "open second", "prepare one", "prepare second",
        "start one", "start second",
        "READY one=127.0.0.1:3 second=127.0.0.1:6",
        "stop second", "stop one", "close second", "close one",
    ]  # fmt: skip


async def test_all_parts_are_prepared_before_any_door_accepts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    log: list[str] = []
    accept = Transport.start

    def noted(transport: Transport) -> None:
        log.append("accept")
        accept(transport)

    monkeypatch.setattr(Transport, "start", noted)
    await live([ToyPart("one", log), ToyPart("two", log)], lambda _: end())
    assert log[4:9] == ["prepare one", "prepare two", "accept", "start one", "start two"]


async def test_a_turn_writes_all_parts_before_any_door_sends() -> None:
    log: list[str] = []
    house = House(RemotingConfig())
    parts = [ToyPart("one", log), ToyPart("two", log)]

    def announce(line: str) -> None:
        log.clear()
        house.turn.end()
        end()

    async with asyncio.timeout(WAIT_SECONDS):
        await house.live(parts, announce)
    assert log[:4] == ["write one", "write two", "flush one", "flush two"]


@pytest.mark.parametrize(
    ("fails_to", "expected"),
    [
        ("bind", ["bind one"]),
        ("open", ["bind one", "bind two", "open one", "close one"]),
        (
            "prepare",
            [
                "bind one", "bind two", "open one", "open two", "prepare one",
                "close two", "close one",
            ],
        ),
        (
            "start",
            [
                "bind one", "bind two", "open one", "open two", "prepare one", "prepare two",
                "start one",
                "stop two", "stop one", "close two", "close one",
            ],
        ),
    ],
)  # fmt: skip
async def test_what_was_opened_is_closed_when_a_part_fails(
    fails_to: str, expected: list[str]
) -> None:
    log: list[str] = []
    with pytest.raises(StoreDamaged, match=f"two cannot {fails_to}"):
        await live([ToyPart("one", log), ToyPart("two", log, fails_to=fails_to)], log.append)
    assert log == expected


async def test_a_signal_while_a_part_starts_ends_the_start() -> None:
    log: list[str] = []
    slow = ToyPart("slow", log)
    slow.may_start.clear()
    asyncio.get_running_loop().call_later(0.05, end)
    await live([ToyPart("one", log), slow, ToyPart("never", log)], log.append)
    assert "READY" not in " ".join(log)
    assert log[-6:] == [
        "start one", "stop slow", "stop one", "close never", "close slow", "close one",
    ]  # fmt: skip


async def test_the_end_of_its_input_ends_it() -> None:
    log: list[str] = []
    reading, writing = os.pipe()
    house = House(RemotingConfig())

    def announce(line: str) -> None:
        log.append(line)
        os.write(writing, b"what is said there does not count\n")
        os.close(writing)

    async with asyncio.timeout(WAIT_SECONDS):
        await house.live([ToyPart("one", log)], announce, input_descriptor=reading)
    os.close(reading)
    assert log[-3:] == ["READY one=127.0.0.1:3", "stop one", "close one"]


async def test_a_second_signal_is_left_to_the_system() -> None:
    seen: list[object] = []

    class Noting(ToyPart):
        async def stop(self) -> None:
            seen.append(signal.getsignal(signal.SIGTERM))

    await live([Noting("one", [])], lambda _: end())
    assert seen == [signal.SIG_DFL]


def test_ready_names_doors_in_the_order_of_their_parts() -> None:
    assert ready_line([{"namesrv": "a:1"}, {"broker": "b:2", "grpc": "c:3"}]) == (
        "READY namesrv=a:1 broker=b:2 grpc=c:3"
    )
