"""The remoting client against a server in the same loop that a test scripts."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from pyromq.client import AnswerOverdue, PeerUnreachable, RemotingClient
from pyromq.codes import LanguageCode, RequestCode, ResponseCode
from pyromq.wire.remoting.frame import Command, SerializeType
from tests.support.connections import WAIT_SECONDS
from tests.support.scripted_server import Line, server, silence


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


async def test_a_server_that_goes_down_in_order_is_asked_again_on_a_new_connection() -> None:
    held: list[tuple[Line, Command]] = []

    async def goes(line: Line, command: Command) -> None:
        if command.body == b"slow":
            held.append((line, command))
        elif line is there.lines[0]:
            line.answer(command, code=ResponseCode.GO_AWAY)
        else:
            line.answer(command, b"new")

    async with server(goes) as there, client() as it:
        slow = asyncio.create_task(it.invoke(there.address, 34, body=b"slow"))
        await there.until(1)
        assert (await it.invoke(there.address, 34)).body == b"new"
        assert len(there.lines) == 2
        # What was under way on the old connection still gets its answer, then that is closed.
        assert not slow.done()
        held[0][0].answer(held[0][1], b"old")
        assert (await slow).body == b"old"
        async with asyncio.timeout(WAIT_SECONDS):
            await there.lines[0].writer.wait_closed()
        assert (await it.invoke(there.address, 34)).body == b"new"


async def test_a_server_that_only_sends_away_is_not_asked_for_ever() -> None:
    async def goes(line: Line, command: Command) -> None:
        line.answer(command, code=ResponseCode.GO_AWAY)

    async with server(goes) as there, client() as it:
        assert (await it.invoke(there.address, 34)).code == ResponseCode.GO_AWAY
        assert len(there.requests) == 2
