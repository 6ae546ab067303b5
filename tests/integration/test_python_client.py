"""Our own client: the same tests against our server and against Apache RocketMQ 5.5.0."""

from __future__ import annotations

import asyncio
import queue as queue_module

import pytest

from pyromq.client import (
    ClientInstance,
    CompressionType,
    ConsumeFromWhere,
    Message,
    Producer,
    PullConsumer,
    PushConsumer,
    ReceivedMessage,
    RouteNotFound,
    ServerRefused,
    TraceRecorder,
    TransactionProducer,
    TransactionState,
    sync,
)
from pyromq.codes import RequestCode, ResponseCode
from pyromq.wire.remoting.bodies.clients import decode_producer_connections
from pyromq.wire.remoting.frame import SerializeType
from pyromq.wire.remoting.headers.clients import ProducerConnectionHeader
from tests.support.foreign import mqadmin
from tests.support.peers import Peer
from tests.support.python_client import bodies, fresh, names_of, read_all

pytestmark = pytest.mark.foreign


async def test_a_message_arrives_as_it_was_sent(python_peer: Peer) -> None:
    topic = fresh("Whole")
    async with Producer(python_peer.namesrv, "P") as producer:
        sent = Message(
            topic, b"\x00body\xff", tag="täg", keys=["k1", "k2"], properties={"a": "ü"}, flag=-7
        )
        result = await producer.send(sent)
    assert result.is_ok
    ((queue, (message,)),) = (await read_all(python_peer.namesrv, topic, 1)).items()
    assert (queue, message.queue_offset) == (result.queue, result.queue_offset)
    assert (message.topic, message.body, message.flag) == (topic, sent.body, -7)
    assert (message.tag, message.keys, message.properties["a"]) == ("täg", ["k1", "k2"], "ü")
    assert message.message_id == result.message_id
    assert message.offset_message_id == result.offset_message_id
    assert message.reconsume_times == 0
    assert message.store_timestamp_ms >= message.born_timestamp_ms > 0
    assert message.store_host == python_peer.broker


async def test_a_batch_is_stored_in_a_row(python_peer: Peer) -> None:
    topic = fresh("Batch")
    async with Producer(python_peer.namesrv, "P") as producer:
        result = await producer.send_batch(
            [Message(topic, b"%d" % number, tag="t", flag=number) for number in range(20)]
        )
    assert result.is_ok
    ((queue, messages),) = (await read_all(python_peer.namesrv, topic, 20)).items()
    assert queue == result.queue
    assert names_of(messages) == [str(number) for number in range(20)]
    assert [message.flag for message in messages] == list(range(20))
    assert ",".join(message.message_id for message in messages) == result.message_id
    assert ",".join(message.offset_message_id for message in messages) == result.offset_message_id


@pytest.mark.parametrize("serialize_type", list(SerializeType))
async def test_many_sends_at_a_time_are_all_confirmed_and_stored_once(
    python_peer: Peer, serialize_type: SerializeType
) -> None:
    topic = fresh("Many")
    instance = ClientInstance(python_peer.namesrv, serialize_type=serialize_type)
    async with instance, Producer((), "P", instance=instance, send_timeout_ms=20_000) as producer:
        await producer.send(Message(topic, b"-1"))  # the topic is made by one, not by hundreds
        results = await asyncio.gather(
            *(producer.send(Message(topic, b"%d" % number)) for number in range(1_000))
        )
    assert all(result.is_ok for result in results)
    found = await read_all(python_peer.namesrv, topic, 1_001)
    assert bodies(found) == sorted(b"%d" % number for number in range(-1, 1_000))
    places = {(result.queue, result.queue_offset) for result in results}
    assert len(places) == 1_000
    assert all(
        [message.queue_offset for message in messages] == list(range(len(messages)))
        for messages in found.values()
    )


