"""Where a topic's queues are: asked of the name servers, kept, and asked again every 30 s.

Any name server will do, as each knows all brokers; one that does not answer is followed by the next
one, which is then kept. A route that cannot be refreshed stays as it was: brokers serve also while
no name server does. Source: impl.factory.MQClientInstance (updateTopicRouteInfoFromNameServer,
topicRouteData2TopicPublishInfo, topicRouteData2TopicSubscribeInfo) of org.apache.rocketmq.client
5.5.0.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from pyromq.client.errors import NamesrvUnreachable, RouteNotFound, ServerRefused
from pyromq.client.remoting import AnswerOverdue, PeerUnreachable, RemotingClient
from pyromq.codes import RequestCode, ResponseCode
from pyromq.domain.route import MASTER_ID, MessageQueue, QueueData, TopicRoute
from pyromq.domain.topic import AUTO_CREATE_TOPIC_KEY_TOPIC, PERM_READ, PERM_WRITE
from pyromq.errors import ConfigInvalid, PyromqError
from pyromq.wire.remoting.bodies.routes import decode_topic_route
from pyromq.wire.remoting.frame import Command

NAMESRV_TIMEOUT_MS: Final = 3_000
REFRESH_INTERVAL_MS: Final = 30_000
"""Apache's pollNameServerInterval."""
REFRESH_PAUSE_MS: Final = 1_000
"""Between two refreshes, however often failures ask for one."""
NEW_TOPIC_QUEUE_NUMS: Final = 4
"""Queues of a topic that comes by being sent to; Apache's defaultTopicQueueNums."""

_log = logging.getLogger("pyromq.client")


def addresses_of(namesrv: str | Iterable[str]) -> tuple[str, ...]:
    """`host:port;host:port`, or several of them. Raises ConfigInvalid."""
    texts = [namesrv] if isinstance(namesrv, str) else list(namesrv)
    addresses = tuple(
        address
        for text in texts
        for part in text.replace(",", ";").split(";")
        if (address := part.strip())
    )
    for address in addresses:
        host, _, port = address.rpartition(":")
        if not host or not port.isdecimal():
            raise ConfigInvalid(f"name server address {address!r} is not HOST:PORT")
    if not addresses:
        raise ConfigInvalid("no name server address: give HOST:PORT, several with `;` between")
    return addresses


class NameServers:
    """Asks one of several name servers; on failure the next one."""

    def __init__(
        self, remoting: RemotingClient, addresses: Sequence[str], *, timeout_ms: int
    ) -> None:
        assert addresses
        self.addresses = tuple(addresses)
        self._remoting = remoting
        self._timeout_ms = timeout_ms
        self._chosen = 0

    async def ask(self, code: int, ext: dict[str, str] | None = None, body: bytes = b"") -> Command:
        """The answer, whatever its code. Raises NamesrvUnreachable if none of them answers."""
        failures: list[str] = []
        for _ in self.addresses:
            chosen = self._chosen
            address = self.addresses[chosen]
            try:
                return await self._remoting.invoke(
                    address, code, ext, body, timeout_ms=self._timeout_ms
                )
            except (PeerUnreachable, AnswerOverdue) as error:
                failures.append(str(error))
                # Another request may have moved on already.
                if self._chosen == chosen:
                    self._chosen = (chosen + 1) % len(self.addresses)
        raise NamesrvUnreachable("no name server answers: " + "; ".join(failures))


class Publication(Struct, frozen=True):
    """The queues of a topic that may be sent to."""

    queues: tuple[MessageQueue, ...]
    is_guess: bool
    """The topic does not exist yet; this is where it will be made."""
    has_choice: bool
    """Whether there is more than one broker."""


