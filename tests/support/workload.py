"""Producers and consumers that go on through faults and write down all they did and saw.

Four kinds of producers: one message after another (`sync`), many under way (`async`), batches, and
one that keeps an order of its own in one queue; a fifth sends with delays. Two groups consume: one
takes everything, the other gives every copy of some messages back until they are dead letters. All
stand on our remoting client; nothing of them knows what is done to the broker, only where it is.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Coroutine, Iterable, Sequence
from typing import Any, Final

from pyromq.client import RemotingClient
from pyromq.client.remoting import AnswerOverdue, PeerUnreachable
from pyromq.codes import RequestCode, ResponseCode
from pyromq.domain.topic import dlq_topic, retry_topic
from pyromq.wire import dialect
from pyromq.wire.batch import BatchItem, encode_batch
from pyromq.wire.record import decode_records
from pyromq.wire.remoting.frame import Command
from tests.support.history import (
    Asked,
    Committed,
    Delivered,
    GivenBack,
    History,
    Instant,
    MaxSeen,
    Outcome,
    Queue,
    Sent,
    Stored,
    Try,
    body_of,
    outcome_of,
    try_of,
)

PLAIN, ORDERED, DELAYED = "plain", "ordered", "delayed"
QUEUES: Final = {PLAIN: 3, ORDERED: 1, DELAYED: 2}
TAKER, GIVER = "takers", "givers"
DELAY_LEVELS = "1s 2s"
DELAYS_MS: Final = (1_000, 2_000)
RETRIES_MAX = 2
TIMEOUT_MS = 10_000
POLL_MS = 300
PIPELINE = 12
BATCH_MAX = 8
TRIES_MAX = 4
SIZES: Final = (0, 10, 100, 1_000, 4_000)
DRAIN_SECONDS = 25.0

_PULL_FLAGS: Final = 2 | 4
"""May wait; its filter comes with it."""


class Workload:
    """All clients of one run. `moved` tells them where the broker is, `down` that it is gone."""

    def __init__(
        self,
        chance: random.Random,
        drain_seconds: float = DRAIN_SECONDS,
        *,
        has_delays: bool = True,
        sizes: Sequence[int] = SIZES,
    ) -> None:
        """Without delays there are no retries either, and a run's end need not wait for them.
        `sizes`: what bodies have in bytes, beside the name of their try."""
        self.history = History(subscriptions={TAKER: frozenset(QUEUES), GIVER: frozenset({PLAIN})})
        if has_delays:
            self.history.delay_topics = frozenset({DELAYED})
            self.history.retry_topics = {GIVER: (retry_topic(GIVER), dlq_topic(GIVER))}
            self.history.retries_max = RETRIES_MAX
        self._chance = chance
        self._drain_seconds = drain_seconds
        self._sizes = sizes
        self._address = ""
        self._is_up = asyncio.Event()
        self._producers: list[asyncio.Task[None]] = []
        self._consumers: list[asyncio.Task[None]] = []
        self._clients: list[RemotingClient] = []
        self._has_ended = False
        self._has_failed = asyncio.Event()
        self.acknowledged_count = 0
        self._positions: dict[tuple[str, Queue], int] = {}

    # ── where the broker is ─────────────────────────────────────────────────────────────────────

    def moved(self, address: str) -> None:
        self._address = address
        self._is_up.set()

    def down(self) -> None:
        self._is_up.clear()

    async def _broker(self) -> str:
        await self._is_up.wait()
        return self._address

    # ── the run ─────────────────────────────────────────────────────────────────────────────────

    async def prepare(self) -> None:
        """Topics and the group that allows so many retries; before the first fault."""
        async with self._client() as client:
            for topic, count in QUEUES.items():
                ext = {"topic": topic, "defaultTopic": "TBW102", "perm": "6", "order": "false"}
                ext |= {"readQueueNums": str(count), "writeQueueNums": str(count)}
                ext |= {"topicFilterType": "SINGLE_TAG", "topicSysFlag": "0"}
                await self._must(client, RequestCode.UPDATE_AND_CREATE_TOPIC, ext)
            for group in (TAKER, GIVER):
                body = dialect.encode({"groupName": group, "retryMaxTimes": RETRIES_MAX})
                code = RequestCode.UPDATE_AND_CREATE_SUBSCRIPTIONGROUP
                await self._must(client, code, {}, body)

    def start(self) -> None:
        def spawn(coroutine: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
            return asyncio.create_task(coroutine, name=name)

        self._producers = [
            spawn(self._send_singly("sync-1", PLAIN, 0), "sync-1"),
            spawn(self._send_singly("sync-2", PLAIN, 0), "sync-2"),
            spawn(self._send_pipelined("async-1"), "async-1"),
            spawn(self._send_batches("batch-1"), "batch-1"),
            spawn(self._send_singly("ordered-1", ORDERED, 0), "ordered-1"),
        ]
        retries = [Queue(topic, 0) for topic, _ in self.history.retry_topics.values()]
        if self.history.delay_topics:
            producer = spawn(self._send_singly("delayed-1", DELAYED, 1), "delayed-1")
            self._producers.append(producer)
        plain = [Queue(PLAIN, number) for number in range(QUEUES[PLAIN])]
        every = [Queue(topic, number) for topic, count in QUEUES.items() for number in range(count)]
        self._consumers = [
            *(spawn(self._consume(TAKER, queue), f"{TAKER} {queue}") for queue in every),
            *(spawn(self._consume(GIVER, queue), f"{GIVER} {queue}") for queue in plain + retries),
        ]

    async def until_sent(self, count: int) -> None:
        """Until so many more sends were acknowledged, or a client failed."""
        goal = self.acknowledged_count + count
        async with asyncio.timeout(DRAIN_SECONDS):
            while self.acknowledged_count < goal:
                self.raise_failures()
                await asyncio.sleep(0.002)

    async def until_failed(self, seconds: float) -> None:
        """Until any send is not acknowledged, or so much time is over."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._has_failed.wait()

    async def until_called(self, count: int) -> None:
        """Until so many more sends have ended, whichever way."""
        goal = len(self.history.sent) + count
        async with asyncio.timeout(self._drain_seconds):
            while len(self.history.sent) < goal:
                self.raise_failures()
                await asyncio.sleep(0.005)

    def raise_failures(self) -> None:
        """A client that ended by itself has found what no broker may do."""
        for task in (*self._producers, *self._consumers):
            if task.done() and not task.cancelled():
                task.result()

    async def finish(self) -> History:
        """Lets the producers end, the groups catch up, and reads every queue; the broker is up."""
        self._has_ended = True
        await asyncio.gather(*self._producers)
        async with self._client() as client:
            with contextlib.suppress(TimeoutError):  # what is missing then, the rules will name
                async with asyncio.timeout(self._drain_seconds):
                    while not await self._is_drained(client):
                        self.raise_failures()
                        await asyncio.sleep(0.05)
            await self._stop_consumers()
            every = [*QUEUES.items()]
            every += [(topic, 1) for pair in self.history.retry_topics.values() for topic in pair]
            for topic, count in every:
                for number in range(count):
                    await self._read(client, Queue(topic, number))
        return self.history

    async def close(self) -> None:
        """Ends everything at once."""
        for task in self._producers:
            task.cancel()
        await asyncio.gather(*self._producers, return_exceptions=True)
        await self._stop_consumers()
        for client in self._clients:
            await client.close()

    async def _stop_consumers(self) -> None:
        for task in self._consumers:
            task.cancel()
        await asyncio.gather(*self._consumers, return_exceptions=True)

    # ── producers ───────────────────────────────────────────────────────────────────────────────

    async def _send_singly(self, producer: str, topic: str, is_delayed: int) -> None:
        """One message after another, each until it is acknowledged or was tried often enough."""
        async with self._client() as client:
            seq = 0
            while not self._has_ended:
                queue = self._any_queue(topic)
                level = self._chance.randint(1, len(DELAYS_MS)) if is_delayed else 0
                for number in range(TRIES_MAX):
                    which = Try(producer, seq, number)
                    if await self._send(client, [which], queue, level) is Outcome.OK:
                        break
                seq += 1
                if is_delayed:
                    await asyncio.sleep(0.01)

    async def _send_pipelined(self, producer: str) -> None:
        """Always several under way; every second one whose fate is unknown is sent again."""
        async with self._client() as client:
            seq = 0
            again: list[Try] = []
            while not self._has_ended:
                wanted = [*again, *(Try(producer, seq + n, 0) for n in range(PIPELINE))]
                seq += PIPELINE
                outcomes = await asyncio.gather(
                    *(self._send(client, [which], self._any_queue(PLAIN)) for which in wanted)
                )
                again = [
                    which._replace(number=which.number + 1)
                    for which, outcome in zip(wanted, outcomes, strict=True)
                    if outcome is not Outcome.OK and self._chance.random() < 0.5
                ]

    async def _send_batches(self, producer: str) -> None:
        async with self._client() as client:
            seq = 0
            while not self._has_ended:
                count = self._chance.randint(2, BATCH_MAX)
                queue = self._any_queue(PLAIN)
                for number in range(TRIES_MAX):
                    tries = [Try(producer, seq + n, number) for n in range(count)]
                    if await self._send(client, tries, queue) is Outcome.OK:
                        break
                seq += count

    async def _send(
        self, client: RemotingClient, tries: Sequence[Try], queue: Queue, level: int = 0
    ) -> Outcome:
        """One call, of one message or a batch; written down for each of its messages."""
        bodies = [body_of(which, self._chance.choice(self._sizes)) for which in tries]
        ext = {"a": "producers", "b": queue.topic, "c": "TBW102", "d": "4", "f": "0", "h": "0"}
        ext |= {"e": str(queue.queue_id), "g": "0"}
        code, body = RequestCode.SEND_MESSAGE_V2, bodies[0]
        if len(tries) > 1:
            code = RequestCode.SEND_BATCH_MESSAGE
            ext |= {"m": "true", "i": ""}
            body = encode_batch(
                BatchItem(0, item, _properties(which).encode())
                for which, item in zip(tries, bodies, strict=True)
            )
        else:
            ext["i"] = _properties(tries[0]) + (f"DELAY\x01{level}\x02" if level else "")
        address = await self._broker()
        invoked = Instant.now()
        answer = await self._call(client, address, code, ext, body)
        ended = Instant.now()
        outcome, first = Outcome.UNKNOWN, None
        if answer is not None:
            outcome = outcome_of(answer.code, answer.remark)
            if outcome is Outcome.OK and not level:
                first = int(answer.ext["queueOffset"])
        self.acknowledged_count += len(tries) * (outcome is Outcome.OK)
        for at, (which, item) in enumerate(zip(tries, bodies, strict=True)):
            self.history.sent.append(
                Sent(
                    which,
                    queue,
                    item,
                    invoked,
                    ended,
                    outcome,
                    queue_offset=None if first is None else first + at,
                    delay_ms=DELAYS_MS[level - 1] if level else 0,
                    code=None if answer is None else answer.code,
                )
            )
        if outcome is not Outcome.OK:
            self._has_failed.set()
            await asyncio.sleep(0.01)  # a client waits a little before it tries again
        return outcome

    def _any_queue(self, topic: str) -> Queue:
        return Queue(topic, self._chance.randrange(QUEUES[topic]))

    # ── consumers ───────────────────────────────────────────────────────────────────────────────

    async def _consume(self, group: str, queue: Queue) -> None:
        """From the committed offset on, again and again: each lost connection begins it anew."""
        async with self._client() as client:
            given_back: set[int] = set()
            while True:
                address = await self._broker()
                offset = await self._committed_offset(client, address, group, queue)
                while offset is not None:
                    offset = await self._consume_some(
                        client, address, group, queue, offset, given_back
                    )
                await asyncio.sleep(0.01)

    async def _committed_offset(
        self, client: RemotingClient, address: str, group: str, queue: Queue
    ) -> int | None:
        """Where to begin; None if the broker is not there."""
        ext = {"consumerGroup": group, "topic": queue.topic, "queueId": str(queue.queue_id)}
        ext["setZeroIfNotFound"] = "false"
        invoked = Instant.now()
        answer = await self._call(client, address, RequestCode.QUERY_CONSUMER_OFFSET, ext)
        if answer is None or answer.code not in (0, ResponseCode.QUERY_NOT_FOUND):
            return None
        offset = int(answer.ext["offset"]) if answer.code == 0 else -1
        self.history.asked.append(Asked(group, queue, offset, invoked, Instant.now()))
        return max(offset, 0)

    async def _consume_some(
        self,
        client: RemotingClient,
        address: str,
        group: str,
        queue: Queue,
        offset: int,
        given_back: set[int],
    ) -> int | None:
        """One pull, what it brought given back or taken, and usually a commit; the next offset."""
        records, following = await self._pull(client, address, group, queue, offset)
        if following is None:
            return None
        now = Instant.now()
        for record in records:
            self.history.delivered.append(Delivered(group, record, now))
            which = try_of(record.body)
            if which is None or group != GIVER or not self.history.is_poison(which.message):
                continue
            if record.queue_offset in given_back:
                continue
            if not await self._give_back(client, address, group, record):
                return None  # it comes again: nothing behind it is committed
            given_back.add(record.queue_offset)
        self._positions[group, queue] = following
        if following > offset and self._chance.random() < 0.7:
            return (
                following if await self._commit(client, address, group, queue, following) else None
            )
        return following

    async def _pull(
        self, client: RemotingClient, address: str, group: str, queue: Queue, offset: int
    ) -> tuple[list[Stored], int | None]:
        """What there is from an offset on, and the next one; none without a broker or a topic."""
        ext = {"consumerGroup": group, "topic": queue.topic, "queueId": str(queue.queue_id)}
        ext |= {"queueOffset": str(offset), "maxMsgNums": "32", "sysFlag": str(_PULL_FLAGS)}
        ext |= {"commitOffset": "0", "suspendTimeoutMillis": str(POLL_MS), "subVersion": "0"}
        ext |= {"subscription": "*", "expressionType": "TAG"}
        invoked = Instant.now()
        answer = await self._call(client, address, RequestCode.PULL_MESSAGE, ext)
        if answer is None or "nextBeginOffset" not in answer.ext:
            return [], None
        high = int(answer.ext["maxOffset"])
        if answer.code == ResponseCode.SUCCESS:
            self.history.max_seen.append(MaxSeen(queue, high, invoked, Instant.now()))
        records = [
            Stored(
                Queue(record.topic, record.queue_id),
                record.queue_offset,
                record.body,
                record.reconsume_times,
                record.store_timestamp_ms,
                record.log_offset,
            )
            for record in (decode_records(answer.body) if answer.code == 0 else ())
        ]
        return records, int(answer.ext["nextBeginOffset"])

    async def _give_back(
        self, client: RemotingClient, address: str, group: str, record: Stored
    ) -> bool:
        ext = {"offset": str(record.log_offset), "group": group, "delayLevel": "1"}
        ext |= {"originTopic": record.queue.topic, "maxReconsumeTimes": str(RETRIES_MAX)}
        invoked = Instant.now()
        answer = await self._call(client, address, RequestCode.CONSUMER_SEND_MSG_BACK, ext)
        outcome = Outcome.UNKNOWN if answer is None else outcome_of(answer.code, answer.remark)
        self.history.given_back.append(GivenBack(group, record, invoked, Instant.now(), outcome))
        return outcome is Outcome.OK

    async def _commit(
        self, client: RemotingClient, address: str, group: str, queue: Queue, offset: int
    ) -> bool:
        ext = {"consumerGroup": group, "topic": queue.topic, "queueId": str(queue.queue_id)}
        ext["commitOffset"] = str(offset)
        invoked = Instant.now()
        answer = await self._call(client, address, RequestCode.UPDATE_CONSUMER_OFFSET, ext)
        outcome = Outcome.UNKNOWN if answer is None else outcome_of(answer.code, answer.remark)
        commit = Committed(group, queue, offset, invoked, Instant.now(), outcome)
        self.history.committed.append(commit)
        return outcome is Outcome.OK

    # ── the end ─────────────────────────────────────────────────────────────────────────────────

    async def _is_drained(self, client: RemotingClient) -> bool:
        """Whether every group has all there is, every delay is over and every retry has ended."""
        history = self.history
        got = {(d.group, try_of(d.what.body)) for d in history.delivered}
        for sent in history.sent:
            if sent.outcome is Outcome.OK and (TAKER, sent.which) not in got:
                return False
        for (_, queue), position in list(self._positions.items()):
            if position < await self._max_offset(client, queue):
                return False
        wanted = {s.which.message for s in history.sent if s.outcome is Outcome.OK}
        wanted = {message for message in wanted if history.is_poison(message)}
        wanted |= _messages(back.what for back in history.given_back)
        if wanted:
            wanted -= await self._dead_letters(client)
        return not wanted

    async def _dead_letters(self, client: RemotingClient) -> set[tuple[str, int]]:
        queue, offset = Queue(dlq_topic(GIVER), 0), 0
        found: set[tuple[str, int]] = set()
        while True:
            address = await self._broker()
            records, following = await self._pull(client, address, "readers", queue, offset)
            found |= _messages(records)
            if not records or following is None:
                return found
            offset = following

    async def _max_offset(self, client: RemotingClient, queue: Queue) -> int:
        ext = {"topic": queue.topic, "queueId": str(queue.queue_id)}
        invoked = Instant.now()
        answer = await self._call(client, await self._broker(), RequestCode.GET_MAX_OFFSET, ext)
        if answer is None or answer.code != 0:
            return 0
        offset = int(answer.ext["offset"])
        self.history.max_seen.append(MaxSeen(queue, offset, invoked, Instant.now()))
        return offset

    async def _read(self, client: RemotingClient, queue: Queue) -> None:
        """The whole queue, from its min offset."""
        high = await self._max_offset(client, queue)
        ext = {"topic": queue.topic, "queueId": str(queue.queue_id)}
        answer = await self._call(client, await self._broker(), RequestCode.GET_MIN_OFFSET, ext)
        low = int(answer.ext["offset"]) if answer is not None and answer.code == 0 else 0
        self.history.ranges[queue] = (low, high)
        offset = low
        while offset < high:
            records, following = await self._pull(
                client, await self._broker(), "readers", queue, offset
            )
            self.history.log += records
            if following is None or following <= offset:
                break
            offset = following

    # ── calls ───────────────────────────────────────────────────────────────────────────────────

    @contextlib.asynccontextmanager
    async def _client(self) -> AsyncIterator[RemotingClient]:
        client = RemotingClient()
        self._clients.append(client)
        try:
            yield client
        finally:
            await client.close()

    async def _call(
        self,
        client: RemotingClient,
        address: str,
        code: RequestCode,
        ext: dict[str, str],
        body: bytes = b"",
    ) -> Command | None:
        """The answer; None if none came."""
        try:
            return await client.invoke(address, int(code), ext, body, timeout_ms=TIMEOUT_MS)
        except (PeerUnreachable, AnswerOverdue):
            return None

    async def _must(
        self, client: RemotingClient, code: RequestCode, ext: dict[str, str], body: bytes = b""
    ) -> None:
        answer = await self._call(client, await self._broker(), code, ext, body)
        assert answer is not None, f"{code.name}: no answer"
        assert answer.code == 0, f"{code.name}: {answer.code} {answer.remark}"


def _messages(records: Iterable[Stored]) -> set[tuple[str, int]]:
    return {which.message for record in records if (which := try_of(record.body)) is not None}


def _properties(which: Try) -> str:
    return f"UNIQ_KEY\x01{which.producer}-{which.seq}-{which.number}\x02"


__all__ = ["DELAY_LEVELS", "DRAIN_SECONDS", "Workload"]
