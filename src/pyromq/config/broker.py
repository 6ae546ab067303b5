"""Properties of a broker: BrokerConfig and BrokerIdentity of org.apache.rocketmq.common 5.5.0."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from pyromq.config.addresses import addresses_of
from pyromq.config.prop import LONG_MAX, Origins, check_ranges, prop, require
from pyromq.units import HOUR_MS

BROKER_PORT: Final = 10911
NAME_LENGTH_MAX: Final = 127

_LEGAL_NAME: Final = re.compile(r"[%|a-zA-Z0-9_-]+\Z")


@dataclass(frozen=True, kw_only=True)
class BrokerConfig:
    """Who a broker is and what it allows."""

    broker_name: str = prop(
        "brokerName",
        "broker-a",
        boot_only=True,
        doc="Name of the broker's group; replicas share it. Apache's default is the host's name.",
    )
    broker_cluster_name: str = prop(
        "brokerClusterName", "DefaultCluster", boot_only=True, doc="Name of the cluster."
    )
    broker_id: int = prop(
        "brokerId",
        0,
        high=LONG_MAX,
        boot_only=True,
        doc="Number in the group, 0 for the master. A master is always 0, whatever is set.",
    )
    broker_ip1: str = prop(
        "brokerIP1",
        "",
        boot_only=True,
        doc="Address that clients are told; empty: the address the broker listens on, or the "
        "machine's own if it listens on all.",
    )
    broker_ip2: str = prop(
        "brokerIP2", "", boot_only=True, doc="Address that replicas are told; empty: brokerIP1."
    )
    listen_port: int = prop(
        "listenPort",
        BROKER_PORT,
        high=65_535,
        boot_only=True,
        doc="Port of the broker; 0 picks a free one. `--broker-port` sets it.",
    )
    namesrv_addr: str = prop(
        "namesrvAddr",
        "",
        boot_only=True,
        doc="Name servers: `host:port`, separated by `;`. The environment variable NAMESRV_ADDR "
        "sets it too.",
    )
    broker_permission: int = prop(
        "brokerPermission",
        6,
        high=7,
        doc="Sum of 4 (read) and 2 (write): what clients may do here, whatever a topic allows.",
    )
    default_topic_queue_nums: int = prop(
        "defaultTopicQueueNums",
        8,
        low=1,
        high=65_535,
        doc="Queues of TBW102, so the most queues of an automatically created topic.",
    )
    auto_create_topic_enable: bool = prop(
        "autoCreateTopicEnable",
        True,
        doc="Create a topic at its first message. Off by default if a public address is bound.",
    )
    auto_create_subscription_group: bool = prop(
        "autoCreateSubscriptionGroup",
        True,
        doc="Create a consumer group at its first request.",
    )
    cluster_topic_enable: bool = prop(
        "clusterTopicEnable",
        True,
        boot_only=True,
        doc="Let clients read and write the topic that has the cluster's name.",
    )
    broker_topic_enable: bool = prop(
        "brokerTopicEnable",
        True,
        boot_only=True,
        doc="Let clients read and write the topic that has the broker's name.",
    )
    trace_topic_enable: bool = prop(
        "traceTopicEnable", False, boot_only=True, doc="Create the trace topic at start."
    )
    msg_trace_topic_name: str = prop(
        "msgTraceTopicName",
        "RMQ_SYS_TRACE_TOPIC",
        boot_only=True,
        doc="Name of the trace topic.",
    )
    validate_system_topic_when_update_topic: bool = prop(
        "validateSystemTopicWhenUpdateTopic",
        True,
        doc="Refuse to create, change or delete topics that RocketMQ keeps for itself.",
    )
    enable_mixed_message_type: bool = prop(
        "enableMixedMessageType",
        False,
        doc="Allow topics of message type MIXED.",
    )
    clear_retry_topic_when_delete_topic: bool = prop(
        "clearRetryTopicWhenDeleteTopic",
        True,
        doc="Delete a topic's POP retry topics with it.",
    )
    region_id: str = prop(
        "regionId", "DefaultRegion", doc="Answered with each send; part of message traces."
    )
    trace_on: bool = prop("traceOn", True, doc="Answered with each send: clients may trace.")
    start_accept_send_request_timestamp_ms: int = prop(
        "startAcceptSendRequestTimeStamp",
        0,
        high=LONG_MAX,
        doc="Refuse sends before this time (ms since 1970).",
    )
    express_lane: bool = prop(
        "expressLane",
        True,
        boot_only=True,
        ours=True,
        doc="Store ordinary messages and answer pulls in native code, from frame to answer. Off: "
        "with the same results, several times slower.",
    )
    store_reply_message_enable: bool = prop(
        "storeReplyMessageEnable",
        True,
        doc="Store replies to requests too, in the topic that they were sent to.",
    )
    long_polling_enable: bool = prop(
        "longPollingEnable",
        True,
        doc="Hold a pull as long as its client allows; otherwise for `shortPollingTimeMills`.",
    )
    short_polling_time_ms: int = prop(
        "shortPollingTimeMills",
        1_000,
        low=1,
        high=HOUR_MS,
        doc="Hold time (ms) of a pull if long polling is off.",
    )
    lite_pull_message_enable: bool = prop(
        "litePullMessageEnable", True, doc="Answer lite pulls (code 361)."
    )
    use_server_side_reset_offset: bool = prop(
        "useServerSideResetOffset",
        True,
        doc="Reset offsets (code 222) here and at once, consumers online or not. Otherwise only "
        "with consumers online, which are told and pause for 10 s.",
    )
    notify_consumer_ids_changed_enable: bool = prop(
        "notifyConsumerIdsChangedEnable",
        True,
        doc="Tell a group's clients when one joins or leaves, so that they share queues anew.",
    )
    channel_expired_timeout_ms: int = prop(
        "channelExpiredTimeout",
        120_000,
        low=100,
        high=24 * HOUR_MS,
        doc="A client without heartbeat for so long (ms) has left its groups.",
    )
    order_lock_lease_ms: int = prop(
        "rocketmq.broker.rebalance.lockMaxLiveTime",
        60_000,
        low=100,
        high=HOUR_MS,
        doc="A queue is locked for its consumer for so long (ms) after it last asked for it. A "
        "client trusts a lock for 30,000 and asks every 20,000; below that order is not kept. "
        "In Apache a property of the JVM.",
    )
    register_name_server_period_ms: int = prop(
        "registerNameServerPeriod",
        30_000,
        high=LONG_MAX,
        doc="Time (ms) between registrations; below 10,000 and above 60,000 count as those.",
    )
    register_broker_timeout_ms: int = prop(
        "registerBrokerTimeoutMills",
        24_000,
        low=10,
        high=HOUR_MS,
        doc="Longest wait (ms) for one name server's answer to a registration.",
    )
    force_register: bool = prop(
        "forceRegister",
        True,
        doc="Send the whole topic table each time. Otherwise ask first whether the name server "
        "has another version of it.",
    )
    enable_single_topic_register: bool = prop(
        "enableSingleTopicRegister",
        False,
        doc="After a change of one topic send only that one.",
    )

    @property
    def namesrv_addresses(self) -> tuple[str, ...]:
        """`host:port` of each name server, without repetition."""
        addresses = addresses_of(self.namesrv_addr)
        assert addresses is not None, "checked by validate"
        return addresses

    @property
    def registration_period_ms(self) -> int:
        """Between registrations, within the bounds Apache keeps."""
        return min(max(self.register_name_server_period_ms, 10_000), 60_000)

    def validate(self, origins: Origins) -> None:
        check_ranges(self, origins)
        for name, value in (
            ("brokerName", self.broker_name),
            ("brokerClusterName", self.broker_cluster_name),
            ("msgTraceTopicName", self.msg_trace_topic_name),
        ):
            require(
                len(value) <= NAME_LENGTH_MAX and _LEGAL_NAME.match(value) is not None,
                name,
                value,
                origins,
                f"1 to {NAME_LENGTH_MAX} of the characters a-z A-Z 0-9 _ - % |",
            )
        for name, value in (("brokerIP1", self.broker_ip1), ("brokerIP2", self.broker_ip2)):
            require(
                not value or not re.search(r"[\s;/]", value),
                name,
                value,
                origins,
                "one address or host name",
            )
        require(
            addresses_of(self.namesrv_addr) is not None,
            "namesrvAddr",
            self.namesrv_addr,
            origins,
            "host:port, several separated by `;`, such as 127.0.0.1:9876;192.168.0.1:9876",
        )
        require(
            self.broker_permission & ~6 in (0, 1),
            "brokerPermission",
            self.broker_permission,
            origins,
            "the sum of 4 (read) and 2 (write)",
        )


__all__ = ["BROKER_PORT", "NAME_LENGTH_MAX", "BrokerConfig"]