async def test_one_way_messages_arrive(python_peer: Peer) -> None:
    topic = fresh("OneWay")
    async with Producer(python_peer.namesrv, "P") as producer:
        await producer.send(Message(topic, b"0"))
        for number in range(1, 20):
            await producer.send_one_way(Message(topic, b"%d" % number))
        found = await read_all(python_peer.namesrv, topic, 20)
    assert bodies(found) == sorted(b"%d" % number for number in range(20))


async def test_messages_of_one_sharding_key_are_in_one_queue_in_order(python_peer: Peer) -> None:
    topic = fresh("Ordered")
    keys = ["a", "b", "c", "d", "e"]
    async with Producer(python_peer.namesrv, "P") as producer:
        await producer.send(Message(topic, b"first", sharding_key="a"))

        async def in_order(key: str) -> None:
            for number in range(20):
                await producer.send(Message(topic, b"%d" % number, tag=key, sharding_key=key))

        await asyncio.gather(*map(in_order, keys))
    found = await read_all(python_peer.namesrv, topic, 101)
    for key in keys:
        holding = [
            [message.body for message in messages if message.tag == key]
            for messages in found.values()
            if any(message.tag == key for message in messages)
        ]
        assert holding == [[b"%d" % number for number in range(20)]], key


@pytest.mark.parametrize("kind", list(CompressionType))
async def test_compressed_bodies_come_back_plain(python_peer: Peer, kind: CompressionType) -> None:
    topic = fresh("Packed")
    body = b"the same again " * 1_000
    async with Producer(python_peer.namesrv, "P", compression=kind) as producer:
        await producer.send(Message(topic, body))
    ((message,),) = (await read_all(python_peer.namesrv, topic, 1)).values()
    assert message.body == body
    assert len(message.record.body) < len(body) / 5
    assert message.record.sys_flag & 0x701 == 1 | kind


async def test_a_message_the_broker_refuses_is_an_error_with_its_code(python_peer: Peer) -> None:
    topic = fresh("TooLong")
    async with Producer(
        python_peer.namesrv, "P", message_size_max=8 << 20, compress_from_bytes=8 << 20
    ) as producer:
        with pytest.raises(ServerRefused) as refused:
            await producer.send(Message(topic, bytes((4 << 20) + 1)), timeout_ms=20_000)
    assert refused.value.code == ResponseCode.MESSAGE_ILLEGAL


async def test_only_the_wanted_tag_is_read_also_where_another_has_its_hash(
    python_peer: Peer,
) -> None:
    topic = fresh("Tags")
    async with Producer(python_peer.namesrv, "P") as producer:
        for number in range(12):
            # "Aa" and "BB" have the same hash, so the broker cannot tell them apart
            tag = ("Aa", "BB", "C", None)[number % 4]
            await producer.send(Message(topic, b"%d" % number, tag=tag))
    found = await read_all(python_peer.namesrv, topic, 6, expression="Aa || C")
    assert bodies(found) == sorted([b"0", b"2", b"4", b"6", b"8", b"10"])


async def test_a_pull_consumer_goes_on_where_it_committed(python_peer: Peer) -> None:
    topic, group = fresh("Commit"), fresh("committers")
    async with Producer(python_peer.namesrv, "P") as producer:
        await producer.send(Message(topic, b"0", sharding_key="k"))
        queue = (await producer.send(Message(topic, b"1", sharding_key="k"))).queue
        for number in range(2, 10):
            await producer.send(Message(topic, b"%d" % number, sharding_key="k"))
    async with PullConsumer(python_peer.namesrv, group) as consumer:
        consumer.assign([queue])
        await consumer.seek_to_begin(queue)
        assert names_of(await consumer.poll(20_000, count_max=4)) == ["0", "1", "2", "3"]
        assert consumer.position(queue) == 4
        await consumer.commit()
        assert await consumer.committed(queue) == 4
        assert names_of(await consumer.poll(20_000, count_max=2)) == ["4", "5"]
    async with PullConsumer(python_peer.namesrv, group) as consumer:
        consumer.assign([queue])
        assert names_of(await consumer.poll(20_000)) == ["4", "5", "6", "7", "8", "9"]
        consumer.seek(queue, 8)
        assert names_of(await consumer.poll(20_000)) == ["8", "9"]
        await consumer.commit({queue: 2})
        assert await consumer.committed(queue) == 2


