"""The messages that are sent: bodies, keys, tags and properties of the wanted sizes.

Apache's benchmark takes keys and tags from the clock; here they count, so that a run can be
repeated, and each message says which one it is. That is how a consumer sees whether order is kept.
"""

from __future__ import annotations

import random
import string
from collections.abc import Mapping
from typing import Final

from pyromq.client import Message

SEQUENCE: Final = "benchSequence"
"""Property of ordered messages: the number of the message among those of its key, from 0."""
ORDER_KEY: Final = "benchOrderKey"
"""Property of ordered messages: run and key."""

KEYS_MAX: Final = 100_000
"""Order keys that a consumer looks after; messages of more are not checked."""

_ALPHABET: Final = string.ascii_letters + string.digits


class MessageSource:
    """Makes message number N."""

    def __init__(
        self,
        topic: str,
        *,
        size: int,
        has_keys: bool = False,
        tag_count: int = 0,
        property_size: int = 0,
        delay_level: int = 0,
        run: str = "",
    ) -> None:
        """`size`: bytes of a body. `run`: tells this run's ordered messages from others'."""
        self._topic = topic
        # Letters that do not repeat: compression finds little, as in Apache's benchmark.
        self._body = "".join(random.Random(size).choices(_ALPHABET, k=size)).encode()  # noqa: S311
        self._has_keys = has_keys
        self._tags = [f"tag{number}" for number in range(tag_count)]
        self._properties = _properties(property_size)
        self._delay_level = delay_level
        self._run = run

    @property
    def body_size(self) -> int:
        return len(self._body)

    def plain(self, number: int) -> Message:
        """A message that may go to any queue."""
        return self._message(number, self._properties, None)

    def ordered(self, number: int, key: int, sequence: int) -> Message:
        """A message that comes behind the one before of the same key."""
        name = f"{self._run}-{key}"
        properties = {**self._properties, ORDER_KEY: name, SEQUENCE: str(sequence)}
        return self._message(number, properties, name)

    def _message(self, number: int, properties: Mapping[str, str], order: str | None) -> Message:
        return Message(
            self._topic,
            self._body,
            tag=self._tags[number % len(self._tags)] if self._tags else None,
            keys=(f"{self._run}-{number}",) if self._has_keys else (),
            properties=properties,
            delay_level=self._delay_level,
            sharding_key=order,
        )


class OrderCheck:
    """Counts ordered messages that came before an earlier one, or again."""

    def __init__(self) -> None:
        self._last: dict[str, int] = {}
        self.checked = 0
        self.gaps = 0
        """Messages that were skipped: the one before has not been seen."""
        self.repeated = 0
        """Messages that came again, or too late."""

    def note(self, properties: Mapping[str, str]) -> None:
        """Looks at a message that was consumed; others than ordered ones do not count."""
        name, sequence = properties.get(ORDER_KEY), properties.get(SEQUENCE, "")
        if name is None or not (sequence.isascii() and sequence.isdigit() and len(sequence) < 20):
            return
        number, last = int(sequence), self._last.get(name)
        if last is None and len(self._last) >= KEYS_MAX:
            return
        self.checked += 1
        if last is not None and number <= last:
            self.repeated += 1
            return
        if last is not None and number != last + 1:
            self.gaps += 1
        self._last[name] = number


def _properties(size: int) -> dict[str, str]:
    """Properties whose names and values have at least `size` characters together."""
    properties: dict[str, str] = {}
    while size > 0:
        name, value = f"prop{len(properties)}", f"hello{len(properties)}"
        properties[name] = value
        size -= len(name) + len(value)
    return properties


__all__ = ["KEYS_MAX", "ORDER_KEY", "SEQUENCE", "MessageSource", "OrderCheck"]
