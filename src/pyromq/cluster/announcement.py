"""What a broker says to a name server: who it is, which topics it has, that it leaves.

Plain JSON with a checksum, as every 5.x broker sends it. Follows BrokerController.registerBrokerAll
of org.apache.rocketmq.broker and RegisterBrokerBody of org.apache.rocketmq.remoting 5.5.0.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Final, NamedTuple

import msgspec

from pyromq.config import BrokerConfig, Settings
from pyromq.domain.route import QueueData, TopicRoute
from pyromq.domain.topic import PERM_READ, PERM_WRITE, TopicConfig
from pyromq.domain.version import DataVersion
from pyromq.wire.remoting.bodies.registration import (
    RegisterBrokerBody,
    body_crc32,
    encode_register_broker,
)
from pyromq.wire.remoting.bodies.routes import encode_topic_route
from pyromq.wire.remoting.bodies.topics import TopicTable
from pyromq.wire.remoting.headers import encode_ext
from pyromq.wire.remoting.headers.namesrv import (
    QueryDataVersionHeader,
    RegisterBrokerHeader,
    UnregisterBrokerHeader,
)

INLINE_TOPICS_MAX: Final = 1_000
"""Tables from this size on are encoded beside the loop: 8 µs a topic would hold up messages."""

_READ_AND_WRITE: Final = PERM_READ | PERM_WRITE

Topics = Callable[[], tuple[DataVersion, Mapping[str, TopicConfig]]]


class Identity(NamedTuple):
    """Who registers, as name servers and clients know it."""

    cluster_name: str
    broker_name: str
    broker_id: int
    broker_addr: str
    """`ip:port` that clients connect to."""
    ha_server_addr: str
    """`ip:port` for replicas."""


class Announcement:
    """Headers and bodies; the whole table is encoded once for all name servers."""

    def __init__(self, identity: Identity, config: Settings[BrokerConfig], topics: Topics) -> None:
        self.identity = identity
        self.config = config
        self._topics = topics
        self._encoded: tuple[DataVersion, int, bytes] | None = None
        self._encoding = asyncio.Lock()

    @property
    def version(self) -> DataVersion:
        return self._topics()[0]

    async def whole_body(self) -> bytes:
        async with self._encoding:
            version, topics = self._topics()
            permission = self.config.current.broker_permission
            if self._encoded is None or self._encoded[:2] != (version, permission):
                configs = list(topics.values())
                if len(configs) < INLINE_TOPICS_MAX:
                    body = self._body(version, configs)
                else:
                    body = await asyncio.to_thread(self._body, version, configs)
                self._encoded = (version, permission, body)
            return self._encoded[2]

    def changes_body(self, names: Iterable[str]) -> bytes:
        version, topics = self._topics()
        return self._body(version, [topics[name] for name in names])

    def has_all(self, names: Iterable[str]) -> bool:
        topics = self._topics()[1]
        return all(name in topics for name in names)

    def route_body(self, name: str) -> bytes:
        """One topic's queues, for the registration of a single topic."""
        config = self._permitted(self._topics()[1][name])
        queues = QueueData(
            broker_name=self.identity.broker_name,
            read_queue_nums=config.read_queue_nums,
            write_queue_nums=config.write_queue_nums,
            perm=config.perm,
            topic_sys_flag=config.topic_sys_flag,
        )
        return encode_topic_route(TopicRoute(queue_datas=[queues]), standard=False)

    def register_ext(self, body: bytes) -> dict[str, str]:
        identity = self.identity
        return encode_ext(
            RegisterBrokerHeader(
                broker_name=identity.broker_name,
                broker_addr=identity.broker_addr,
                cluster_name=identity.cluster_name,
                broker_id=identity.broker_id,
                ha_server_addr=identity.ha_server_addr,
                enable_acting_master=False,
                compressed=False,
                body_crc32=body_crc32(body),
            )
        )

    def query_ext(self) -> dict[str, str]:
        identity = self.identity
        return encode_ext(
            QueryDataVersionHeader(
                broker_name=identity.broker_name,
                broker_addr=identity.broker_addr,
                cluster_name=identity.cluster_name,
                broker_id=identity.broker_id,
            )
        )

    def unregister_ext(self) -> dict[str, str]:
        identity = self.identity
        return encode_ext(
            UnregisterBrokerHeader(
                broker_name=identity.broker_name,
                broker_addr=identity.broker_addr,
                cluster_name=identity.cluster_name,
                broker_id=identity.broker_id,
            )
        )

    def _body(self, version: DataVersion, topics: Iterable[TopicConfig]) -> bytes:
        table = {config.topic_name: self._permitted(config) for config in topics}
        return encode_register_broker(
            RegisterBrokerBody(
                topic_config_serialize_wrapper=TopicTable(
                    topic_config_table=table, data_version=version
                )
            )
        )

    def _permitted(self, config: TopicConfig) -> TopicConfig:
        """A topic allows no more than its broker."""
        permission = self.config.current.broker_permission
        if permission & _READ_AND_WRITE == _READ_AND_WRITE:
            return config
        return msgspec.structs.replace(config, perm=config.perm & permission)


__all__ = ["INLINE_TOPICS_MAX", "Announcement", "Identity", "Topics"]
