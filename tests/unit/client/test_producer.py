"""The producer against scripted name servers and brokers."""

from __future__ import annotations

import asyncio
import zlib
from typing import Any

import pytest

from pyromq.client import (
    ClientClosed,
    Message,
    MessageQueue,
    NamesrvUnreachable,
    Producer,
    RouteNotFound,
    SendEvent,
    SendFailed,
    SendHook,
    SendStatus,
    ServerRefused,
)
from pyromq.client.producer import RETRIED_CODES, queue_of_key
from pyromq.codes import RequestCode, ResponseCode
from pyromq.errors import InvalidParameter, MessageIllegal
from pyromq.wire.batch import decode_batch
from pyromq.wire.record import parse_properties
from pyromq.wire.remoting.frame import Command
from tests.support.connections import WAIT_SECONDS
from tests.support.processes import free_port
from tests.support.scripted_cluster import accept, cluster, route_of
from tests.support.scripted_server import Line


async def takes(line: Line, command: Command) -> None:
    accept(line, command)


async def hangs_up(line: Line, command: Command) -> None:
    if command.code == RequestCode.HEART_BEAT:
        accept(line, command)
    else:
        line.writer.transport.abort()


async def is_mute(line: Line, command: Command) -> None:
    if command.code == RequestCode.HEART_BEAT:
        accept(line, command)


def answers(code: int) -> Any:
    async def script(line: Line, command: Command) -> None:
        accept(line, command, 0 if command.code == RequestCode.HEART_BEAT else code)

    return script


def producer(namesrv: str, **options: Any) -> Producer:
    return Producer(namesrv, "P", **options)


async def test_a_confirmed_send_says_where_the_message_is() -> None:
    async with cluster(a=takes) as there, producer(there.namesrv) as it:
        message = Message("T", b"body", tag="new", keys=["k1", "k2"], properties={"x": "y"}, flag=9)
        result = await it.send(message)
        (request,) = there.sends("a")
    assert result.status is SendStatus.SEND_OK
    assert result.is_ok
    assert (result.queue.broker_name, result.queue_offset) == ("a", 7)
    assert result.queue.queue_id == int(request.ext["e"])
    properties = parse_properties(request.ext["i"])
    assert properties.pop("UNIQ_KEY") == result.message_id
    assert properties == {"WAIT": "true", "TAGS": "new", "KEYS": "k1 k2", "x": "y"}
    assert request.body == b"body"
    ext = {name: request.ext[name] for name in "abcdfhjkmn"}
    assert ext == {
        "a": "P", "b": "T", "c": "TBW102", "d": "4", "f": "0", "h": "9", "j": "0", "k": "false",
        "m": "false", "n": "a",
    }  # fmt: skip


async def test_queues_take_turns() -> None:
    async with cluster(a=takes, b=takes) as there, producer(there.namesrv) as it:
        results = [await it.send(Message("T", b"x")) for _ in range(8)]
    queues = [result.queue for result in results]
    assert len(set(queues[:4])) == 4
    assert queues[4:] == queues[:4]


@pytest.mark.parametrize("script", [hangs_up, is_mute, answers(ResponseCode.SYSTEM_BUSY)])
async def test_a_failed_try_is_followed_by_one_at_another_broker(script: Any) -> None:
    async with (
        cluster(bad=script, good=takes) as there,
        producer(there.namesrv, try_timeout_ms=100, avoids_slow_brokers=False) as it,
    ):
        for _ in range(4):
            result = await it.send(Message("T", b"x"))
            assert result.queue.broker_name == "good"
        tried = there.sends("bad")
        assert 1 <= len(tried) <= 4
        stored = [parse_properties(request.ext["i"])["UNIQ_KEY"] for request in there.sends("good")]
    # A message keeps its id from try to try, so consumers can tell that it is the same.
    assert {parse_properties(request.ext["i"])["UNIQ_KEY"] for request in tried} <= set(stored)
    assert len(set(stored)) == 4


async def test_a_broker_that_failed_is_avoided_for_a_while() -> None:
    async with (
        cluster(bad=hangs_up, good=takes) as there,
        producer(there.namesrv) as it,
    ):
        for _ in range(20):
            await it.send(Message("T", b"x"))
        assert len(there.sends("bad")) <= 1


