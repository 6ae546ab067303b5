"""Retries: what becomes of a message that a consumer could not consume.

It comes again to that group only, by the group's topic `%RETRY%group` and after a delay that grows
with every time; after as many times as the group allows it becomes a dead letter in `%DLQ%group`.
There are two ways back. A consumer names the message by its place in the log and the broker stores
it again; or, if that failed, and always for a message consumed in order, the consumer sends it
through its producer to the retry topic, with the count of times in the request.

The two ways count differently. Sent back by its place, a message has `reconsume_times` as stored,
so the first failure finds 0; sent again it comes with the times already raised.

Sources: processor.AbstractSendMessageProcessor (consumerSendMsgBack) and
processor.SendMessageProcessor (handleRetryAndDLQ) of org.apache.rocketmq.broker, KeyBuilder of
org.apache.rocketmq.common 5.5.0.
"""

from __future__ import annotations

from typing import Final

from pyromq.codes import VERSION_3_4_9
from pyromq.domain.group import GroupConfig
from pyromq.domain.message import INNER_BATCH_FLAGS, TRANSACTION_FLAGS
from pyromq.domain.properties import (
    DELAY,
    ORIGIN_MESSAGE_ID,
    RETRY_TOPIC,
    WAIT,
    properties_text,
    property_value,
    without_properties,
)
from pyromq.domain.topic import (
    RETRY_PREFIX,
    REVIVE_TOPIC_PREFIX,
    ROCKSDB_TRANS_HALF_TOPIC,
    ROCKSDB_TRANS_OP_HALF_TOPIC,
    SCHEDULE_TOPIC,
    TIMER_TOPIC,
    TRANS_HALF_TOPIC,
    TRANS_OP_HALF_TOPIC,
)

FIRST_DELAY_LEVEL: Final = 3
"""10 s with Apache's levels; each further time comes one level later."""
NO_DELAY: Final = 0

_POP_SEPARATOR: Final = "+"
_COMMITTED: Final = 0x8
"""Of TRANSACTION_FLAGS: a message that a transaction made visible."""
_HIDDEN_TOPICS: Final = frozenset(
    {
        SCHEDULE_TOPIC,
        TIMER_TOPIC,
        TRANS_HALF_TOPIC,
        TRANS_OP_HALF_TOPIC,
        ROCKSDB_TRANS_HALF_TOPIC,
        ROCKSDB_TRANS_OP_HALF_TOPIC,
    }
)
"""What lies there is not to be seen yet, or never."""


def group_of_retry_topic(topic: str) -> str:
    """The group of `%RETRY%group`, or of POP's `%RETRY%group+topic`.

    POP's older form `%RETRY%group_topic` cannot be told from a group of that name.
    """
    assert topic.startswith(RETRY_PREFIX)
    parts = topic[len(RETRY_PREFIX) :].split(_POP_SEPARATOR)
    return parts[0] if len(parts) == 2 else topic[len(RETRY_PREFIX) :]


def may_be_given_back(topic: str, sys_flag: int) -> bool:
    """Whether a consumer can have got such a record at all.

    Clients may name any place in the log; what waits there for its time or its transaction must not
    become visible by it, and a batch inside one record cannot be stored in a retry topic. Apache
    refuses only the latter.
    """
    is_hidden = topic in _HIDDEN_TOPICS or topic.startswith(REVIVE_TOPIC_PREFIX)
    is_open = sys_flag & TRANSACTION_FLAGS not in (0, _COMMITTED)
    return not (is_hidden or is_open or sys_flag & INNER_BATCH_FLAGS)


def reconsume_times_max(group: GroupConfig, client_version: int, asked: int | None) -> int:
    """How many times the group gets a message again; clients know better than the group does."""
    if asked is not None and client_version >= VERSION_3_4_9:
        return asked
    return group.retry_max_times


def is_dead_when_sent_back(reconsume_times: int, times_max: int, delay_level: int) -> bool:
    """Whether a message named by its place becomes a dead letter; clients may ask for it (−1)."""
    return reconsume_times >= times_max or delay_level < 0


def is_dead_when_sent_again(
    reconsume_times: int, times_max: int, *, is_consumed_in_order: bool
) -> bool:
    """Whether a message that a client sent to the retry topic becomes a dead letter.

    A group that consumes in order tries again in place, as long as it wants; what it sends is what
    it gave up. Later it would come out of order.
    """
    return is_consumed_in_order or reconsume_times > times_max


def delay_level_of_retry(reconsume_times: int, asked: int) -> int:
    """The delay level of the next time; `reconsume_times` as stored, 0 at the first failure."""
    return asked or FIRST_DELAY_LEVEL + reconsume_times


def sent_back_properties(properties: str, topic: str, message_id: str, delay_level: int) -> str:
    """The properties of a message that goes back from `topic`, where it has that offsetMsgId.

    Where it was first, and as what, stays known through all retries.
    """
    first_topic = property_value(properties, RETRY_TOPIC) or topic
    first_id = (property_value(properties, ORIGIN_MESSAGE_ID) or "").strip() or message_id
    kept = without_properties(properties, RETRY_TOPIC, ORIGIN_MESSAGE_ID, WAIT, DELAY)
    return kept + properties_text(
        {
            RETRY_TOPIC: first_topic,
            ORIGIN_MESSAGE_ID: first_id,
            WAIT: "false",
            DELAY: str(delay_level),
        }
    )


__all__ = [
    "FIRST_DELAY_LEVEL",
    "NO_DELAY",
    "delay_level_of_retry",
    "group_of_retry_topic",
    "is_dead_when_sent_again",
    "is_dead_when_sent_back",
    "may_be_given_back",
    "reconsume_times_max",
    "sent_back_properties",
]
