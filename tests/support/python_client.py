"""What tests of our own client share: a server of either kind, and topics read to their end."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Collection

from pyromq.client import MessageQueue, PullConsumer, ReceivedMessage, RouteNotFound

SECONDS = 20

_numbers = itertools.count(1)


def fresh(word: str) -> str:
    """A name that no other test uses."""
    return f"{word}-{next(_numbers)}"


async def read_all(
    namesrv: str, topic: str, count: int, *, expression: str = "*"
) -> dict[MessageQueue, list[ReceivedMessage]]:
    """The first `count` messages of a topic, by queue in their order."""
    found: dict[MessageQueue, list[ReceivedMessage]] = {}
    async with PullConsumer(namesrv, fresh("readers"), expression=expression) as consumer:
        queues = await _queues(consumer, topic)
        consumer.assign(queues)
        for queue in queues:
            consumer.seek(queue, 0)
        while sum(map(len, found.values())) < count:
            for message in await consumer.poll(20_000):
                found.setdefault(message.queue, []).append(message)
    return found


async def _queues(consumer: PullConsumer, topic: str) -> tuple[MessageQueue, ...]:
    """Also of a topic made just now, of which the name server learns in a moment."""
    async with asyncio.timeout(SECONDS):
        while True:
            try:
                return await consumer.queues(topic)
            except RouteNotFound:
                await asyncio.sleep(0.05)


def bodies(found: dict[MessageQueue, list[ReceivedMessage]]) -> list[bytes]:
    return sorted(message.body for messages in found.values() for message in messages)


def names_of(messages: Collection[ReceivedMessage]) -> list[str]:
    return [message.body.decode() for message in messages]
