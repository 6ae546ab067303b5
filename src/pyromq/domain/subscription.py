"""What a consumer wants to see: filter text → tag hashes.

Only a tag's hash is compared here, as in a consume queue's entries; clients compare the tag itself.
Sources: filter.FilterAPI and filter.ExpressionType of org.apache.rocketmq 5.5.0.
"""

from __future__ import annotations

from typing import Final

from pyromq.domain.group import Subscription
from pyromq.errors import SubscriptionParseFailed

SUB_ALL: Final = "*"
TAG: Final = "TAG"
SQL92: Final = "SQL92"

EXPRESSION_LENGTH_MAX: Final = 32 * 1024
"""Characters of a filter text: thousands of tags, and nobody can make a pull costly with it."""

_SHOWN_LENGTH_MAX: Final = 200


def tag_hash(tag: str) -> int:
    """Java's String.hashCode: 31-polynomial over UTF-16 units, a signed 32-bit number."""
    value = 0
    if tag.isascii():
        for character in tag:
            value = (value * 31 + ord(character)) & 0xFFFFFFFF
    else:
        units = tag.encode("utf-16-be", "surrogatepass")
        for index in range(0, len(units), 2):
            value = (value * 31 + (units[index] << 8 | units[index + 1])) & 0xFFFFFFFF
    return value - (1 << 32) if value & 0x80000000 else value


def is_tag_type(expression_type: str | None) -> bool:
    return not expression_type or expression_type == TAG


def parse_subscription(
    topic: str, text: str | None, expression_type: str | None = TAG, version: int = 0
) -> Subscription:
    """The subscription of a filter text; raises SubscriptionParseFailed if it cannot be read.

    A text of another type than TAG is kept as it is: whoever evaluates it will check it.
    """
    if text is not None and len(text) > EXPRESSION_LENGTH_MAX:
        raise SubscriptionParseFailed(
            f"parse the consumer's subscription failed: the expression has {len(text)} characters, "
            f"at most {EXPRESSION_LENGTH_MAX} are taken"
        )
    if not is_tag_type(expression_type):
        if not text:
            raise SubscriptionParseFailed(
                f"parse the consumer's subscription failed: an empty {expression_type} expression"
            )
        assert expression_type is not None
        return Subscription(
            topic=topic, sub_string=text, sub_version=version, expression_type=expression_type
        )
    if not text or text == SUB_ALL:
        return Subscription(topic=topic, sub_string=SUB_ALL, sub_version=version)
    if not text.replace("||", ""):
        raise SubscriptionParseFailed(
            "parse the consumer's subscription failed: only separators in "
            f"`{text[:_SHOWN_LENGTH_MAX]}`"
        )
    tags = list(dict.fromkeys(tag for tag in map(_trim, text.split("||")) if tag))
    return Subscription(
        topic=topic,
        sub_string=text,
        tags_set=tags,
        code_set=[tag_hash(tag) for tag in tags],
        sub_version=version,
    )


def tag_hashes(subscription: Subscription) -> frozenset[int] | None:
    """What to filter a queue by; None if everything is wanted.

    A TAG subscription without any tag matches nothing, unless its text is `*`.
    """
    if (
        subscription.sub_string == SUB_ALL
        or subscription.class_filter_mode
        or not is_tag_type(subscription.expression_type)
    ):
        return None
    return frozenset(subscription.code_set)


def _trim(text: str) -> str:
    """Java's String.trim: everything up to U+0020 goes, from both ends."""
    return text.strip(_UP_TO_BLANK)


_UP_TO_BLANK: Final = "".join(map(chr, range(0x21)))

__all__ = [
    "EXPRESSION_LENGTH_MAX",
    "SQL92",
    "SUB_ALL",
    "TAG",
    "is_tag_type",
    "parse_subscription",
    "tag_hash",
    "tag_hashes",
]
