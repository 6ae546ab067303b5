"""How an administrator reaches servers: name servers in turn, brokers by address or cluster.

Each question is one request and one answer; an answer with another code than those accepted raises
`AnswerRefused`, whose text is one line. Semantics follow DefaultMQAdminExtImpl and MQClientAPIImpl
of org.apache.rocketmq 5.5.0.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final, NamedTuple, TypeVar

from msgspec import Struct

from pyromq.client.remoting import AnswerOverdue, PeerUnreachable, RemotingClient
from pyromq.codes import RequestCode, ResponseCode
from pyromq.domain.route import MASTER_ID, BrokerData, ClusterInfo, TopicRoute
from pyromq.domain.topic import retry_topic
from pyromq.errors import ConfigInvalid, PyromqError
from pyromq.wire.remoting.bodies.routes import decode_cluster_info, decode_topic_route
from pyromq.wire.remoting.frame import Command
from pyromq.wire.remoting.headers import encode_ext
from pyromq.wire.remoting.headers.namesrv import RouteInfoHeader

ANSWER_TIMEOUT_MS: Final = 5_000
"""As mqadmin."""
AT_ONCE_MAX: Final = 16
"""Questions under way at the same time: quick for a large cluster, and no burden for a broker."""
_REMARK_LENGTH_MAX: Final = 300

T = TypeVar("T")
R = TypeVar("R")


class AnswerRefused(PyromqError):
    """A server answered with a code that means it did not do what was asked."""

    def __init__(self, address: str, request: int, code: int, remark: str | None) -> None:
        said = " ".join((remark or "").split())[:_REMARK_LENGTH_MAX]
        super().__init__(
            f"{address} refused {_name(RequestCode, request)} with "
            f"{_name(ResponseCode, code)} ({code})" + (f": {said}" if said else "")
        )
        self.address = address
        self.request = request
        self.code = code
        self.remark = remark or ""


class NotThere(PyromqError):
    """A cluster, broker, group, message or client that nobody knows; the text names it."""


class BrokerAddress(NamedTuple):
    """One broker of a cluster; `broker_id` 0 is the master."""

    cluster: str
    name: str
    broker_id: int
    address: str


def parse_addresses(text: str) -> list[str]:
    """`host:port` separated by `;` or `,`. Raises ConfigInvalid."""
    addresses = [part.strip() for part in text.replace(",", ";").split(";") if part.strip()]
    for address in addresses:
        host, _, port = address.rpartition(":")
        if not host or not (port.isascii() and port.isdigit() and 0 < int(port[:6]) <= 65_535):
            raise ConfigInvalid(
                f"name server address {address[:100]!r} is not accepted: "
                "host:port is, several with `;` between them"
            )
    if not addresses:
        raise ConfigInvalid("no name server given: use -n host:port or set NAMESRV_ADDR")
    return addresses


class Servers:
    """Name servers, and the brokers they know. Belongs to one loop."""

    def __init__(
        self,
        names: Sequence[str],
        remoting: RemotingClient,
        *,
        timeout_ms: int = ANSWER_TIMEOUT_MS,
    ) -> None:
        assert names, "parse_addresses gives at least one"
        self.names = tuple(names)
        self.remoting = remoting
        self.timeout_ms = timeout_ms

    async def ask(
        self,
        address: str,
        code: RequestCode,
        header: Struct | None = None,
        body: bytes = b"",
        *,
        accepted: tuple[int, ...] = (ResponseCode.SUCCESS,),
        timeout_ms: int | None = None,
    ) -> Command:
        """The answer. Raises AnswerRefused, PeerUnreachable or AnswerOverdue."""
        answer = await self.remoting.invoke(
            address,
            code,
            None if header is None else encode_ext(header),
            body,
            timeout_ms=self.timeout_ms if timeout_ms is None else timeout_ms,
        )
        if answer.code not in accepted:
            raise AnswerRefused(address, code, answer.code, answer.remark)
        return answer

    async def ask_names(
        self,
        code: RequestCode,
        header: Struct | None = None,
        *,
        accepted: tuple[int, ...] = (ResponseCode.SUCCESS,),
    ) -> Command:
        """The first name server's answer that comes; they are asked in turn."""
        for address in self.names[:-1]:
            try:
                return await self.ask(address, code, header, accepted=accepted)
            except (PeerUnreachable, AnswerOverdue):
                continue
        return await self.ask(self.names[-1], code, header, accepted=accepted)

    async def ask_every_name(
        self, code: RequestCode, header: Struct | None = None, body: bytes = b""
    ) -> dict[str, Command]:
        """Every name server's answer: they share nothing, so changes must reach each."""
        return {address: await self.ask(address, code, header, body) for address in self.names}

    # ── where things are ────────────────────────────────────────────────────────────────────────

    async def cluster_info(self) -> ClusterInfo:
        answer = await self.ask_names(RequestCode.GET_BROKER_CLUSTER_INFO)
        return decode_cluster_info(answer.body)

    async def route(self, topic: str) -> TopicRoute:
        """Raises AnswerRefused with TOPIC_NOT_EXIST."""
        header = RouteInfoHeader(topic=topic, accept_standard_json_only=True)
        answer = await self.ask_names(RequestCode.GET_ROUTEINFO_BY_TOPIC, header)
        return decode_topic_route(answer.body)

    async def route_of_group(self, group: str) -> TopicRoute:
        """The brokers a group consumes from: those with its retry topic. Raises NotThere."""
        try:
            return await self.route(retry_topic(group))
        except AnswerRefused as refused:
            if refused.code != ResponseCode.TOPIC_NOT_EXIST:
                raise
            raise NotThere(
                f"group {group} has no retry topic: no consumer of it was ever connected"
            ) from refused

    async def brokers(
        self, cluster: str | None = None, *, with_slaves: bool = False
    ) -> list[BrokerAddress]:
        """The masters of a cluster, or of all. Raises NotThere for an unknown cluster."""
        info = await self.cluster_info()
        if cluster is not None and cluster not in info.cluster_addr_table:
            known = ", ".join(sorted(info.cluster_addr_table)) or "none"
            raise NotThere(f"no cluster {cluster} is known to the name server; known: {known}")
        return [
            BrokerAddress(data.cluster, name, broker_id, address)
            for name, data in sorted(info.broker_addr_table.items())
            if cluster is None or name in info.cluster_addr_table[cluster]
            for broker_id, address in sorted(data.broker_addrs.items())
            if with_slaves or broker_id == MASTER_ID
        ]

    async def broker_named(self, name: str) -> str:
        """The master's address of a broker name. Raises NotThere."""
        data = (await self.cluster_info()).broker_addr_table.get(name)
        if data is None or (address := address_of(data)) is None:
            raise NotThere(f"no broker {name} is known to the name server")
        return address

    async def each(self, items: Iterable[T], ask: Callable[[T], Awaitable[R]]) -> list[R]:
        """`ask` of every item, some at once; answers in their order. The first error ends it."""
        places = asyncio.Semaphore(AT_ONCE_MAX)

        async def one(item: T) -> R:
            async with places:
                return await ask(item)

        async with FirstErrorTasks() as group:
            tasks = [group.create_task(one(item)) for item in items]
        return [task.result() for task in tasks]


class FirstErrorTasks(asyncio.TaskGroup):
    """A group of tasks whose error is that of the first task that failed, not a group of them."""

    async def __aexit__(self, *details: object) -> None:
        try:
            await super().__aexit__(*details)  # type: ignore[arg-type]
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from None


def address_of(data: BrokerData) -> str | None:
    """The master, or else the member with the least id, as BrokerData.selectBrokerAddr."""
    if not data.broker_addrs:
        return None
    return data.master_addr or data.broker_addrs[min(data.broker_addrs)]


def _name(kind: type[RequestCode] | type[ResponseCode], code: int) -> str:
    try:
        return kind(code).name
    except ValueError:
        return f"code {code}"


__all__ = [
    "ANSWER_TIMEOUT_MS",
    "AT_ONCE_MAX",
    "AnswerRefused",
    "BrokerAddress",
    "FirstErrorTasks",
    "NotThere",
    "Servers",
    "address_of",
    "parse_addresses",
]
