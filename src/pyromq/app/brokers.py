"""Several brokers beside one name server: processes of their own, started, watched, started again.

One Python process decides on one core. `standalone --brokers N` uses more of them: this process has
the name server and holds N processes of `pyromq broker`. What they share is a command line; what
one must have for itself follows from its place in the row (`row.py`). A broker that ends by
itself is started again after a pause that doubles; the others notice nothing.

They hang on this process by their standard input: when it ends, by whatever death, they stop
cleanly. They are process groups of their own, so that Ctrl-C reaches them once, by way of us.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from pyromq.app.row import PlannedBroker, planned
from pyromq.app.settings import Configured
from pyromq.clock import Clock
from pyromq.errors import StoreFailed
from pyromq.units import SECOND_MS

PAUSE_MIN_MS: Final = 500
PAUSE_MAX_MS: Final = 30_000
"""A broker that served for so long gets the shortest pause again."""
STOP_PATIENCE_S: Final = 30.0
"""After that a broker that was told to stop is killed: nothing that it confirmed is lost."""

_log = logging.getLogger("pyromq.app")


class RestartPause:
    """How long to wait before a broker is started again, in ms."""

    def __init__(self) -> None:
        self._next_ms = PAUSE_MIN_MS

    def after(self, served_ms: int) -> int:
        """The pause after a life that was READY for so long (0: never)."""
        if served_ms >= PAUSE_MAX_MS:
            self._next_ms = PAUSE_MIN_MS
        pause_ms = self._next_ms
        self._next_ms = min(pause_ms * 2, PAUSE_MAX_MS)
        return pause_ms


class SupervisedBroker:
    """One broker through all its lives."""

    def __init__(
        self, planned: PlannedBroker, command: Callable[[PlannedBroker, int], list[str]],
        clock: Clock,
    ) -> None:  # fmt: skip
        """`command`: what starts it at a port."""
        self.name = planned.name
        self.address = ""
        self.was_ready = asyncio.Event()
        self.exit_code: int | None = None
        """Of the last life, once it has ended."""
        self._planned = planned
        self._command = command
        self._clock = clock
        self._port = planned.port
        self._process: Process | None = None
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._live(), name=f"supervise {self.name}")

    async def stop(self) -> None:
        """SIGTERM, and SIGKILL for one that does not leave."""
        self._stopping.set()
        if self._task is None:
            return
        if self._process is not None:
            self._signal(signal.SIGTERM)
        done, _ = await asyncio.wait([self._task], timeout=STOP_PATIENCE_S)
        if not done:
            _log.error("%s: still there after %.0f s, killed", self.name, STOP_PATIENCE_S)
            self._signal(signal.SIGKILL)
        await self._task

    async def _live(self) -> None:
        pause = RestartPause()
        while not self._stopping.is_set():
            served_ms, end = await self._life()
            if self._stopping.is_set():
                return
            pause_ms = pause.after(served_ms)
            _log.error("%s %s; started again in %g s", self.name, end, pause_ms / SECOND_MS)
            try:
                await asyncio.wait_for(self._stopping.wait(), pause_ms / SECOND_MS)
            except TimeoutError:
                continue

    async def _life(self) -> tuple[int, str]:
        """From the start to the end: how long it was READY (ms), and how it ended."""
        try:
            process = await asyncio.create_subprocess_exec(
                *self._command(self._planned, self._port),
                stdin=PIPE,
                stdout=PIPE,
                start_new_session=True,
            )
        except OSError as error:
            return 0, f"cannot be started: {error.strerror}"
        self._process = process
        if self._stopping.is_set():
            self._signal(signal.SIGTERM)
        assert process.stdout is not None
        ready_ms = None
        while line := await process.stdout.readline():
            if ready_ms is None and line.startswith(b"READY "):
                ready_ms = self._clock.monotonic_ms()
                self._take_ready(line.decode(), process.pid)
        self.exit_code = await process.wait()
        self._process = None
        served_ms = 0 if ready_ms is None else self._clock.monotonic_ms() - ready_ms
        before = "" if ready_ms is not None else " before it was ready"
        return served_ms, f"(process {process.pid}) {how_it_ended(self.exit_code)}{before}"

    def _take_ready(self, line: str, pid: int) -> None:
        self.address = line.split("broker=")[1].split()[0]
        # Clients know it by this address, also if the first life's port was a free one.
        self._port = int(self.address.rpartition(":")[2])
        _log.info("%s serves at %s (process %d)", self.name, self.address, pid)
        self.was_ready.set()

    def _signal(self, number: signal.Signals) -> None:
        """Nothing happens if it has ended meanwhile."""
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(number)


def how_it_ended(code: int) -> str:
    if code < 0:
        return f"was ended by {signal.Signals(-code).name}"
    return f"ended with exit code {code}"


class BrokersPart:
    """All brokers, as a part of the process that has the name server."""

    def __init__(
        self,
        options: argparse.Namespace,
        configured: Configured,
        clock: Clock,
        *,
        own_namesrv: Callable[[], str | None],
    ) -> None:
        """`own_namesrv`: address of the name server in this process, known after its bind."""
        self._options = options
        self._configured = configured
        self._own_namesrv = own_namesrv
        self._brokers = [
            SupervisedBroker(planned, self._line, clock)
            for planned in planned(configured, options.brokers)
        ]

    def bind(self) -> None:
        """Each binds its own port."""

    def open(self) -> None:
        """Each opens its own store."""

    def prepare(self) -> None:
        """Nothing is served from here."""

    def stages(self) -> Sequence[Callable[[], None]]:
        return []

    def short_end(self) -> None:
        """All stages are needed for everything here."""

    def flushes(self) -> Sequence[Callable[[], None]]:
        return []

    async def start(self) -> None:
        """Until every broker was READY once: as long as one cannot start, the others serve."""
        for broker in self._brokers:
            broker.start()
        for broker in self._brokers:
            await broker.was_ready.wait()

    async def stop(self) -> None:
        await asyncio.gather(*(broker.stop() for broker in self._brokers))

    async def close(self) -> None:
        unclean = [
            f"{broker.name} {how_it_ended(broker.exit_code)}"
            for broker in self._brokers
            if broker.exit_code
        ]
        if unclean:
            raise StoreFailed(", ".join(unclean))

    def doors(self) -> Mapping[str, str]:
        return {broker.name: broker.address for broker in self._brokers}

    def _line(self, planned: PlannedBroker, port: int) -> list[str]:
        """The command that starts one of them."""
        options = self._options
        line = [sys.executable, "-m", "pyromq", "broker", "--supervised", planned.name]
        if options.config:
            line += ["--config", options.config]
        for setting in options.set:
            line += ["--set", setting]
        line += ["--set", f"haListenPort={planned.ha_port}", "--set", "storePathCommitLog="]
        # An ephemeral one has other defaults; they are decided here.
        line += ["--set", f"flushDiskType={self._configured.store.flush_disk_type.value}"]
        line += ["--data-dir", str(planned.directory), "--broker-port", str(port)]
        if options.host is not None:
            line += ["--host", options.host]
        if options.insecure:
            line.append("--insecure")
        if addresses := self._namesrv_addresses():
            line += ["--namesrv-addr", ";".join(addresses)]
        return line

    def _namesrv_addresses(self) -> list[str]:
        assert self._configured.broker is not None
        addresses = [*self._configured.broker.namesrv_addresses]
        own = self._own_namesrv()
        if own is not None and own not in addresses:
            addresses.insert(0, own)
        return addresses


__all__ = [
    "PAUSE_MAX_MS",
    "PAUSE_MIN_MS",
    "BrokersPart",
    "RestartPause",
    "SupervisedBroker",
    "how_it_ended",
]
