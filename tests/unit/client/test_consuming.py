"""Readers, workers, locks and giving back, against a scripted broker that serves one topic."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from pyromq.client import (
    ClientInstance,
    ConsumeEvent,
    ConsumeFromWhere,
    ConsumeHook,
    MessageQueue,
    PullConsumer,
    PushConsumer,
    ReceivedMessage,
    ReconsumeLater,
    ServerRefused,
)
from pyromq.client.offsets import first_offset
from pyromq.client.queue_locks import VALID_MS, QueueLocks
from pyromq.codes import RequestCode, ResponseCode
from pyromq.units import LogOffset, QueueOffset
from pyromq.wire.record import Record, encode_record, parse_properties
from pyromq.wire.remoting.bodies.clients import decode_heartbeat, encode_consumer_ids
from pyromq.wire.remoting.bodies.locks import decode_lock_batch, encode_locked
from pyromq.wire.remoting.frame import Command
from pyromq.wire.remoting.headers.offsets import OffsetResponse
from pyromq.wire.remoting.headers.pull import PullResponse
from pyromq.wire.remoting.native import encode_ext
from tests.support.clock import ManualClock
from tests.support.connections import WAIT_SECONDS
from tests.support.scripted_cluster import Cluster, accept, cluster, route_of
from tests.support.scripted_server import Line

QUEUE = MessageQueue("a", 0, "T")


class OneQueue:
    """A broker's side of one queue: its messages, and what members do with it."""

    def __init__(self, count: int = 0, size: int = 1) -> None:
        self.bodies = [b"%d" % number + bytes(size - 1) for number in range(count)]
        self.committed: int | None = None
        self.members: list[str] = []
        self.pulls: list[int] = []
        self.given_back: list[dict[str, str]] = []
        self.refuses: dict[int, int] = {}
        """Codes to answer with, by request code."""
        self.damaged: set[int] = set()
        """Offsets of messages that say they are compressed, and are not."""
        self.may_lock = True
        self.locked: list[tuple[int, list[int]]] = []
        self.changed = asyncio.Event()
        self.lines: list[Line] = []

    async def script(self, line: Line, command: Command) -> None:
        answer = self._answer(line, command)
        self.changed.set()
        if answer is not None and not command.is_oneway:
            line.send(answer)

    def _answer(self, line: Line, command: Command) -> Command | None:
        if (code := self.refuses.get(command.code)) is not None:
            return Command.response_to(command, code, remark="refused by the test")
        if command.ext.get("topic", "").startswith("%RETRY%"):
            is_pull = command.code == RequestCode.PULL_MESSAGE  # there is never a message
            return None if is_pull else self._offset(command, 7)
        match command.code:
            case RequestCode.HEART_BEAT:
                self.members = [decode_heartbeat(command.body).client_id]
                self.lines.append(line)
            case RequestCode.GET_CONSUMER_LIST_BY_GROUP:
                return Command.response_to(command, body=encode_consumer_ids(self.members))
            case RequestCode.QUERY_CONSUMER_OFFSET:
                if self.committed is None:
                    return Command.response_to(command, ResponseCode.QUERY_NOT_FOUND)
                return self._offset(command, self.committed)
            case RequestCode.GET_MAX_OFFSET:
                return self._offset(command, len(self.bodies))
            case RequestCode.SEARCH_OFFSET_BY_TIMESTAMP:
                return self._offset(command, int(command.ext["timestamp"]) // 1_000)
            case RequestCode.UPDATE_CONSUMER_OFFSET:
                self.committed = int(command.ext["commitOffset"])
            case RequestCode.CONSUMER_SEND_MSG_BACK:
                self.given_back.append(command.ext)
            case RequestCode.LOCK_BATCH_MQ | RequestCode.UNLOCK_BATCH_MQ:
                queues = decode_lock_batch(command.body).mq_set
                self.locked.append((command.code, [queue.queue_id for queue in queues]))
                return Command.response_to(
                    command, body=encode_locked(queues if self.may_lock else [])
                )
            case RequestCode.PULL_MESSAGE:
                return self._pulled(command)
            case RequestCode.SEND_MESSAGE_V2:
                accept(line, command)
                return None
        return Command.response_to(command)

    def _offset(self, command: Command, offset: int) -> Command:
        return Command.response_to(command, ext=encode_ext(OffsetResponse(offset=offset)))

    def _pulled(self, command: Command) -> Command | None:
        begin = int(command.ext["queueOffset"])
        self.pulls.append(begin)
        end = min(len(self.bodies), begin + int(command.ext["maxMsgNums"]))
        code, body = ResponseCode.SUCCESS, b""
        if begin > len(self.bodies):
            code, end = ResponseCode.PULL_OFFSET_MOVED, len(self.bodies)
        elif begin == end:
            return None  # held, as a long poll is
        else:
            body = b"".join(self._record(offset) for offset in range(begin, end))
        header = PullResponse(
            suggest_which_broker_id=0, next_begin_offset=end, min_offset=0, max_offset=end
        )
        return Command.response_to(command, code, encode_ext(header), body)

    def _record(self, offset: int) -> bytes:
        return encode_record(
            Record(
                "T",
                self.bodies[offset],
                queue_offset=QueueOffset(offset),
                sys_flag=1 if offset in self.damaged else 0,
                log_offset=LogOffset(offset * 1_000),
                properties=b"UNIQ_KEY\x01id-%d\x02KEYS\x01k\x02" % offset,
            )
        )

    async def until(self, is_so: Callable[[], bool]) -> None:
        async with asyncio.timeout(WAIT_SECONDS):
            while not is_so():
                self.changed.clear()
                await self.changed.wait()


@contextlib.asynccontextmanager
async def served(queue: OneQueue) -> AsyncIterator[Cluster]:
    async with cluster(queue_nums=1, a=queue.script) as there:
        yield there


def push(there: Cluster, listener: Any, **options: Any) -> PushConsumer:
    options = {"consume_from": ConsumeFromWhere.FIRST_OFFSET, "stop_timeout_ms": 5_000, **options}
    consumer = PushConsumer(there.namesrv, "G", listener, **options)
    consumer.subscribe("T")
    return consumer


# ── reading ahead ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("options", "held"),
    [({"held_count_max": 64}, 64), ({"held_bytes_max": 100_000}, 64), ({}, 1_024)],
)
async def test_reading_ahead_stops_at_the_limits_and_goes_on_below(
    options: dict[str, Any], held: int
) -> None:
    queue = OneQueue(2_000, size=2_000)
    gate = asyncio.Event()

    async def listen(_: ReceivedMessage) -> None:
        await gate.wait()

    async with served(queue) as there:
        async with push(there, listen, workers=10, **options):
            await queue.until(lambda: queue.pulls[-1:] == [held - 32])
            await asyncio.sleep(0)
            assert max(queue.pulls) == held - 32
            gate.set()
            await queue.until(lambda: queue.pulls[-1] == 2_000)
        assert queue.committed == 2_000