async def test_a_pull_consumer_goes_to_the_end_to_a_time_and_from_beyond(python_peer: Peer) -> None:
    topic = fresh("Seek")
    async with (
        Producer(python_peer.namesrv, "P") as producer,
        PullConsumer(python_peer.namesrv, fresh("seekers")) as consumer,
    ):
        queue = (await producer.send(Message(topic, b"0", sharding_key="k"))).queue
        consumer.assign([queue])
        consumer.seek(queue, 0)
        (first,) = await consumer.poll(20_000)
        while True:  # until the clock of the server has moved on
            result = await producer.send(Message(topic, b"1", sharding_key="k"))
            (later,) = await consumer.poll(20_000)
            if later.store_timestamp_ms > first.store_timestamp_ms:
                break
        await consumer.seek_to_timestamp(queue, later.store_timestamp_ms)
        assert (await consumer.poll(20_000))[0].queue_offset == result.queue_offset
        await consumer.seek_to_end(queue)
        await producer.send(Message(topic, b"new", sharding_key="k"))
        assert names_of(await consumer.poll(20_000)) == ["new"]
        consumer.seek(queue, 1_000_000)  # the broker says where the queue ends
        while consumer.position(queue) == 1_000_000:
            assert await consumer.poll(10) == []
        await producer.send(Message(topic, b"newest", sharding_key="k"))
        assert names_of(await consumer.poll(20_000)) == ["newest"]


async def test_a_poll_waits_for_a_message_that_comes_later(python_peer: Peer) -> None:
    topic = fresh("Later")
    async with (
        Producer(python_peer.namesrv, "P") as producer,
        PullConsumer(python_peer.namesrv, fresh("waiters")) as consumer,
    ):
        queue = (await producer.send(Message(topic, b"0", sharding_key="k"))).queue
        consumer.assign([queue])
        consumer.seek(queue, 1)
        assert await consumer.poll(300) == []
        waiting = asyncio.create_task(consumer.poll(20_000))
        await producer.send(Message(topic, b"1", sharding_key="k"))
        assert names_of(await waiting) == ["1"]


async def test_a_topic_that_is_not_there_has_no_queues(python_peer: Peer) -> None:
    async with PullConsumer(python_peer.namesrv, fresh("lost")) as consumer:
        with pytest.raises(RouteNotFound):
            await consumer.queues("NoSuchTopic")


async def test_apaches_mqadmin_shows_our_traces(python_peer: Peer, java_program: None) -> None:
    topic, group = fresh("Traced"), fresh("tracing")
    came = asyncio.Event()

    async def listen(message: ReceivedMessage) -> None:
        came.set()

    async with TraceRecorder(python_peer.namesrv) as trace:
        async with Producer(python_peer.namesrv, group, hooks=[trace]) as producer:
            result = await producer.send(Message(topic, b"x", tag="t", keys=["k"]))
        first = ConsumeFromWhere.FIRST_OFFSET
        consumer = PushConsumer(
            python_peer.namesrv, group, listen, consume_from=first, hooks=[trace]
        )
        consumer.subscribe(topic)
        async with asyncio.timeout(20), consumer:
            await came.wait()
    assert trace.dropped_count == 0
    shown = await asyncio.to_thread(
        mqadmin, f"queryMsgTraceById -i {result.message_id}", namesrv=python_peer.namesrv
    )
    rows = [line.split() for line in shown.splitlines()]
    assert [row[:2] for row in rows if row[:1] == ["Pub"]] == [["Pub", group]], shown
    assert [row[:2] for row in rows if row[:1] == ["Sub"]] == [["Sub", group]], shown
    assert "success" in shown
    assert "failed" not in shown


