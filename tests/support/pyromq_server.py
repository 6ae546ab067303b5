"""Our own server as a child process, started as a user starts it: `python -m pyromq …`.

It says when it serves: exactly one line `READY namesrv=HOST:PORT broker=HOST:PORT …` on standard
output. Nothing else may be there; everything else it has to say goes to stderr.

    with PyromqServer("standalone", "--ephemeral") as server:
        server.namesrv, server.broker
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Self

from tests.support.processes import ServerFailed, ServerProcess, child_environment

START_SECONDS = 20.0
STOP_SECONDS = 5.0

_READY = re.compile(r"READY(?: [\w-]+=\S+)+")
_DOOR = re.compile(r" ([\w-]+)=(\S+)")


class PyromqServer:
    """`pyromq <arguments>`; `doors` are the open ones by name, as READY told them."""

    def __init__(
        self,
        *arguments: object,
        tracer: Sequence[str] = (),
        program: Sequence[str] = ("pyromq",),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """`tracer`: a command that runs the one behind it in its own process (`strace -D …`).
        `program`: the Python module to run, and arguments before all others. `environment`: more
        variables."""
        self.arguments = [str(argument) for argument in arguments]
        self._tracer = list(tracer)
        self._program = list(program)
        self._environment = dict(environment or {})
        self.doors: dict[str, str] = {}
        self.ready_seconds = 0.0
        self._process: ServerProcess | None = None

    def start(self) -> Self:
        assert self._process is None, "already started"
        started = time.monotonic()
        self._process = ServerProcess(
            "pyromq " + " ".join(self.arguments),
            [*self._tracer, sys.executable, "-m", *self._program, *self.arguments],
            environment=child_environment(PYTHONUNBUFFERED="1", **self._environment),
        )
        try:
            line = self._process.await_line("READY", START_SECONDS)
            if not _READY.fullmatch(line):
                raise ServerFailed(f"not a READY line: {line!r}")
        except BaseException:
            self.kill()
            raise
        self.ready_seconds = time.monotonic() - started
        self.doors = dict(_DOOR.findall(line))
        return self

    @classmethod
    def ephemeral(cls, *more: object) -> Self:
        """Name server and broker on free ports, with a directory that vanishes."""
        return cls("standalone", "--ephemeral", *more)

    @property
    def process(self) -> ServerProcess:
        assert self._process is not None, "not started"
        return self._process

    @property
    def namesrv(self) -> str:
        return self.doors["namesrv"]

    @property
    def broker(self) -> str:
        return self.doors["broker"]

    @property
    def pid(self) -> int:
        return self.process.pid

    def stop(self) -> None:
        """SIGTERM: it must leave cleanly within 5 s, and have said nothing but READY on stdout."""
        process, self._process = self.process, None
        code = process.stop(STOP_SECONDS)
        if code != 0:
            raise ServerFailed(f"{process.name}: exit code {code} after SIGTERM\n{process.tail()}")
        if len(process.stdout_lines) != 1:
            raise ServerFailed(f"{process.name}: more than READY on stdout: {process.stdout_lines}")

    def kill(self) -> None:
        """kill -9."""
        if self._process is not None:
            process, self._process = self._process, None
            process.kill()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None and self._process is not None:
            self.stop()
        else:
            self.kill()