async def test_one_message_that_does_not_end_keeps_the_offset_back() -> None:
    queue = OneQueue(40)
    gate = asyncio.Event()
    others: list[int] = []
    changed = asyncio.Event()

    async def listen(message: ReceivedMessage) -> None:
        if message.queue_offset == 5:
            await gate.wait()
        else:
            others.append(message.queue_offset)
            changed.set()

    async with served(queue) as there, push(there, listen) as consumer:
        async with asyncio.timeout(WAIT_SECONDS):
            while len(others) < 39:
                changed.clear()
                await changed.wait()
        await consumer.commit()
        assert queue.committed == 5
        gate.set()
    assert queue.committed == 40


async def test_an_offset_beyond_the_queue_is_corrected() -> None:
    queue = OneQueue(10)
    queue.committed = 1_000

    async def listen(_: ReceivedMessage) -> None:
        raise AssertionError("there is nothing to consume")

    async with served(queue) as there:
        async with push(there, listen):
            await queue.until(lambda: queue.pulls == [1_000, 10])
        assert queue.committed == 10


@pytest.mark.parametrize(
    ("where", "topic", "offset"),
    [
        (ConsumeFromWhere.FIRST_OFFSET, "T", 0),
        (ConsumeFromWhere.LAST_OFFSET, "T", 7),
        (ConsumeFromWhere.LAST_OFFSET, "%RETRY%G", 0),
        (ConsumeFromWhere.TIMESTAMP, "T", 3),
        (ConsumeFromWhere.TIMESTAMP, "%RETRY%G", 7),  # what failed before is another's
    ],
)
async def test_where_a_group_begins(where: ConsumeFromWhere, topic: str, offset: int) -> None:
    async with served(OneQueue(7)) as there, ClientInstance(there.namesrv) as instance:
        there.routes[topic] = there.routes["T"]
        queue = MessageQueue("a", 0, topic)
        assert await first_offset(instance, queue, where, 3_000) == offset


