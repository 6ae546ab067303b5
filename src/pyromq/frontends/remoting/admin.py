"""Rows that administer a broker: codes 17, 18, 21, 28, 200, 201, 207, 215, 225, 300, 305, 306, 329,
351, 352.

Source: AdminBrokerProcessor of org.apache.rocketmq.broker 5.5.0.
"""

from __future__ import annotations

from typing import Final, Protocol

from pyromq.api import AdminApi, Caller
from pyromq.codes import RequestCode
from pyromq.domain.attributes import parse_attribute_changes
from pyromq.domain.topic import TopicConfig
from pyromq.frontends.remoting.lists import listed, part
from pyromq.frontends.remoting.table import DONE, Answer, PlainVerb, WaitingVerb
from pyromq.wire.remoting.bodies.groups import (
    GroupTable,
    decode_group_config,
    decode_group_config_list,
    encode_group_config,
    encode_group_names,
    encode_group_table,
)
from pyromq.wire.remoting.bodies.routes import TopicList, encode_kv_table, encode_topic_list
from pyromq.wire.remoting.bodies.topics import (
    TopicTable,
    decode_topic_config_list,
    encode_topic_config,
    encode_topic_table,
)
from pyromq.wire.remoting.frame import Command
from pyromq.wire.remoting.headers import decode_header
from pyromq.wire.remoting.headers.groups import (
    AllGroupConfigHeader,
    DeleteGroupHeader,
    GroupConfigHeader,
)
from pyromq.wire.remoting.headers.topics import (
    AllTopicConfigHeader,
    CreateTopicHeader,
    DeleteTopicHeader,
    TopicConfigHeader,
    TopicStatsHeader,
)

_TOPIC_DONE: Final = Answer(remark="not set any response code")
"""Apache's code 17 succeeds with the remark its answers are born with."""


class BrokerAdmin(AdminApi, Protocol):
    """The administration of a broker, and its name."""

    @property
    def broker_name(self) -> str: ...