@pytest.mark.parametrize("code", sorted(RETRIED_CODES))
async def test_these_refusals_are_tried_three_times(code: int) -> None:
    async with cluster(a=answers(code)) as there, producer(there.namesrv) as it:
        with pytest.raises(SendFailed) as failed:
            await it.send(Message("T", b"x"))
        # A connection that is sent away asks once more on a new one, within the same try.
        asked = 2 if code == ResponseCode.GO_AWAY else 1
        assert len(there.sends("a")) == 3 * asked
    assert failed.value.code == code
    assert not failed.value.may_be_stored


@pytest.mark.parametrize("code", [ResponseCode.MESSAGE_ILLEGAL, ResponseCode.INVALID_PARAMETER])
async def test_a_refusal_of_the_message_itself_is_not_tried_again(code: int) -> None:
    async with cluster(a=answers(code), b=answers(code)) as there, producer(there.namesrv) as it:
        with pytest.raises(ServerRefused) as refused:
            await it.send(Message("T", b"x"))
        assert len(there.sends("a")) + len(there.sends("b")) == 1
    assert refused.value.code == code


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (ResponseCode.FLUSH_DISK_TIMEOUT, SendStatus.FLUSH_DISK_TIMEOUT),
        (ResponseCode.FLUSH_SLAVE_TIMEOUT, SendStatus.FLUSH_SLAVE_TIMEOUT),
        (ResponseCode.SLAVE_NOT_AVAILABLE, SendStatus.SLAVE_NOT_AVAILABLE),
    ],
)
async def test_a_message_stored_with_less_than_promised_is_not_called_ok(
    code: int, status: SendStatus
) -> None:
    async with cluster(a=answers(code)) as there, producer(there.namesrv) as it:
        result = await it.send(Message("T", b"x"))
        assert (result.status, result.is_ok) == (status, False)
        assert len(there.sends("a")) == 1
    async with (
        cluster(a=answers(code)) as there,
        producer(there.namesrv, retries_when_not_stored_ok=True) as it,
    ):
        result = await it.send(Message("T", b"x"))
        assert (result.status, result.is_ok) == (status, False)
        assert len(there.sends("a")) == 3


@pytest.mark.parametrize("script", [hangs_up, is_mute])
async def test_without_an_answer_the_error_says_that_it_may_be_stored(script: Any) -> None:
    async with cluster(a=script) as there, producer(there.namesrv) as it:
        with pytest.raises(SendFailed) as failed:
            await it.send(Message("T", b"x"), timeout_ms=200)
    assert failed.value.may_be_stored
    assert failed.value.code is None


async def test_where_nothing_could_be_sent_the_error_says_that_it_is_not_stored() -> None:
    async with cluster(a=takes) as there, producer(there.namesrv) as it:
        there.routes["T"] = route_of({"a": f"127.0.0.1:{free_port()}"})
        with pytest.raises(SendFailed) as failed:
            await it.send(Message("T", b"x"))
    assert not failed.value.may_be_stored


async def test_all_tries_together_end_at_the_timeout() -> None:
    async with (
        cluster(a=is_mute, b=is_mute) as there,
        producer(there.namesrv, send_timeout_ms=100) as it,
    ):
        with pytest.raises(SendFailed):
            await it.send(Message("T", b"x"))
        assert len(there.sends("a")) + len(there.sends("b")) == 1


async def test_a_sharding_key_always_means_the_same_queue_and_one_try() -> None:
    async with cluster(a=takes, b=hangs_up) as there, producer(there.namesrv) as it:
        queues = await it.queues("T")
        # "a" is 97 in Java, "b" 98; there are four queues, the first two on broker a
        for key, index in (("d", 0), ("e", 1)):
            result = await it.send(Message("T", b"x", sharding_key=key))
            assert result.queue == queues[index] == queue_of_key(key, queues)
        with pytest.raises(SendFailed) as failed:
            await it.send(Message("T", b"x", sharding_key="b"))
        assert failed.value.may_be_stored
        assert len(there.sends("b")) == 1
        assert parse_properties(there.sends("a")[0].ext["i"])["__SHARDINGKEY"] == "d"


def test_a_key_with_a_negative_hash_has_a_queue_too() -> None:
    queues = [MessageQueue("a", number, "T") for number in range(5)]
    # Java: Math.abs("customer 42".hashCode() % 5), and the text whose hash is Integer.MIN_VALUE
    assert queue_of_key("customer 42", queues).queue_id == 3
    assert queue_of_key("polygenelubricants", queues).queue_id == 3