async def test_the_begin_at_the_end_is_kept_before_a_message_comes() -> None:
    queue = OneQueue(7)

    async def listen(_: ReceivedMessage) -> None:
        raise AssertionError("nothing is new")

    async with served(queue) as there:
        async with push(there, listen, consume_from=ConsumeFromWhere.LAST_OFFSET):
            await queue.until(lambda: queue.pulls == [7])
        assert queue.committed == 7


# ── failures ─────────────────────────────────────────────────────────────────────────────────────


async def test_a_failed_message_is_given_back_by_its_place() -> None:
    queue = OneQueue(3)

    async def listen(message: ReceivedMessage) -> None:
        if message.queue_offset == 1:
            raise ValueError("a fault of the listener")
        if message.queue_offset == 2:
            raise ReconsumeLater(delay_level=-1)

    async with served(queue) as there, push(there, listen, max_reconsume_times=4):
        await queue.until(lambda: len(queue.given_back) == 2)
    ext = {"group": "G", "unitMode": "false", "originTopic": "T", "maxReconsumeTimes": "4"}
    assert sorted(queue.given_back, key=lambda ext: ext["offset"]) == [
        {**ext, "offset": "1000", "delayLevel": "0", "originMsgId": "id-1"},
        {**ext, "offset": "2000", "delayLevel": "-1", "originMsgId": "id-2"},
    ]
    assert queue.committed == 3


async def test_the_retry_topic_is_looked_for_until_the_name_server_knows_it() -> None:
    queue = OneQueue(1)

    async def listen(_: ReceivedMessage) -> None:
        raise ReconsumeLater

    def asked(there: Cluster) -> int:
        wanted = [request.ext.get("topic") for request in there.names.requests]
        return wanted.count("%RETRY%G")

    async with served(queue) as there, push(there, listen) as consumer:
        await queue.until(lambda: len(queue.given_back) == 1)
        begun = asked(there)
        async with asyncio.timeout(WAIT_SECONDS):
            while asked(there) < begun + 2:  # every second, not every twenty
                there.names.got.clear()
                await there.names.got.wait()
        there.routes["%RETRY%G"] = there.routes["T"]
        consumer.members_changed()
        await queue.until(lambda: len(consumer.assignment) == 2)


async def test_a_body_that_cannot_be_decompressed_is_given_back_and_holds_up_no_other() -> None:
    queue = OneQueue(3)
    queue.damaged = {1}
    seen: list[bytes] = []

    async def listen(message: ReceivedMessage) -> None:
        seen.append(message.body)

    async with served(queue) as there:
        async with push(there, listen):
            await queue.until(lambda: len(queue.given_back) == 1)
        assert sorted(seen) == [b"0", b"2"]
        assert queue.given_back[0]["offset"] == "1000"
        assert queue.committed == 3
        async with PullConsumer(there.namesrv, "G") as consumer:
            consumer.assign([QUEUE])
            consumer.seek(QUEUE, 0)
            faults = [message.fault for message in await consumer.poll(int(WAIT_SECONDS * 1_000))]
    assert faults[0] is faults[2] is None
    assert "ZLIB" in str(faults[1])


