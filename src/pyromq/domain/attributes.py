"""Attributes of topics and groups, and the text that changes them: `+key=value,-key`.

On creation every attribute must be added with `+`; later `+` adds or changes and `-` removes, and
only what is changeable. Sources: attribute.AttributeParser, attribute.AttributeUtil,
TopicAttributes and SubscriptionGroupAttributes of org.apache.rocketmq.common 5.5.0.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from pyromq.errors import RequestFailed

LONG_MAX: Final = 2**63 - 1
ATTRIBUTE_TEXT_LENGTH_MAX: Final = 4 * 1024
"""Characters of one change: far beyond all attributes there are."""

QUEUE_TYPE: Final = "queue.type"
CLEANUP_POLICY: Final = "cleanup.policy"
MESSAGE_TYPE: Final = "message.type"
RESERVE_TIME: Final = "reserve.time"


class Attribute(msgspec.Struct, frozen=True):
    """What values an attribute takes and whether it may change later."""

    is_changeable: bool
    choices: frozenset[str] | None = None
    low: int | None = None
    high: int | None = None

    def check(self, value: str) -> None:
        """Raises RequestFailed, with Apache's text, unless the value can be taken."""
        if self.choices is not None and value not in self.choices:
            raise RequestFailed(f"value is not in set: [{', '.join(sorted(self.choices))}]")
        if self.low is not None and self.high is not None:
            try:
                number = int(value)
            except ValueError as error:
                raise RequestFailed(f'For input string: "{value}"') from error
            if not self.low <= number <= self.high:
                raise RequestFailed(f"value is not in range({self.low}, {self.high})")


TOPIC_ATTRIBUTES: Final[Mapping[str, Attribute]] = {
    QUEUE_TYPE: Attribute(False, choices=frozenset({"BatchCQ", "SimpleCQ"})),
    CLEANUP_POLICY: Attribute(False, choices=frozenset({"DELETE", "COMPACTION"})),
    MESSAGE_TYPE: Attribute(
        True,
        choices=frozenset(
            {
                "UNSPECIFIED",
                "NORMAL",
                "FIFO",
                "DELAY",
                "TRANSACTION",
                "PRIORITY",
                "LITE",
                "MIXED",
            }
        ),
    ),
    RESERVE_TIME: Attribute(True, low=-1, high=LONG_MAX),
    "lite.topic.expiration": Attribute(True, low=-1, high=30 * 24 * 60),
}

GROUP_ATTRIBUTES: Final[Mapping[str, Attribute]] = {
    "priority.factor": Attribute(True, low=0, high=100),
    "lite.bind.topic": Attribute(True),
    "lite.sub.model": Attribute(True, choices=frozenset({"Shared", "Exclusive"})),
    "lite.sub.reset.offset.exclusive": Attribute(True, choices=frozenset({"true", "false"})),
    "lite.sub.reset.offset.unsubscribe": Attribute(True, choices=frozenset({"true", "false"})),
    "lite.sub.client.quota": Attribute(True, low=-1, high=LONG_MAX),
    "lite.sub.client.max.event.cnt": Attribute(True, low=10, high=LONG_MAX),
    "lite.sub.wildcard": Attribute(True),
}


def parse_attribute_changes(text: str | None) -> dict[str, str]:
    """`+key=value,-key` as a mapping whose keys keep their sign; RequestFailed if malformed."""
    changes: dict[str, str] = {}
    if not text:
        return changes
    if len(text) > ATTRIBUTE_TEXT_LENGTH_MAX:
        raise RequestFailed(
            f"the attributes have {len(text)} characters, "
            f"at most {ATTRIBUTE_TEXT_LENGTH_MAX} are taken"
        )
    for item in text.rstrip(",").split(","):
        key, equals, rest = item.partition("=")
        value = rest.partition("=")[0]
        if equals and "+" not in key:
            raise RequestFailed(f"add/alter attribute format is wrong: {key}")
        if not equals and "-" not in key:
            raise RequestFailed(f"delete attribute format is wrong: {key}")
        if key in changes:
            raise RequestFailed(f"key duplication: {key}")
        changes[key] = value
    return changes


def altered_attributes(
    current: Mapping[str, str] | None,
    changes: Mapping[str, str],
    known: Mapping[str, Attribute],
) -> dict[str, str]:
    """The attributes after the changes; `current` is None for what is being created.

    Raises RequestFailed, with Apache's texts, for a change that may not be made.
    """
    result = dict(current or {})
    seen: set[str] = set()
    for key, value in changes.items():
        sign, name = key[:1], key[1:]
        if not name or "+" in name or "-" in name:
            raise RequestFailed("kv string format wrong.")
        if name in seen:
            raise RequestFailed(f"alter duplication key. key: {name}")
        seen.add(name)
        if current is None and sign != "+":
            raise RequestFailed(
                f"only add attribute is supported while creating topic. key: {name}"
            )
        if sign not in ("+", "-"):
            raise RequestFailed(f"wrong format key: {name}")
        if sign == "-" and current is not None and name not in current:
            raise RequestFailed(f"attempt to delete a nonexistent key: {name}")
        attribute = known.get(name)
        if attribute is None:
            raise RequestFailed(f"unsupported key: {name}")
        if current is not None and not attribute.is_changeable:
            raise RequestFailed(f"attempt to update an unchangeable attribute. key: {name}")
        if sign == "-":
            del result[name]
        else:
            attribute.check(value)
            result[name] = value
    return result


__all__ = [
    "ATTRIBUTE_TEXT_LENGTH_MAX",
    "CLEANUP_POLICY",
    "GROUP_ATTRIBUTES",
    "MESSAGE_TYPE",
    "QUEUE_TYPE",
    "RESERVE_TIME",
    "TOPIC_ATTRIBUTES",
    "Attribute",
    "altered_attributes",
    "parse_attribute_changes",
]
