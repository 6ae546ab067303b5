"""Routes: which queues and brokers follow from what a name server says, and when it is asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from pyromq.client import NamesrvUnreachable, RemotingClient, RouteNotFound
from pyromq.client.routes import NameServers, Routes, addresses_of
from pyromq.domain.route import BrokerData, MessageQueue, QueueData, TopicRoute
from pyromq.errors import ConfigInvalid
from tests.support.processes import free_port
from tests.support.scripted_cluster import Cluster, cluster, route_of


@pytest.fixture
async def there() -> AsyncIterator[Cluster]:
    async with cluster() as it:
        del it.routes["T"]
        yield it


@pytest.fixture
async def changes() -> list[str]:
    return []


@pytest.fixture
async def routes(there: Cluster, changes: list[str]) -> AsyncIterator[Routes]:
    remoting = RemotingClient()
    names = NameServers(remoting, [there.namesrv], timeout_ms=5_000)
    yield Routes(names, changes.append)
    await remoting.close()


def asked(there: Cluster) -> list[str]:
    return [request.ext["topic"] for request in there.names.requests]


async def test_queues_are_those_that_may_be_written_on_brokers_with_a_master(
    there: Cluster, routes: Routes
) -> None:
    there.routes["T"] = TopicRoute(
        queue_datas=[
            QueueData(broker_name="b", read_queue_nums=1, write_queue_nums=2, perm=6),
            QueueData(broker_name="a", read_queue_nums=2, write_queue_nums=1, perm=6),
            QueueData(broker_name="readonly", read_queue_nums=1, write_queue_nums=1, perm=4),
            QueueData(broker_name="writeonly", read_queue_nums=1, write_queue_nums=1, perm=2),
            QueueData(broker_name="slaves", read_queue_nums=1, write_queue_nums=1, perm=6),
        ],
        broker_datas=[
            BrokerData(cluster="C", broker_name=name, broker_addrs={0: f"{name}:1", 1: f"{name}:2"})
            for name in ("a", "b", "readonly", "writeonly")
        ]
        + [BrokerData(cluster="C", broker_name="slaves", broker_addrs={2: "slaves:3"})],
    )
    published = await routes.published("T")
    assert [(queue.broker_name, queue.queue_id) for queue in published.queues] == [
        *(("a", 0), ("b", 0), ("b", 1), ("writeonly", 0))
    ]
    assert published.has_choice
    readable = await routes.readable_queues("T")
    assert [(queue.broker_name, queue.queue_id) for queue in readable] == [
        *(("a", 0), ("a", 1), ("b", 0), ("readonly", 0), ("slaves", 0))
    ]
    assert routes.master("a") == "a:1"
    assert routes.any_replica("a", 1) == (1, "a:2")
    assert routes.any_replica("a", 7) == (0, "a:1")
    assert routes.any_replica("slaves") == (2, "slaves:3")
    assert routes.any_replica("unknown") is None
    assert routes.masters() == ["a:1", "b:1", "readonly:1", "writeonly:1"]
    assert len(routes.replicas()) == 9


async def test_an_order_topic_has_the_queues_its_configuration_says(
    there: Cluster, routes: Routes
) -> None:
    there.routes["T"] = route_of({"a": "a:1", "b": "b:1"}, queue_nums=8, order="b:2;a:1")
    assert (await routes.published("T")).queues == (
        MessageQueue("b", 0, "T"),
        MessageQueue("b", 1, "T"),
        MessageQueue("a", 0, "T"),
    )


async def test_many_who_ask_at_a_time_ask_once(there: Cluster, routes: Routes) -> None:
    there.routes["T"] = route_of({"a": "a:1"})
    await asyncio.gather(*(routes.published("T") for _ in range(20)))
    assert asked(there) == ["T"]


async def test_a_guess_ends_when_the_topic_is_there(
    there: Cluster, routes: Routes, changes: list[str]
) -> None:
    there.routes["TBW102"] = route_of({"a": "a:1"}, queue_nums=8)
    assert len((await routes.published("T", 4)).queues) == 4
    with pytest.raises(RouteNotFound):
        await routes.readable_queues("T")  # nothing to read of a topic that is not there
    there.routes["T"] = route_of({"a": "a:1"}, queue_nums=3)
    await routes.refresh()
    assert len((await routes.published("T")).queues) == 3
    assert len(await routes.readable_queues("T")) == 3
    assert changes == ["T", "T"]


async def test_a_refresh_tells_what_changed_and_forgets_brokers_no_route_names(
    there: Cluster, routes: Routes, changes: list[str]
) -> None:
    there.routes["T"] = route_of({"a": "a:1", "b": "b:1"})
    await routes.published("T")
    await routes.refresh()
    assert changes == ["T"]
    there.routes["T"] = route_of({"b": "b:2"})
    await routes.refresh()
    assert changes == ["T", "T"]
    assert routes.replicas() == ["b:2"]
    assert not (await routes.published("T")).has_choice


async def test_a_route_that_cannot_be_refreshed_stays(there: Cluster, routes: Routes) -> None:
    there.routes["T"] = route_of({"a": "a:1"})
    before = await routes.published("T")
    del there.routes["T"]
    await routes.refresh()
    assert await routes.published("T") is before
    await there.names.stop()
    await routes.refresh()
    assert await routes.published("T") is before


async def test_the_name_server_that_answers_is_kept(there: Cluster) -> None:
    dead = f"127.0.0.1:{free_port()}"
    remoting = RemotingClient()
    names = NameServers(remoting, [dead, there.namesrv], timeout_ms=5_000)
    there.routes["T"] = route_of({"a": "a:1"})
    for _ in range(3):
        assert (await names.ask(105, {"topic": "T"})).code == 0
    assert names._chosen == 1
    await there.names.stop()
    with pytest.raises(
        NamesrvUnreachable, match=f"{dead}.*{there.namesrv}|{there.namesrv}.*{dead}"
    ):
        await names.ask(105, {"topic": "T"})
    await remoting.close()


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("a:1", ("a:1",)),
        ("a:1;b:2", ("a:1", "b:2")),
        (" a:1 ; b:2;", ("a:1", "b:2")),
        (["a:1", "b:2;c:3"], ("a:1", "b:2", "c:3")),
        ("[::1]:9876", ("[::1]:9876",)),
    ],
)
def test_addresses_as_people_write_them(given: str | list[str], wanted: tuple[str, ...]) -> None:
    assert addresses_of(given) == wanted


@pytest.mark.parametrize("given", ["", ";", "host", "host:", ":1", "host:port", []])
def test_what_is_no_address_is_refused(given: str | list[str]) -> None:
    with pytest.raises(ConfigInvalid, match="HOST:PORT"):
        addresses_of(given)
