"""The name server's table: routes, brokers, KV configuration.

Source: DefaultRequestProcessor and ClientRequestProcessor of org.apache.rocketmq.namesrv 5.5.0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Protocol

from pyromq.api import Caller
from pyromq.codes import VERSION_4_9_4, RequestCode
from pyromq.domain.route import BrokerMemberGroup, ClusterInfo, QueueData, TopicRoute
from pyromq.domain.version import DataVersion
from pyromq.errors import RequestFailed
from pyromq.frontends.remoting.changes import changed_properties
from pyromq.frontends.remoting.lists import listed
from pyromq.frontends.remoting.table import (
    DONE,
    Answer,
    PlainVerb,
    Table,
    WaitingVerb,
    table_of,
)
from pyromq.frontends.remoting.unsupported import unsupported_rows
from pyromq.namesrv.brokers import Registration
from pyromq.wire.remoting.bodies.admin import encode_properties
from pyromq.wire.remoting.bodies.registration import (
    RegisterBrokerBody,
    body_crc32,
    decode_data_version,
    decode_register_broker,
    encode_data_version,
)
from pyromq.wire.remoting.bodies.routes import (
    TopicList,
    decode_topic_route,
    encode_broker_member_group,
    encode_cluster_info,
    encode_kv_table,
    encode_topic_list,
    encode_topic_route,
)
from pyromq.wire.remoting.frame import Command
from pyromq.wire.remoting.headers import encode_ext
from pyromq.wire.remoting.headers.namesrv import (
    AddWritePermHeader,
    AddWritePermResponse,
    BrokerHeartbeatHeader,
    BrokerMemberGroupHeader,
    DeleteKvConfigHeader,
    DeleteTopicFromNamesrvHeader,
    GetKvConfigHeader,
    GetKvConfigResponse,
    KvListHeader,
    PutKvConfigHeader,
    QueryDataVersionHeader,
    QueryDataVersionResponse,
    RegisterBrokerHeader,
    RegisterBrokerResponse,
    RegisterTopicHeader,
    RouteInfoHeader,
    TopicsByClusterHeader,
    UnregisterBrokerHeader,
    WipeWritePermHeader,
    WipeWritePermResponse,
)

_ZONE_NAME: Final = "__ZONE_NAME"
_ZONE_MODE: Final = "__ZONE_MODE"
"""Further fields of 103 and 105, outside their header classes (MixAll)."""

_VERSION_3_0_11: Final = 37
"""Before, a registration's body was the bare topic table."""


class Registered(Protocol):
    """What a registration is answered with."""

    @property
    def ha_server_addr(self) -> str | None: ...

    @property
    def master_addr(self) -> str | None: ...

    @property
    def order_topic_config(self) -> Mapping[str, str] | None: ...


class NameServerApi(Protocol):
    """The verbs of a name server; every one may raise a `RequestRefused`."""

    def register_broker(self, connection_id: int, registration: Registration) -> Registered: ...

    def unregister_broker(self, broker_name: str, broker_addr: str, broker_id: int) -> None: ...

    def broker_heartbeat(self, cluster_name: str, broker_name: str, broker_addr: str) -> None: ...

    def query_data_version(
        self, cluster_name: str, broker_name: str, broker_addr: str, version: DataVersion
    ) -> tuple[bool, DataVersion | None]: ...

    def broker_member_group(self, cluster_name: str, broker_name: str) -> BrokerMemberGroup: ...

    def wipe_write_perm(self, broker_name: str) -> int: ...

    def add_write_perm(self, broker_name: str) -> int: ...

    def route(self, topic: str, zone_name: str | None = None) -> TopicRoute: ...

    def cluster_info(self) -> ClusterInfo: ...

    def register_topic(self, topic: str, queue_datas: Sequence[QueueData]) -> None: ...

    def delete_topic(self, topic: str, cluster_name: str | None = None) -> None: ...

    def all_topics(self) -> list[str]: ...

    def system_topics(self) -> tuple[list[str], str | None]: ...

    def topics_of_cluster(self, cluster_name: str) -> list[str]: ...

    def unit_topics(self) -> list[str]: ...

    def unit_sub_topics(self) -> list[str]: ...

    def unit_sub_ununit_topics(self) -> list[str]: ...

    async def put_kv(self, namespace: str, key: str, value: str) -> None: ...

    async def delete_kv(self, namespace: str, key: str) -> None: ...

    def kv(self, namespace: str, key: str) -> str: ...

    def kv_list(self, namespace: str) -> Mapping[str, str]: ...

    def configuration(self) -> Mapping[str, str]: ...

    async def update_configuration(self, values: Mapping[str, str]) -> None: ...


