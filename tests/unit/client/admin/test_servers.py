from __future__ import annotations

import asyncio

import pytest

from pyromq.client.admin.servers import AT_ONCE_MAX, AnswerRefused, Servers
from pyromq.client.remoting import RemotingClient
from pyromq.codes import RequestCode


@pytest.mark.asyncio
async def test_some_are_asked_at_once_and_answers_keep_their_order() -> None:
    servers = Servers(["127.0.0.1:1"], RemotingClient())
    running, most = 0, 0
    released = asyncio.Event()

    async def ask(number: int) -> int:
        nonlocal running, most
        running += 1
        most = max(most, running)
        if running == AT_ONCE_MAX:
            released.set()
        await released.wait()
        running -= 1
        return number * 2

    assert await servers.each(range(50), ask) == [number * 2 for number in range(50)]
    assert most == AT_ONCE_MAX


@pytest.mark.asyncio
async def test_the_first_error_ends_all_and_is_itself_raised() -> None:
    servers = Servers(["127.0.0.1:1"], RemotingClient())
    cancelled = []

    async def ask(number: int) -> None:
        if number == 1:
            raise AnswerRefused("a:1", RequestCode.GET_KV_CONFIG, 1, "no")
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(number)
            raise

    with pytest.raises(AnswerRefused, match="a:1 refused GET_KV_CONFIG with SYSTEM_ERROR"):
        await servers.each(range(3), ask)
    assert sorted(cancelled) == [0, 2]


def test_a_refusal_is_one_line_with_names_for_numbers() -> None:
    refused = AnswerRefused("a:1", RequestCode.VIEW_MESSAGE_BY_ID, 17, "no topic\n  see there")
    assert str(refused) == (
        "a:1 refused VIEW_MESSAGE_BY_ID with TOPIC_NOT_EXIST (17): no topic see there"
    )
    unknown = AnswerRefused("a:1", 99_999, 4242, None)
    assert str(unknown) == "a:1 refused code 99999 with code 4242 (4242)"
