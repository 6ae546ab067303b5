"""Connections of the tests: a transport on real loopback sockets, a door's output in memory."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable
from typing import Any

from pyromq.transport.connection import Outlet, Peer
from pyromq.wire.remoting.connection import RemotingConnection
from pyromq.wire.remoting.frame import CLIENT_LIMITS, Command

WAIT_SECONDS = 10.0
"""Longer than anything here takes; a test that waits so long has failed."""


class EchoConnection:
    """A protocol for tests of the transport: 4-byte length, payload; answers each whole frame.

    It implements the transport's `Connection` and remembers what it saw.
    """

    def __init__(self, outlet: Outlet) -> None:
        self.outlet = outlet
        self.received = bytearray()
        self.frames: list[bytes] = []
        self.received_frame_count = 0
        self.is_proven = False
        self.close_reason: str | None = None
        self.drained_count = 0
        self.changed = asyncio.Event()

    @property
    def pending_bytes(self) -> int:
        return len(self.received)

    @property
    def received_bytes_of_frame(self) -> int:
        return len(self.received)

    def receive(self, data: memoryview) -> None:
        self.received += data
        while len(self.received) >= 4:
            (size,) = struct.unpack_from(">i", self.received)
            if len(self.received) < 4 + size:
                break
            frame = bytes(self.received[4 : 4 + size])
            del self.received[: 4 + size]
            self.frames.append(frame)
            self.received_frame_count += 1
            self.outlet.write(struct.pack(">i", size) + frame)
        self.changed.set()

    def drained(self) -> None:
        self.drained_count += 1
        self.changed.set()

    def closed(self, reason: str) -> None:
        self.close_reason = reason
        self.changed.set()

    async def until(self, is_true: Callable[[EchoConnection], bool]) -> None:
        """Waits until the connection has seen what the test is about."""
        async with asyncio.timeout(WAIT_SECONDS):
            while not is_true(self):
                self.changed.clear()
                await self.changed.wait()


def frame(payload: bytes) -> bytes:
    """What `EchoConnection` takes for one frame."""
    return struct.pack(">i", len(payload)) + payload


class MemoryOutput:
    """A door's way out that ends in a list of commands, as a client would read them."""

    def __init__(self, address: tuple[str, int] = ("127.0.0.1", 40960)) -> None:
        self.peer = Peer.of(*address)
        self.is_congested = False
        """Set it to play a peer that does not read."""
        self.write_count = 0
        self.reading: list[bool] = []
        """Each pause (False) and resumption (True)."""
        self.close_reason: str | None = None
        self.answers: list[Command] = []
        self._client = RemotingConnection(CLIENT_LIMITS)

    def write(self, data: bytes) -> None:
        self.write_count += 1
        self.answers += self._client.receive_data(data)
        assert self._client.violation is None, "a server wrote what no client can read"

    @property
    def descriptor(self) -> int | None:
        return None

    @property
    def reader(self) -> None:
        """Nobody reads but the test."""

    def pause_reading(self) -> None:
        self.reading.append(False)

    def resume_reading(self) -> None:
        self.reading.append(True)

    def close(self, reason: str) -> None:
        self.close_reason = reason


class ManualTimer:
    """What `call_later` gives."""

    def __init__(self, due_s: float, callback: Callable[[], Any]) -> None:
        self.due_s = due_s
        self.callback = callback
        self.is_cancelled = False

    def cancel(self) -> None:
        self.is_cancelled = True


class ManualTurns:
    """`call_soon` and `call_later` in tests: things run when the test says so."""

    def __init__(self) -> None:
        self._due: list[Callable[[], Any]] = []
        self._now_s = 0.0
        self.timers: list[ManualTimer] = []

    def call_later(self, delay_s: float, callback: Callable[[], Any]) -> ManualTimer:
        timer = ManualTimer(self._now_s + delay_s, callback)
        self.timers.append(timer)
        return timer

    def advance(self, by_s: float) -> None:
        """Lets time pass and runs the timers that are due."""
        self._now_s += by_s
        due = [timer for timer in self.timers if timer.due_s <= self._now_s]
        self.timers = [timer for timer in self.timers if timer.due_s > self._now_s]
        for timer in due:
            if not timer.is_cancelled:
                timer.callback()

    def call_soon(self, callback: Callable[[], Any]) -> None:
        self._due.append(callback)

    @property
    def is_due(self) -> bool:
        """Something is to be run."""
        return bool(self._due)

    def run(self) -> None:
        """Runs everything due, and what that makes due, to its end."""
        for _ in range(1_000):
            due, self._due = self._due, []
            if not due:
                return
            for callback in due:
                callback()
        raise AssertionError("the turns do not end")


__all__ = [
    "WAIT_SECONDS",
    "EchoConnection",
    "ManualTurns",
    "MemoryOutput",
    "frame",
]
