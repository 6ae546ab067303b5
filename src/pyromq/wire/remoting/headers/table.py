"""Which header belongs to which request code. A code that is not listed has no header fields."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from pyromq.codes import RequestCode
from pyromq.wire.remoting.headers import (
    admin,
    clients,
    groups,
    namesrv,
    offsets,
    pull,
    query,
    send,
    topics,
)

REQUEST_HEADERS: Final[dict[int, type[Struct]]] = {
    RequestCode.SEND_MESSAGE: send.SendHeader,
    RequestCode.SEND_MESSAGE_V2: send.SendHeaderV2,
    RequestCode.SEND_BATCH_MESSAGE: send.SendHeaderV2,
    RequestCode.PULL_MESSAGE: pull.PullHeader,
    RequestCode.LITE_PULL_MESSAGE: pull.PullHeader,
    RequestCode.VIEW_MESSAGE_BY_ID: pull.ViewMessageHeader,
    RequestCode.QUERY_MESSAGE: query.QueryMessageHeader,
    RequestCode.QUERY_CONSUMER_OFFSET: offsets.QueryConsumerOffsetHeader,
    RequestCode.UPDATE_CONSUMER_OFFSET: offsets.UpdateConsumerOffsetHeader,
    RequestCode.SEARCH_OFFSET_BY_TIMESTAMP: offsets.SearchOffsetHeader,
    RequestCode.GET_MAX_OFFSET: offsets.MaxOffsetHeader,
    RequestCode.GET_MIN_OFFSET: offsets.MinOffsetHeader,
    RequestCode.GET_EARLIEST_MSG_STORETIME: offsets.EarliestStoreTimeHeader,
    RequestCode.HEART_BEAT: clients.HeartbeatHeader,
    RequestCode.UNREGISTER_CLIENT: clients.UnregisterClientHeader,
    RequestCode.GET_CONSUMER_LIST_BY_GROUP: clients.ConsumerListHeader,
    RequestCode.NOTIFY_CONSUMER_IDS_CHANGED: clients.ConsumerIdsChangedHeader,
    RequestCode.GET_CONSUMER_CONNECTION_LIST: clients.ConsumerConnectionHeader,
    RequestCode.GET_PRODUCER_CONNECTION_LIST: clients.ProducerConnectionHeader,
    RequestCode.UPDATE_AND_CREATE_TOPIC: topics.CreateTopicHeader,
    RequestCode.GET_ALL_TOPIC_CONFIG: topics.AllTopicConfigHeader,
    RequestCode.GET_TOPIC_STATS_INFO: topics.TopicStatsHeader,
    RequestCode.DELETE_TOPIC_IN_BROKER: topics.DeleteTopicHeader,
    RequestCode.QUERY_TOPIC_CONSUME_BY_WHO: topics.TopicConsumersHeader,
    RequestCode.GET_TOPIC_CONFIG: topics.TopicConfigHeader,
    RequestCode.GET_ALL_SUBSCRIPTIONGROUP_CONFIG: groups.AllGroupConfigHeader,
    RequestCode.GET_CONSUME_STATS: groups.ConsumeStatsHeader,
    RequestCode.DELETE_SUBSCRIPTIONGROUP: groups.DeleteGroupHeader,
    RequestCode.GET_SUBSCRIPTIONGROUP_CONFIG: groups.GroupConfigHeader,
    RequestCode.PUT_KV_CONFIG: namesrv.PutKvConfigHeader,
    RequestCode.GET_KV_CONFIG: namesrv.GetKvConfigHeader,
    RequestCode.DELETE_KV_CONFIG: namesrv.DeleteKvConfigHeader,
    RequestCode.GET_KVLIST_BY_NAMESPACE: namesrv.KvListHeader,
    RequestCode.REGISTER_BROKER: namesrv.RegisterBrokerHeader,
    RequestCode.UNREGISTER_BROKER: namesrv.UnregisterBrokerHeader,
    RequestCode.GET_ROUTEINFO_BY_TOPIC: namesrv.RouteInfoHeader,
    RequestCode.QUERY_DATA_VERSION: namesrv.QueryDataVersionHeader,
    RequestCode.WIPE_WRITE_PERM_OF_BROKER: namesrv.WipeWritePermHeader,
    RequestCode.ADD_WRITE_PERM_OF_BROKER: namesrv.AddWritePermHeader,
    RequestCode.DELETE_TOPIC_IN_NAMESRV: namesrv.DeleteTopicFromNamesrvHeader,
    RequestCode.REGISTER_TOPIC_IN_NAMESRV: namesrv.RegisterTopicHeader,
    RequestCode.GET_TOPICS_BY_CLUSTER: namesrv.TopicsByClusterHeader,
    RequestCode.GET_BROKER_MEMBER_GROUP: namesrv.BrokerMemberGroupHeader,
    RequestCode.BROKER_HEARTBEAT: namesrv.BrokerHeartbeatHeader,
    RequestCode.NOTIFY_MIN_BROKER_ID_CHANGE: namesrv.MinBrokerIdChangedHeader,
}

RESPONSE_HEADERS: Final[dict[int, type[Struct]]] = {
    RequestCode.SEND_MESSAGE: send.SendResponse,
    RequestCode.SEND_MESSAGE_V2: send.SendResponse,
    RequestCode.SEND_BATCH_MESSAGE: send.SendResponse,
    RequestCode.PULL_MESSAGE: pull.PullResponse,
    RequestCode.LITE_PULL_MESSAGE: pull.PullResponse,
    RequestCode.QUERY_MESSAGE: query.QueryMessageResponse,
    RequestCode.QUERY_CONSUMER_OFFSET: offsets.OffsetResponse,
    RequestCode.SEARCH_OFFSET_BY_TIMESTAMP: offsets.OffsetResponse,
    RequestCode.GET_MAX_OFFSET: offsets.OffsetResponse,
    RequestCode.GET_MIN_OFFSET: offsets.OffsetResponse,
    RequestCode.GET_EARLIEST_MSG_STORETIME: offsets.EarliestStoreTimeResponse,
    RequestCode.HEART_BEAT: clients.HeartbeatResponse,
    RequestCode.GET_ALL_TOPIC_CONFIG: topics.AllTopicConfigResponse,
    RequestCode.GET_ALL_SUBSCRIPTIONGROUP_CONFIG: groups.AllGroupConfigResponse,
    RequestCode.GET_BROKER_CONFIG: admin.BrokerConfigResponse,
    RequestCode.GET_KV_CONFIG: namesrv.GetKvConfigResponse,
    RequestCode.REGISTER_BROKER: namesrv.RegisterBrokerResponse,
    RequestCode.QUERY_DATA_VERSION: namesrv.QueryDataVersionResponse,
    RequestCode.WIPE_WRITE_PERM_OF_BROKER: namesrv.WipeWritePermResponse,
    RequestCode.ADD_WRITE_PERM_OF_BROKER: namesrv.AddWritePermResponse,
}
"""Fields of a successful answer; an answer with another code need not have them."""

__all__ = ["REQUEST_HEADERS", "RESPONSE_HEADERS"]
