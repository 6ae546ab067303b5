"""Topics: their settings, permissions, names, and the names RocketMQ keeps for itself.

Sources: TopicConfig, constant.PermName, topic.TopicValidator and MixAll of
org.apache.rocketmq.common 5.5.0.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from pyromq.errors import InvalidParameter

PERM_PRIORITY: Final = 8
PERM_READ: Final = 4
PERM_WRITE: Final = 2
PERM_INHERIT: Final = 1

TOPIC_LENGTH_MAX: Final = 127
RETRY_OR_DLQ_TOPIC_LENGTH_MAX: Final = 255

TOPIC_COUNT_MAX: Final = 100_000
"""Topics of one broker: each costs memory here, in the name servers and in every client's route."""
QUEUE_COUNT_MAX: Final = 1_024
"""Queues of one topic (BenchmarkTest has as many): each is a folder and has its own consumer."""

AUTO_CREATE_TOPIC_KEY_TOPIC: Final = "TBW102"
"""The topic whose settings an automatically created topic inherits."""
RETRY_PREFIX: Final = "%RETRY%"
DLQ_PREFIX: Final = "%DLQ%"
DLQ_QUEUE_NUMS: Final = 1
REPLY_TOPIC_POSTFIX: Final = "_REPLY_TOPIC"
REVIVE_TOPIC_PREFIX: Final = "rmq_sys_REVIVE_LOG_"
SYNC_BROKER_MEMBER_PREFIX: Final = "rmq_sys_SYNC_BROKER_MEMBER_"
SYSTEM_TOPIC_PREFIX: Final = "rmq_sys_"

SCHEDULE_TOPIC: Final = "SCHEDULE_TOPIC_XXXX"
SELF_TEST_TOPIC: Final = "SELF_TEST_TOPIC"
BENCHMARK_TOPIC: Final = "BenchmarkTest"
OFFSET_MOVED_EVENT: Final = "OFFSET_MOVED_EVENT"
TRACE_TOPIC: Final = "RMQ_SYS_TRACE_TOPIC"
TRANS_HALF_TOPIC: Final = "RMQ_SYS_TRANS_HALF_TOPIC"
TRANS_OP_HALF_TOPIC: Final = "RMQ_SYS_TRANS_OP_HALF_TOPIC"
ROCKSDB_TRANS_HALF_TOPIC: Final = "RMQ_SYS_ROCKSDB_TRANS_HALF_TOPIC"
ROCKSDB_TRANS_OP_HALF_TOPIC: Final = "RMQ_SYS_ROCKSDB_TRANS_OP_HALF_TOPIC"
TRANS_CHECK_MAX_TIME_TOPIC: Final = "TRANS_CHECK_MAX_TIME_TOPIC"
CHECKPOINT_TOPIC: Final = "CHECKPOINT_TOPIC"
TIMER_TOPIC: Final = "rmq_sys_wheel_timer"

SYSTEM_TOPICS: Final = frozenset(
    {
        AUTO_CREATE_TOPIC_KEY_TOPIC,
        SCHEDULE_TOPIC,
        BENCHMARK_TOPIC,
        TRANS_HALF_TOPIC,
        TRACE_TOPIC,
        TRANS_OP_HALF_TOPIC,
        TRANS_CHECK_MAX_TIME_TOPIC,
        SELF_TEST_TOPIC,
        OFFSET_MOVED_EVENT,
        CHECKPOINT_TOPIC,
        ROCKSDB_TRANS_HALF_TOPIC,
        ROCKSDB_TRANS_OP_HALF_TOPIC,
    }
)
FORBIDDEN_TO_SEND: Final = frozenset(
    {
        SCHEDULE_TOPIC,
        TRANS_HALF_TOPIC,
        TRANS_OP_HALF_TOPIC,
        TRANS_CHECK_MAX_TIME_TOPIC,
        SELF_TEST_TOPIC,
        OFFSET_MOVED_EVENT,
        ROCKSDB_TRANS_HALF_TOPIC,
        ROCKSDB_TRANS_OP_HALF_TOPIC,
    }
)

_LEGAL_NAME: Final = re.compile(r"[%|a-zA-Z0-9_-]+\Z")


