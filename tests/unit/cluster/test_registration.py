"""A broker's registration, with name servers that are scripts."""

from __future__ import annotations

import asyncio
import logging
import zlib
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from pyromq.client.remoting import PeerUnreachable
from pyromq.cluster import Identity, Registration, registration
from pyromq.codes import RequestCode, ResponseCode
from pyromq.config import BrokerConfig, Settings
from pyromq.domain.topic import TopicConfig
from pyromq.domain.version import DataVersion
from pyromq.errors import ServiceUnavailable
from pyromq.waiting import Latch
from pyromq.wire.remoting.bodies.registration import decode_register_broker, encode_data_version
from pyromq.wire.remoting.bodies.routes import decode_topic_route
from pyromq.wire.remoting.bodies.topics import TopicTable
from pyromq.wire.remoting.frame import Command

IDENTITY = Identity("c", "a", 0, "127.0.0.1:10911", "127.0.0.1:10912")
WAIT_S = 5


@dataclass
class Request:
    """What a name server got."""

    code: int
    ext: dict[str, str]
    body: bytes

    @property
    def table(self) -> TopicTable:
        body = decode_register_broker(self.body, compressed=False, broker_version=513)
        return body.topic_config_serialize_wrapper


class NameServers:
    """Answers as told; `got` is a queue of requests per address."""

    def __init__(self) -> None:
        self.got: dict[str, asyncio.Queue[Request]] = {}
        self.down: set[str] = set()
        self.answers: dict[int, Command] = {}
        self.hold: asyncio.Event | None = None

    def at(self, address: str) -> asyncio.Queue[Request]:
        return self.got.setdefault(address, asyncio.Queue())

    async def invoke(
        self,
        address: str,
        code: int,
        ext: dict[str, str] | None = None,
        body: bytes = b"",
        *,
        timeout_ms: int = 3_000,
    ) -> Command:
        self.at(address).put_nowait(Request(code, ext or {}, body))
        if self.hold is not None:
            await self.hold.wait()
        if address in self.down:
            raise PeerUnreachable(f"{address}: no connection")
        answer = self.answers.get(code)
        return answer if answer is not None else Command.response_to(Command.request(code))

    async def next(self, address: str = "n:1") -> Request:
        return await asyncio.wait_for(self.at(address).get(), WAIT_S)


class Broker:
    """Topics that a test changes."""

    def __init__(self, *names: str) -> None:
        self.version = DataVersion(1, 0, 7)
        self.table = {name: TopicConfig(topic_name=name) for name in names}
        self.order_topics: list[list[str]] = []
        """As they were told, time after time."""
        self.is_stopping = False

    def topics(self) -> tuple[DataVersion, dict[str, TopicConfig]]:
        return self.version, self.table

    def take_order_topics(self, names: Collection[str]) -> None:
        if self.is_stopping:
            raise ServiceUnavailable("the journal takes no changes")
        self.order_topics.append(sorted(names))

    def put(self, name: str, **more: Any) -> None:
        self.table[name] = TopicConfig(topic_name=name, **more)
        self.version = self.version.next(8)


@asynccontextmanager
async def registered(
    servers: NameServers, broker: Broker, **config: Any
) -> AsyncIterator[Registration]:
    config = {"namesrv_addr": "n:1"} | config
    made = Registration(
        IDENTITY,
        Settings(BrokerConfig(**config)),
        broker.topics,
        servers,
        broker.take_order_topics,
    )
    made.start()
    try:
        yield made
    finally:
        servers.hold = None
        await made.stop()


async def waiting_for(latch: Latch[None]) -> None:
    await latch


@pytest.fixture
def servers(monkeypatch: pytest.MonkeyPatch) -> NameServers:
    monkeypatch.setattr(registration, "RETRY_MS_MIN", 1)
    monkeypatch.setattr(registration, "RETRY_MS_MAX", 4)
    return NameServers()


