"""What is in a broker, asked over the wire and compared after another server took its store over.

`Content` remembers what was acknowledged: topics and groups with a setting each, messages by queue
with all their bytes, committed offsets, keys. `check` asks a broker for all of it.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from pyromq.client import RemotingClient
from pyromq.codes import RequestCode, ResponseCode
from pyromq.wire.record import Record, decode_records
from pyromq.wire.remoting.frame import Command

QUEUES = 3
TIMEOUT_MS = 20_000

Request = tuple[RequestCode, dict[str, str], bytes]


async def _ask(client: RemotingClient, address: str, request: Request) -> Command:
    code, ext, body = request
    answer = await client.invoke(address, int(code), ext, body, timeout_ms=TIMEOUT_MS)
    while answer.code == ResponseCode.SYSTEM_BUSY:  # a JVM that is still cold; it stored nothing
        answer = await client.invoke(address, int(code), ext, body, timeout_ms=TIMEOUT_MS)
    assert answer.code == 0, f"{code.name} {ext}: {answer.code} {answer.remark}"
    return answer


def ask_all(address: str, requests: Iterable[Request]) -> list[Command]:
    """All requests at once; each must be answered with code 0."""

    async def ask() -> list[Command]:
        client = RemotingClient()
        try:
            return await asyncio.gather(*(_ask(client, address, each) for each in requests))
        finally:
            await client.close()

    return asyncio.run(ask())


def pull_all(address: str, topic: str, queue: int) -> list[Record]:
    """Every message of a queue, from its minimum to its maximum."""
    where = {"topic": topic, "queueId": str(queue)}
    low, high = ask_all(
        address,
        [(RequestCode.GET_MIN_OFFSET, where, b""), (RequestCode.GET_MAX_OFFSET, where, b"")],
    )
    offset, end = int(low.ext["offset"]), int(high.ext["offset"])
    records: list[Record] = []
    while offset < end:
        ext = where | {
            "consumerGroup": "content-readers",
            "queueOffset": str(offset),
            "maxMsgNums": "32",
            "sysFlag": "4",
            "commitOffset": "0",
            "suspendTimeoutMillis": "0",
            "subscription": "*",
            "subVersion": "0",
            "expressionType": "TAG",
        }
        [answer] = ask_all(address, [(RequestCode.PULL_MESSAGE, ext, b"")])
        offset = int(answer.ext["nextBeginOffset"])
        records += decode_records(answer.body)
    return records


@dataclass
class Content:
    """What must be there."""

    topics: dict[str, int] = field(default_factory=dict)
    """Topic → permission."""
    groups: dict[str, int] = field(default_factory=dict)
    """Group → retryMaxTimes."""
    acknowledged: dict[tuple[str, int], dict[int, bytes]] = field(default_factory=dict)
    """(topic, queue) → offset → body."""
    records: dict[tuple[str, int], list[Record]] = field(default_factory=dict)
    """Whole messages, as they were read once."""
    offsets: dict[tuple[str, str, int], int] = field(default_factory=dict)
    """(group, topic, queue) → committed offset."""
    sent_count: int = 0

    def put_topic(self, address: str, topic: str, perm: int = 6) -> None:
        ext = {
            "topic": topic,
            "defaultTopic": "TBW102",
            "readQueueNums": str(QUEUES),
            "writeQueueNums": str(QUEUES),
            "perm": str(perm),
            "topicFilterType": "SINGLE_TAG",
            "topicSysFlag": "0",
            "order": "false",
        }
        ask_all(address, [(RequestCode.UPDATE_AND_CREATE_TOPIC, ext, b"")])
        self.topics[topic] = perm

    def put_group(self, address: str, group: str, retry_max: int) -> None:
        body = json.dumps({"groupName": group, "retryMaxTimes": retry_max}).encode()
        ask_all(address, [(RequestCode.UPDATE_AND_CREATE_SUBSCRIPTIONGROUP, {}, body)])
        self.groups[group] = retry_max

    def send(self, address: str, topic: str, count: int) -> None:
        """Messages of many sizes over all queues, each with a key of its own."""
        requests: list[Request] = []
        bodies = []
        for number in range(self.sent_count, self.sent_count + count):
            body = b"%d " % number * (1 + number % 97)
            properties = f"KEYS\x01key-{number}\x02UNIQ_KEY\x01u-{number}\x02TAGS\x01T{number % 3}"
            ext = {"a": "content", "b": topic, "c": "TBW102", "d": str(QUEUES), "f": "0"}
            ext |= {"e": str(number % QUEUES), "g": str(number), "h": "0", "i": properties}
            requests.append((RequestCode.SEND_MESSAGE_V2, ext, body))
            bodies.append(body)
        self.sent_count += count
        for (_, ext, body), answer in zip(requests, ask_all(address, requests), strict=True):
            place = self.acknowledged.setdefault((topic, int(ext["e"])), {})
            offset = int(answer.ext["queueOffset"])
            assert offset not in place, f"offset {offset} of {topic} was given out twice"
            place[offset] = body

    def commit(self, address: str, group: str, topic: str, offset: int) -> None:
        """Commits this offset in each queue; the broker says which it knows then."""
        keys = [(group, topic, queue) for queue in range(QUEUES)]
        ask_all(
            address,
            [
                (
                    RequestCode.UPDATE_CONSUMER_OFFSET,
                    {
                        "consumerGroup": group,
                        "topic": topic,
                        "queueId": str(queue),
                        "commitOffset": str(offset),
                    },
                    b"",
                )
                for group, topic, queue in keys
            ],
        )
        self.offsets |= dict.fromkeys(keys, offset)

    def check(self, address: str, *, but: Iterable[str] = (), with_keys: bool = True) -> None:
        """All of it is there, `but` topics and groups of these names, which this server does not
        know; then what is there now is what must be there from now on."""
        unknown = set(but)
        for topic, perm in self.topics.items():
            if topic not in unknown:
                self._check_topic(address, topic, perm, with_keys)
        for group, retry_max in self.groups.items():
            if group not in unknown:
                request = (RequestCode.GET_SUBSCRIPTIONGROUP_CONFIG, {"group": group}, b"")
                [answer] = ask_all(address, [request])
                assert json.loads(answer.body)["retryMaxTimes"] == retry_max
        asked = [key for key in self.offsets if not {key[0], key[1]} & unknown]
        found = ask_all(
            address,
            [
                (
                    RequestCode.QUERY_CONSUMER_OFFSET,
                    {
                        "consumerGroup": group,
                        "topic": topic,
                        "queueId": str(queue),
                        "setZeroIfNotFound": "true",
                    },
                    b"",
                )
                for group, topic, queue in asked
            ],
        )
        offsets = {key: int(answer.ext["offset"]) for key, answer in zip(asked, found, strict=True)}
        assert offsets == {key: self.offsets[key] for key in asked}

    def _check_topic(self, address: str, topic: str, perm: int, with_keys: bool) -> None:
        [answer] = ask_all(address, [(RequestCode.GET_TOPIC_CONFIG, {"topic": topic}, b"")])
        assert json.loads(answer.body)["perm"] == perm
        for queue in range(QUEUES):
            place = (topic, queue)
            records = pull_all(address, topic, queue)
            assert [record.queue_offset for record in records] == list(range(len(records)))
            before = self.records.get(place, [])
            assert records[: len(before)] == before
            bodies = {record.queue_offset: record.body for record in records}
            assert bodies == self.acknowledged.get(place, {})
            self.records[place] = records
            if records and with_keys:
                self._check_key(address, records[len(records) // 2])

    def _check_key(self, address: str, record: Record) -> None:
        """The message is found by its key in the index."""
        ext = {
            "topic": record.topic,
            "key": f"key-{record.born_timestamp_ms}",
            "maxNum": "32",
            "beginTimestamp": "0",
            "endTimestamp": str(2**62),
        }
        [answer] = ask_all(address, [(RequestCode.QUERY_MESSAGE, ext, b"")])
        assert record in decode_records(answer.body)


def assert_file_sizes(store: Path, properties: dict[str, str]) -> None:
    """Every file of the log, the queues and the index has the length that Apache demands."""
    log, queue = (
        int(properties["mappedFileSizeCommitLog"]),
        int(properties["mappedFileSizeConsumeQueue"]),
    )
    index = 40 + 4 * int(properties["maxHashSlotNum"]) + 20 * int(properties["maxIndexNum"])
    for pattern, size in (("commitlog/*", log), ("consumequeue/*/*/*", queue), ("index/*", index)):
        files = [file for file in store.glob(pattern) if file.is_file()]
        assert files, pattern
        assert {
            file.name: file.stat().st_size for file in files if file.stat().st_size != size
        } == {}


__all__ = ["QUEUES", "Content", "ask_all", "assert_file_sizes", "pull_all"]