async def test_only_what_a_transaction_commits_becomes_visible(python_peer: Peer) -> None:
    topic, group = fresh("Half"), fresh("transactions")
    checked: list[str] = []
    decided = {
        "commit": TransactionState.COMMIT,
        "rollback": TransactionState.ROLLBACK,
        "later": TransactionState.UNKNOWN,
    }

    async def execute(message: Message) -> TransactionState:
        if message.keys[0] == "fails":
            raise ValueError("the database is away")
        return decided[message.keys[0]]

    async def check(message: ReceivedMessage) -> TransactionState:
        checked.append(message.keys[0])
        assert message.topic == topic
        return TransactionState.COMMIT

    async with TransactionProducer(python_peer.namesrv, group, check) as producer:
        await producer.send(Message(topic, b"visible"))
        if python_peer.kind == "ours":
            with pytest.raises(ServerRefused) as refused:
                await producer.send_in_transaction(Message(topic, b"x", keys=["commit"]), execute)
            assert refused.value.code == ResponseCode.MESSAGE_ILLEGAL
            assert "TRAN_MSG" in refused.value.remark
            return
        for key in ("rollback", "commit", "later", "fails"):
            half = Message(topic, key.encode(), keys=[key])
            result = await producer.send_in_transaction(half, execute)
            assert result.sent.is_ok
            assert result.state is decided.get(key, TransactionState.UNKNOWN)
            assert isinstance(result.error, ValueError) == (key == "fails")
        found = await read_all(python_peer.namesrv, topic, 4)
    assert bodies(found) == [b"commit", b"fails", b"later", b"visible"]
    assert sorted(set(checked)) == ["fails", "later"]


async def test_a_script_sends_and_reads_without_await(python_peer: Peer) -> None:
    topic, group = fresh("Script"), fresh("scripts")

    def script() -> list[str]:
        with sync.Producer(python_peer.namesrv, "P") as producer:
            queue = producer.send(Message(topic, b"0", sharding_key="k")).queue
            producer.send_batch([Message(topic, b"1"), Message(topic, b"2")], queue=queue)
        with sync.PullConsumer(python_peer.namesrv, group) as reader:
            reader.assign([queue])
            reader.seek_to_begin(queue)
            pulled = names_of(reader.poll(20_000))
            reader.commit()
            assert reader.committed(queue) == 3
        consumed: queue_module.Queue[str] = queue_module.Queue()

        def listen(message: ReceivedMessage) -> None:
            consumed.put(message.body.decode())

        first = ConsumeFromWhere.FIRST_OFFSET
        consumer = sync.PushConsumer(python_peer.namesrv, fresh("g"), listen, consume_from=first)
        consumer.subscribe(topic)
        with consumer:
            pushed = sorted(consumed.get(timeout=20) for _ in range(3))
        assert pushed == ["0", "1", "2"]
        return pulled

    assert await asyncio.to_thread(script) == ["0", "1", "2"]


async def test_the_broker_knows_a_producer_until_it_leaves(python_peer: Peer) -> None:
    group, topic = fresh("known"), fresh("Known")

    async with ClientInstance(python_peer.namesrv) as watcher:

        async def known() -> list[str]:
            try:
                answer = await watcher.call(
                    python_peer.broker,
                    RequestCode.GET_PRODUCER_CONNECTION_LIST,
                    ProducerConnectionHeader(producer_group=group),
                )
            except ServerRefused:
                return []
            return [
                f"{connection.client_id} {connection.language}"
                for connection in decode_producer_connections(answer.body)
            ]

        async with Producer(python_peer.namesrv, group) as producer:
            await producer.send(Message(topic, b"x"))
            await producer.instance.beat()
            assert await known() == [f"{producer.instance.client_id} PYTHON"]
        assert await known() == []
