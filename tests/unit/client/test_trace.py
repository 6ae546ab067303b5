"""Trace records: the fields of TraceDataEncoder 5.5.0, and what becomes of too many of them."""

from __future__ import annotations

import pytest

from pyromq.client import ConsumeEvent, Message, SendEvent, SendResult, SendStatus
from pyromq.client.consumption import ReconsumeLater
from pyromq.client.message import ReceivedMessage
from pyromq.client.trace import TraceRecorder
from pyromq.codes import RequestCode, ResponseCode
from pyromq.domain.route import MessageQueue
from pyromq.units import QueueOffset
from pyromq.wire.record import Record, parse_properties
from pyromq.wire.remoting.frame import Command
from tests.support.scripted_cluster import Cluster, accept, cluster
from tests.support.scripted_server import Line

TOPIC = "RMQ_SYS_TRACE_TOPIC"
QUEUE = MessageQueue("a", 0, "T")


async def takes(line: Line, command: Command) -> None:
    accept(line, command)


async def refuses(line: Line, command: Command) -> None:
    is_send = command.code == RequestCode.SEND_MESSAGE_V2
    accept(line, command, ResponseCode.MESSAGE_ILLEGAL if is_send else 0)


def sent(*, region: str | None = "R", is_trace_on: bool = True, topic: str = "T") -> SendEvent:
    result = SendResult(
        SendStatus.SEND_OK, "ID", "OFFSETID", QUEUE, QueueOffset(5), region, is_trace_on
    )
    message = Message(topic, b"body", tag="tag", keys=["k1", "k2"])
    return SendEvent("P", "C", [message], ["ID"], QUEUE, "1.2.3.4:5", 1_000, 7, result)


def consumed(is_success: bool, error: Exception | None = None) -> ConsumeEvent:
    text = b"UNIQ_KEY\x01ID\x02KEYS\x01k1\x02MSG_REGION\x01R\x02"
    record = Record("T", b"x", reconsume_times=2, properties=text)
    message = ReceivedMessage("T", b"x", QUEUE, QueueOffset(0), record)
    return ConsumeEvent("G", "C", (message,), QUEUE, 1_000, 7, is_success, error, "REQ")


def traces(there: Cluster) -> tuple[list[list[str]], set[str]]:
    (request,) = there.sends("a")
    records = request.body.decode().split("\x02")
    assert records.pop() == ""
    keys = parse_properties(request.ext["i"])["KEYS"].split()
    return [record.split("\x01") for record in records], set(keys)


async def test_a_send_is_one_record() -> None:
    async with cluster(TOPIC, a=takes) as there:
        async with TraceRecorder(there.namesrv) as recorder:
            recorder.after_send(sent())
        records, keys = traces(there)
    assert records == [
        ["Pub", "1000", "R", "P", "T", "ID", "tag", "k1 k2", "1.2.3.4:5", "4", "7", "0", "OFFSETID",
         "true"]
    ]  # fmt: skip
    assert keys == {"ID", "k1", "k2"}


@pytest.mark.parametrize(
    ("is_success", "error", "code"),
    [
        (True, None, "0"),
        (False, TimeoutError(), "1"),
        (False, ValueError(), "2"),
        (False, ReconsumeLater(), "4"),
    ],
)
async def test_a_consumption_is_two_records(
    is_success: bool, error: Exception | None, code: str
) -> None:
    async with cluster(TOPIC, a=takes) as there:
        async with TraceRecorder(there.namesrv) as recorder:
            event = consumed(is_success, error)
            recorder.before_consume(event)
            recorder.after_consume(event)
        records, keys = traces(there)
    assert records == [
        ["SubBefore", "1000", "R", "G", "REQ", "ID", "2", "k1"],
        ["SubAfter", "REQ", "ID", "7", str(is_success).lower(), "k1", code, "1007", "G"],
    ]
    assert keys == {"ID", "k1"}


async def test_what_shall_not_be_traced_is_not() -> None:
    async with cluster(TOPIC, a=takes) as there:
        async with TraceRecorder(there.namesrv) as recorder:
            recorder.after_send(sent(region=None))
            recorder.after_send(sent(is_trace_on=False))
            recorder.after_send(sent(topic=TOPIC))
        assert there.sends("a") == []


async def test_ten_records_go_in_one_message() -> None:
    async with cluster(TOPIC, a=takes) as there:
        async with TraceRecorder(there.namesrv) as recorder:
            for _ in range(25):
                recorder.after_send(sent())
        assert [request.body.count(b"\x02") for request in there.sends("a")] == [10, 10, 5]
        assert recorder.dropped_count == 0


async def test_too_many_records_and_those_no_broker_takes_are_counted() -> None:
    async with cluster(TOPIC, a=takes) as there:
        async with TraceRecorder(there.namesrv, records_max=3) as recorder:
            for _ in range(5):
                recorder.after_send(sent())
        assert recorder.dropped_count == 2
    async with cluster(TOPIC, a=refuses) as there:
        async with TraceRecorder(there.namesrv) as recorder:
            recorder.after_send(sent())
        assert recorder.dropped_count == 1
