"""The embedded broker: the product, for the length of a block, on the caller's loop."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from pyromq.client import PeerUnreachable, RemotingClient
from pyromq.codes import RequestCode, ResponseCode
from pyromq.errors import ConfigInvalid, InvalidParameter, Occupied
from pyromq.testing import EmbeddedBroker, embedded_broker
from pyromq.transport import Transport
from tests.support.connections import WAIT_SECONDS

SEND = {
    "producerGroup": "P", "topic": "Orders", "defaultTopic": "TBW102",
    "defaultTopicQueueNums": "4", "queueId": "0", "sysFlag": "0", "bornTimestamp": "1",
    "flag": "0", "properties": "", "reconsumeTimes": "0", "unitMode": "false", "batch": "false",
}  # fmt: skip


@pytest.fixture(autouse=True)
def temporary_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where embedded brokers keep their stores during these tests."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def stores(directory: Path) -> list[Path]:
    return list(directory.iterdir())


async def code_of(address: str, code: int, ext: dict[str, str], body: bytes = b"") -> int:
    client = RemotingClient()
    try:
        return (await client.invoke(address, code, ext, body)).code
    finally:
        await client.close()


async def send(broker: EmbeddedBroker, **ext: str) -> int:
    return await code_of(broker.address, RequestCode.SEND_MESSAGE, SEND | ext, b"hello")


async def route(broker: EmbeddedBroker, topic: str) -> int:
    ext = {"topic": topic}
    return await code_of(broker.namesrv_addr, RequestCode.GET_ROUTEINFO_BY_TOPIC, ext)


async def test_it_serves_inside_the_block_and_leaves_nothing_behind(
    temporary_directory: Path,
) -> None:
    async with asyncio.timeout(WAIT_SECONDS), embedded_broker() as broker:
        assert await send(broker) == ResponseCode.SUCCESS
        assert await route(broker, "Orders") == ResponseCode.SUCCESS
        assert (broker.store_dir / "commitlog").is_dir()
        assert broker.store_dir.parent == temporary_directory
    for address in (broker.namesrv_addr, broker.address):
        with pytest.raises(PeerUnreachable):
            await code_of(address, RequestCode.GET_ROUTEINFO_BY_TOPIC, {"topic": "Orders"})
    assert stores(temporary_directory) == []
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_created_topic_is_known_to_the_name_server_at_once() -> None:
    async with embedded_broker() as broker:
        assert await route(broker, "Orders") == ResponseCode.TOPIC_NOT_EXIST
        await broker.create_topic("Orders", queue_count=2)
        assert await route(broker, "Orders") == ResponseCode.SUCCESS
        assert await send(broker, queueId="2") == ResponseCode.INVALID_PARAMETER
        await broker.delete_topic("Orders")
        assert await route(broker, "Orders") == ResponseCode.TOPIC_NOT_EXIST
        with pytest.raises(InvalidParameter, match="illegal characters"):
            await broker.create_topic("a b")


async def test_several_at_once_know_nothing_of_each_other() -> None:
    async with embedded_broker() as one, embedded_broker() as two:
        await one.create_topic("Orders")
        assert await route(one, "Orders") == ResponseCode.SUCCESS
        assert await route(two, "Orders") == ResponseCode.TOPIC_NOT_EXIST
        assert len({one.address, two.address, one.namesrv_addr, two.namesrv_addr}) == 4
        assert one.store_dir != two.store_dir
    async with embedded_broker() as three:
        assert await route(three, "Orders") == ResponseCode.TOPIC_NOT_EXIST


async def test_an_error_in_the_block_comes_out_as_it_is(temporary_directory: Path) -> None:
    async def test() -> None:
        async with embedded_broker() as broker:
            await send(broker)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await test()
    assert stores(temporary_directory) == []


async def test_a_cancelled_test_ends_its_broker(temporary_directory: Path) -> None:
    inside = asyncio.Event()

    async def test() -> None:
        async with embedded_broker():
            inside.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(test())
    await inside.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert stores(temporary_directory) == []
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_cancelled_start_leaves_nothing_behind(
    temporary_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    starting = asyncio.Event()
    accept = Transport.start

    def noted(transport: Transport) -> None:
        starting.set()
        accept(transport)

    async def test() -> None:
        async with embedded_broker():
            raise AssertionError("it was cancelled before")

    monkeypatch.setattr(Transport, "start", noted)
    task = asyncio.create_task(test())
    await starting.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert stores(temporary_directory) == []
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_start_that_fails_leaves_nothing_behind(
    temporary_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def occupied(*_: object) -> None:
        raise Occupied("no port is free")

    monkeypatch.setattr(Transport, "bind", occupied)
    with pytest.raises(Occupied):
        async with embedded_broker():
            pass
    assert stores(temporary_directory) == []


async def test_clients_that_stay_are_cut_off() -> None:
    client = RemotingClient()
    async with asyncio.timeout(WAIT_SECONDS):
        async with embedded_broker() as broker:
            await client.invoke(broker.address, RequestCode.SEND_MESSAGE, SEND, b"x")
        with pytest.raises(PeerUnreachable):
            await client.invoke(broker.address, RequestCode.SEND_MESSAGE, SEND, b"x")
    await client.close()


async def test_properties_are_those_of_the_server_and_typing_errors_are_told() -> None:
    async with embedded_broker(properties={"autoCreateTopicEnable": False}) as broker:
        assert await send(broker) == ResponseCode.TOPIC_NOT_EXIST
    for name, value in (
        ("autoCreateTopicEnabled", True),
        ("storePathRootDir", "elsewhere"),
        ("maxMessageSize", "much"),
    ):
        with pytest.raises(ConfigInvalid, match=name):
            async with embedded_broker(properties={name: value}):
                pass


async def test_the_environment_has_no_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAMESRV_ADDR", "broker.example.invalid:9876")
    monkeypatch.setenv("PYROMQ_AUTO_CREATE_TOPIC_ENABLE", "false")
    async with embedded_broker() as broker:
        assert await send(broker) == ResponseCode.SUCCESS


async def test_the_process_stays_as_it_was() -> None:
    threads = set(threading.enumerate())
    before = (gc.get_threshold(), gc.get_freeze_count(), dict(os.environ), _signals())
    async with embedded_broker():
        during = (gc.get_threshold(), gc.get_freeze_count(), dict(os.environ), _signals())
    assert during == before
    # A thread of the loop's own executor belongs to the loop, and may come with any work.
    new = [thread.name for thread in threading.enumerate() if thread not in threads]
    assert all(name.startswith("asyncio_") for name in new), new


def _signals() -> list[object]:
    return [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]


def test_importing_it_does_not_import_the_server() -> None:
    program = "import sys, pyromq.testing; print(*sys.modules, sep='\\n')"
    loaded = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout.split()
    assert "pyromq.testing" in loaded
    assert not {"pyromq._native", "pyromq.broker", "pyromq.app", "msgspec"} & set(loaded)
