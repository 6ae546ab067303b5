"""Name servers and brokers as processes: registration, loss, return, expiry, durable KV entries."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from pyromq.client import RemotingClient
from pyromq.codes import RequestCode, ResponseCode
from pyromq.domain.topic import TopicConfig
from pyromq.domain.version import DataVersion
from pyromq.wire.remoting.bodies.registration import (
    RegisterBrokerBody,
    body_crc32,
    encode_register_broker,
)
from pyromq.wire.remoting.bodies.routes import decode_cluster_info
from pyromq.wire.remoting.bodies.topics import TopicTable
from pyromq.wire.remoting.headers import encode_ext
from pyromq.wire.remoting.headers.namesrv import BrokerHeartbeatHeader, RegisterBrokerHeader
from tests.support.processes import ask, await_answer, free_port, retries
from tests.support.pyromq_server import PyromqServer

SOON_S = 10.0


def name_server(folder: Path, port: int, *more: object) -> PyromqServer:
    return PyromqServer("namesrv", "--namesrv-port", port, "--data-dir", folder, *more)


def broker_of(folder: Path, *name_servers: str) -> PyromqServer:
    return PyromqServer(
        "broker", "-n", ";".join(name_servers), "--broker-port", 0, "--data-dir", folder
    )


def has_route(name_server: str, topic: str) -> bool:
    answer = ask(name_server, RequestCode.GET_ROUTEINFO_BY_TOPIC, {"topic": topic})
    assert answer.code in (ResponseCode.SUCCESS, ResponseCode.TOPIC_NOT_EXIST)
    return answer.code == ResponseCode.SUCCESS


def await_route(name_server: str, topic: str) -> None:
    await_answer(
        name_server,
        RequestCode.GET_ROUTEINFO_BY_TOPIC,
        {"topic": topic},
        containing=b"broker-a",
        timeout_seconds=SOON_S,
    )


def await_no_broker(name_server: str) -> None:
    for _ in retries(SOON_S):
        answer = ask(name_server, RequestCode.GET_BROKER_CLUSTER_INFO)
        if not decode_cluster_info(answer.body).broker_addr_table:
            return
    pytest.fail("the broker is still listed")


def create_topic(broker: str, topic: str) -> None:
    answer = ask(
        broker,
        RequestCode.UPDATE_AND_CREATE_TOPIC,
        {
            "topic": topic,
            "defaultTopic": "TBW102",
            "readQueueNums": "4",
            "writeQueueNums": "4",
            "perm": "6",
            "topicFilterType": "SINGLE_TAG",
            "topicSysFlag": "0",
            "order": "false",
        },
    )
    assert answer.code == ResponseCode.SUCCESS, answer.remark


def test_ready_means_that_clients_find_the_broker() -> None:
    with PyromqServer.ephemeral() as server:
        answer = ask(server.namesrv, RequestCode.GET_ROUTEINFO_BY_TOPIC, {"topic": "TBW102"})
        assert answer.code == ResponseCode.SUCCESS, answer.remark
        route = json.loads(answer.body)
        assert route["brokerDatas"][0]["brokerAddrs"] == {"0": server.broker}


def test_a_topic_whose_creation_is_answered_has_a_route() -> None:
    with PyromqServer.ephemeral() as server:
        for number in range(20):
            create_topic(server.broker, f"fresh-{number}")
            assert has_route(server.namesrv, f"fresh-{number}")


def test_one_of_two_name_servers_dies_and_comes_back(tmp_path: Path) -> None:
    port = free_port()
    with (
        name_server(tmp_path / "n1", 0) as steady,
        broker_of(tmp_path / "b", steady.namesrv, f"127.0.0.1:{port}") as broker,
    ):
        mortal = name_server(tmp_path / "n2", port).start()
        try:
            await_route(mortal.namesrv, "TBW102")
            mortal.kill()
            # The one that lives hears of changes as before.
            create_topic(broker.broker, "while-away")
            await_route(steady.namesrv, "while-away")
            # The one that comes back knows nothing, and is told everything.
            mortal = name_server(tmp_path / "n2", port).start()
            await_route(mortal.namesrv, "while-away")
            await_route(mortal.namesrv, "TBW102")
        finally:
            mortal.kill()


def test_a_killed_broker_is_forgotten_at_once_and_comes_back(tmp_path: Path) -> None:
    with name_server(tmp_path / "n", 0) as server:
        broker = broker_of(tmp_path / "b", server.namesrv).start()
        assert has_route(server.namesrv, "TBW102")
        broker.kill()
        await_no_broker(server.namesrv)
        assert not has_route(server.namesrv, "TBW102")
        with broker_of(tmp_path / "b", server.namesrv):
            assert has_route(server.namesrv, "TBW102")


def test_a_broker_that_stops_has_unregistered_before_it_ends(tmp_path: Path) -> None:
    with name_server(tmp_path / "n", 0) as server:
        with broker_of(tmp_path / "b", server.namesrv):
            assert has_route(server.namesrv, "TBW102")
        assert not has_route(server.namesrv, "TBW102")


def test_a_name_server_that_never_answers_does_not_keep_a_broker_from_serving(
    tmp_path: Path,
) -> None:
    nobody = f"127.0.0.1:{free_port()}"
    with (
        name_server(tmp_path / "n", 0) as server,
        broker_of(tmp_path / "b", nobody, server.namesrv) as broker,
    ):
        assert broker.ready_seconds < SOON_S
        assert has_route(server.namesrv, "TBW102")


def test_kv_entries_survive_kill_9(tmp_path: Path) -> None:
    server = name_server(tmp_path, 0).start()
    for number in range(50):
        entry = {"namespace": "n", "key": f"k{number}", "value": f"v{number}"}
        assert ask(server.namesrv, RequestCode.PUT_KV_CONFIG, entry).code == ResponseCode.SUCCESS
    gone = {"namespace": "n", "key": "k7"}
    assert ask(server.namesrv, RequestCode.DELETE_KV_CONFIG, gone).code == ResponseCode.SUCCESS
    server.kill()
    with name_server(tmp_path, 0) as again:
        answer = ask(again.namesrv, RequestCode.GET_KVLIST_BY_NAMESPACE, {"namespace": "n"})
        expected = {f"k{number}": f"v{number}" for number in range(50) if number != 7}
        assert json.loads(answer.body)["table"] == expected
        missing = ask(again.namesrv, RequestCode.GET_KV_CONFIG, gone)
        assert missing.code == ResponseCode.QUERY_NOT_FOUND
        assert missing.remark == "No config item, Namespace: n Key: k7"
    stored = json.loads((tmp_path / "namesrv" / "kvConfig.json").read_text())
    assert stored["configTable"] == {"n": expected}


# A broker that is a script: what it says and does not say is the test's.


@asynccontextmanager
async def quick_name_server(folder: Path) -> AsyncIterator[str]:
    server = name_server(folder, 0, "--set", "scanNotActiveBrokerInterval=20")
    await asyncio.to_thread(server.start)
    try:
        yield server.namesrv
        await asyncio.to_thread(server.stop)
    finally:
        server.kill()


async def register(client: RemotingClient, name_server: str, *, timeout_ms: int | None) -> None:
    table = {name: TopicConfig(topic_name=name) for name in ("t", "u")}
    body = encode_register_broker(
        RegisterBrokerBody(
            topic_config_serialize_wrapper=TopicTable(
                topic_config_table=table, data_version=DataVersion(1, 0, 1)
            )
        )
    )
    header = RegisterBrokerHeader(
        broker_name="broker-a",
        broker_addr="127.0.0.1:1",
        cluster_name="c",
        broker_id=0,
        heartbeat_timeout_millis=timeout_ms,
        enable_acting_master=True,
        body_crc32=body_crc32(body),
    )
    answer = await client.invoke(name_server, RequestCode.REGISTER_BROKER, encode_ext(header), body)
    assert answer.code == ResponseCode.SUCCESS, answer.remark


async def test_a_silent_broker_is_dropped_after_the_time_it_asked_for(tmp_path: Path) -> None:
    async with quick_name_server(tmp_path) as address:
        client = RemotingClient()
        await register(client, address, timeout_ms=400)
        heartbeat = encode_ext(
            BrokerHeartbeatHeader(
                cluster_name="c", broker_addr="127.0.0.1:1", broker_name="broker-a", broker_id=0
            )
        )
        deadline = time.monotonic() + 1.2
        while time.monotonic() < deadline:
            answer = await client.invoke(address, RequestCode.BROKER_HEARTBEAT, heartbeat)
            assert answer.code == ResponseCode.SUCCESS
            assert await asyncio.to_thread(has_route, address, "t")
        await asyncio.to_thread(await_no_broker, address)
        await client.close()


async def test_a_closed_connection_ends_a_registration_at_once(tmp_path: Path) -> None:
    async with quick_name_server(tmp_path) as address:
        client = RemotingClient()
        await register(client, address, timeout_ms=None)
        assert await asyncio.to_thread(has_route, address, "t")
        await client.close()
        await asyncio.to_thread(await_no_broker, address)


async def test_a_registration_with_a_wrong_checksum_is_refused(tmp_path: Path) -> None:
    async with quick_name_server(tmp_path) as address:
        client = RemotingClient()
        header = RegisterBrokerHeader(
            broker_name="broker-a",
            broker_addr="127.0.0.1:1",
            cluster_name="c",
            broker_id=0,
            body_crc32=1,
        )
        answer = await client.invoke(
            address, RequestCode.REGISTER_BROKER, encode_ext(header), b"{}"
        )
        assert (answer.code, answer.remark) == (ResponseCode.SYSTEM_ERROR, "crc32 not match")
        await client.close()
