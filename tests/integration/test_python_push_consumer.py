"""Our own push consumer: the same tests against our server and against Apache RocketMQ 5.5.0."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pyromq.client import (
    ClientClosed,
    ClientInstance,
    ConsumeFromWhere,
    Message,
    MessageModel,
    MessageQueue,
    Producer,
    PushConsumer,
    ReceivedMessage,
    ReconsumeLater,
)
from pyromq.client.offsets import committed_offset
from pyromq.codes import RequestCode
from pyromq.wire.remoting.bodies.resets import decode_consumer_status
from pyromq.wire.remoting.headers.relays import ConsumeDirectlyHeader
from pyromq.wire.remoting.headers.resets import ConsumerStatusHeader, ResetOffsetHeader
from tests.support.foreign import mqadmin
from tests.support.peers import Peer
from tests.support.python_client import fresh, read_all

pytestmark = pytest.mark.foreign


SECONDS = 40
FIRST = ConsumeFromWhere.FIRST_OFFSET


class Seen:
    """What listeners got, and waiting for it."""

    def __init__(self, changed: asyncio.Event | None = None) -> None:
        self.messages: list[ReceivedMessage] = []
        self.changed = changed or asyncio.Event()

    def add(self, message: ReceivedMessage) -> None:
        self.messages.append(message)
        self.changed.set()

    async def listen(self, message: ReceivedMessage) -> None:
        self.add(message)

    @property
    def bodies(self) -> list[str]:
        return [message.body.decode() for message in self.messages]

    async def until(self, is_enough: Callable[[Seen], bool]) -> None:
        async with asyncio.timeout(SECONDS):
            while not is_enough(self):
                self.changed.clear()
                await self.changed.wait()

    async def until_count(self, count: int) -> None:
        await self.until(lambda seen: len(seen.messages) >= count)


@contextlib.asynccontextmanager
async def consuming(
    peer: Peer, group: str, topic: str, listener: Any, expression: str = "*", **options: Any
) -> AsyncIterator[PushConsumer]:
    consumer = PushConsumer(
        peer.namesrv, group, listener, **{"consume_from": FIRST, "suspend_ms": 1_000, **options}
    )
    consumer.subscribe(topic, expression)
    async with consumer:
        yield consumer


async def send_numbers(peer: Peer, topic: str, count: int, **fields: Any) -> None:
    async with Producer(peer.namesrv, "P") as producer:
        for number in range(count):
            await producer.send(Message(topic, b"%d" % number, **fields))


def numbers(count: int) -> list[str]:
    return [str(number) for number in range(count)]


async def settled(consumers: list[PushConsumer], queue_count: int) -> None:
    """Until each queue has exactly one of the consumers."""
    async with asyncio.timeout(SECONDS):
        while True:
            shares = [
                {queue for queue in consumer.assignment if not queue.topic.startswith("%")}
                for consumer in consumers
            ]
            if all(shares) and sum(map(len, shares)) == len(set.union(*shares)) == queue_count:
                return
            await asyncio.sleep(0.05)  # it is another process that tells the members


async def test_all_messages_are_consumed_and_the_offsets_committed(python_peer: Peer) -> None:
    topic, group = fresh("PushAll"), fresh("all")
    await send_numbers(python_peer, topic, 40)
    seen = Seen()
    async with consuming(python_peer, group, topic, seen.listen) as consumer:
        await seen.until_count(40)
        await send_numbers(python_peer, topic, 20)
        await seen.until_count(60)
        queues = [queue for queue in consumer.assignment if queue.topic == topic]
    assert Counter(seen.bodies) == Counter(numbers(40) + numbers(20))
    async with ClientInstance(python_peer.namesrv) as instance:
        offsets = [await committed_offset(instance, group, queue) for queue in queues]
    assert sum(offset or 0 for offset in offsets) == 60

    again = Seen()
    async with consuming(python_peer, group, topic, again.listen):
        await send_numbers(python_peer, topic, 1)
        await again.until_count(1)
    assert again.bodies == ["0"]


async def test_a_plain_function_may_listen_and_only_wanted_tags_come(python_peer: Peer) -> None:
    topic = fresh("PushTags")
    async with Producer(python_peer.namesrv, "P") as producer:
        for number in range(12):
            tag = ("Aa", "BB", "C", None)[number % 4]
            await producer.send(Message(topic, b"%d" % number, tag=tag))
    seen = Seen()
    loop = asyncio.get_running_loop()

    def listen(message: ReceivedMessage) -> None:  # in a thread
        loop.call_soon_threadsafe(seen.add, message)

    async with consuming(python_peer, fresh("tags"), topic, listen, "Aa||C"):
        await seen.until_count(6)
    assert sorted(seen.bodies) == sorted(["0", "2", "4", "6", "8", "10"])


async def test_a_failed_message_comes_again_and_then_is_a_dead_letter(python_peer: Peer) -> None:
    topic, group = fresh("PushRetry"), fresh("retry")
    async with Producer(python_peer.namesrv, "P") as producer:
        result = await producer.send(Message(topic, b"bad", keys=["k"]))
        await producer.send(Message(topic, b"good"))
    seen = Seen()

    async def listen(message: ReceivedMessage) -> None:
        seen.add(message)
        if message.body == b"bad":
            raise ReconsumeLater(delay_level=1)  # 1 s

    async with consuming(python_peer, group, topic, listen, max_reconsume_times=2):
        await seen.until_count(4)
        dead = await read_all(python_peer.namesrv, f"%DLQ%{group}", 1)
    bad = [message for message in seen.messages if message.body == b"bad"]
    assert [message.reconsume_times for message in bad] == [0, 1, 2]
    assert {message.topic for message in bad} == {topic}
    assert {message.message_id for message in bad} == {result.message_id}
    assert [message.queue.topic for message in bad][1:] == [f"%RETRY%{group}"] * 2
    ((letter,),) = dead.values()
    assert (letter.body, letter.keys, letter.message_id) == (b"bad", ["k"], result.message_id)
    assert letter.properties["RETRY_TOPIC"] == topic


async def test_two_members_share_the_queues_and_one_takes_over(python_peer: Peer) -> None:
    topic, group = fresh("PushShare"), fresh("share")
    await send_numbers(python_peer, topic, 1)
    first = Seen()
    second = Seen(first.changed)

    async def both(count: int) -> None:
        """A queue that changes hands may bring a message to both of them, but none is missing."""
        await first.until(
            lambda _: len({m.message_id for m in first.messages + second.messages}) == count
        )

    async with consuming(python_peer, group, topic, first.listen) as one:
        async with consuming(python_peer, group, topic, second.listen) as two:
            await settled([one, two], 4)
            shares = [[q for q in it.assignment if q.topic == topic] for it in (one, two)]
            assert [len(share) for share in shares] == [2, 2]
            await send_numbers(python_peer, topic, 40)
            await both(41)
            assert first.messages
            assert second.messages
        await settled([one], 4)
        await send_numbers(python_peer, topic, 20)
        await both(61)


async def test_ordered_consumption_keeps_the_order_through_failures_and_new_members(
    python_peer: Peer,
) -> None:
    topic, group = fresh("PushOrder"), fresh("order")
    keys = ["a", "b", "c", "d"]
    async with Producer(python_peer.namesrv, "P") as producer:
        for number in range(20):
            for key in keys:
                await producer.send(Message(topic, b"%d" % number, tag=key, sharding_key=key))
    consumed: dict[str, list[int]] = {key: [] for key in keys}
    running: set[MessageQueue] = set()
    failed: set[str] = set()
    seen = Seen()

    async def listen(message: ReceivedMessage) -> None:
        assert message.queue not in running, "two at a time"
        running.add(message.queue)
        try:
            await asyncio.sleep(0)
            if message.body in (b"3", b"7") and message.message_id not in failed:
                failed.add(message.message_id)
                raise ReconsumeLater(suspend_ms=10)
            assert message.reconsume_times == (1 if message.message_id in failed else 0)
            assert message.tag is not None
            consumed[message.tag].append(int(message.body))
            seen.add(message)
        finally:
            running.discard(message.queue)

    async with consuming(python_peer, group, topic, listen, ordered=True) as one:
        await seen.until_count(10)
        async with consuming(python_peer, group, topic, listen, ordered=True) as two:
            await settled([one, two], 4)
            await seen.until_count(80)
    assert len(failed) == 8
    assert consumed == {key: list(range(20)) for key in keys}


async def test_an_ordered_message_is_given_up_after_its_times(python_peer: Peer) -> None:
    topic, group = fresh("PushGiveUp"), fresh("giveup")
    await send_numbers(python_peer, topic, 3, sharding_key="k")
    seen = Seen()

    async def listen(message: ReceivedMessage) -> None:
        seen.add(message)
        if message.body == b"1":
            raise ReconsumeLater(suspend_ms=10)

    async with consuming(python_peer, group, topic, listen, ordered=True, max_reconsume_times=2):
        await seen.until(lambda seen: "2" in seen.bodies)
        dead = await read_all(python_peer.namesrv, f"%DLQ%{group}", 1)
    assert seen.bodies == ["0", "1", "1", "1", "2"]
    ((letter,),) = dead.values()
    assert letter.body == b"1"


async def test_a_broadcast_reaches_every_client_and_goes_on_from_its_file(
    python_peer: Peer, tmp_path: Path
) -> None:
    topic, group = fresh("PushBroad"), fresh("broad")
    await send_numbers(python_peer, topic, 8)
    seen = [Seen(), Seen()]

    def member(number: int, listener: Any) -> Any:
        name = f"{group}-{number}"
        return consuming(
            python_peer,
            group,
            topic,
            listener,
            model=MessageModel.BROADCASTING,
            instance=ClientInstance(python_peer.namesrv, instance_name=name),
            offsets_path=tmp_path / name / "offsets.json",
        )

    async with member(0, seen[0].listen) as one, member(1, seen[1].listen) as two:
        for each in seen:
            await each.until_count(8)
            assert sorted(each.bodies) == numbers(8)
    for consumer in (one, two):
        await consumer.instance.stop()
    await send_numbers(python_peer, topic, 3)
    again = Seen()
    async with member(0, again.listen) as one:
        await again.until_count(3)
    await one.instance.stop()
    assert sorted(again.bodies) == numbers(3)


async def test_a_reset_moves_a_running_consumer(python_peer: Peer) -> None:
    topic, group = fresh("PushReset"), fresh("reset")
    await send_numbers(python_peer, topic, 10, sharding_key="k")
    seen = Seen()
    async with consuming(python_peer, group, topic, seen.listen) as consumer:
        await seen.until_count(10)
        await consumer.commit()
        status = ConsumerStatusHeader(topic=topic, group=group)
        answer = await consumer.instance.call(
            python_peer.broker, RequestCode.INVOKE_BROKER_TO_GET_CONSUMER_STATUS, status
        )
        (offsets,) = decode_consumer_status(answer.body).values()
        assert sum(offsets.values()) == 10
        header = ResetOffsetHeader(topic=topic, group=group, timestamp=0, is_force=True)
        await consumer.instance.call(
            python_peer.broker, RequestCode.INVOKE_BROKER_TO_RESET_OFFSET, header
        )
        await seen.until_count(20)
    assert seen.bodies == numbers(10) + numbers(10)


async def test_tools_see_what_a_consumer_does_and_have_it_try_a_message(
    python_peer: Peer, java_program: None
) -> None:
    topic, group = fresh("PushAsked"), fresh("asked")
    async with Producer(python_peer.namesrv, "P") as producer:
        good = await producer.send(Message(topic, b"good", sharding_key="k"))
        bad = await producer.send(Message(topic, b"bad", sharding_key="k"))
    seen = Seen()

    async def listen(message: ReceivedMessage) -> None:
        seen.add(message)
        if message.body == b"bad" and len(seen.messages) > 2:
            raise ValueError("a fault of the listener")

    async with consuming(python_peer, group, topic, listen) as consumer:
        await seen.until_count(2)
        client_id = consumer.instance.client_id
        results = {}
        for sent in (good, bad):
            header = ConsumeDirectlyHeader(
                consumer_group=group, client_id=client_id, msg_id=sent.offset_message_id
            )
            answer = await consumer.instance.call(
                python_peer.broker, RequestCode.CONSUME_MESSAGE_DIRECTLY, header
            )
            results[sent.message_id] = msgspec.json.decode(answer.body)
        assert [message.message_id for message in seen.messages[2:]] == list(results)
        assert results[good.message_id]["consumeResult"] == "CR_SUCCESS"
        assert results[bad.message_id]["consumeResult"] == "CR_THROW_EXCEPTION"
        assert "a fault of the listener" in results[bad.message_id]["remark"]
        shown = await asyncio.to_thread(
            mqadmin, f"consumerStatus -g {group} -i {client_id}", namesrv=python_peer.namesrv
        )
    assert re.search(r"PROP_CLIENT_VERSION\s*: V5_5_0", shown), shown
    assert re.search(rf"Topic: {topic}\s.*SubExpression: \*", shown), shown
    queue = good.queue
    assert re.search(rf"{topic}\s+{queue.broker_name}\s+{queue.queue_id}\s+2\b", shown), shown


async def test_stopping_lets_a_running_listener_end_and_commits_it(python_peer: Peer) -> None:
    topic, group = fresh("PushStop"), fresh("stop")
    await send_numbers(python_peer, topic, 2, sharding_key="k")
    began, may_end = asyncio.Event(), asyncio.Event()
    ended: list[bytes] = []

    async def listen(message: ReceivedMessage) -> None:
        began.set()
        await may_end.wait()
        ended.append(message.body)

    consumer = PushConsumer(python_peer.namesrv, group, listen, consume_from=FIRST, workers=1)
    consumer.subscribe(topic)
    await consumer.start()
    async with asyncio.timeout(SECONDS):
        await began.wait()
        stopping = asyncio.create_task(consumer.stop())
        await asyncio.sleep(0)
        with pytest.raises(ClientClosed):
            await consumer.commit()
        assert not stopping.done()
        may_end.set()
        await stopping
    assert ended[0] == b"0"
    await send_numbers(python_peer, topic, 1, sharding_key="k", tag="last")
    seen = Seen()
    async with consuming(python_peer, group, topic, seen.listen):
        await seen.until(lambda seen: seen.messages != [] and seen.messages[-1].tag == "last")
    assert [body.decode() for body in ended] + seen.bodies == ["0", "1", "0"]
