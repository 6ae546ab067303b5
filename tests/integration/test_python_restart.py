"""Our client through kill -9 and restart of a server: what was confirmed is stored and consumed."""

from __future__ import annotations

import asyncio
from pathlib import Path

from pyromq.client import (
    ConsumeFromWhere,
    Message,
    Producer,
    PushConsumer,
    ReceivedMessage,
    SendFailed,
)
from pyromq.errors import PyromqError
from tests.support.processes import free_port
from tests.support.pyromq_server import PyromqServer

SENDERS = 8
SECONDS = 40


async def test_nothing_confirmed_is_lost_when_the_server_is_killed_and_comes_back(
    tmp_path: Path,
) -> None:
    doors = ("--namesrv-port", free_port(), "--broker-port", free_port(-2, 1))
    words = ("standalone", "--data-dir", tmp_path / "data", *doors)
    confirmed: list[bytes] = []
    unclear: list[bytes] = []
    consumed: set[bytes] = set()
    progress = asyncio.Event()
    may_end = asyncio.Event()

    async def until(count: int) -> None:
        async with asyncio.timeout(SECONDS):
            while len(confirmed) < count:
                progress.clear()
                await progress.wait()

    async def sender(producer: Producer, name: int) -> None:
        number = 0
        while not may_end.is_set():
            body = b"%d-%d" % (name, number)
            number += 1
            try:
                result = await producer.send(Message("T", body), timeout_ms=1_000)
                assert result.is_ok
                confirmed.append(body)
            except SendFailed:
                unclear.append(body)
            except PyromqError:
                await asyncio.sleep(0.01)  # nobody there
            progress.set()

    async def listen(message: ReceivedMessage) -> None:
        consumed.add(message.body)
        progress.set()

    server = PyromqServer(*words).start()
    try:
        first = ConsumeFromWhere.FIRST_OFFSET
        consumer = PushConsumer(server.namesrv, "G", listen, consume_from=first)
        consumer.subscribe("T")
        async with Producer(server.namesrv, "P") as producer:
            confirmed.append(b"begin")
            await producer.send(Message("T", b"begin"))
            async with consumer:
                senders = [asyncio.create_task(sender(producer, n)) for n in range(SENDERS)]
                await until(200)
                server.kill()
                before = len(confirmed)
                server = await asyncio.to_thread(PyromqServer(*words).start)
                await until(before + 200)
                may_end.set()
                await asyncio.gather(*senders)
                async with asyncio.timeout(SECONDS):
                    while not consumed.issuperset(confirmed):
                        progress.clear()
                        await progress.wait()
        # Nothing was made up, and what nobody can tell of was called so.
        assert consumed <= set(confirmed) | set(unclear)
    finally:
        server.kill()
