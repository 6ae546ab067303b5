"""The remoting client against a server in the same loop that a test scripts."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from pyromq.client import AnswerOverdue, PeerUnreachable, RemotingClient
from pyromq.codes import LanguageCode, RequestCode
from pyromq.wire.remoting.connection import RemotingConnection
from pyromq.wire.remoting.frame import Command, SerializeType
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


@contextlib.asynccontextmanager
async def client(**options: object) -> AsyncIterator[RemotingClient]:
    it = RemotingClient(**options)  # type: ignore[arg-type]
    try:
        yield it
    finally:
        await it.close()


async def test_a_request_gets_its_answer() -> None:
    async with server() as there, client() as it:
        answer = await it.invoke(there.address, RequestCode.HEART_BEAT, {"a": "b"}, b"body")
        assert answer.body == b"body"
        (request,) = there.requests
        assert (request.code, request.ext, request.language) == (
            34,
            {"a": "b"},
            LanguageCode.PYTHON,
        )
        assert request.version == 513


async def test_an_answer_with_an_error_code_is_an_answer() -> None:
    async def refuse(line: Line, command: Command) -> None:
        line.answer(command, code=17)

    async with server(refuse) as there, client() as it:
        assert (await it.invoke(there.address, 105)).code == 17


async def test_many_requests_share_one_connection_and_answers_may_overtake() -> None:
    held: list[tuple[Line, Command]] = []

    async def backwards(line: Line, command: Command) -> None:
        held.append((line, command))
        if len(held) == 20:
            for held_line, request in reversed(held):
                held_line.answer(request, request.body)

    async with server(backwards) as there, client() as it:
        answers = await asyncio.gather(
            *(it.invoke(there.address, 34, body=b"%d" % number) for number in range(20))
        )
        assert [answer.body for answer in answers] == [b"%d" % number for number in range(20)]
        assert len(there.lines) == 1
        assert len({request.opaque for request in there.requests}) == 20


async def test_a_late_answer_is_overdue_and_the_next_request_is_not_confused() -> None:
    late: list[tuple[Line, Command]] = []

    async def first_late(line: Line, command: Command) -> None:
        if command.body == b"late":
            late.append((line, command))
        else:
            for held_line, request in late:
                held_line.answer(request, b"too late")
            line.answer(command, command.body)

    async with server(first_late) as there, client() as it:
        with pytest.raises(AnswerOverdue, match="no answer to 34 within 20 ms"):
            await it.invoke(there.address, 34, body=b"late", timeout_ms=20)
        assert (await it.invoke(there.address, 34, body=b"next")).body == b"next"


async def test_nobody_listens() -> None:
    async with server() as there:
        address = there.address
    async with client() as it:
        with pytest.raises(PeerUnreachable, match="no connection"):
            await it.invoke(address, 34)


@pytest.mark.parametrize("address", ["nonsense", "127.0.0.1:port", "127.0.0.1:99999"])
async def test_an_address_that_is_none(address: str) -> None:
    async with client() as it:
        with pytest.raises(PeerUnreachable):
            await it.invoke(address, 34)


async def test_a_lost_connection_fails_what_waits_and_is_opened_anew() -> None:
    lost: list[str] = []

    async def hang_up_once(line: Line, command: Command) -> None:
        if command.body == b"hang up":
            line.writer.transport.abort()
        else:
            line.answer(command, command.body)

    async with server(hang_up_once) as there, client(on_lost=lost.append) as it:
        with pytest.raises(PeerUnreachable, match="connection lost"):
            await it.invoke(there.address, 34, body=b"hang up")
        assert lost == [there.address]
        assert (await it.invoke(there.address, 34, body=b"again")).body == b"again"
        assert len(there.lines) == 2


async def test_a_one_way_request_is_marked_and_not_waited_for() -> None:
    async with server(silence) as there, client() as it:
        await it.tell(there.address, RequestCode.UPDATE_CONSUMER_OFFSET, {"a": "b"})
        await there.until(1)
        assert there.requests[0].is_oneway


async def test_a_request_of_the_server_is_answered_by_the_callback() -> None:
    answered: list[Command] = []
    done = asyncio.Event()

    async def ask_back(line: Line, command: Command) -> None:
        if command.is_response:
            answered.append(command)
            done.set()
        else:
            line.answer(command)
            line.send(Command.request(307, {"clientId": "c"}, opaque=77))
            line.send(Command.request(40, {"consumerGroup": "g"}, opaque=78, oneway=True))

    seen: list[tuple[str, int]] = []

    def on_request(address: str, request: Command) -> Command:
        seen.append((address, request.code))
        return Command.response_to(request, body=b"running")

    async with server(ask_back) as there, client(on_request=on_request) as it:
        await it.invoke(there.address, 34)
        async with asyncio.timeout(WAIT_SECONDS):
            await done.wait()
        assert seen == [(there.address, 307), (there.address, 40)]
        assert [(answer.opaque, answer.body) for answer in answered] == [(77, b"running")]


async def test_bytes_that_are_no_frame_end_the_connection() -> None:
    async def nonsense(line: Line, command: Command) -> None:
        line.writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with server(nonsense) as there, client() as it:
        with pytest.raises(PeerUnreachable, match="connection lost"):
            await it.invoke(there.address, 34)


async def test_close_fails_what_waits_and_takes_nothing_more() -> None:
    async with server(silence) as there:
        it = RemotingClient()
        waiting = asyncio.ensure_future(it.invoke(there.address, 34))
        await there.until(1)
        await it.close()
        with pytest.raises(PeerUnreachable):
            await waiting
        with pytest.raises(PeerUnreachable, match="the client is closed"):
            await it.invoke(there.address, 34)


async def test_giving_up_on_a_connection_does_not_take_it_from_others() -> None:
    async with server() as there, client() as it:
        first = asyncio.ensure_future(it.invoke(there.address, 34, body=b"1"))
        second = asyncio.ensure_future(it.invoke(there.address, 34, body=b"2"))
        await asyncio.sleep(0)
        first.cancel()
        assert (await second).body == b"2"
        assert len(there.lines) == 1


async def test_binary_headers_are_spoken_on_request() -> None:
    async with server() as there, client(serialize_type=SerializeType.ROCKETMQ) as it:
        answer = await it.invoke(there.address, 34, {"a": "b"})
        assert answer.serialize_type is SerializeType.ROCKETMQ
        assert there.requests[0].serialize_type is SerializeType.ROCKETMQ