async def test_a_batch_is_one_request_with_an_id_for_each_message() -> None:
    async with cluster(a=takes) as there, producer(there.namesrv) as it:
        result = await it.send_batch([Message("T", b"1", tag="x"), Message("T", b"2", flag=5)])
        (request,) = there.sends("a")
    assert request.code == RequestCode.SEND_BATCH_MESSAGE
    assert request.ext["m"] == "true"
    items = decode_batch(request.body)
    assert [(item.body, item.flag) for item in items] == [(b"1", 0), (b"2", 5)]
    keys = [parse_properties(item.properties.decode())["UNIQ_KEY"] for item in items]
    assert result.message_id == ",".join(keys)
    own = parse_properties(request.ext["i"])
    assert own.keys() == {"UNIQ_KEY", "WAIT"}
    assert own["UNIQ_KEY"] not in keys


@pytest.mark.parametrize(
    "second",
    [
        Message("U", b"x"),
        Message("T", b"x", delay_level=1),
        Message("T", b"x", waits_for_store=False),
        Message("T", b"x", sharding_key="k"),
        Message("T", b"x" * (4 << 20)),
    ],
)
async def test_what_cannot_be_one_batch_is_refused_before_it_is_sent(second: Message) -> None:
    async with cluster(a=takes) as there, producer(there.namesrv) as it:
        with pytest.raises(MessageIllegal):
            await it.send_batch([Message("T", b"x"), second])
        with pytest.raises(MessageIllegal):
            await it.send_batch([])
        assert there.sends("a") == []


@pytest.mark.parametrize(
    "message",
    [
        Message("T", b""),
        Message("T", b"x" * ((4 << 20) + 1)),
        Message("", b"x"),
        Message("no blanks", b"x"),
        Message("T", b"x", properties={"KEYS": "k"}),
        Message("T", b"x", properties={"": "v"}),
        Message("T", b"x", properties={"n": ""}),
        Message("T", b"x", properties={"n": "a\x02UNIQ_KEY\x01b"}),
        Message("T", b"x", properties={"a\x01b": "v"}),
        Message("T", b"x", tag="a\x02KEYS\x01b"),
        Message("T", b"x", keys="text"),
        Message("T", b"x", keys=["two words"]),
    ],
)
async def test_an_illegal_message_is_refused_before_it_is_sent(message: Message) -> None:
    async with cluster(a=takes) as there, producer(there.namesrv) as it:
        with pytest.raises((InvalidParameter, MessageIllegal)):
            await it.send(message)
        assert there.sends("a") == []


async def test_a_long_body_is_compressed_and_a_short_one_is_not() -> None:
    async with cluster(a=takes) as there, producer(there.namesrv) as it:
        await it.send(Message("T", b"x" * 4_096))
        await it.send(Message("T", b"x" * 4_095))
        long, short = there.sends("a")
    assert (long.ext["f"], short.ext["f"]) == (str(0x301), "0")
    assert zlib.decompress(long.body) == b"x" * 4_096
    assert short.body == b"x" * 4_095


async def test_a_one_way_send_wants_no_answer() -> None:
    async with cluster(a=is_mute) as there, producer(there.namesrv) as it:
        await it.send_one_way(Message("T", b"x"))
        async with asyncio.timeout(WAIT_SECONDS):
            while not there.sends("a"):
                there.brokers["a"].got.clear()
                await there.brokers["a"].got.wait()
        assert there.sends("a")[0].is_oneway


async def test_a_topic_that_is_not_there_is_made_where_the_default_topic_is() -> None:
    async with cluster("TBW102", queue_nums=8, a=takes) as there, producer(there.namesrv) as it:
        results = [await it.send(Message("New", b"x")) for _ in range(8)]
        assert {result.queue.queue_id for result in results} == {0, 1, 2, 3}
        assert there.sends("a")[0].ext["b"] == "New"


async def test_a_topic_without_a_route_and_a_topic_nobody_may_write_are_told() -> None:
    async with cluster(a=takes) as there, producer(there.namesrv) as it:
        with pytest.raises(RouteNotFound, match="Missing"):
            await it.send(Message("Missing", b"x"))
        there.routes["ReadOnly"] = route_of({"a": there.brokers["a"].address}, perm=4)
        with pytest.raises(RouteNotFound, match="may be written"):
            await it.send(Message("ReadOnly", b"x"))