class Routes:
    """Routes of all topics that were asked for, and the addresses of their brokers."""

    def __init__(self, name_servers: NameServers, on_change: Callable[[str], None]) -> None:
        """`on_change` is told each topic whose route is another one than before."""
        self._name_servers = name_servers
        self._on_change = on_change
        self._routes: dict[str, TopicRoute] = {}
        self._guessed: set[str] = set()
        self._publications: dict[str, Publication] = {}
        self._asking: dict[str, asyncio.Lock] = {}
        self._brokers: dict[str, dict[int, str]] = {}
        self._refresh_wanted = asyncio.Event()

    # ── what is known ───────────────────────────────────────────────────────────────────────────

    def publication(self, topic: str) -> Publication | None:
        """The queues to send to, if they are known."""
        return self._publications.get(topic)

    async def published(
        self, topic: str, new_topic_queue_nums: int = NEW_TOPIC_QUEUE_NUMS
    ) -> Publication:
        """The same, asked for if need be. Raises RouteNotFound, NamesrvUnreachable."""
        known = self._publications.get(topic)
        if known is not None and known.queues:
            return known
        await self._ask(topic, new_topic_queue_nums)
        known = self._publications[topic]
        if not known.queues:
            raise RouteNotFound(
                f"topic {topic}: none of its queues may be written, or none of its masters is there"
            )
        return known

    async def readable_queues(self, topic: str) -> tuple[MessageQueue, ...]:
        """All queues that may be read. Raises RouteNotFound, NamesrvUnreachable."""
        if topic not in self._routes or topic in self._guessed:
            await self._ask(topic, None)
        return _readable(topic, self._routes[topic])

    def known_readable_queues(self, topic: str) -> tuple[MessageQueue, ...]:
        """The same as far as it is known; none for a topic that nobody asked for."""
        if topic in self._guessed or topic not in self._routes:
            return ()
        return _readable(topic, self._routes[topic])

    def master(self, broker_name: str) -> str | None:
        return self._brokers.get(broker_name, {}).get(MASTER_ID)

    def any_replica(self, broker_name: str, wanted_id: int = MASTER_ID) -> tuple[int, str] | None:
        """Id and address of the wanted replica, or of the master, or of any."""
        replicas = self._brokers.get(broker_name)
        if not replicas:
            return None
        for broker_id in (wanted_id, MASTER_ID):
            if broker_id in replicas:
                return broker_id, replicas[broker_id]
        broker_id = min(replicas)
        return broker_id, replicas[broker_id]

    def masters(self) -> list[str]:
        return sorted(
            {replicas[MASTER_ID] for replicas in self._brokers.values() if MASTER_ID in replicas}
        )

    def replicas(self) -> list[str]:
        """Addresses of all brokers, masters included."""
        return sorted({address for all_ in self._brokers.values() for address in all_.values()})

    # ── asking ──────────────────────────────────────────────────────────────────────────────────

    def want_refresh(self) -> None:
        """Something failed that a newer route may mend."""
        self._refresh_wanted.set()

    async def keep_fresh(self) -> None:
        """Refreshes all routes every 30 s and when wanted; until cancelled."""
        while True:
            try:
                async with asyncio.timeout(REFRESH_INTERVAL_MS / 1000):
                    await self._refresh_wanted.wait()
            except TimeoutError:
                pass
            self._refresh_wanted.clear()
            await self.refresh()
            await asyncio.sleep(REFRESH_PAUSE_MS / 1000)

    async def refresh(self) -> None:
        """Asks for all known topics again. What fails is logged and stays as it is."""
        for topic in list(self._routes):
            try:
                await self._ask(topic, None, is_refresh=True)
            except PyromqError as error:
                _log.warning("route of topic %s not refreshed: %s", topic, error)
                if isinstance(error, NamesrvUnreachable):
                    return

    async def _ask(
        self, topic: str, new_topic_queue_nums: int | None, *, is_refresh: bool = False
    ) -> None:
        """`new_topic_queue_nums`: where the topic would be made is good enough."""
        before = self._routes.get(topic)
        lock = self._asking.setdefault(topic, asyncio.Lock())
        async with lock:
            if not is_refresh and self._routes.get(topic) is not before:
                return  # somebody else has asked meanwhile
            route = await self._fetch(topic)
            if route is not None:
                self._take(topic, route, is_guess=False)
                return
            if new_topic_queue_nums is not None:
                route = await self._fetch(AUTO_CREATE_TOPIC_KEY_TOPIC)
            if route is not None:
                assert new_topic_queue_nums is not None
                self._take(topic, _as_new_topic(route, new_topic_queue_nums), is_guess=True)
            elif not is_refresh:
                raise RouteNotFound(
                    f"topic {topic} does not exist, say the name servers "
                    f"{';'.join(self._name_servers.addresses)}"
                )

    async def _fetch(self, topic: str) -> TopicRoute | None:
        answer = await self._name_servers.ask(
            RequestCode.GET_ROUTEINFO_BY_TOPIC, {"topic": topic, "acceptStandardJsonOnly": "true"}
        )
        if answer.code == ResponseCode.TOPIC_NOT_EXIST:
            return None
        if answer.code != ResponseCode.SUCCESS:
            raise ServerRefused(
                "name server", RequestCode.GET_ROUTEINFO_BY_TOPIC, answer.code, answer.remark
            )
        return decode_topic_route(answer.body)

    def _take(self, topic: str, route: TopicRoute, *, is_guess: bool) -> None:
        for broker in route.broker_datas:
            self._brokers[broker.broker_name] = dict(broker.broker_addrs)
        if is_guess:
            self._guessed.add(topic)
        else:
            self._guessed.discard(topic)
        if self._routes.get(topic) == route:
            return
        self._routes[topic] = route
        named = {data.broker_name for known in self._routes.values() for data in known.broker_datas}
        for name in self._brokers.keys() - named:
            del self._brokers[name]  # else it would get heartbeats for ever
        queues = _writable(topic, route)
        has_choice = len({queue.broker_name for queue in queues}) > 1
        self._publications[topic] = Publication(queues, is_guess, has_choice)
        self._on_change(topic)


