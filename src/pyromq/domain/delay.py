"""Delay levels: a message that shall be seen later waits in a system topic, one queue per level.

A message of level n waits in queue n − 1 of SCHEDULE_TOPIC_XXXX, with the place it wants to go to
in its properties. All messages of a queue wait equally long, so the first is always the next one.
Each waits the delay of its level from its store time; this is counted with the delays that are
configured now, also for a message that was stored when they were others: neither the record nor a
rebuilt queue knows them. A level that exists no more waits as long as the highest one.

Store times are wall clock, and they never decrease. After the clock was set back by more than the
delay they say nothing any more, neither of what was stored before that nor of what is stored since:
such a message waits its delay from when somebody saw it wait, so it is late by the delay at most.
Apache delivers it at once, but its store times follow the clock back, so there it is an old one.

Sources: schedule.ScheduleMessageService and util.HookUtils (transformDelayLevelMessage,
checkIfTimerMessage) of org.apache.rocketmq.broker 5.5.0.
"""

from __future__ import annotations

import re
from typing import Final

from pyromq.domain.properties import (
    DELAY,
    REAL_QID,
    REAL_TOPIC,
    TIMER_PROPERTIES,
    properties_text,
    property_value,
    without_properties,
)
from pyromq.domain.topic import SCHEDULE_TOPIC
from pyromq.errors import MessageIllegal

_INTEGER: Final = re.compile(r"[+-]?[0-9]{1,10}\Z")
_INTEGER_MAX: Final = (1 << 31) - 1
_QUEUE_ID_DIGITS_MAX: Final = 9
_SHOWN_MAX: Final = 64

_PLACE: Final = re.compile(rb"\x02REAL_TOPIC\x01([^\x02]+)\x02REAL_QID\x01([0-9]{1,9})\x02")
"""Both properties as whoever delays a message writes them: one behind the other, never first."""
_REAL_TOPIC: Final = f"{REAL_TOPIC}\x01".encode()
_REAL_QID: Final = f"{REAL_QID}\x01".encode()


def delay_level(properties: str) -> int:
    """The level a message asks for; 0 or less means none. Raises MessageIllegal."""
    text = property_value(properties, DELAY)
    if text is None:
        return 0
    level = int(text) if _INTEGER.match(text) else _INTEGER_MAX + 1
    if abs(level) > _INTEGER_MAX:
        raise MessageIllegal(f"the property {DELAY} is no number: {text[:_SHOWN_MAX]!r}")
    return level


def delayed_place(
    topic: str, queue_id: int, properties: str, level: int, level_count: int
) -> tuple[str, int, str]:
    """Where a message waits that is to reach `queue_id` of `topic` later, and its properties there.

    A level over the highest one means that; a delay level ends what a timer was asked for.
    """
    assert level > 0, "a message that waits has a level"
    level = min(level, level_count)
    kept = without_properties(properties, DELAY, REAL_TOPIC, REAL_QID, *TIMER_PROPERTIES)
    added = {DELAY: str(level), REAL_TOPIC: topic, REAL_QID: str(queue_id)}
    return SCHEDULE_TOPIC, schedule_queue(level), kept + properties_text(added)


def schedule_queue(level: int) -> int:
    """The queue in which messages of the level wait."""
    return level - 1


def level_of(schedule_queue_id: int) -> int:
    """The level whose messages wait in that queue."""
    return schedule_queue_id + 1


def delay_ms(level: int, levels_ms: tuple[int, ...]) -> int:
    """How long messages of the level wait."""
    return levels_ms[min(level, len(levels_ms)) - 1]


def is_undatable(store_timestamp_ms: int, delay_ms: int, now_ms: int) -> bool:
    """Whether the clock was set back so far that this store time tells nothing."""
    return store_timestamp_ms - now_ms > delay_ms


def real_place(properties: bytes) -> tuple[str, int]:
    """Topic and queue that a stored message waits for. Raises MessageIllegal if it names none.

    It runs once per delivered message, so it looks into the stored bytes.
    """
    found = _PLACE.search(properties)
    if found is not None:
        return str(found[1], "utf-8", "replace"), int(found[2])
    topic = _value(properties, _REAL_TOPIC)
    queue_id = _value(properties, _REAL_QID)
    if not topic or not queue_id.isdigit() or len(queue_id) > _QUEUE_ID_DIGITS_MAX:
        raise MessageIllegal(
            f"{REAL_TOPIC}[{topic[:_SHOWN_MAX]!r}] and {REAL_QID}[{queue_id[:_SHOWN_MAX]!r}] "
            "are no place for a message"
        )
    return topic.decode("utf-8", "replace"), int(queue_id)


def _value(properties: bytes, name: bytes) -> bytes:
    """Value of a property, empty if there is none."""
    start = properties.find(name)
    while start > 0 and properties[start - 1] != 2:
        start = properties.find(name, start + 1)
    if start < 0:
        return b""
    end = properties.find(b"\x02", start)
    return properties[start + len(name) : end if end >= 0 else len(properties)]


__all__ = [
    "delay_level",
    "delay_ms",
    "delayed_place",
    "is_undatable",
    "level_of",
    "real_place",
    "schedule_queue",
]
