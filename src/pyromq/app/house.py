"""House: what all parts of one process share, and the life they lead together.

Parts come up in this order and go down in the reverse one: ports first (an occupied one costs
nothing yet), then stores, then what must be known before the first request (clients of the process
before this one wait at the ports already), then the doors accept, then what works in the
background. READY is said when all of it is done.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import sys
import threading
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final, Protocol

from pyromq.clock import Clock, SystemClock
from pyromq.config import RemotingConfig
from pyromq.transport import Transport, TransportLimits, connection_count_max
from pyromq.turn import Turn
from pyromq.units import SECOND_MS

GC_THRESHOLD: Final = 10_000
"""Young objects before the collector looks at them: a chunk's worth of requests, which are gone by
then. Python's 700 costs 3 % of a pipelined send."""

_log = logging.getLogger("pyromq.app")


class Part(Protocol):
    """A name server or a broker, from its configuration to its end."""

    def bind(self) -> None:
        """Takes its ports. Raises Occupied."""
        ...

    def open(self) -> None:
        """Opens its directory. Raises StartFailed and leaves nothing open then."""
        ...

    def prepare(self) -> None:
        """Last step before its doors accept; `stages` run from now on. Raises StartFailed."""
        ...

    def stages(self) -> Sequence[Callable[[], None]]:
        """What it does at the end of a turn, before the doors send."""
        ...

    def short_end(self) -> Callable[[], bool] | None:
        """The end of a turn in which only its express lane had something to do, if it has one:
        False if all stages are needed. At most one part of a process has one."""
        ...

    def flushes(self) -> Sequence[Callable[[], None]]:
        """How its doors send."""
        ...

    async def start(self) -> None:
        """Starts what runs in the background; its doors accept already."""
        ...

    async def stop(self) -> None:
        """Ends that; whoever waits is answered."""
        ...

    async def close(self) -> None:
        """Closes its directory: the clean end."""
        ...

    def doors(self) -> Mapping[str, str]:
        """Its open doors with their real addresses, as READY tells them."""
        ...


class House:
    """One process: a loop, a turn, a transport, and the parts that live in it."""

    def __init__(self, remoting: RemotingConfig, clock: Clock | None = None) -> None:
        self.loop = asyncio.get_running_loop()
        self.clock: Clock = SystemClock() if clock is None else clock
        self.remoting = remoting
        self.turn = Turn(self.loop.call_soon)
        self.transport = Transport(self.clock, _limits(remoting))

    async def live(
        self,
        parts: Sequence[Part],
        announce: Callable[[str], None],
        *,
        input_descriptor: int | None = None,
    ) -> None:
        """Serves until SIGTERM or SIGINT, or until that file ends: what a process does that is
        nothing else. Raises StartFailed."""
        stopping = self._watch_signals()
        if input_descriptor is not None:
            self._watch_input(input_descriptor, stopping)
        async with self.serving(parts, stopping):
            if stopping.is_set():
                return
            # What lives now lives as long as the process: the collector need not look at it again.
            gc.collect()
            gc.freeze()
            gc.set_threshold(GC_THRESHOLD, 20, 50)
            announce(ready_line([part.doors() for part in parts]))
            await stopping.wait()
            _log.info("stopping")

    @asynccontextmanager
    async def serving(
        self, parts: Sequence[Part], stopping: asyncio.Event | None = None
    ) -> AsyncIterator[None]:
        """Serves inside the block. Touches nothing but the running loop, so a guest in a process
        of others (`pyromq.testing`) lives like this too. Raises StartFailed.

        Where `stopping` is set while the parts start, the block is entered without all of them.
        """
        async with AsyncExitStack() as ends:
            ends.callback(self.transport.stop_accepting)
            for part in parts:
                part.bind()
            for part in parts:
                part.open()
                ends.push_async_callback(part.close)
            self.turn.set_stages(
                [stage for part in parts for stage in part.stages()]
                + [flush for part in parts for flush in part.flushes()],
                next((short for part in parts if (short := part.short_end())), None),
            )
            for part in parts:
                part.prepare()
            ends.push_async_callback(self.transport.stop, self.remoting.stop_timeout_ms)
            self.transport.start()
            await self._start(parts, ends, asyncio.Event() if stopping is None else stopping)
            try:
                yield
            finally:
                self.transport.stop_accepting()

    async def _start(
        self, parts: Sequence[Part], ends: AsyncExitStack, stopping: asyncio.Event
    ) -> None:
        """Starts all parts, unless the process is told to stop meanwhile."""
        for part in parts:
            ends.push_async_callback(part.stop)
            start = asyncio.ensure_future(part.start())
            stop = asyncio.ensure_future(stopping.wait())
            try:
                await asyncio.wait((start, stop), return_when=asyncio.FIRST_COMPLETED)
            finally:  # also where who waits for the start gives up
                stop.cancel()
                if not start.done():
                    start.cancel()
                await asyncio.wait((start,))
            if start.cancelled():
                return
            start.result()

    def _watch_signals(self) -> asyncio.Event:
        """The first signal sets the event; after it a signal ends the process by its default
        action."""
        stopping = asyncio.Event()
        numbers = (signal.SIGTERM, signal.SIGINT)

        def stop() -> None:
            for number in numbers:
                self.loop.remove_signal_handler(number)
                signal.signal(number, signal.SIG_DFL)
            stopping.set()

        for number in numbers:
            self.loop.add_signal_handler(number, stop)
        return stopping

    def _watch_input(self, descriptor: int, stopping: asyncio.Event) -> None:
        """Sets the event when nobody can write to the descriptor any more. A thread, as a loop
        cannot watch everything that standard input may be; it ends with the process."""

        def read_to_the_end() -> None:
            while os.read(descriptor, 4096):
                pass
            with contextlib.suppress(RuntimeError):  # the loop has ended for another reason
                self.loop.call_soon_threadsafe(stopping.set)

        threading.Thread(target=read_to_the_end, name="watch stdin", daemon=True).start()


def ready_line(doors: Sequence[Mapping[str, str]]) -> str:
    """The one line on stdout that other programs wait for."""
    return " ".join(
        ["READY", *(f"{name}={address}" for part in doors for name, address in part.items())]
    )


def say(line: str) -> None:
    """Prints to stdout at once, also into a pipe."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _limits(remoting: RemotingConfig) -> TransportLimits:
    return TransportLimits(
        connection_count_max=min(remoting.connection_count_max, connection_count_max()),
        backlog=remoting.server_socket_backlog,
        greeting_timeout_ms=remoting.first_bytes_timeout_ms,
        stall_grace_ms=remoting.frame_timeout_ms,
        idle_timeout_ms=remoting.server_channel_max_idle_time_s * SECOND_MS,
        pending_bytes_max=remoting.buffered_size_max,
        outgoing_high=remoting.unsent_size_high,
        outgoing_low=remoting.unsent_size_low,
    )


__all__ = ["House", "Part", "ready_line", "say"]