def _as_new_topic(route: TopicRoute, queue_nums: int) -> TopicRoute:
    return replace(
        route,
        queue_datas=[
            replace(data, read_queue_nums=(nums := min(queue_nums, data.read_queue_nums)),
                    write_queue_nums=nums)
            for data in route.queue_datas
        ],
    )  # fmt: skip


def _writable(topic: str, route: TopicRoute) -> tuple[MessageQueue, ...]:
    if route.order_topic_conf:
        return tuple(
            MessageQueue(name, queue_id, topic)
            for part in route.order_topic_conf.split(";")
            for name, _, nums in [part.partition(":")]
            if nums.isdecimal()
            for queue_id in range(int(nums))
        )
    masters = {data.broker_name for data in route.broker_datas if data.master_addr}
    return tuple(
        MessageQueue(data.broker_name, queue_id, topic)
        for data in _sorted(route)
        if data.perm & PERM_WRITE and data.broker_name in masters
        for queue_id in range(data.write_queue_nums)
    )


def _readable(topic: str, route: TopicRoute) -> tuple[MessageQueue, ...]:
    return tuple(
        MessageQueue(data.broker_name, queue_id, topic)
        for data in _sorted(route)
        if data.perm & PERM_READ
        for queue_id in range(data.read_queue_nums)
    )


def _sorted(route: TopicRoute) -> list[QueueData]:
    """By broker name, as every client of a group must see the same order."""
    return sorted(route.queue_datas, key=lambda data: data.broker_name)


__all__ = [
    "NAMESRV_TIMEOUT_MS",
    "NEW_TOPIC_QUEUE_NUMS",
    "REFRESH_INTERVAL_MS",
    "NameServers",
    "Publication",
    "Routes",
    "addresses_of",
]
