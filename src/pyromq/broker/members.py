"""A group's clients and what they want: the values that `Clients` keeps.

Sources: client.ClientChannelInfo and client.ConsumerGroupInfo of org.apache.rocketmq.broker 5.5.0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from pyromq.api import Caller, ClientConnection
from pyromq.domain.group import Subscription
from pyromq.domain.subscription import tag_hashes

BROADCASTING: Final = "BROADCASTING"

_SUBSCRIPTION_SIZE: Final = 512
"""Bytes of a subscription without its texts, measured and rounded up."""
_TAG_SIZE: Final = 160
"""Bytes of a tag and its hash, as objects in a list and in a set, without the text."""


class Member:
    """One client in one group."""

    __slots__ = ("address", "client_id", "language", "seen_at_ms", "seen_monotonic_ms", "version")

    def __init__(self, caller: Caller, client_id: str, now_ms: int, monotonic_ms: int) -> None:
        self.client_id = client_id
        self.address = caller.address
        self.language = caller.language
        self.version = caller.version
        self.seen_at_ms = now_ms
        self.seen_monotonic_ms = monotonic_ms

    def described(self) -> ClientConnection:
        return ClientConnection(
            client_id=self.client_id,
            client_addr=self.address,
            language=self.language,
            version=self.version,
            last_update_timestamp_ms=self.seen_at_ms,
        )


class Subscribed:
    """A subscription and what it filters a queue by."""

    __slots__ = ("size", "subscription", "tag_hashes")

    def __init__(self, subscription: Subscription) -> None:
        self.subscription = subscription
        self.tag_hashes = tag_hashes(subscription)
        self.size = subscription_size(subscription)


class ConsumerGroup:
    """The consumers of one group that are connected now."""

    __slots__ = (
        "consume_from_where",
        "consume_type",
        "fingerprint",
        "members",
        "message_model",
        "name",
        "size",
        "subscriptions",
        "version",
    )

    def __init__(self, name: str) -> None:
        self.name = name
        self.consume_type = "CONSUME_PASSIVELY"
        self.message_model = "CLUSTERING"
        self.consume_from_where = "CONSUME_FROM_LAST_OFFSET"
        self.members: dict[int, Member] = {}
        """By connection."""
        self.subscriptions: dict[str, Subscribed] = {}
        """By topic."""
        self.fingerprint: int | None = None
        """Of the last heartbeat; None before the first."""
        self.size = 0
        """Bytes that its subscriptions take, about."""
        self.version = 0
        """Rises with each change of what it wants, and how."""

    @property
    def is_broadcasting(self) -> bool:
        return self.message_model == BROADCASTING

    def take_model(self, message_model: str) -> None:
        self.version += message_model != self.message_model
        self.message_model = message_model

    def subscribe(self, subscriptions: Sequence[Subscription]) -> bool:
        """Takes over what a client wants; True if topics came or went.

        Another text for a known topic counts from a newer version on, and is no change of topics.
        """
        has_changed = False
        for subscription in subscriptions:
            old = self.subscriptions.get(subscription.topic)
            if old is None:
                has_changed = True
            elif subscription.sub_version <= old.subscription.sub_version:
                continue
            subscribed = Subscribed(subscription)
            self.size += subscribed.size - (0 if old is None else old.size)
            self.subscriptions[subscription.topic] = subscribed
            self.version += 1
        wanted = {subscription.topic for subscription in subscriptions}
        for topic in [topic for topic in self.subscriptions if topic not in wanted]:
            self.size -= self.subscriptions.pop(topic).size
            self.version += 1
            has_changed = True
        return has_changed


def subscription_size(subscription: Subscription) -> int:
    """Bytes that keeping the subscription takes, about."""
    return (
        _SUBSCRIPTION_SIZE
        + 4 * len(subscription.sub_string)
        + 4 * len(subscription.expression_type)
        + 4 * len(subscription.filter_class_source or "")
        + _TAG_SIZE * (len(subscription.tags_set) + len(subscription.code_set))
        + 4 * sum(map(len, subscription.tags_set))
    )


__all__ = ["BROADCASTING", "ConsumerGroup", "Member", "Subscribed", "subscription_size"]
