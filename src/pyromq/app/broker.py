"""The broker as a part of a process: configuration → parts → run."""

from __future__ import annotations

import dataclasses
import ipaddress
import logging
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from pyromq.app.house import House
from pyromq.app.lock import usable_directory
from pyromq.app.settings import engine_settings
from pyromq.broker import Broker
from pyromq.client import RemotingClient
from pyromq.cluster.registration import Identity, Registration
from pyromq.codes import LanguageCode
from pyromq.config import BrokerConfig, Settings, StoreConfig
from pyromq.config.addresses import is_unspecified, machine_address
from pyromq.config.remote import BROKER_KEYS, Keeper, RemoteConfiguration
from pyromq.domain.route import MASTER_ID
from pyromq.errors import ConfigInvalid, ServiceUnavailable, StartFailed, StoreFailed
from pyromq.frontends.remoting import (
    ExpressLane,
    RemotingDoor,
    RemotingPeers,
    begin_turn_of,
    broker_table,
)
from pyromq.store.metadata import Metadata
from pyromq.store.native import NativeEngine, open_store
from pyromq.transport import Connection, Listener, Outlet
from pyromq.waiting import Latch
from pyromq.wire.remoting.native import express_lane

VIP_PORT_DISTANCE: Final = 2
"""Clients with vipChannelEnabled send to the port minus this; the door answers all the same."""

REGISTRATION_WAIT_MS: Final = 3_000
"""READY waits so long for name servers to take the broker; then it goes on without."""

_log = logging.getLogger("pyromq.app")


