"""One client as brokers know it: a client id, its connections, its routes, its heartbeats.

A producer or consumer makes one for itself unless it is given one; several may share it, as groups
of one client. Brokers take a client for alive while its heartbeats come (every 30 s, kept for
120 s), and forget it when its connection ends; so a lost connection is followed by a heartbeat on a
new one at once. Source: impl.factory.MQClientInstance of org.apache.rocketmq.client 5.5.0.
"""

from __future__ import annotations

import asyncio
import ipaddress
import itertools
import logging
import os
import random
import socket
import time
from collections.abc import Callable, Coroutine, Iterable
from datetime import datetime
from typing import Final, Protocol

import msgspec

from pyromq.client.errors import ClientClosed, RouteNotFound, ServerRefused
from pyromq.client.remoting import (
    REQUEST_TIMEOUT_MS,
    AnswerOverdue,
    PeerUnreachable,
    RemotingClient,
)
from pyromq.client.routes import NAMESRV_TIMEOUT_MS, NameServers, Routes, addresses_of
from pyromq.clock import Clock, SystemClock
from pyromq.codes import RequestCode, ResponseCode
from pyromq.domain.group import ConsumerData
from pyromq.domain.route import MessageQueue
from pyromq.domain.unique_key import UniqueKeys
from pyromq.wire.remoting.bodies.clients import Heartbeat, ProducerData, encode_heartbeat
from pyromq.wire.remoting.frame import Command, SerializeType
from pyromq.wire.remoting.headers.clients import UnregisterClientHeader
from pyromq.wire.remoting.native import encode_ext

HEARTBEAT_INTERVAL_MS: Final = 30_000
HEARTBEAT_PAUSE_MS: Final = 1_000
"""Between two heartbeats to all brokers, however often something asks for one."""

_log = logging.getLogger("pyromq.client")
_numbers = itertools.count()

OnRequest = Callable[[str, Command], Command | None]


class Member(Protocol):
    """A consumer of a group, as its instance sees it."""

    @property
    def group(self) -> str: ...

    def consumer_data(self) -> ConsumerData:
        """For heartbeats."""

    def route_changed(self, topic: str) -> None: ...

    def members_changed(self) -> None:
        """Another member of the group came or left."""

    def serve(self, address: str, request: Command) -> Command | None:
        """A broker's request about the group; None if there is nothing to answer (yet)."""