async def test_the_first_registration_carries_the_whole_table(servers: NameServers) -> None:
    broker = Broker("t", "u")
    async with registered(servers, broker) as made:
        request = await servers.next()
        assert await made.first_round(1_000) == 1
    assert request.code == RequestCode.REGISTER_BROKER
    assert request.ext == {
        "brokerName": "a",
        "brokerAddr": "127.0.0.1:10911",
        "clusterName": "c",
        "brokerId": "0",
        "haServerAddr": "127.0.0.1:10912",
        "enableActingMaster": "false",
        "compressed": "false",
        "bodyCrc32": str(zlib.crc32(request.body) & 0x7FFFFFFF),
    }
    assert request.table.topic_config_table == broker.table
    assert request.table.data_version == broker.version


async def test_a_stopping_broker_says_farewell(servers: NameServers) -> None:
    async with registered(servers, Broker("t", "u")) as made:
        await servers.next()
        await made.first_round(1_000)
    request = await servers.next()
    assert request.code == RequestCode.UNREGISTER_BROKER
    assert request.ext == {
        "brokerName": "a",
        "brokerAddr": "127.0.0.1:10911",
        "clusterName": "c",
        "brokerId": "0",
    }
    assert made.registered_count == 0


async def test_a_changed_topic_is_told_at_once_and_alone(servers: NameServers) -> None:
    broker = Broker("t", "u")
    async with registered(servers, broker) as made:
        await servers.next()
        await made.first_round(1_000)
        broker.put("v")
        made.topics_changed(["v"])
        broker.put("w")
        made.topics_changed(["w"])
        request = await servers.next()
        assert request.table.topic_config_table.keys() == {"v", "w"}
        assert request.table.data_version == broker.version


async def test_announced_means_that_the_name_servers_answered(servers: NameServers) -> None:
    broker = Broker("t", "u")
    async with registered(servers, broker) as made:
        await servers.next()
        await made.first_round(1_000)
        servers.hold = asyncio.Event()
        broker.put("v")
        made.topics_changed(["v"])
        announced = made.announced()
        await servers.next()
        assert not announced.is_set
        servers.hold.set()
        await asyncio.wait_for(waiting_for(announced), WAIT_S)


async def test_nothing_changed_is_announced_at_once(servers: NameServers) -> None:
    async with registered(servers, Broker("t", "u")) as made:
        await servers.next()
        await made.first_round(1_000)
        assert made.announced().is_set


async def test_a_name_server_that_is_down_is_not_waited_for(servers: NameServers) -> None:
    servers.down.add("n:1")
    broker = Broker("t", "u")
    async with registered(servers, broker) as made:
        await made.first_round(1_000)
        broker.put("v")
        made.topics_changed(["v"])
        assert made.announced().is_set


async def test_a_silent_name_server_is_waited_for_so_long_only(
    servers: NameServers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registration, "ANNOUNCE_TIMEOUT_MS", 1)
    broker = Broker("t", "u")
    async with registered(servers, broker) as made:
        await servers.next()
        await made.first_round(1_000)
        servers.hold = asyncio.Event()
        broker.put("v")
        made.topics_changed(["v"])
        await asyncio.wait_for(waiting_for(made.announced()), WAIT_S)


async def test_a_change_during_a_registration_is_told_after_it(servers: NameServers) -> None:
    broker = Broker("t", "u")
    servers.hold = asyncio.Event()
    async with registered(servers, broker) as made:
        await servers.next()
        broker.put("v")
        made.topics_changed(["v"])
        servers.hold.set()
        assert (await servers.next()).table.topic_config_table.keys() == {"v"}


async def test_a_deleted_topic_is_told_by_the_whole_table(servers: NameServers) -> None:
    broker = Broker("t", "u", "v")
    async with registered(servers, broker) as made:
        await servers.next()
        await made.first_round(1_000)
        del broker.table["v"]
        broker.version = broker.version.next(9)
        made.topics_changed(["v"])
        assert (await servers.next()).table.topic_config_table.keys() == {"t", "u"}


