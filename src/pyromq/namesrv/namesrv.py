"""NameServer: the verbs that brokers, clients and tools ask a name server.

Follows processor.{DefaultRequestProcessor,ClientRequestProcessor} of org.apache.rocketmq.namesrv
5.5.0. A door maps request codes to these verbs; sockets stay there. Routes live in memory only:
brokers repeat them. What was put into the KV configuration is journaled.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

import msgspec

from pyromq.clock import Clock
from pyromq.config import NamesrvConfig, Settings
from pyromq.config.remote import NAMESRV_KEYS, RemoteConfiguration, unkept
from pyromq.domain.route import BrokerMemberGroup, ClusterInfo, QueueData, TopicRoute
from pyromq.domain.version import DataVersion
from pyromq.errors import QueryNotFound, RequestFailed, ServiceUnavailable, TopicNotFound
from pyromq.namesrv.brokers import MinBrokerIdChange, Registration
from pyromq.namesrv.kv import ORDER_TOPIC_NAMESPACE, KvConfig
from pyromq.namesrv.routes import UNIT_FLAG, UNIT_SUB_FLAG, RouteTable
from pyromq.namesrv.views import with_acting_masters, within_zone
from pyromq.store.metadata import Metadata
from pyromq.units import SECOND_MS

FAQ_LINE: Final = "\nSee https://rocketmq.apache.org/docs/bestPractice/06FAQ for further details."

_log = logging.getLogger(__name__)


class Registered(msgspec.Struct, frozen=True, kw_only=True):
    """Answer to a registration."""

    ha_server_addr: str | None = None
    master_addr: str | None = None
    order_topic_config: Mapping[str, str] | None = None
    """The body, if there is one: `{"table":{…}}`."""


class BrokerPeers(Protocol):
    """How a name server reaches brokers by itself."""

    def notify_min_broker_id_changed(self, broker_addr: str, change: MinBrokerIdChange) -> None:
        """Code 905, one-way. Neither waits nor fails: whoever cannot be reached registers anew."""
        ...


class NameServer:
    """One name server. Belongs to the loop thread."""

    def __init__(
        self,
        config: Settings[NamesrvConfig],
        metadata: Metadata,
        clock: Clock,
        *,
        request_end: Callable[[], None],
        peers: BrokerPeers | None = None,
        configuration: RemoteConfiguration | None = None,
    ) -> None:
        """`configuration`: how `config` is read and changed by operators; if none is given, changes
        end with the process."""
        self._config = config
        self._configuration = configuration or unkept([config], NAMESRV_KEYS, clock.now_ms)
        self._clock = clock
        self._peers = peers
        self._routes = RouteTable(config)
        self._kv = KvConfig(config, metadata, request_end)
        self._started_ms = clock.monotonic_ms()
        self._scan: asyncio.Task[None] | None = None

    # Life.

    def start(self) -> None:
        """Begins to look for brokers that went silent."""
        assert self._scan is None, "started twice"
        self._started_ms = self._clock.monotonic_ms()
        self._scan = asyncio.get_running_loop().create_task(
            self._scan_forever(), name="namesrv-expire-brokers"
        )

    async def stop(self) -> None:
        """Ends the search; whoever still waits for the journal is refused."""
        if self._scan is not None:
            self._scan.cancel()
            await asyncio.wait([self._scan])
            self._scan = None
        self._kv.fail_all(ServiceUnavailable("the name server stops"))

    def end_turn(self) -> None:
        """Stage of the turn: what was put or deleted in it is written and answered."""
        self._kv.write()

    def connection_lost(self, connection_id: int) -> None:
        """The door closed a connection: the brokers that registered by it are gone."""
        self._tell(self._routes.connection_lost(connection_id))

    def expire_brokers(self) -> None:
        """Drops the brokers whose last sign of life is too old."""
        silent, changes = self._routes.expire(self._clock.monotonic_ms())
        for broker_name, broker_addr in silent:
            _log.warning("broker %s at %s is silent and dropped", broker_name, broker_addr)
        self._tell(changes)

    @property
    def broker_count(self) -> int:
        return self._routes.broker_count

    @property
    def route_count(self) -> int:
        return self._routes.route_count

    # Brokers.

    def register_broker(self, connection_id: int, registration: Registration) -> Registered:
        """Code 103."""
        accepted = self._routes.register(registration, connection_id, self._clock.monotonic_ms())
        if accepted.change is not None:
            self._tell([accepted.change])
        order_topic_config = None
        if self._config.current.return_order_topic_config_to_broker:
            order_topic_config = self._kv.table(ORDER_TOPIC_NAMESPACE)
        return Registered(
            ha_server_addr=accepted.ha_server_addr,
            master_addr=accepted.master_addr,
            order_topic_config=order_topic_config,
        )

    def unregister_broker(self, broker_name: str, broker_addr: str, broker_id: int) -> None:
        """Code 104."""
        change = self._routes.unregister(broker_name, broker_addr, broker_id)
        if change is not None:
            self._tell([change])

    def broker_heartbeat(self, cluster_name: str, broker_name: str, broker_addr: str) -> None:
        """Code 904."""
        now_ms = self._clock.monotonic_ms()
        self._routes.refresh(cluster_name, broker_name, broker_addr, now_ms)

    def query_data_version(
        self, cluster_name: str, broker_name: str, broker_addr: str, version: DataVersion
    ) -> tuple[bool, DataVersion | None]:
        """Code 322, a sign of life too: whether the broker must register, and what is known."""
        known = self._routes.data_version(cluster_name, broker_name, broker_addr)
        self.broker_heartbeat(cluster_name, broker_name, broker_addr)
        return known != version, known

    def broker_member_group(self, cluster_name: str, broker_name: str) -> BrokerMemberGroup:
        """Code 901."""
        return BrokerMemberGroup(
            cluster=cluster_name,
            broker_name=broker_name,
            broker_addrs=self._routes.member_addrs(broker_name),
        )

    def wipe_write_perm(self, broker_name: str) -> int:
        """Code 205: in the routes only; the broker itself does not change."""
        count = self._routes.wipe_write_perm(broker_name)
        _log.info("write permission of broker %s wiped in %d routes", broker_name, count)
        return count

    def add_write_perm(self, broker_name: str) -> int:
        """Code 327."""
        count = self._routes.add_write_perm(broker_name)
        _log.info("write permission of broker %s given in %d routes", broker_name, count)
        return count

    # Routes.

    def route(self, topic: str, zone_name: str | None = None) -> TopicRoute:
        """Code 105. `zone_name`: only if the client asks for its own zone."""
        config = self._config.current
        if config.need_wait_for_service and not self._is_settled():
            raise RequestFailed("name server not ready")
        route = self._routes.route(topic)
        if route is None:
            raise TopicNotFound(
                f"No topic route info in name server for the topic: {topic}{FAQ_LINE}"
            )
        if config.support_acting_master:
            route = with_acting_masters(topic, route)
        if config.order_message_enable:
            order = self._kv.find(ORDER_TOPIC_NAMESPACE, topic)
            route = msgspec.structs.replace(route, order_topic_conf=order)
        if zone_name:
            route = within_zone(zone_name, route)
        return route

    def cluster_info(self) -> ClusterInfo:
        """Code 106."""
        return self._routes.cluster_info()

    def register_topic(self, topic: str, queue_datas: Sequence[QueueData]) -> None:
        """Code 217. Success even if nothing was taken, as Apache says."""
        if not self._routes.register_topic(topic, queue_datas):
            _log.warning("routes of topic %r name a broker that is not registered", topic)

    def delete_topic(self, topic: str, cluster_name: str | None = None) -> None:
        """Code 216."""
        self._routes.delete_topic(topic, cluster_name)

    def all_topics(self) -> list[str]:
        """Code 206."""
        if not self._config.current.enable_all_topic_list:
            raise RequestFailed("disable")
        return self._routes.topics()

    def system_topics(self) -> tuple[list[str], str | None]:
        """Code 304: names, and the address of a broker to ask for more."""
        return self._routes.system_topics()

    def topics_of_cluster(self, cluster_name: str) -> list[str]:
        """Code 224."""
        self._check_topic_list()
        return self._routes.topics_of_cluster(cluster_name)

    def unit_topics(self) -> list[str]:
        """Code 311."""
        self._check_topic_list()
        return self._routes.topics_with_flags(UNIT_FLAG, 0)

    def unit_sub_topics(self) -> list[str]:
        """Code 312."""
        self._check_topic_list()
        return self._routes.topics_with_flags(UNIT_SUB_FLAG, 0)

    def unit_sub_ununit_topics(self) -> list[str]:
        """Code 313."""
        self._check_topic_list()
        return self._routes.topics_with_flags(UNIT_SUB_FLAG, UNIT_FLAG)

    # KV configuration.

    async def put_kv(self, namespace: str, key: str, value: str) -> None:
        """Code 100."""
        await self._kv.put(namespace, key, value)

    async def delete_kv(self, namespace: str, key: str) -> None:
        """Code 102."""
        await self._kv.delete(namespace, key)

    def kv(self, namespace: str, key: str) -> str:
        """Code 101."""
        return self._kv.value(namespace, key)

    def kv_list(self, namespace: str) -> Mapping[str, str]:
        """Code 219."""
        table = self._kv.table(namespace)
        if table is None:
            raise QueryNotFound(f"No config item, Namespace: {namespace}")
        return table

    # Its own configuration.

    def configuration(self) -> Mapping[str, str]:
        """Code 319: every property with its value."""
        return self._configuration.texts()

    async def update_configuration(self, values: Mapping[str, str]) -> None:
        """Code 318: all of these properties, or none."""
        await self._configuration.update(values)
        if values:
            _log.info("configuration changed: %s", dict(values))

    # Within.

    def _is_settled(self) -> bool:
        waited_ms = self._clock.monotonic_ms() - self._started_ms
        return waited_ms >= self._config.current.wait_seconds_for_service * SECOND_MS

    def _check_topic_list(self) -> None:
        if not self._config.current.enable_topic_list:
            raise RequestFailed("disable")

    def _tell(self, changes: Sequence[MinBrokerIdChange]) -> None:
        if self._peers is None or not self._config.current.notify_min_broker_id_changed:
            return
        for change in changes:
            for broker_addr in change.notify:
                self._peers.notify_min_broker_id_changed(broker_addr, change)

    async def _scan_forever(self) -> None:
        changed = asyncio.Event()
        stop_listening = self._config.on_change(lambda _old, _new: changed.set())
        try:
            while True:
                changed.clear()
                interval_ms = self._config.current.scan_not_active_broker_interval_ms
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(interval_ms / SECOND_MS):
                        await changed.wait()
                self.expire_brokers()
        finally:
            stop_listening()


__all__ = ["FAQ_LINE", "BrokerPeers", "NameServer", "Registered"]
