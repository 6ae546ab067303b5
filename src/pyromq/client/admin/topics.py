"""Topics: created on brokers, known to name servers by registration, deleted on both."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pyromq.client.admin.servers import AnswerRefused, Servers, address_of
from pyromq.codes import RequestCode, ResponseCode
from pyromq.domain.route import MessageQueue, TopicRoute
from pyromq.domain.topic import TopicConfig, check_topic_name
from pyromq.wire.remoting.bodies.groups import decode_group_names
from pyromq.wire.remoting.bodies.routes import decode_kv_table, decode_topic_list
from pyromq.wire.remoting.bodies.topics import (
    TopicOffset,
    decode_topic_config,
    decode_topic_stats,
    decode_topic_table,
    encode_topic_config_list,
)
from pyromq.wire.remoting.headers.namesrv import (
    DeleteKvConfigHeader,
    DeleteTopicFromNamesrvHeader,
    GetKvConfigHeader,
    KvListHeader,
    PutKvConfigHeader,
    TopicsByClusterHeader,
)
from pyromq.wire.remoting.headers.topics import (
    AllTopicConfigHeader,
    CreateTopicHeader,
    DeleteTopicHeader,
    TopicConfigHeader,
    TopicConsumersHeader,
    TopicStatsHeader,
)

ORDER_NAMESPACE = "ORDER_TOPIC_CONFIG"


class Topics:
    """Questions and changes about topics. Addresses are brokers'."""

    def __init__(self, servers: Servers) -> None:
        self._servers = servers

    async def names(self) -> list[str]:
        """All topics of all clusters, system topics included."""
        answer = await self._servers.ask_names(RequestCode.GET_ALL_TOPIC_LIST_FROM_NAMESERVER)
        return sorted(decode_topic_list(answer.body).topic_list)

    async def names_of_cluster(self, cluster: str) -> list[str]:
        header = TopicsByClusterHeader(cluster=cluster)
        answer = await self._servers.ask_names(RequestCode.GET_TOPICS_BY_CLUSTER, header)
        return sorted(decode_topic_list(answer.body).topic_list)

    async def system_names(self, address: str) -> list[str]:
        """The topics a broker keeps for itself."""
        code = RequestCode.GET_SYSTEM_TOPIC_LIST_FROM_BROKER
        return decode_topic_list((await self._servers.ask(address, code)).body).topic_list

    async def route(self, topic: str) -> TopicRoute:
        """Which brokers hold the topic. Raises AnswerRefused (TOPIC_NOT_EXIST)."""
        return await self._servers.route(topic)

    async def addresses(self, topic: str) -> list[tuple[str, str]]:
        """Broker name and address for each broker that holds the topic, masters first."""
        route = await self._servers.route(topic)
        found = ((data.broker_name, address_of(data)) for data in route.broker_datas)
        return sorted((name, address) for name, address in found if address is not None)

    async def clusters(self, topic: str) -> list[str]:
        """The clusters whose brokers hold the topic."""
        route = await self._servers.route(topic)
        return sorted({data.cluster for data in route.broker_datas})

    async def create(self, address: str, config: TopicConfig) -> None:
        """Creates a topic on one broker, or changes its settings to these.

        `attributes` are changes: a name, or `+name`, is set; `-name` is removed. Raises
        InvalidParameter for a name that no topic may have.
        """
        check_topic_name(config.topic_name)
        changes = ",".join(
            name if name.startswith("-") else f"+{name.removeprefix('+')}={value}"
            for name, value in config.attributes.items()
        )
        header = CreateTopicHeader(
            topic=config.topic_name,
            read_queue_nums=config.read_queue_nums,
            write_queue_nums=config.write_queue_nums,
            perm=config.perm,
            topic_filter_type=config.topic_filter_type,
            topic_sys_flag=config.topic_sys_flag,
            order=config.order,
            attributes=changes,
        )
        await self._servers.ask(address, RequestCode.UPDATE_AND_CREATE_TOPIC, header)

    async def create_all(self, address: str, configs: list[TopicConfig]) -> None:
        """Creates or changes several topics of one broker with one request."""
        code = RequestCode.UPDATE_AND_CREATE_TOPIC_LIST
        await self._servers.ask(address, code, body=encode_topic_config_list(configs))

    async def config(self, address: str, topic: str) -> TopicConfig:
        header = TopicConfigHeader(topic=topic)
        answer = await self._servers.ask(address, RequestCode.GET_TOPIC_CONFIG, header)
        return decode_topic_config(answer.body)

    async def configs(self, address: str) -> dict[str, TopicConfig]:
        """All topics of one broker; a broker with very many answers in parts."""
        topics: dict[str, TopicConfig] = {}
        version: str | None = None
        while True:
            header = AllTopicConfigHeader(topic_seq=len(topics), data_version=version)
            code = RequestCode.GET_ALL_TOPIC_CONFIG
            answer = await self._servers.ask(address, code, header)
            before = len(topics)
            topics.update(decode_topic_table(answer.body).topic_config_table)
            total = answer.ext.get("totalTopicNum", "")
            if not total.isdigit() or len(topics) >= int(total) or len(topics) == before:
                return topics

    async def delete(self, topic: str, cluster: str) -> None:
        """Deletes the topic on every master of the cluster, then its route on every name server."""
        for broker in await self._servers.brokers(cluster):
            await self.delete_on_broker(broker.address, topic)
        await self.delete_on_name_servers(topic, cluster)

    async def delete_on_broker(self, address: str, topic: str) -> None:
        header = DeleteTopicHeader(topic=topic)
        await self._servers.ask(address, RequestCode.DELETE_TOPIC_IN_BROKER, header)

    async def delete_on_name_servers(self, topic: str, cluster: str | None = None) -> None:
        header = DeleteTopicFromNamesrvHeader(topic=topic, cluster_name=cluster)
        await self._servers.ask_every_name(RequestCode.DELETE_TOPIC_IN_NAMESRV, header)

    async def stats(self, topic: str) -> dict[MessageQueue, TopicOffset]:
        """Offsets of all queues on all brokers."""
        tables = await self._servers.each(
            await self.addresses(topic), lambda broker: self.stats_of_broker(broker[1], topic)
        )
        return {queue: offset for table in tables for queue, offset in sorted(table.items())}

    async def stats_of_broker(self, address: str, topic: str) -> Mapping[MessageQueue, TopicOffset]:
        header = TopicStatsHeader(topic=topic)
        answer = await self._servers.ask(address, RequestCode.GET_TOPIC_STATS_INFO, header)
        return decode_topic_stats(answer.body).offset_table

    async def consumers(self, topic: str) -> list[str]:
        """The groups that consume the topic, as the first broker that answers knows them."""
        header = TopicConsumersHeader(topic=topic)
        for _, address in await self.addresses(topic):
            answer = await self._servers.ask(
                address, RequestCode.QUERY_TOPIC_CONSUME_BY_WHO, header
            )
            return sorted(decode_group_names(answer.body))
        return []

    # ── order configuration ─────────────────────────────────────────────────────────────────────

    async def order_conf(self, topic: str) -> str | None:
        """`broker:queues;…` of an ordered topic, None if there is none."""
        header = GetKvConfigHeader(namespace=ORDER_NAMESPACE, key=topic)
        answer = await self._servers.ask_names(
            RequestCode.GET_KV_CONFIG,
            header,
            accepted=(ResponseCode.SUCCESS, ResponseCode.QUERY_NOT_FOUND),
        )
        return answer.ext.get("value") if answer.code == ResponseCode.SUCCESS else None

    async def set_order_conf(self, topic: str, conf: str) -> None:
        header = PutKvConfigHeader(namespace=ORDER_NAMESPACE, key=topic, value=conf)
        await self._servers.ask_every_name(RequestCode.PUT_KV_CONFIG, header)

    async def delete_order_conf(self, topic: str) -> None:
        header = DeleteKvConfigHeader(namespace=ORDER_NAMESPACE, key=topic)
        await self._servers.ask_every_name(RequestCode.DELETE_KV_CONFIG, header)

    async def order_confs(self) -> dict[str, str]:
        try:
            answer = await self._servers.ask_names(
                RequestCode.GET_KVLIST_BY_NAMESPACE, KvListHeader(namespace=ORDER_NAMESPACE)
            )
        except AnswerRefused as refused:
            if refused.code == ResponseCode.QUERY_NOT_FOUND:
                return {}
            raise
        return decode_kv_table(answer.body)


def merged_order_conf(before: str | None, parts: Iterable[str]) -> str:
    """`broker:queues` parts put over those of the same brokers, as createOrUpdateOrderConf does."""
    by_broker = {part.partition(":")[0]: part for part in (before or "").split(";") if part}
    by_broker.update((part.partition(":")[0], part) for part in parts)
    return ";".join(by_broker.values())


__all__ = ["ORDER_NAMESPACE", "Topics", "merged_order_conf"]