async def test_many_changes_are_told_by_the_whole_table(
    servers: NameServers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registration, "CHANGED_TOPICS_MAX", 2)
    broker = Broker("t", "u")
    async with registered(servers, broker) as made:
        await servers.next()
        await made.first_round(1_000)
        for name in ("v", "w", "x"):
            broker.put(name)
            made.topics_changed([name])
        assert len((await servers.next()).table.topic_config_table) == 5


async def test_single_topics_are_registered_by_their_own_code_if_configured(
    servers: NameServers,
) -> None:
    broker = Broker("t", "u")
    async with registered(servers, broker, enable_single_topic_register=True) as made:
        await servers.next()
        await made.first_round(1_000)
        broker.put("v", read_queue_nums=3, write_queue_nums=2, perm=6)
        made.topics_changed(["v"])
        request = await servers.next()
        assert (request.code, request.ext) == (
            RequestCode.REGISTER_TOPIC_IN_NAMESRV,
            {"topic": "v"},
        )
        (queues,) = decode_topic_route(request.body).queue_datas
        assert (queues.broker_name, queues.read_queue_nums, queues.write_queue_nums) == ("a", 3, 2)


async def test_topics_allow_no_more_than_their_broker(servers: NameServers) -> None:
    async with registered(servers, Broker("t", "u"), broker_permission=4):
        table = (await servers.next()).table.topic_config_table
        assert {config.perm for config in table.values()} == {4}


async def test_each_name_server_is_told_by_itself(servers: NameServers) -> None:
    servers.down = {"n:2"}
    async with registered(servers, Broker("t", "u"), namesrv_addr="n:1;n:2") as made:
        await servers.next("n:1")
        assert await made.first_round(1_000) == 1
        for _ in range(3):
            await servers.next("n:2")
        assert servers.at("n:1").empty(), "the living one hears nothing of the dead one"
        servers.down = set()
        await asyncio.wait_for(until_registered(made, 2), WAIT_S)


async def until_registered(made: Registration, count: int) -> None:
    """One round of the loop after the other; the caller sets the limit."""
    while made.registered_count != count:  # noqa: ASYNC110 — nobody else has a use for an event
        await asyncio.sleep(0)


async def test_a_name_server_that_came_back_is_found_again(servers: NameServers) -> None:
    broker = Broker("t", "u")
    async with registered(servers, broker) as made:
        await servers.next()
        await made.first_round(1_000)
        servers.down = {"n:1"}
        made.connection_lost("n:1")
        assert made.registered_count == 0
        await servers.next()
        servers.down = set()
        await asyncio.wait_for(until_registered(made, 1), WAIT_S)
        assert (await servers.next()).table.topic_config_table.keys() == {"t", "u"}


async def test_other_connections_that_are_lost_do_not_matter(servers: NameServers) -> None:
    async with registered(servers, Broker("t", "u")) as made:
        await servers.next()
        await made.first_round(1_000)
        made.connection_lost("n:9")
        assert made.registered_count == 1


async def test_a_refused_registration_is_repeated_whole(servers: NameServers) -> None:
    broker = Broker("t", "u")
    refusal = Command.response_to(
        Command.request(RequestCode.REGISTER_BROKER),
        ResponseCode.SYSTEM_ERROR,
        remark="register broker failed",
    )
    async with registered(servers, broker) as made:
        await servers.next()
        await made.first_round(1_000)
        servers.answers[RequestCode.REGISTER_BROKER] = refusal
        broker.put("v")
        made.topics_changed(["v"])
        await servers.next()
        whole = await servers.next()
        assert whole.table.topic_config_table.keys() == {"t", "u", "v"}
        assert made.registered_count == 0