async def test_what_cannot_be_given_back_is_sent_again() -> None:
    queue = OneQueue(1)
    queue.refuses[RequestCode.CONSUMER_SEND_MSG_BACK] = ResponseCode.SYSTEM_ERROR

    async def listen(_: ReceivedMessage) -> None:
        raise ReconsumeLater

    async with served(queue) as there:
        there.routes["%RETRY%G"] = route_of({"a": there.brokers["a"].address}, queue_nums=1)
        async with push(there, listen):
            await queue.until(lambda: bool(there.sends("a")))
        (sent,) = there.sends("a")
    assert queue.committed == 1
    assert (sent.ext["b"], sent.ext["j"], sent.ext["l"], sent.body) == ("%RETRY%G", "1", "16", b"0")
    assert parse_properties(sent.ext["i"]) == {
        "UNIQ_KEY": "id-0",
        "KEYS": "k",
        "ORIGIN_MESSAGE_ID": "id-0",
        "RETRY_TOPIC": "T",
        "DELAY": "3",
    }


async def test_what_no_broker_takes_back_stays_uncommitted() -> None:
    queue = OneQueue(2)
    queue.refuses[RequestCode.CONSUMER_SEND_MSG_BACK] = ResponseCode.SYSTEM_ERROR
    queue.refuses[RequestCode.SEND_MESSAGE_V2] = ResponseCode.SYSTEM_ERROR

    async def listen(message: ReceivedMessage) -> None:
        if message.queue_offset == 0:
            raise ReconsumeLater

    async with served(queue) as there:
        there.routes["%RETRY%G"] = route_of({"a": there.brokers["a"].address}, queue_nums=1)
        async with push(there, listen) as consumer:
            await queue.until(lambda: bool(there.sends("a")))
            await consumer.commit()
    assert queue.committed == 0


async def test_a_listener_that_takes_too_long_is_ended_and_its_message_given_back() -> None:
    queue = OneQueue(1)

    async def listen(_: ReceivedMessage) -> None:
        await asyncio.Event().wait()

    async with served(queue) as there, push(there, listen, consume_timeout_ms=50):
        await queue.until(lambda: len(queue.given_back) == 1)


async def test_hooks_see_each_consumption() -> None:
    queue = OneQueue(2)
    seen: list[tuple[int, bool | None]] = []

    class Watch(ConsumeHook):
        def before_consume(self, event: ConsumeEvent) -> None:
            seen.append((event.messages[0].queue_offset, None))

        def after_consume(self, event: ConsumeEvent) -> None:
            seen.append((event.messages[0].queue_offset, event.is_success))

    async def listen(message: ReceivedMessage) -> None:
        if message.queue_offset:
            raise ReconsumeLater

    async with served(queue) as there, push(there, listen, workers=1, hooks=[Watch()]):
        await queue.until(lambda: len(queue.given_back) == 1)
    assert seen == [(0, None), (0, True), (1, None), (1, False)]


# ── order ────────────────────────────────────────────────────────────────────────────────────────


async def test_without_its_lock_a_queue_is_not_consumed_in_order() -> None:
    queue = OneQueue(3)
    queue.may_lock = False
    bodies: list[bytes] = []

    async def listen(message: ReceivedMessage) -> None:
        bodies.append(message.body)

    async with served(queue) as there, push(there, listen, ordered=True) as consumer:
        assert consumer.assignment == ()
        assert not queue.pulls
        queue.may_lock = True
        consumer.members_changed()
        await queue.until(lambda: queue.pulls[-1:] == [3])
    assert bodies == [b"0", b"1", b"2"]
    assert queue.committed == 3
    assert queue.locked[-1] == (RequestCode.UNLOCK_BATCH_MQ, [0])