async def test_a_name_server_that_is_gone_is_followed_by_the_next() -> None:
    dead = f"127.0.0.1:{free_port()}"
    async with cluster(a=takes) as there, producer(f"{dead};{there.namesrv}") as it:
        assert (await it.send(Message("T", b"x"))).is_ok
        assert (await it.send(Message("T", b"x"))).is_ok
    async with producer(dead) as it:
        with pytest.raises(NamesrvUnreachable, match=dead):
            await it.send(Message("T", b"x"))


async def test_stopping_waits_for_what_is_under_way_and_takes_nothing_more() -> None:
    held: list[tuple[Line, Command]] = []
    came = asyncio.Event()

    async def holds(line: Line, command: Command) -> None:
        if command.code == RequestCode.SEND_MESSAGE_V2:
            held.append((line, command))
            came.set()
        else:
            accept(line, command)

    async with cluster(a=holds) as there:
        it = producer(there.namesrv)
        await it.start()
        send = asyncio.create_task(it.send(Message("T", b"x")))
        async with asyncio.timeout(WAIT_SECONDS):
            await came.wait()
        stop = asyncio.create_task(it.stop())
        await asyncio.sleep(0)
        with pytest.raises(ClientClosed):
            await it.send(Message("T", b"x"))
        assert not stop.done()
        accept(*held[0])
        assert (await send).is_ok
        await stop


async def test_no_more_sends_are_under_way_than_allowed_and_the_others_wait_in_turn() -> None:
    held: list[tuple[Line, Command]] = []
    came = asyncio.Event()

    async def holds(line: Line, command: Command) -> None:
        if command.code == RequestCode.SEND_MESSAGE_V2:
            held.append((line, command))
            came.set()
        else:
            accept(line, command)

    async def until(count: int) -> None:
        async with asyncio.timeout(WAIT_SECONDS):
            while len(held) < count:
                came.clear()
                await came.wait()

    async with cluster(a=holds) as there, producer(there.namesrv, in_flight_max=4) as it:
        sends = [asyncio.create_task(it.send(Message("T", b"%d" % n))) for n in range(10)]
        await until(4)
        sends[5].cancel()  # one that waits
        for answered in range(9):
            await until(answered + 1)
            assert len(held) <= answered + 4
            accept(*held[answered])
        await asyncio.wait(sends)
        assert [command.body for _, command in held] == [b"%d" % n for n in range(10) if n != 5]
        assert sends[5].cancelled()
        assert all(send.result().is_ok for send in sends if send is not sends[5])


async def test_brokers_hear_of_the_group_and_of_its_end() -> None:
    async with cluster(a=takes) as there:
        async with producer(there.namesrv) as it:
            await it.send(Message("T", b"x"))
            async with asyncio.timeout(WAIT_SECONDS):
                while not any(c.code == 34 for c in there.brokers["a"].requests):
                    there.brokers["a"].got.clear()
                    await there.brokers["a"].got.wait()
            client_id = it.instance.client_id
        beat = next(c for c in there.brokers["a"].requests if c.code == RequestCode.HEART_BEAT)
        assert f'"clientID":"{client_id}"'.encode() in beat.body
        assert b'"groupName":"P"' in beat.body
        last = there.brokers["a"].requests[-1]
        assert last.code == RequestCode.UNREGISTER_CLIENT
        assert last.ext == {"clientID": client_id, "producerGroup": "P"}


async def test_hooks_see_every_try_and_cannot_break_a_send() -> None:
    seen: list[tuple[str, str]] = []

    class Watch(SendHook):
        def before_send(self, event: SendEvent) -> None:
            seen.append(("before", event.queue.broker_name))
            raise RuntimeError("a hook's own fault")

        def after_send(self, event: SendEvent) -> None:
            how = "ok" if event.result is not None and event.result.is_ok else type(event.error)
            seen.append((str(how), event.queue.broker_name))

    async with (
        cluster(a=takes) as there,
        producer(there.namesrv, hooks=[Watch()]) as it,
    ):
        assert (await it.send(Message("T", b"x"))).is_ok
    assert seen == [("before", "a"), ("ok", "a")]