class BrokerRows:
    """What brokers ask."""

    def __init__(self, namesrv: NameServerApi) -> None:
        self._namesrv = namesrv

    def rows(self) -> list[tuple[RequestCode, PlainVerb | WaitingVerb]]:
        return [
            (RequestCode.REGISTER_BROKER, self.register),
            (RequestCode.UNREGISTER_BROKER, self.unregister),
            (RequestCode.QUERY_DATA_VERSION, self.query_data_version),
            (RequestCode.BROKER_HEARTBEAT, self.heartbeat),
            (RequestCode.GET_BROKER_MEMBER_GROUP, self.member_group),
            (RequestCode.REGISTER_TOPIC_IN_NAMESRV, self.register_topic),
            (RequestCode.WIPE_WRITE_PERM_OF_BROKER, self.wipe_write_perm),
            (RequestCode.ADD_WRITE_PERM_OF_BROKER, self.add_write_perm),
        ]

    def register(self, caller: Caller, header: RegisterBrokerHeader, command: Command) -> Answer:
        if header.body_crc32 not in (0, body_crc32(command.body)):
            raise RequestFailed("crc32 not match")
        body = _registered_body(header, command)
        topics = body.topic_config_serialize_wrapper
        registered = self._namesrv.register_broker(
            caller.connection_id,
            Registration(
                cluster_name=header.cluster_name,
                broker_name=header.broker_name,
                broker_addr=header.broker_addr,
                broker_id=header.broker_id,
                data_version=topics.data_version,
                topics=topics.topic_config_table,
                ha_server_addr=header.ha_server_addr,
                zone_name=command.ext.get(_ZONE_NAME),
                heartbeat_timeout_ms=header.heartbeat_timeout_millis,
                enable_acting_master=header.enable_acting_master,
                mappings=topics.topic_queue_mapping_info_map,
                filter_servers=body.filter_server_list,
            ),
        )
        ext = encode_ext(
            RegisterBrokerResponse(
                ha_server_addr=registered.ha_server_addr, master_addr=registered.master_addr
            )
        )
        order = registered.order_topic_config
        return Answer(ext, b"" if order is None else encode_kv_table(dict(order)))

    def unregister(
        self, caller: Caller, header: UnregisterBrokerHeader, command: Command
    ) -> Answer:
        del caller, command
        self._namesrv.unregister_broker(header.broker_name, header.broker_addr, header.broker_id)
        return DONE

    def query_data_version(
        self, caller: Caller, header: QueryDataVersionHeader, command: Command
    ) -> Answer:
        del caller
        changed, known = self._namesrv.query_data_version(
            header.cluster_name,
            header.broker_name,
            header.broker_addr,
            decode_data_version(command.body),
        )
        ext = encode_ext(QueryDataVersionResponse(changed=changed))
        return Answer(ext, b"" if known is None else encode_data_version(known))

    def heartbeat(self, caller: Caller, header: BrokerHeartbeatHeader, command: Command) -> Answer:
        del caller, command
        self._namesrv.broker_heartbeat(header.cluster_name, header.broker_name, header.broker_addr)
        return DONE

    def member_group(
        self, caller: Caller, header: BrokerMemberGroupHeader, command: Command
    ) -> Answer:
        del caller, command
        group = self._namesrv.broker_member_group(header.cluster_name, header.broker_name)
        return Answer(body=encode_broker_member_group(group))

    def register_topic(
        self, caller: Caller, header: RegisterTopicHeader, command: Command
    ) -> Answer:
        del caller
        queue_datas = decode_topic_route(command.body).queue_datas
        if queue_datas:
            self._namesrv.register_topic(header.topic, queue_datas)
        return DONE

    def wipe_write_perm(
        self, caller: Caller, header: WipeWritePermHeader, command: Command
    ) -> Answer:
        del caller, command
        count = self._namesrv.wipe_write_perm(header.broker_name)
        return Answer(encode_ext(WipeWritePermResponse(wipe_topic_count=count)))

    def add_write_perm(
        self, caller: Caller, header: AddWritePermHeader, command: Command
    ) -> Answer:
        del caller, command
        count = self._namesrv.add_write_perm(header.broker_name)
        return Answer(encode_ext(AddWritePermResponse(add_topic_count=count)))


