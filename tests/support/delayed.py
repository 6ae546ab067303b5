"""Delayed messages over the wire, for tests that need many of them and a real process.

Message n has body `n`, key `n`, goes to queue n mod 4 and waits for one of the levels in turn. It
is known again by its key, also where it waits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from pyromq.client import RemotingClient
from pyromq.codes import RequestCode, ResponseCode
from pyromq.domain.topic import SCHEDULE_TOPIC
from pyromq.wire.record import Record, decode_records, parse_properties
from pyromq.wire.remoting.frame import Command
from tests.support.processes import retries

TOPIC = "delayed"
QUEUES = 4
TIMEOUT_MS = 20_000


@dataclass(frozen=True)
class Waiting:
    """What the broker answered about one message."""

    number: int
    level: int
    queue_offset: int
    """In the queue of its level."""


def create_topic(address: str) -> None:
    ext = {
        "topic": TOPIC,
        "defaultTopic": "TBW102",
        "readQueueNums": str(QUEUES),
        "writeQueueNums": str(QUEUES),
        "perm": "6",
        "topicFilterType": "SINGLE_TAG",
        "topicSysFlag": "0",
        "order": "false",
    }
    asyncio.run(_all(address, [(RequestCode.UPDATE_AND_CREATE_TOPIC, ext, b"")]))


def send(address: str, numbers: range, levels: Sequence[int]) -> list[Waiting]:
    """Sends these messages, all at once; each must be taken."""
    requests = []
    chosen = [levels[number % len(levels)] for number in numbers]
    for number, level in zip(numbers, chosen, strict=True):
        properties = f"UNIQ_KEY\x01{number}\x02TAGS\x01Tag{number % 3}\x02DELAY\x01{level}\x02"
        ext = {"a": "delayed-producers", "b": TOPIC, "c": "TBW102", "d": str(QUEUES), "f": "0"}
        ext |= {"e": str(number % QUEUES), "g": str(number), "h": "0", "i": properties}
        requests.append((RequestCode.SEND_MESSAGE_V2, ext, str(number).encode()))
    answers = asyncio.run(_all(address, requests))
    return [
        Waiting(number, level, int(answer.ext["queueOffset"]))
        for number, level, answer in zip(numbers, chosen, answers, strict=True)
    ]


def delivered_count(address: str) -> int:
    requests = [
        (RequestCode.GET_MAX_OFFSET, {"topic": TOPIC, "queueId": str(queue)}, b"")
        for queue in range(QUEUES)
    ]
    return sum(int(answer.ext["offset"]) for answer in asyncio.run(_all(address, requests)))


def await_delivered(address: str, count: int, timeout_seconds: float = 20.0) -> int:
    """Until at least so many were delivered; returns how many."""
    delivered = -1
    for _ in retries(timeout_seconds):
        delivered = delivered_count(address)
        if delivered >= count:
            return delivered
    raise AssertionError(f"{delivered} messages were delivered, not {count}")


def delivered(address: str) -> dict[int, list[Record]]:
    """All copies of each message."""
    found: dict[int, list[Record]] = {}
    for queue in range(QUEUES):
        for record in asyncio.run(_pull(address, TOPIC, queue)):
            number = int(record.body)
            assert number % QUEUES == record.queue_id == queue
            assert record.born_timestamp_ms == number
            assert parse_properties(record.properties.decode())["TAGS"] == f"Tag{number % 3}"
            found.setdefault(number, []).append(record)
    return found


def waiting(address: str, level: int) -> dict[int, Record]:
    """The messages in a level's queue, also those that were delivered."""
    records = asyncio.run(_pull(address, SCHEDULE_TOPIC, level - 1))
    return {int(record.body): record for record in records}


async def _all(
    address: str, requests: Sequence[tuple[RequestCode, dict[str, str], bytes]]
) -> list[Command]:
    client = RemotingClient()
    try:
        return await asyncio.gather(*(_ask(client, address, *request) for request in requests))
    finally:
        await client.close()


async def _ask(
    client: RemotingClient, address: str, code: RequestCode, ext: dict[str, str], body: bytes
) -> Command:
    answer = await client.invoke(address, int(code), ext, body, timeout_ms=TIMEOUT_MS)
    while answer.code == ResponseCode.SYSTEM_BUSY:  # a JVM that is still cold; it stored nothing
        answer = await client.invoke(address, int(code), ext, body, timeout_ms=TIMEOUT_MS)
    assert answer.code == 0, f"{code.name}: {answer.code} {answer.remark}"
    return answer


async def _pull(address: str, topic: str, queue: int) -> list[Record]:
    client = RemotingClient()
    try:
        ext = {"topic": topic, "queueId": str(queue)}
        end = int((await _ask(client, address, RequestCode.GET_MAX_OFFSET, ext, b"")).ext["offset"])
        records: list[Record] = []
        offset = 0
        while offset < end:
            more = {
                "consumerGroup": "delayed-readers",
                "queueOffset": str(offset),
                "maxMsgNums": "32",
                "sysFlag": "4",
                "commitOffset": "0",
                "suspendTimeoutMillis": "0",
                "subscription": "*",
                "subVersion": "0",
                "expressionType": "TAG",
            }
            answer = await _ask(client, address, RequestCode.PULL_MESSAGE, ext | more, b"")
            offset = int(answer.ext["nextBeginOffset"])
            records += decode_records(answer.body)
        return records
    finally:
        await client.close()
