"""A name server and brokers that a test scripts, for the client's own tests."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping

from pyromq.codes import RequestCode, ResponseCode
from pyromq.domain.route import BrokerData, QueueData, TopicRoute
from pyromq.wire.remoting.bodies.routes import encode_topic_route
from pyromq.wire.remoting.frame import Command
from pyromq.wire.remoting.headers.send import SendResponse
from pyromq.wire.remoting.native import encode_ext
from tests.support.scripted_server import Line, Script, ScriptedServer

SENDS = (RequestCode.SEND_MESSAGE_V2, RequestCode.SEND_BATCH_MESSAGE)
OFFSET_ID = "7F00000100002A9F00000000000003E8"


def route_of(
    brokers: Mapping[str, str], *, queue_nums: int = 2, perm: int = 6, order: str | None = None
) -> TopicRoute:
    """A topic with as many queues on each broker; address by name."""
    return TopicRoute(
        queue_datas=[
            QueueData(
                broker_name=name, read_queue_nums=queue_nums, write_queue_nums=queue_nums, perm=perm
            )
            for name in brokers
        ],
        broker_datas=[
            BrokerData(cluster="C", broker_name=name, broker_addrs={0: address})
            for name, address in brokers.items()
        ],
        order_topic_conf=order,
    )


def accept(line: Line, command: Command, code: int = 0) -> None:
    """What a broker answers to a send it has stored, or to a heartbeat."""
    answer = Command.response_to(command, code)
    if command.code in SENDS:
        queue_id = int(command.ext["e"])
        answer.ext = encode_ext(SendResponse(msg_id=OFFSET_ID, queue_id=queue_id, queue_offset=7))
    line.send(answer)


class Cluster:
    """Routes by topic, and the brokers by name."""

    def __init__(self) -> None:
        self.routes: dict[str, TopicRoute] = {}
        self.names = ScriptedServer(self._answer_route)
        self.brokers: dict[str, ScriptedServer] = {}

    async def _answer_route(self, line: Line, command: Command) -> None:
        if command.code != RequestCode.GET_ROUTEINFO_BY_TOPIC:
            line.answer(command)
            return
        route = self.routes.get(command.ext["topic"])
        if route is None:
            line.answer(command, code=ResponseCode.TOPIC_NOT_EXIST)
        else:
            line.answer(command, encode_topic_route(route, standard=True))

    @property
    def namesrv(self) -> str:
        return self.names.address

    def sends(self, broker: str) -> list[Command]:
        return [command for command in self.brokers[broker].requests if command.code in SENDS]


@contextlib.asynccontextmanager
async def cluster(
    topic: str = "T", queue_nums: int = 2, **scripts: Script
) -> AsyncIterator[Cluster]:
    """Brokers by name, each with its script; the topic is on all of them."""
    it = Cluster()
    async with contextlib.AsyncExitStack() as stack:
        await it.names.start()
        stack.push_async_callback(it.names.stop)
        for name, script in scripts.items():
            broker = it.brokers[name] = ScriptedServer(script)
            await broker.start()
            stack.push_async_callback(broker.stop)
        addresses = {name: broker.address for name, broker in it.brokers.items()}
        it.routes[topic] = route_of(addresses, queue_nums=queue_nums)
        yield it