class AdminRows:
    """The rows, bound to one broker."""

    def __init__(self, broker: BrokerAdmin) -> None:
        self._broker = broker

    def rows(self) -> list[tuple[RequestCode, PlainVerb | WaitingVerb]]:
        return [
            (RequestCode.UPDATE_AND_CREATE_TOPIC, self.put_topic),
            (RequestCode.UPDATE_AND_CREATE_TOPIC_LIST, self.put_topics),
            (RequestCode.GET_ALL_TOPIC_CONFIG, self.topics),
            (RequestCode.GET_TOPIC_CONFIG, self.topic),
            (RequestCode.DELETE_TOPIC_IN_BROKER, self.delete_topic),
            (RequestCode.GET_SYSTEM_TOPIC_LIST_FROM_BROKER, self.system_topics),
            (RequestCode.UPDATE_AND_CREATE_SUBSCRIPTIONGROUP, self.put_group),
            (RequestCode.UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST, self.put_groups),
            (RequestCode.GET_ALL_SUBSCRIPTIONGROUP_CONFIG, self.groups),
            (RequestCode.GET_SUBSCRIPTIONGROUP_CONFIG, self.group),
            (RequestCode.DELETE_SUBSCRIPTIONGROUP, self.delete_group),
            (RequestCode.QUERY_TOPIC_CONSUME_BY_WHO, self.groups_of_topic),
            (RequestCode.GET_BROKER_RUNTIME_INFO, self.runtime_info),
            (RequestCode.DELETE_EXPIRED_COMMITLOG, self.remove_expired_files),
            (RequestCode.CLEAN_EXPIRED_CONSUMEQUEUE, self.clean_queue_files),
        ]

    # ── topics ──────────────────────────────────────────────────────────────────────────────────

    async def put_topic(
        self, caller: Caller, header: CreateTopicHeader, command: Command
    ) -> Answer:
        del caller, command
        await self._broker.put_topic(
            TopicConfig(
                topic_name=header.topic,
                read_queue_nums=header.read_queue_nums,
                write_queue_nums=header.write_queue_nums,
                perm=header.perm,
                topic_filter_type=header.topic_filter_type,
                topic_sys_flag=header.topic_sys_flag or 0,
                order=header.order,
                attributes=parse_attribute_changes(header.attributes),
            )
        )
        return _TOPIC_DONE

    async def put_topics(self, caller: Caller, header: None, command: Command) -> Answer:
        del caller, header
        await self._broker.put_topics(decode_topic_config_list(command.body))
        return _TOPIC_DONE

    def topics(self, caller: Caller, header: AllTopicConfigHeader, command: Command) -> Answer:
        """All of them, or the part that is asked for."""
        del caller, command
        version, table = self._broker.topics()
        wanted = part(
            table,
            version,
            begin=header.topic_seq,
            count_max=header.max_topic_num,
            version_text=header.data_version,
        )
        body = encode_topic_table(TopicTable(topic_config_table=wanted, data_version=version))
        return listed(body, {"totalTopicNum": str(len(table))})

    def topic(self, caller: Caller, header: TopicConfigHeader, command: Command) -> Answer:
        del caller, command
        return Answer(body=encode_topic_config(self._broker.topic(header.topic)))

    async def delete_topic(
        self, caller: Caller, header: DeleteTopicHeader, command: Command
    ) -> Answer:
        del caller, command
        await self._broker.delete_topic(header.topic)
        return DONE

    def system_topics(self, caller: Caller, header: None, command: Command) -> Answer:
        del caller, header, command
        topics = TopicList(topic_list=list(self._broker.system_topics()))
        return Answer(body=encode_topic_list(topics))

    # ── groups ──────────────────────────────────────────────────────────────────────────────────

    async def put_group(self, caller: Caller, header: None, command: Command) -> Answer:
        del caller, header
        await self._broker.put_group(decode_group_config(command.body))
        return DONE

    async def put_groups(self, caller: Caller, header: None, command: Command) -> Answer:
        del caller, header
        await self._broker.put_groups(decode_group_config_list(command.body))
        return DONE

    def groups(self, caller: Caller, header: AllGroupConfigHeader, command: Command) -> Answer:
        """All of them, or the part that is asked for."""
        del caller, command
        version, table = self._broker.groups()
        wanted = part(
            table,
            version,
            begin=header.group_seq,
            count_max=header.max_group_num,
            version_text=header.data_version,
        )
        body = encode_group_table(GroupTable(subscription_group_table=wanted, data_version=version))
        return listed(body, {"totalGroupNum": str(len(table))})

    def group(self, caller: Caller, header: GroupConfigHeader, command: Command) -> Answer:
        del caller, command
        return Answer(body=encode_group_config(self._broker.group(header.group)))

    async def delete_group(
        self, caller: Caller, header: DeleteGroupHeader, command: Command
    ) -> Answer:
        del caller, command
        await self._broker.delete_group(header.group_name, is_offset_cleaned=header.clean_offset)
        return DONE

    def groups_of_topic(self, caller: Caller, header: object, command: Command) -> Answer:
        del caller, header
        topic = decode_header(TopicStatsHeader, command.ext).topic
        groups = list(self._broker.groups_of_topic(topic))
        return Answer(body=encode_group_names(groups))

    # ── the broker ──────────────────────────────────────────────────────────────────────────────

    def runtime_info(self, caller: Caller, header: None, command: Command) -> Answer:
        del caller, header, command
        return Answer(body=encode_kv_table(dict(self._broker.runtime_info())))

    def remove_expired_files(self, caller: Caller, header: None, command: Command) -> Answer:
        del caller, header, command
        self._broker.remove_expired_files()
        return DONE

    def clean_queue_files(self, caller: Caller, header: None, command: Command) -> Answer:
        del caller, header, command
        self._broker.clean_queue_files()
        return DONE


__all__ = ["AdminRows", "BrokerAdmin"]
