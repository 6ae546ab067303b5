"""Routes: which brokers exist, where they listen, and which queues of a topic they hold.

Sources: org.apache.rocketmq.remoting.protocol.route.{TopicRouteData,QueueData,BrokerData},
…protocol.body.{ClusterInfo,BrokerMemberGroup}, …protocol.statictopic.{TopicQueueMappingInfo,
TopicQueueMappingDetail,LogicQueueMappingItem}, common.message.MessageQueue 5.5.0. Field names by
rule are the wire's.
"""

from __future__ import annotations

from typing import Final

import msgspec

MASTER_ID: Final = 0
"""Broker id of the master in its group; slaves have others."""


class MessageQueue(msgspec.Struct, frozen=True, rename="camel", order=True, gc=False):
    """One queue of a topic on one broker group."""

    broker_name: str
    queue_id: int
    topic: str


class QueueData(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """How many queues of a topic one broker group holds."""

    broker_name: str
    read_queue_nums: int
    write_queue_nums: int
    perm: int
    topic_sys_flag: int = 0


class BrokerData(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """One broker group: a name and the addresses of its members by broker id."""

    cluster: str
    broker_name: str
    broker_addrs: dict[int, str] = msgspec.field(default_factory=dict)
    zone_name: str | None = None
    enable_acting_master: bool = False

    @property
    def master_addr(self) -> str | None:
        return self.broker_addrs.get(MASTER_ID)


class TopicQueueMapping(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """A static topic's share on one broker (TopicQueueMappingInfo)."""

    topic: str | None = None
    scope: str = "__global__"
    total_queues: int = 0
    bname: str | None = None
    epoch: int = 0
    dirty: bool = False
    curr_id_map: dict[int, int] = msgspec.field(default_factory=dict)
    """Logical queue id → physical queue id."""


class LogicQueueItem(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """A stretch of a logical queue that lies in one physical queue (LogicQueueMappingItem)."""

    gen: int = 0
    queue_id: int = 0
    bname: str | None = None
    logic_offset: int = 0
    start_offset: int = 0
    end_offset: int = -1
    time_of_start: int = -1
    time_of_end: int = -1


class TopicQueueMappingDetail(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """The same with the history of each logical queue."""

    topic: str | None = None
    scope: str = "__global__"
    total_queues: int = 0
    bname: str | None = None
    epoch: int = 0
    dirty: bool = False
    curr_id_map: dict[int, int] = msgspec.field(default_factory=dict)
    hosted_queues: dict[int, list[LogicQueueItem]] = msgspec.field(default_factory=dict)


class TopicRoute(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """All a client must know to send to and pull from a topic (TopicRouteData)."""

    queue_datas: list[QueueData] = msgspec.field(default_factory=list)
    broker_datas: list[BrokerData] = msgspec.field(default_factory=list)
    filter_server_table: dict[str, list[str]] = msgspec.field(default_factory=dict)
    order_topic_conf: str | None = None
    """`broker-a:4;broker-b:4` for globally ordered topics."""
    topic_queue_mapping_by_broker: dict[str, TopicQueueMapping] | None = None


class ClusterInfo(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """All broker groups, by name and by cluster."""

    broker_addr_table: dict[str, BrokerData] = msgspec.field(default_factory=dict)
    cluster_addr_table: dict[str, list[str]] = msgspec.field(default_factory=dict)


class BrokerMemberGroup(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """The living members of one broker group."""

    cluster: str | None = None
    broker_name: str | None = None
    broker_addrs: dict[int, str] = msgspec.field(default_factory=dict)


__all__ = [
    "MASTER_ID",
    "BrokerData",
    "BrokerMemberGroup",
    "ClusterInfo",
    "LogicQueueItem",
    "MessageQueue",
    "QueueData",
    "TopicQueueMapping",
    "TopicQueueMappingDetail",
    "TopicRoute",
]
