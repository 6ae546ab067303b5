"""Brokers: where they are, how they are, their settings, and what they shall clean up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pyromq.client.admin.servers import AnswerRefused, BrokerAddress, Servers
from pyromq.codes import RequestCode, ResponseCode
from pyromq.domain.route import ClusterInfo
from pyromq.wire.remoting.bodies.admin import decode_properties, encode_properties
from pyromq.wire.remoting.bodies.groups import OffsetTable, decode_offset_table
from pyromq.wire.remoting.bodies.progress import BrokerStatsData, decode_broker_stats
from pyromq.wire.remoting.bodies.routes import decode_kv_table
from pyromq.wire.remoting.headers.progress import StatsHeader

Cleaning = Literal["expired consume queues", "expired commit log files", "unused topics"]

_CLEANINGS: Mapping[Cleaning, RequestCode] = {
    "expired consume queues": RequestCode.CLEAN_EXPIRED_CONSUMEQUEUE,
    "expired commit log files": RequestCode.DELETE_EXPIRED_COMMITLOG,
    "unused topics": RequestCode.CLEAN_UNUSED_TOPIC,
}


class Brokers:
    """Questions and changes about brokers, by their addresses."""

    def __init__(self, servers: Servers) -> None:
        self._servers = servers

    async def cluster_info(self) -> ClusterInfo:
        """All brokers of all clusters."""
        return await self._servers.cluster_info()

    async def addresses(
        self, cluster: str | None = None, *, with_slaves: bool = False
    ) -> list[BrokerAddress]:
        """The masters of a cluster, or of all. Raises NotThere for an unknown cluster."""
        return await self._servers.brokers(cluster, with_slaves=with_slaves)

    async def address_of(self, broker_name: str) -> str:
        """The master's address. Raises NotThere."""
        return await self._servers.broker_named(broker_name)

    async def runtime(self, address: str) -> dict[str, str]:
        """What the broker tells about itself: versions, rates, offsets, disks."""
        answer = await self._servers.ask(address, RequestCode.GET_BROKER_RUNTIME_INFO)
        return decode_kv_table(answer.body)

    async def config(self, address: str) -> dict[str, str]:
        answer = await self._servers.ask(address, RequestCode.GET_BROKER_CONFIG)
        return decode_properties(answer.body)

    async def change_config(self, address: str, properties: Mapping[str, str]) -> None:
        """Sets properties of a running broker; which ones it takes, it decides."""
        code = RequestCode.UPDATE_BROKER_CONFIG
        await self._servers.ask(address, code, body=encode_properties(properties))

    async def clean(self, address: str, what: Cleaning) -> None:
        """Has the broker delete what is no longer needed. Returns when it said it will."""
        await self._servers.ask(address, _CLEANINGS[what], timeout_ms=60_000)

    async def stats(self, address: str, name: str, key: str) -> BrokerStatsData | None:
        """What was counted under a name and key (semantics: TOPIC_PUT_NUMS, topic; GROUP_GET_NUMS,
        topic@group; …); None if nothing was counted yet."""
        header = StatsHeader(stats_name=name, stats_key=key)
        try:
            answer = await self._servers.ask(address, RequestCode.VIEW_BROKER_STATS_DATA, header)
        except AnswerRefused as refused:
            if refused.code == ResponseCode.SYSTEM_ERROR and "not exist" in refused.remark:
                return None
            raise
        return decode_broker_stats(answer.body)

    async def offsets(self, address: str) -> OffsetTable:
        """All committed offsets of all groups."""
        answer = await self._servers.ask(address, RequestCode.GET_ALL_CONSUMER_OFFSET)
        return decode_offset_table(answer.body)


__all__ = ["Brokers", "Cleaning"]
