"""Consumer groups and the clients in them, as values.

Sources: subscription.SubscriptionGroupConfig, heartbeat.ConsumerData and heartbeat.SubscriptionData
of org.apache.rocketmq.remoting.protocol, common.topic.TopicValidator 5.5.0.
"""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

from pyromq.errors import InvalidParameter

GROUP_LENGTH_MAX: Final = 120
GROUP_COUNT_MAX: Final = 100_000
"""Consumer groups of one broker, those that come by being used included."""
SYSTEM_GROUP_PREFIX: Final = "CID_RMQ_SYS_"
SYSTEM_GROUPS: Final = (
    "TOOLS_CONSUMER",
    "FILTERSRV_CONSUMER",
    "SELF_TEST_C_GROUP",
    "CID_ONS-HTTP-PROXY",
    "CID_ONSAPI_PULL",
    "CID_ONSAPI_PERMISSION",
    "CID_ONSAPI_OWNER",
    "CID_RMQ_SYS_TRANS",
)

_LEGAL_NAME: Final = re.compile(r"[%|a-zA-Z0-9_-]+\Z")


class GroupConfig(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """Settings of one consumer group, under the names subscriptionGroup.json and the wire use."""

    group_name: str
    consume_enable: bool = True
    consume_from_min_enable: bool = True
    consume_broadcast_enable: bool = True
    consume_message_orderly: bool = False
    retry_queue_nums: int = 1
    retry_max_times: int = 16
    group_retry_policy: dict[str, Any] = msgspec.field(
        default_factory=lambda: {"type": "CUSTOMIZED"}
    )
    """Kept as the client sent it; the retry rules read it."""
    broker_id: int = 0
    which_broker_when_consume_slowly: int = 1
    notify_consumer_ids_changed_enable: bool = True
    group_sys_flag: int = 0
    consume_timeout_minute: int = 15
    subscription_data_set: list[dict[str, Any]] | None = None
    attributes: dict[str, str] = msgspec.field(default_factory=dict)


class Subscription(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """What one group wants of one topic (SubscriptionData on the wire)."""

    topic: str
    sub_string: str = "*"
    tags_set: list[str] = msgspec.field(default_factory=list)
    code_set: list[int] = msgspec.field(default_factory=list)
    """Tag hashes (message.md §6): what the broker filters by."""
    sub_version: int = 0
    expression_type: str = "TAG"
    class_filter_mode: bool = False
    filter_class_source: str | None = None


class ConsumerData(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """One consumer group of a client, as its heartbeat tells it."""

    group_name: str
    consume_type: str = "CONSUME_PASSIVELY"
    message_model: str = "CLUSTERING"
    consume_from_where: str = "CONSUME_FROM_LAST_OFFSET"
    subscription_data_set: list[Subscription] = msgspec.field(default_factory=list)
    unit_mode: bool = False


def is_legal_group_name(group: str) -> bool:
    return len(group) <= GROUP_LENGTH_MAX and _LEGAL_NAME.match(group) is not None


def check_group_name(group: str) -> None:
    """Raises InvalidParameter, with Apache's text, unless the name may be a group's."""
    if not group or group.isspace():
        raise InvalidParameter("The specified group is blank.")
    if len(group) > GROUP_LENGTH_MAX:
        raise InvalidParameter(
            f"The specified group: {group}, is longer than group max length: {GROUP_LENGTH_MAX}"
        )
    if not _LEGAL_NAME.match(group):
        raise InvalidParameter(
            f"The specified group: {group}, contains illegal characters, "
            "allowing only ^[%|a-zA-Z0-9_-]+$"
        )


__all__ = [
    "GROUP_COUNT_MAX",
    "GROUP_LENGTH_MAX",
    "SYSTEM_GROUPS",
    "SYSTEM_GROUP_PREFIX",
    "ConsumerData",
    "GroupConfig",
    "Subscription",
    "check_group_name",
    "is_legal_group_name",
]