class ClientInstance:
    """Use as `async with`, or `start` and `stop`. Belongs to one event loop."""

    def __init__(
        self,
        namesrv: str | Iterable[str],
        *,
        instance_name: str | None = None,
        clock: Clock | None = None,
        serialize_type: SerializeType = SerializeType.JSON,
        namesrv_timeout_ms: int = NAMESRV_TIMEOUT_MS,
        call_timeout_ms: int = REQUEST_TIMEOUT_MS,
    ) -> None:
        """`namesrv`: `HOST:PORT`, several with `;` between. `serialize_type`: form of the headers;
        ROCKETMQ (binary) is a little cheaper for both sides. Raises ConfigInvalid."""
        self.namesrv = addresses_of(namesrv)
        self.clock = clock or SystemClock()
        self.serialize_type = serialize_type
        self.call_timeout_ms = call_timeout_ms
        self.client_id = ""
        """`address@pid#number`; known once started."""
        self._instance_name = instance_name
        self._namesrv_timeout_ms = namesrv_timeout_ms
        self._remoting: RemotingClient | None = None
        self._routes: Routes | None = None
        self._name_servers: NameServers | None = None
        self._unique_keys: UniqueKeys | None = None
        self._producers: dict[str, int] = {}
        self._members: dict[str, Member] = {}
        self._answers: dict[int, OnRequest] = {
            RequestCode.NOTIFY_CONSUMER_IDS_CHANGED: self._members_changed
        }
        self._heartbeat_wanted = asyncio.Event()
        self._beaten: set[str] = set()
        """Brokers that know of us."""
        self._tasks: list[asyncio.Task[None]] = []

    # ── life ────────────────────────────────────────────────────────────────────────────────────

    @property
    def is_running(self) -> bool:
        return self._remoting is not None

    async def start(self) -> None:
        """Opens nothing yet: connections come with the first request."""
        if self._remoting is not None:
            return
        ip = _own_address(self.namesrv[0])
        pid = os.getpid()
        name = self._instance_name or f"{pid}#{time.time_ns()}{next(_numbers)}"
        self.client_id = f"{ip}@{name}"
        zone = datetime.now().astimezone().tzinfo
        assert zone is not None
        salt = random.getrandbits(32)
        self._unique_keys = UniqueKeys(ipaddress.ip_address(ip).packed, pid, salt, zone)
        self._remoting = RemotingClient(
            on_request=self._serve, on_lost=self._lost, serialize_type=self.serialize_type
        )
        self._name_servers = NameServers(
            self._remoting, self.namesrv, timeout_ms=self._namesrv_timeout_ms
        )
        self._routes = Routes(self._name_servers, self._route_changed)
        self._own(self._routes.keep_fresh(), "routes")
        self._own(self._keep_beating(), "heartbeats")

    async def stop(self) -> None:
        """Leaves all groups and closes the connections."""
        remoting, self._remoting = self._remoting, None
        if remoting is None:
            return
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await remoting.close()

    async def __aenter__(self) -> ClientInstance:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def _own(self, work: Coroutine[None, None, None], name: str) -> None:
        self._tasks.append(asyncio.get_running_loop().create_task(work, name=f"pyromq {name}"))

    # ── what producers and consumers use ────────────────────────────────────────────────────────

    @property
    def remoting(self) -> RemotingClient:
        if self._remoting is None:
            raise ClientClosed("the client was not started, or is stopped")
        return self._remoting

    @property
    def routes(self) -> Routes:
        self.remoting  # noqa: B018 - raises unless started
        assert self._routes is not None
        return self._routes

    @property
    def name_servers(self) -> NameServers:
        self.remoting  # noqa: B018 - raises unless started
        assert self._name_servers is not None
        return self._name_servers

    def new_unique_key(self, now_ms: int) -> str:
        assert self._unique_keys is not None, "started"
        return self._unique_keys.next(now_ms)

    async def call(
        self,
        address: str,
        code: int,
        header: msgspec.Struct | None = None,
        body: bytes = b"",
        *,
        timeout_ms: int | None = None,
    ) -> Command:
        """The answer, if it is a success.

        Raises ServerRefused, PeerUnreachable, AnswerOverdue.
        """
        answer = await self.remoting.invoke(
            address,
            code,
            None if header is None else encode_ext(header),
            body,
            timeout_ms=self.call_timeout_ms if timeout_ms is None else timeout_ms,
        )
        if answer.code != ResponseCode.SUCCESS:
            raise ServerRefused(address, code, answer.code, answer.remark)
        return answer

    async def address_of(self, queue: MessageQueue, *, needs_master: bool = True) -> str:
        """Of the queue's broker; asks for the topic's route if need be. Raises RouteNotFound."""
        address = self._known_address(queue, needs_master)
        if address is None:
            await self.routes.readable_queues(queue.topic)
            address = self._known_address(queue, needs_master)
        if address is None:
            self.routes.want_refresh()
            raise RouteNotFound(f"topic {queue.topic}: broker {queue.broker_name} is not there")
        return address

    def _known_address(self, queue: MessageQueue, needs_master: bool) -> str | None:
        if needs_master:
            return self.routes.master(queue.broker_name)
        replica = self.routes.any_replica(queue.broker_name)
        return None if replica is None else replica[1]

    def serve(self, code: int, answer: OnRequest) -> None:
        """`answer` is called for servers' requests of that code."""
        self._answers[code] = answer

    # ── groups ──────────────────────────────────────────────────────────────────────────────────

    def add_producer(self, group: str) -> None:
        self._producers[group] = self._producers.get(group, 0) + 1
        self._heartbeat_wanted.set()

    async def remove_producer(self, group: str) -> None:
        self._producers[group] -= 1
        if not self._producers[group]:
            del self._producers[group]
            await self._unregister(
                UnregisterClientHeader(client_id=self.client_id, producer_group=group)
            )

    def add_consumer(self, member: Member) -> None:
        """One per group: brokers could not tell two of them apart."""
        if member.group in self._members:
            raise ClientClosed(
                f"group {member.group} has a consumer on this client already; "
                "give the second one a client of its own"
            )
        self._members[member.group] = member

    async def remove_consumer(self, member: Member) -> None:
        if self._members.get(member.group) is member:
            del self._members[member.group]
            await self._unregister(
                UnregisterClientHeader(client_id=self.client_id, consumer_group=member.group)
            )

    async def _unregister(self, header: UnregisterClientHeader) -> None:
        for address in sorted(self._beaten & set(self.routes.replicas())):
            try:
                await self.call(address, RequestCode.UNREGISTER_CLIENT, header, timeout_ms=1_000)
            except (PeerUnreachable, AnswerOverdue, ServerRefused) as error:
                # The broker forgets us when the connection ends.
                _log.debug("not unregistered: %s", error)

    # ── heartbeats ──────────────────────────────────────────────────────────────────────────────

    def want_heartbeat(self) -> None:
        self._heartbeat_wanted.set()

    async def beat(self) -> None:
        """One heartbeat to every broker that any route names. Failures are logged."""
        if not self._producers and not self._members:
            return
        body = encode_heartbeat(
            Heartbeat(
                client_id=self.client_id,
                producer_data_set=[ProducerData(group) for group in sorted(self._producers)],
                consumer_data_set=[member.consumer_data() for member in self._members.values()],
            )
        )
        # Who only produces has nothing to do with replicas.
        addresses = self.routes.replicas() if self._members else self.routes.masters()
        await asyncio.gather(*(self._beat_at(address, body) for address in addresses))

    async def _beat_at(self, address: str, body: bytes) -> None:
        self._beaten.add(address)  # before it is answered: it may be known there from now on
        try:
            await self.call(address, RequestCode.HEART_BEAT, None, body)
        except (PeerUnreachable, AnswerOverdue, ServerRefused, ClientClosed) as error:
            self._beaten.discard(address)
            _log.warning("heartbeat: %s", error)

    async def _keep_beating(self) -> None:
        while True:
            try:
                async with asyncio.timeout(HEARTBEAT_INTERVAL_MS / 1000):
                    await self._heartbeat_wanted.wait()
            except TimeoutError:
                pass
            self._heartbeat_wanted.clear()
            await self.beat()
            await asyncio.sleep(HEARTBEAT_PAUSE_MS / 1000)

    # ── events ──────────────────────────────────────────────────────────────────────────────────

    def _lost(self, address: str) -> None:
        if address in self._beaten:
            # To the broker we are gone, and with us our share of the group's queues.
            self._beaten.discard(address)
            self._heartbeat_wanted.set()

    def _route_changed(self, topic: str) -> None:
        if not self._beaten.issuperset(self.routes.masters()):
            self._heartbeat_wanted.set()
        for member in list(self._members.values()):
            member.route_changed(topic)

    def _serve(self, address: str, request: Command) -> Command | None:
        answer = self._answers.get(request.code)
        if answer is not None:
            return answer(address, request)
        member = self._members.get(request.ext.get("consumerGroup") or request.ext.get("group", ""))
        if member is not None:
            return member.serve(address, request)
        return not_supported(address, request)

    def _members_changed(self, _: str, request: Command) -> None:
        group = request.ext.get("consumerGroup")
        for member in list(self._members.values()):
            if member.group == group:
                member.members_changed()


def not_supported(address: str, request: Command) -> Command:
    """The answer to what this client does not know."""
    _log.debug("%s: request %d of the server is not supported", address, request.code)
    return Command.response_to(
        request,
        ResponseCode.REQUEST_CODE_NOT_SUPPORTED,
        remark=f" request type {request.code} not supported",
    )


def _own_address(server: str) -> str:
    """The address from which this machine would reach the server; nothing is sent."""
    host, _, port = server.rpartition(":")
    try:
        family, kind, _, _, to = socket.getaddrinfo(
            host.strip("[]"), int(port), type=socket.SOCK_DGRAM
        )[0]
        with socket.socket(family, kind) as probe:
            probe.connect(to)
            address = str(probe.getsockname()[0])
        return address.partition("%")[0]
    except OSError:
        return "127.0.0.1"


__all__ = ["HEARTBEAT_INTERVAL_MS", "ClientInstance", "Member", "not_supported"]