class BrokerPart:
    """One broker with its store and doors."""

    def __init__(
        self,
        house: House,
        config: BrokerConfig,
        store: StoreConfig,
        keeper: Keeper,
        *,
        extra_namesrv: Callable[[], str | None] = lambda: None,
    ) -> None:
        """`keeper`: where changes of the configuration are kept. `extra_namesrv`: address of a name
        server in the same process, known after its bind."""
        self._house = house
        self._keeper = keeper
        self._config = config
        self._store_settings = Settings(store)
        self._extra_namesrv = extra_namesrv
        self._listeners: list[Listener] = []
        self._engine: NativeEngine | None = None
        self._metadata: Metadata | None = None
        self._broker: Broker | None = None
        self._door: RemotingDoor | None = None
        self._client: RemotingClient | None = None
        self._registration: Registration | None = None

    @property
    def listener(self) -> Listener:
        assert self._listeners, "bind comes first"
        return self._listeners[0]

    @property
    def broker(self) -> Broker:
        assert self._broker is not None, "open comes first"
        return self._broker

    @property
    def door(self) -> RemotingDoor:
        assert self._door is not None, "open comes first"
        return self._door

    def bind(self) -> None:
        host, port = self._house.remoting.bind_address, self._config.listen_port
        ports = [port]
        if port > VIP_PORT_DISTANCE:
            ports.append(port - VIP_PORT_DISTANCE)
        self._listeners = [self._house.transport.bind(host, each, self._connect) for each in ports]

    def _connect(self, outlet: Outlet) -> Connection:
        """The door exists by the time the transport accepts."""
        return self.door.connect(outlet)

    def open(self) -> None:
        config = self._config = self._completed_config()
        store = self._store_settings.current
        store_host = _host(config.broker_ip1, config.listen_port)
        house = self._house
        usable_directory(store.root)
        try:
            engine = open_store(engine_settings(store, store_host))
        except StoreFailed as error:
            raise StartFailed(f"the store cannot be opened: {error}") from error
        try:
            metadata = Metadata.open_broker(
                store.root, sync_flush=store.is_sync_flush, clock=house.clock
            )
        except BaseException:
            engine.close()
            raise
        engine.start(house.loop)
        engine.on_progress(house.turn.end_short)
        metadata.on_progress(house.turn.end)
        metadata.start(house.loop.call_soon_threadsafe)
        self._engine, self._metadata = engine, metadata
        settings = Settings(config)
        self._broker = Broker(
            engine=engine,
            metadata=metadata,
            settings=settings,
            store_settings=self._store_settings,
            clock=house.clock,
            turn=house.turn,
            store_host=store_host,
            on_topics_changed=self._topics_changed,
            until_announced=self._until_announced,
            configuration=RemoteConfiguration(
                [settings, self._store_settings],
                BROKER_KEYS,
                self._keeper,
                house.clock.now_ms,
                fixed=[house.remoting],
                facts=_facts(),
            ),
        )
        self._client = RemotingClient(
            on_lost=self._namesrv_lost,
            connect_timeout_ms=house.remoting.connect_timeout_ms,
            language=LanguageCode.JAVA,
        )
        self._registration = Registration(
            _identity(config, store),
            settings,
            self._broker.topics,
            self._client,
            self._broker.take_order_topics,
        )
        lane: ExpressLane | None = None
        if config.express_lane:
            native = express_lane(engine, begin_turn_of(house.clock, house.turn))
            lane = ExpressLane(native, self._broker, house.clock, house.turn)
            self._broker.add_express(lane)
        self._door = RemotingDoor(
            "broker",
            broker_table(self._broker),
            house.turn,
            call_soon=house.loop.call_soon,
            call_later=house.loop.call_later,
            connection_lost=self._broker.connection_lost,
            lane=lane,
        )
        self._broker.add_peers(RemotingPeers(self._door))

    def prepare(self) -> None:
        try:
            self.broker.open()
        except (ServiceUnavailable, StoreFailed) as error:
            raise StartFailed(f"the broker cannot begin: {error}") from error

    def stages(self) -> Sequence[Callable[[], None]]:
        return self.broker.stages()

    def short_end(self) -> Callable[[], bool]:
        return self.broker.end_short

    def flushes(self) -> Sequence[Callable[[], None]]:
        return [self.door.flush]

    async def start(self) -> None:
        assert self._registration is not None, "open comes first"
        self.broker.start()
        if not self._config.namesrv_addr:
            _log.warning("no name server is configured: clients cannot find this broker by topic")
        self._registration.start()
        await self._registration.first_round(REGISTRATION_WAIT_MS)

    async def stop(self) -> None:
        assert self._registration is not None, "open comes first"
        assert self._client is not None, "open comes first"
        await self._registration.stop()
        await self._client.close()
        await self.broker.stop()

    async def close(self) -> None:
        assert self._engine is not None, "open comes first"
        assert self._metadata is not None, "open comes first"
        try:
            self._engine.close()
        finally:
            self.broker.store_closed()
            await self._metadata.stop()

    def doors(self) -> Mapping[str, str]:
        return {"broker": self.listener.address}

    def _topics_changed(self, names: Sequence[str]) -> None:
        assert self._registration is not None, "open comes first"
        self._registration.topics_changed(names)

    def _until_announced(self) -> Latch[None]:
        assert self._registration is not None, "open comes first"
        return self._registration.announced()

    def _namesrv_lost(self, address: str) -> None:
        assert self._registration is not None, "open comes first"
        self._registration.connection_lost(address)

    def _completed_config(self) -> BrokerConfig:
        """With what only the bound sockets tell: real port, address, name server beside us.

        And with a master's id, as BrokerStartup 5.5.0: brokerRole takes nothing but masters so far.
        """
        config = self._config
        addresses = [*config.namesrv_addresses]
        if (extra := self._extra_namesrv()) is not None and extra not in addresses:
            addresses.insert(0, extra)
        host = self.listener.host
        own_ip = machine_address() if is_unspecified(host) else host
        return dataclasses.replace(
            config,
            broker_id=MASTER_ID,
            listen_port=self.listener.port,
            broker_ip1=config.broker_ip1 or own_ip,
            broker_ip2=config.broker_ip2 or config.broker_ip1 or own_ip,
            namesrv_addr=";".join(addresses),
        )


def _identity(config: BrokerConfig, store: StoreConfig) -> Identity:
    return Identity(
        cluster_name=config.broker_cluster_name,
        broker_name=config.broker_name,
        broker_id=config.broker_id,
        broker_addr=_address(config.broker_ip1, config.listen_port),
        ha_server_addr=_address(config.broker_ip2, store.ha_listen_port or config.listen_port + 1),
    )


def _facts() -> dict[str, str]:
    """Properties of Apache's that its tools read of a broker, with what they are here."""
    return {
        # exportMetrics calls this the number of processors, which it is by default.
        "clientCallbackExecutorThreads": str(os.cpu_count() or 1),
        "slaveReadEnable": "false",
        "useTLS": "false",
    }


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host and not host.startswith("[") else f"{host}:{port}"


def _host(name: str, port: int) -> bytes:
    """As records store it. A host name is looked up once, as Apache's InetSocketAddress does."""
    try:
        address = ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        try:
            found = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise ConfigInvalid(f"brokerIP1={name}: no address of that name is known") from error
        address = ipaddress.ip_address(found[0][4][0])
    return address.packed + port.to_bytes(4, "big")


__all__ = ["VIP_PORT_DISTANCE", "BrokerPart"]