class TopicConfig(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """Settings of one topic on one broker, under the names topics.json and the wire use."""

    topic_name: str
    read_queue_nums: int = 16
    write_queue_nums: int = 16
    perm: int = PERM_READ | PERM_WRITE
    topic_filter_type: str = "SINGLE_TAG"
    topic_sys_flag: int = 0
    order: bool = False
    attributes: dict[str, str] = msgspec.field(default_factory=dict)

    @property
    def is_readable(self) -> bool:
        return self.perm & PERM_READ != 0

    @property
    def is_inherited(self) -> bool:
        """Whether topics may be created automatically from this one."""
        return self.perm & PERM_INHERIT != 0

    def __str__(self) -> str:
        attributes = ", ".join(f"{key}={value}" for key, value in self.attributes.items())
        return (
            f"TopicConfig [topicName={self.topic_name}, readQueueNums={self.read_queue_nums}, "
            f"writeQueueNums={self.write_queue_nums}, perm={perm_text(self.perm)}, "
            f"topicFilterType={self.topic_filter_type}, topicSysFlag={self.topic_sys_flag}, "
            f"order={'true' if self.order else 'false'}, attributes={{{attributes}}}]"
        )


def perm_text(perm: int) -> str:
    """`RW-`, `R--`, `RWX` …: the form admin tools print."""
    return (
        ("R" if perm & PERM_READ else "-")
        + ("W" if perm & PERM_WRITE else "-")
        + ("X" if perm & PERM_INHERIT else "-")
    )


def retry_topic(group: str) -> str:
    return RETRY_PREFIX + group


def dlq_topic(group: str) -> str:
    return DLQ_PREFIX + group


def is_retry_or_dlq(topic: str) -> bool:
    return topic.startswith((RETRY_PREFIX, DLQ_PREFIX))


def pop_retry_topics(topic: str, group: str) -> tuple[str, str]:
    """Where POP puts retries of that topic for that group: the present form and the older one."""
    return f"{RETRY_PREFIX}{group}+{topic}", f"{RETRY_PREFIX}{group}_{topic}"


def start_topics(
    *,
    cluster_name: str,
    broker_name: str,
    default_queue_nums: int,
    is_auto_create: bool,
    is_cluster_topic_open: bool,
    is_broker_topic_open: bool,
    trace_topic: str | None,
) -> list[TopicConfig]:
    """The topics a broker has from its first start on (TopicConfigManager.init)."""
    read_write = PERM_READ | PERM_WRITE

    def topic(name: str, queue_nums: int = 1, perm: int = read_write) -> TopicConfig:
        return TopicConfig(
            topic_name=name, read_queue_nums=queue_nums, write_queue_nums=queue_nums, perm=perm
        )

    topics = [topic(SELF_TEST_TOPIC)]
    if is_auto_create:
        topics.append(
            topic(AUTO_CREATE_TOPIC_KEY_TOPIC, default_queue_nums, read_write | PERM_INHERIT)
        )
    topics += [
        topic(BENCHMARK_TOPIC, 1024),
        topic(cluster_name, 16, PERM_INHERIT | (read_write if is_cluster_topic_open else 0)),
        topic(broker_name, 1, PERM_INHERIT | (read_write if is_broker_topic_open else 0)),
        topic(OFFSET_MOVED_EVENT),
        topic(SCHEDULE_TOPIC, 18),
    ]
    if trace_topic is not None:
        topics.append(topic(trace_topic))
    return [
        *topics,
        topic(cluster_name + REPLY_TOPIC_POSTFIX),
        topic(REVIVE_TOPIC_PREFIX + cluster_name, 8),
        topic(SYNC_BROKER_MEMBER_PREFIX + broker_name, 1, PERM_INHERIT),
        topic(TRANS_HALF_TOPIC),
        topic(TRANS_OP_HALF_TOPIC),
        topic(ROCKSDB_TRANS_HALF_TOPIC),
        topic(ROCKSDB_TRANS_OP_HALF_TOPIC),
        topic(TIMER_TOPIC),
    ]


def is_system_topic(topic: str) -> bool:
    """A name RocketMQ reserves; the cluster's and broker's own names only the broker knows."""
    return topic in SYSTEM_TOPICS or topic.startswith(SYSTEM_TOPIC_PREFIX)


def check_topic_name(topic: str) -> None:
    """Raises InvalidParameter, with Apache's text, unless the name may be a topic's.

    The legal alphabet has no `.`, `/` or `\\`, so a legal name is also a safe folder name.
    """
    if not topic or topic.isspace():
        raise InvalidParameter("The specified topic is blank.")
    if not _LEGAL_NAME.match(topic):
        raise InvalidParameter(
            f"The specified topic: {topic}, contains illegal characters, "
            "allowing only ^[%|a-zA-Z0-9_-]+$"
        )
    if is_retry_or_dlq(topic):
        if len(topic) > RETRY_OR_DLQ_TOPIC_LENGTH_MAX:
            raise InvalidParameter(
                f"The specified topic is DLQ or Retry topic: {topic}, and it's longer than "
                f"topic max length: {RETRY_OR_DLQ_TOPIC_LENGTH_MAX}"
            )
    elif len(topic) > TOPIC_LENGTH_MAX:
        raise InvalidParameter(
            f"The specified topic: {topic}, is longer than topic max length: {TOPIC_LENGTH_MAX}"
        )


__all__ = [
    "AUTO_CREATE_TOPIC_KEY_TOPIC",
    "BENCHMARK_TOPIC",
    "CHECKPOINT_TOPIC",
    "DLQ_PREFIX",
    "DLQ_QUEUE_NUMS",
    "FORBIDDEN_TO_SEND",
    "OFFSET_MOVED_EVENT",
    "PERM_INHERIT",
    "PERM_PRIORITY",
    "PERM_READ",
    "PERM_WRITE",
    "QUEUE_COUNT_MAX",
    "REPLY_TOPIC_POSTFIX",
    "RETRY_OR_DLQ_TOPIC_LENGTH_MAX",
    "RETRY_PREFIX",
    "REVIVE_TOPIC_PREFIX",
    "ROCKSDB_TRANS_HALF_TOPIC",
    "ROCKSDB_TRANS_OP_HALF_TOPIC",
    "SCHEDULE_TOPIC",
    "SELF_TEST_TOPIC",
    "SYNC_BROKER_MEMBER_PREFIX",
    "SYSTEM_TOPICS",
    "SYSTEM_TOPIC_PREFIX",
    "TIMER_TOPIC",
    "TOPIC_COUNT_MAX",
    "TOPIC_LENGTH_MAX",
    "TRACE_TOPIC",
    "TRANS_CHECK_MAX_TIME_TOPIC",
    "TRANS_HALF_TOPIC",
    "TRANS_OP_HALF_TOPIC",
    "TopicConfig",
    "check_topic_name",
    "dlq_topic",
    "is_retry_or_dlq",
    "is_system_topic",
    "perm_text",
    "pop_retry_topics",
    "retry_topic",
    "start_topics",
]
