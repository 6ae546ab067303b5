"""The synchronous facade from plain threads, against a scripted cluster in another loop."""

from __future__ import annotations

import asyncio
import inspect
from concurrent.futures import ThreadPoolExecutor

import pytest

from pyromq.client import Message, RouteNotFound, sync
from pyromq.client import producer as async_producer
from pyromq.client import pull_consumer as async_pull_consumer
from pyromq.client import push_consumer as async_push_consumer
from pyromq.errors import MessageIllegal
from pyromq.wire.remoting.frame import Command
from tests.support.scripted_cluster import accept, cluster
from tests.support.scripted_server import Line


async def takes(line: Line, command: Command) -> None:
    accept(line, command)


PAIRS = [
    (sync.Producer, async_producer.Producer),
    (sync.PullConsumer, async_pull_consumer.PullConsumer),
    (sync.PushConsumer, async_push_consumer.PushConsumer),
]
NOT_FOR_SCRIPTS = {"instance", "consumer_data", "route_changed", "members_changed", "serve"} | {
    "is_broadcast", "has_given_back", "topics", "share", "lock", "begin", "leave",
}  # fmt: skip
"""What the client's parts ask of each other."""


@pytest.mark.parametrize(("facade", "client"), PAIRS)
def test_the_facade_has_every_method_with_its_arguments(facade: type, client: type) -> None:
    for name, member in vars(client).items():
        if name.startswith("_") or name in NOT_FOR_SCRIPTS:
            continue
        own = getattr(facade, name)
        if inspect.isfunction(member):
            assert (
                inspect.signature(own).parameters.keys()
                == inspect.signature(member).parameters.keys()
            ), name


async def test_calls_from_many_threads_get_their_own_results() -> None:
    async with cluster(a=takes) as there:

        def script() -> tuple[int, int]:
            with sync.Producer(there.namesrv, "P") as producer:
                assert len(producer.queues("T")) == 2
                with ThreadPoolExecutor(8) as threads:
                    results = list(
                        threads.map(lambda n: producer.send(Message("T", b"%d" % n)), range(40))
                    )
                assert all(result.is_ok for result in results)
                many = producer.send_all(Message("T", body) for body in (b"1", b"", b"2"))
                assert [type(each).__name__ for each in many] == [
                    "SendResult",
                    "MessageIllegal",
                    "SendResult",
                ]
                with pytest.raises(MessageIllegal):
                    producer.send(Message("T", b""))
                with pytest.raises(RouteNotFound):
                    producer.send(Message("Missing", b"x"))
                return len({result.message_id for result in results}), len(results)

        with ThreadPoolExecutor(1) as outside:
            assert await asyncio.wrap_future(outside.submit(script)) == (40, 40)
        assert len(there.sends("a")) == 42


def test_it_says_so_where_it_would_wait_for_itself() -> None:
    async def within() -> None:
        with pytest.raises(RuntimeError, match="own thread"):
            sync.Producer("127.0.0.1:1")

    sync._loop_thread.run(within())
