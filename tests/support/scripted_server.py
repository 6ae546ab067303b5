"""A server in the test's own loop: whatever it is asked, a script of the test answers."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

from pyromq.wire.remoting.connection import RemotingConnection
from pyromq.wire.remoting.frame import Command
from tests.support.connections import WAIT_SECONDS

Script = Callable[["Line", Command], Awaitable[None]]


class Line:
    """The server's end of one connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.wire = RemotingConnection()

    def send(self, command: Command) -> None:
        self.wire.send(command)
        self.writer.write(self.wire.data_to_send())

    def answer(self, request: Command, body: bytes = b"", code: int = 0) -> None:
        self.send(Command.response_to(request, code, body=body))


class ScriptedServer:
    """Runs a script for each request; remembers them all."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.requests: list[Command] = []
        self.lines: list[Line] = []
        self.address = ""
        self.got = asyncio.Event()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        host, port = self._server.sockets[0].getsockname()
        self.address = f"{host}:{port}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = Line(reader, writer)
        self.lines.append(line)
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65_536):
                for command in line.wire.receive_data(data):
                    self.requests.append(command)
                    self.got.set()
                    await self.script(line, command)
        writer.close()

    async def until(self, count: int) -> None:
        async with asyncio.timeout(WAIT_SECONDS):
            while len(self.requests) < count:
                self.got.clear()
                await self.got.wait()

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for line in self.lines:
            line.writer.transport.abort()
        await self._server.wait_closed()


async def echo(line: Line, command: Command) -> None:
    if not command.is_oneway:
        line.answer(command, command.body)


async def silence(line: Line, command: Command) -> None:
    return None


@contextlib.asynccontextmanager
async def server(script: Script = echo) -> AsyncIterator[ScriptedServer]:
    it = ScriptedServer(script)
    await it.start()
    try:
        yield it
    finally:
        await it.stop()