async def test_a_lock_counts_for_thirty_seconds_unless_it_is_renewed() -> None:
    queue, clock = OneQueue(), ManualClock()
    async with served(queue) as there, ClientInstance(there.namesrv, clock=clock) as instance:
        locks = QueueLocks(instance, "G")
        await locks.lock([QUEUE])
        assert locks.is_held(QUEUE)
        clock.advance(VALID_MS - 1)
        assert locks.is_held(QUEUE)
        await locks.renew()
        clock.advance(VALID_MS - 1)
        assert locks.is_held(QUEUE)
        queue.refuses[RequestCode.LOCK_BATCH_MQ] = ResponseCode.SYSTEM_ERROR
        await locks.renew()  # no answer: what was given is valid until its time is over
        assert locks.is_held(QUEUE)
        clock.advance(1)
        assert not locks.is_held(QUEUE)
        queue.refuses.clear()
        await locks.renew()
        assert locks.is_held(QUEUE)
        queue.may_lock = False
        await locks.renew()
        assert not locks.is_held(QUEUE)


# ── the connection ───────────────────────────────────────────────────────────────────────────────


async def test_after_a_lost_connection_the_broker_hears_of_us_and_consumption_goes_on() -> None:
    queue = OneQueue(3)
    seen: list[bytes] = []
    changed = asyncio.Event()

    async def listen(message: ReceivedMessage) -> None:
        seen.append(message.body)
        changed.set()

    async def consumed(count: int) -> None:
        async with asyncio.timeout(WAIT_SECONDS):
            while len(seen) < count:
                changed.clear()
                await changed.wait()

    async with served(queue) as there, push(there, listen):
        await consumed(3)
        beats = len(queue.lines)
        queue.bodies.append(b"3")
        queue.members = []
        queue.lines[-1].writer.transport.abort()
        await queue.until(lambda: len(queue.lines) > beats)
        await consumed(4)
    assert seen == [b"0", b"1", b"2", b"3"]


# ── pull consumer ────────────────────────────────────────────────────────────────────────────────


async def test_a_poll_tells_of_a_refusal_that_will_not_change() -> None:
    queue = OneQueue(3)
    queue.refuses[RequestCode.PULL_MESSAGE] = ResponseCode.NO_PERMISSION
    async with served(queue) as there, PullConsumer(there.namesrv, "G") as consumer:
        consumer.assign([QUEUE])
        consumer.seek(QUEUE, 0)
        with pytest.raises(ServerRefused, match="refused by the test"):
            await consumer.poll(int(WAIT_SECONDS * 1_000))


async def test_a_queue_that_is_no_longer_assigned_is_no_longer_read() -> None:
    queue = OneQueue(100)
    async with served(queue) as there, PullConsumer(there.namesrv, "G") as consumer:
        consumer.assign([QUEUE])
        consumer.seek(QUEUE, 0)
        assert len(await consumer.poll(int(WAIT_SECONDS * 1_000))) == 32
        consumer.assign([])
        assert await consumer.poll(0) == []
        consumer.assign([QUEUE])
        consumer.seek(QUEUE, 99)
        (last,) = await consumer.poll(int(WAIT_SECONDS * 1_000))
        assert last.queue_offset == 99
        assert consumer.position(QUEUE) == 100


async def test_a_consumer_whose_start_is_cancelled_leaves_nothing_at_work() -> None:
    """The name server takes the connection and never answers."""
    asked = asyncio.Event()

    async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.set()
        with contextlib.closing(writer):
            await reader.read()

    async def listener(_message: ReceivedMessage) -> None:
        """Never called: there is no queue."""

    server = await asyncio.start_server(hold, "127.0.0.1", 0)
    async with server:
        host, port = server.sockets[0].getsockname()
        consumer = PushConsumer(f"{host}:{port}", "G", listener)
        consumer.subscribe("T")
        others = asyncio.all_tasks()
        starting = asyncio.create_task(consumer.start())
        async with asyncio.timeout(WAIT_SECONDS):
            await asked.wait()
            starting.cancel()
            await asyncio.wait([starting])
        assert starting.cancelled()
        names = {task.get_name() for task in asyncio.all_tasks() - others - {starting}}
        assert not [name for name in names if "consume" in name or "pyromq" in name], names