async def test_a_failure_is_logged_once_until_it_ends(
    servers: NameServers, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="pyromq.cluster")
    servers.down = {"n:1"}
    async with registered(servers, Broker("t", "u")) as made:
        for _ in range(4):
            await servers.next()
        servers.down = set()
        await asyncio.wait_for(until_registered(made, 1), WAIT_S)
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
    assert "not registered at name server n:1: n:1: no connection" in caplog.messages[0]
    assert caplog.messages[1] == "registered at name server n:1"


async def test_without_force_only_an_unknown_version_is_registered(
    servers: NameServers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(BrokerConfig, "registration_period_ms", 1)
    broker = Broker("t", "u")
    query = Command.request(RequestCode.QUERY_DATA_VERSION)
    known = encode_data_version(broker.version)
    servers.answers[query.code] = Command.response_to(query, ext={"changed": "false"}, body=known)
    async with registered(servers, broker, force_register=False):
        assert (await servers.next()).code == RequestCode.REGISTER_BROKER
        for _ in range(3):
            request = await servers.next()
            assert request.code == RequestCode.QUERY_DATA_VERSION
            assert request.body == known
        broker.version = broker.version.next(9)
        codes = [(await servers.next()).code for _ in range(4)]
        assert RequestCode.REGISTER_BROKER in codes


async def test_the_whole_table_is_repeated_every_period(
    servers: NameServers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(BrokerConfig, "registration_period_ms", 1)
    async with registered(servers, Broker("t", "u")):
        for _ in range(3):
            assert (await servers.next()).table.topic_config_table.keys() == {"t", "u"}


async def test_the_first_round_does_not_wait_longer_than_it_may(servers: NameServers) -> None:
    servers.hold = asyncio.Event()
    async with registered(servers, Broker("t", "u")) as made:
        await servers.next()
        assert await made.first_round(1) == 0


async def test_a_broker_without_name_servers_waits_for_nobody(servers: NameServers) -> None:
    async with registered(servers, Broker("t", "u"), namesrv_addr="") as made:
        assert await made.first_round(60_000) == 0


async def test_a_stop_during_a_registration_still_says_farewell(servers: NameServers) -> None:
    servers.hold = asyncio.Event()
    async with registered(servers, Broker("t", "u")):
        await servers.next()
    assert (await servers.next()).code == RequestCode.UNREGISTER_BROKER


async def test_a_stop_does_not_fail_because_a_name_server_is_gone(servers: NameServers) -> None:
    async with registered(servers, Broker("t", "u")) as made:
        await servers.next()
        await made.first_round(1_000)
        servers.down = {"n:1"}
    assert made.registered_count == 0


# --- order topics ---------------------------------------------------------------------------------


def answering(body: bytes) -> NameServers:
    """Name servers that answer registrations with this body."""
    servers = NameServers()
    answer = Command.response_to(Command.request(RequestCode.REGISTER_BROKER), body=body)
    servers.answers[RequestCode.REGISTER_BROKER] = answer
    return servers


async def test_the_answer_tells_which_topics_are_ordered_across_brokers() -> None:
    servers = answering(b'{"table":{"u":"a:4;b:4","t":"a:8"}}')
    broker = Broker("t")
    async with registered(servers, broker, namesrv_addr="n:1;n:2") as made:
        assert await made.first_round(1_000) == 2
    assert broker.order_topics == [["t", "u"], ["t", "u"]]


async def test_an_answer_without_a_table_tells_nothing() -> None:
    broker = Broker("t")
    async with registered(NameServers(), broker) as made:
        assert await made.first_round(1_000) == 1
    assert broker.order_topics == []


async def test_a_table_that_cannot_be_read_or_taken_does_not_end_the_registration(
    caplog: pytest.LogCaptureFixture,
) -> None:
    for body in (b"nonsense", b'{"table":{"t":"a:8"}}'):
        broker = Broker("t")
        broker.is_stopping = True
        async with registered(answering(body), broker) as made:
            assert await made.first_round(1_000) == 1
    assert "name server n:1: its order topics are not taken: KVTable body" in caplog.text
    assert "the journal takes no changes" in caplog.text
