"""The properties text of a message: `name \\x01 value \\x02 …`, searched without taking it apart.

A message has a handful of properties and the broker wants one or two of them, so the common path
looks for names in the text instead of building a dictionary. Source: MessageDecoder
(string2messageProperties), MessageConst and MessageUtils of org.apache.rocketmq.common 5.5.0.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

NAME_VALUE_SEPARATOR: Final = "\x01"
PROPERTY_SEPARATOR: Final = "\x02"

PROPERTIES_LENGTH_MAX: Final = 32_767
"""Bytes of a stored properties text: its length field is a signed short."""

CLUSTER: Final = "CLUSTER"
DELAY: Final = "DELAY"
INNER_NUM: Final = "INNER_NUM"
KEYS: Final = "KEYS"
LITE_TOPIC: Final = "__LITE_TOPIC"
MSG_REGION: Final = "MSG_REGION"
ORIGIN_MESSAGE_ID: Final = "ORIGIN_MESSAGE_ID"
POP_CK: Final = "POP_CK"
PRIORITY: Final = "_SYS_MSG_PRIORITY_"
PUSH_REPLY_TIME: Final = "PUSH_REPLY_TIME"
REAL_QID: Final = "REAL_QID"
REAL_TOPIC: Final = "REAL_TOPIC"
REPLY_TO_CLIENT: Final = "REPLY_TO_CLIENT"
RETRY_TOPIC: Final = "RETRY_TOPIC"
SHARDING_KEY: Final = "__SHARDINGKEY"
TIMER_PROPERTIES: Final = ("TIMER_DELAY_SEC", "TIMER_DELAY_MS", "TIMER_DELIVER_MS")
TRACE_ON: Final = "TRACE_ON"
TRAN_MSG: Final = "TRAN_MSG"
UNIQ_KEY: Final = "UNIQ_KEY"
WAIT: Final = "WAIT"


def property_value(text: str, name: str) -> str | None:
    """Value of the first property of that name, None if there is none or it is empty."""
    needle = name + NAME_VALUE_SEPARATOR
    start = text.find(needle)
    while start >= 0:
        if start == 0 or text[start - 1] == PROPERTY_SEPARATOR:
            end = text.find(PROPERTY_SEPARATOR, start)
            value = text[start + len(needle) : end if end >= 0 else len(text)]
            if value:
                return value
        start = text.find(needle, start + 1)
    return None


def unique_key_of(text: str) -> str | None:
    """UNIQ_KEY's value. The same as `property_value`, but for every message, so with less work."""
    start = text.find("UNIQ_KEY\x01")
    if start == 0 or (start > 0 and text[start - 1] == "\x02"):
        end = text.find("\x02", start)
        if end > start + 9:
            return text[start + 9 : end]
    return None if start < 0 else property_value(text, UNIQ_KEY)


def without_properties(text: str, *names: str) -> str:
    """The text without the properties of those names; the others keep their order."""
    gone = tuple(name + NAME_VALUE_SEPARATOR for name in names)
    return "".join(
        item + PROPERTY_SEPARATOR
        for item in text.split(PROPERTY_SEPARATOR)
        if item and not item.startswith(gone)
    )


def properties_text(properties: Mapping[str, str]) -> str:
    """The text of a mapping; empty values are left out, as nobody could read them back."""
    return "".join(
        f"{name}{NAME_VALUE_SEPARATOR}{value}{PROPERTY_SEPARATOR}"
        for name, value in properties.items()
        if value
    )


def may_be_special(text: str) -> bool:
    """Whether the text may hold a property that a send must look at more closely.

    One pass of substring searches, without false negatives: false means an ordinary message.
    `TIMER_DEL` stands for all three timer properties.
    """
    return (
        "DELAY\x01" in text
        or "TIMER_DEL" in text
        or "TRAN_MSG\x01" in text
        or "POP_CK\x01" in text
        or "MSG_REGION\x01" in text
        or "TRACE_ON\x01" in text
        or "CLUSTER\x01" in text
        or "__LITE_TOPIC\x01" in text
        or "_SYS_MSG_PRIORITY_\x01" in text
        or "INNER_NUM\x01" in text
    )


def is_wait_waived(text: str) -> bool:
    """Whether the sender does not want to wait for the sync; any WAIT but `true` says so."""
    if "WAIT\x01true\x02" in text:
        return False
    value = property_value(text, WAIT)
    return value is not None and value.lower() != "true"


__all__ = [
    "CLUSTER",
    "DELAY",
    "INNER_NUM",
    "KEYS",
    "LITE_TOPIC",
    "MSG_REGION",
    "NAME_VALUE_SEPARATOR",
    "ORIGIN_MESSAGE_ID",
    "POP_CK",
    "PRIORITY",
    "PROPERTIES_LENGTH_MAX",
    "PROPERTY_SEPARATOR",
    "PUSH_REPLY_TIME",
    "REAL_QID",
    "REAL_TOPIC",
    "REPLY_TO_CLIENT",
    "RETRY_TOPIC",
    "SHARDING_KEY",
    "TIMER_PROPERTIES",
    "TRACE_ON",
    "TRAN_MSG",
    "UNIQ_KEY",
    "WAIT",
    "is_wait_waived",
    "may_be_special",
    "properties_text",
    "property_value",
    "unique_key_of",
    "without_properties",
]
