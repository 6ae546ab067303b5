"""Kinds of messages, told by their properties: what is stored, and where.

Only messages that may hold a property of special meaning come here. Kinds that are not built yet
(timers, transactions, lite topics, inner batches) are refused with code 13 and a remark that names
the property: stored as ordinary messages they would be seen too early.

Sources: processor.SendMessageProcessor and util.HookUtils of org.apache.rocketmq.broker,
attribute.TopicMessageType (parseFromMessageProperty) of org.apache.rocketmq.common 5.5.0.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from pyromq.api import SendRequest
from pyromq.domain.delay import delay_level, delayed_place
from pyromq.domain.message import TRANSACTION_FLAGS
from pyromq.domain.properties import (
    CLUSTER,
    DELAY,
    INNER_NUM,
    KEYS,
    LITE_TOPIC,
    MSG_REGION,
    POP_CK,
    PRIORITY,
    SHARDING_KEY,
    TIMER_PROPERTIES,
    TRACE_ON,
    TRAN_MSG,
    properties_text,
    property_value,
    without_properties,
)
from pyromq.domain.topic import TopicConfig
from pyromq.errors import MessageIllegal

_NOT_DELAYED: Final = "-1"
"""DELAY of a dead letter: it came with a delay that does not count any more."""


class Place(NamedTuple):
    """Where a message goes."""

    topic: str
    queue_id: int
    sequence: int
    """Journal sequence to wait for as well: the topic came into being with this message."""
    is_dead_letter: bool = False
    told_queue_id: int | None = None
    """The queue its sender is told of, if that is not the one it waits in."""


def resolve_special(
    request: SendRequest,
    config: TopicConfig,
    properties: str,
    place: Place,
    *,
    delay_level_count: int,
) -> tuple[str, Place]:
    """The properties to store and the place, for a message with properties of special meaning."""
    delay = delay_level(properties)
    # For clients before 4.6.1: a half message that a consumer sends back is no half message.
    is_half = (property_value(properties, TRAN_MSG) or "").lower() == "true" and not (
        request.reconsume_times > 0 and delay > 0
    )
    if place.is_dead_letter:
        delay = 0
        properties = without_properties(properties, DELAY) + properties_text({DELAY: _NOT_DELAYED})
    # The suffix brings them; a message that is sent again has them already.
    properties = without_properties(properties, POP_CK, MSG_REGION, TRACE_ON, CLUSTER)
    priority = property_value(properties, PRIORITY)
    if priority is not None:
        is_of_other_kind = (
            is_half
            or property_value(properties, DELAY) is not None
            or any(property_value(properties, name) is not None for name in TIMER_PROPERTIES)
            or property_value(properties, SHARDING_KEY) is not None
        )
        level = _priority(priority)
        if level >= 0 and is_of_other_kind:
            properties = without_properties(properties, PRIORITY)
        elif level >= 0:
            queue_id = min(level, config.write_queue_nums - 1)
            place = place._replace(queue_id=max(queue_id, 0))
    if is_half:
        raise _not_supported(TRAN_MSG, "half messages of transactions")
    if property_value(properties, INNER_NUM) is not None:
        raise _not_supported(INNER_NUM, "inner batches")
    if property_value(properties, LITE_TOPIC) is not None:
        raise _not_supported(LITE_TOPIC, "lite topics")
    if delay > 0:
        return _waiting(properties, place, delay, delay_level_count)
    for name in TIMER_PROPERTIES:
        if property_value(properties, name) is not None:
            raise _not_supported(name, "timer messages")
    return properties, place


def _waiting(properties: str, place: Place, level: int, level_count: int) -> tuple[str, Place]:
    """Into the queue of its delay level; its sender is told of the other, as in Apache."""
    topic, queue_id, properties = delayed_place(
        place.topic, place.queue_id, properties, level, level_count
    )
    return properties, place._replace(topic=topic, queue_id=queue_id, told_queue_id=place.queue_id)


def _priority(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        return -1  # as Apache: what is no number is no priority


def refuse_delayed_batch(properties: str) -> None:
    """The items of a batch have no place of their own to wait for. As Apache, with code 13."""
    if delay_level(properties) > 0:
        raise MessageIllegal(f"{DELAY}: a batch cannot be delayed; nothing was stored")


def refuse_flags(sys_flag: int) -> None:
    """For a sysFlag with bits of a transaction or an inner batch."""
    if sys_flag & TRANSACTION_FLAGS:
        raise _not_supported("sysFlag", f"the transaction type of sysFlag[{sys_flag}]")
    raise _not_supported("sysFlag", f"the inner batch of sysFlag[{sys_flag}]")


def _not_supported(name: str, what: str) -> MessageIllegal:
    return MessageIllegal(f"{name}: {what} are not supported yet; the message was not stored")


def check_keys(properties: str) -> None:
    """A message of a compaction topic is known by its key."""
    keys = property_value(properties, KEYS)
    if keys is None or keys.isspace():
        raise MessageIllegal("Required message key is missing")


__all__ = ["Place", "check_keys", "refuse_delayed_batch", "refuse_flags", "resolve_special"]