class RouteRows:
    """What clients and tools ask."""

    def __init__(self, namesrv: NameServerApi) -> None:
        self._namesrv = namesrv

    def rows(self) -> list[tuple[RequestCode, PlainVerb | WaitingVerb]]:
        return [
            (RequestCode.GET_ROUTEINFO_BY_TOPIC, self.route),
            (RequestCode.GET_BROKER_CLUSTER_INFO, self.cluster_info),
            (RequestCode.GET_ALL_TOPIC_LIST_FROM_NAMESERVER, self.all_topics),
            (RequestCode.GET_SYSTEM_TOPIC_LIST_FROM_NS, self.system_topics),
            (RequestCode.GET_TOPICS_BY_CLUSTER, self.topics_of_cluster),
            (RequestCode.GET_UNIT_TOPIC_LIST, self.unit_topics),
            (RequestCode.GET_HAS_UNIT_SUB_TOPIC_LIST, self.unit_sub_topics),
            (RequestCode.GET_HAS_UNIT_SUB_UNUNIT_TOPIC_LIST, self.unit_sub_ununit_topics),
            (RequestCode.DELETE_TOPIC_IN_NAMESRV, self.delete_topic),
            (RequestCode.PUT_KV_CONFIG, self.put_kv),
            (RequestCode.GET_KV_CONFIG, self.kv),
            (RequestCode.DELETE_KV_CONFIG, self.delete_kv),
            (RequestCode.GET_KVLIST_BY_NAMESPACE, self.kv_list),
            (RequestCode.UPDATE_NAMESRV_CONFIG, self.update_configuration),
            (RequestCode.GET_NAMESRV_CONFIG, self.configuration),
        ]

    def route(self, caller: Caller, header: RouteInfoHeader, command: Command) -> Answer:
        zone_name = None
        if command.ext.get(_ZONE_MODE, "").lower() == "true":
            zone_name = command.ext.get(_ZONE_NAME, "").strip() or None
        route = self._namesrv.route(header.topic, zone_name)
        is_standard = caller.version >= VERSION_4_9_4 or bool(header.accept_standard_json_only)
        return Answer(body=encode_topic_route(route, standard=is_standard))

    def cluster_info(self, caller: Caller, header: None, command: Command) -> Answer:
        del caller, header, command
        return Answer(body=encode_cluster_info(self._namesrv.cluster_info()))

    def all_topics(self, caller: Caller, header: None, command: Command) -> Answer:
        del caller, header, command
        return _topics(self._namesrv.all_topics())

    def system_topics(self, caller: Caller, header: None, command: Command) -> Answer:
        del caller, header, command
        topics, broker_addr = self._namesrv.system_topics()
        return _topics(topics, broker_addr)

    def topics_of_cluster(
        self, caller: Caller, header: TopicsByClusterHeader, command: Command
    ) -> Answer:
        del caller, command
        return _topics(self._namesrv.topics_of_cluster(header.cluster))

    def unit_topics(self, caller: Caller, header: None, command: Command) -> Answer:
        del caller, header, command
        return _topics(self._namesrv.unit_topics())

    def unit_sub_topics(self, caller: Caller, header: None, command: Command) -> Answer:
        del caller, header, command
        return _topics(self._namesrv.unit_sub_topics())

    def unit_sub_ununit_topics(self, caller: Caller, header: None, command: Command) -> Answer:
        del caller, header, command
        return _topics(self._namesrv.unit_sub_ununit_topics())

    def delete_topic(
        self, caller: Caller, header: DeleteTopicFromNamesrvHeader, command: Command
    ) -> Answer:
        del caller, command
        self._namesrv.delete_topic(header.topic, header.cluster_name or None)
        return DONE

    async def put_kv(self, caller: Caller, header: PutKvConfigHeader, command: Command) -> Answer:
        del caller, command
        await self._namesrv.put_kv(header.namespace, header.key, header.value)
        return DONE

    def kv(self, caller: Caller, header: GetKvConfigHeader, command: Command) -> Answer:
        del caller, command
        value = self._namesrv.kv(header.namespace, header.key)
        return Answer(encode_ext(GetKvConfigResponse(value=value)))

    async def delete_kv(
        self, caller: Caller, header: DeleteKvConfigHeader, command: Command
    ) -> Answer:
        del caller, command
        await self._namesrv.delete_kv(header.namespace, header.key)
        return DONE

    def kv_list(self, caller: Caller, header: KvListHeader, command: Command) -> Answer:
        del caller, command
        return Answer(body=encode_kv_table(dict(self._namesrv.kv_list(header.namespace))))

    async def update_configuration(self, caller: Caller, header: None, command: Command) -> Answer:
        del caller, header
        await self._namesrv.update_configuration(changed_properties(command.body))
        return DONE

    def configuration(self, caller: Caller, header: None, command: Command) -> Answer:
        del caller, header, command
        return Answer(body=encode_properties(self._namesrv.configuration()))


def _registered_body(header: RegisterBrokerHeader, command: Command) -> RegisterBrokerBody:
    if command.version < _VERSION_3_0_11:
        raise RequestFailed(
            f"broker version {command.version} is not supported, from {_VERSION_3_0_11} on it is"
        )
    if not command.body:
        return RegisterBrokerBody()
    return decode_register_broker(
        command.body, compressed=header.compressed, broker_version=command.version
    )


def _topics(names: list[str], broker_addr: str | None = None) -> Answer:
    return listed(encode_topic_list(TopicList(topic_list=names, broker_addr=broker_addr)))


def namesrv_table(namesrv: NameServerApi) -> Table:
    """The rows, bound to one name server."""
    return table_of([*BrokerRows(namesrv).rows(), *RouteRows(namesrv).rows(), *unsupported_rows()])


__all__ = ["BrokerRows", "NameServerApi", "Registered", "RouteRows", "namesrv_table"]
