"""The regular lane over real sockets: with the express lane off every send takes its verb."""

from __future__ import annotations

import socket
from collections import defaultdict

import pytest

from pyromq.codes import RequestCode
from pyromq.wire.record import decode_records
from pyromq.wire.remoting import frame
from pyromq.wire.remoting.connection import RemotingConnection
from pyromq.wire.remoting.frame import FLAG_ONEWAY, Command, SerializeType
from tests.support.processes import ask
from tests.support.pyromq_server import PyromqServer
from tests.unit.wire.samples import SEND_EXT

TOPIC = "Regular"
QUEUES = 4
SENDS = 600
"""Of each client; every tenth is one-way."""


def sends(client: int, form: SerializeType) -> bytes:
    return b"".join(
        frame.encode(
            Command(
                310,
                number,
                FLAG_ONEWAY if number % 10 == 9 else 0,
                ext={
                    **SEND_EXT,
                    "b": TOPIC,
                    "e": str(number % QUEUES),
                    "i": f"KEYS\x01k\x02UNIQ_KEY\x01{client}-{number}\x02WAIT\x01true\x02",
                },
                body=f"{client}/{number}".encode(),
                serialize_type=form,
            )
        )
        for number in range(SENDS)
    )


def answers(connection: socket.socket, count: int) -> list[Command]:
    wire = RemotingConnection()
    found: list[Command] = []
    while len(found) < count:
        data = connection.recv(1 << 16)
        assert data, "the server closed the connection"
        found += wire.receive_data(data)
    return found


@pytest.mark.parametrize("flush", ["ASYNC_FLUSH", "SYNC_FLUSH"])
def test_pipelined_sends_of_several_clients_are_answered_in_order_with_their_places(
    flush: str,
) -> None:
    words = ("--set", "expressLane=false", "--set", f"flushDiskType={flush}")
    with PyromqServer.ephemeral(*words) as server:
        topic = {
            "topic": TOPIC, "defaultTopic": "TBW102", "readQueueNums": str(QUEUES),
            "writeQueueNums": str(QUEUES), "perm": "6", "topicFilterType": "SINGLE_TAG",
            "topicSysFlag": "0", "order": "false",
        }  # fmt: skip
        assert ask(server.broker, RequestCode.UPDATE_AND_CREATE_TOPIC, topic).code == 0
        host, _, port = server.broker.rpartition(":")
        clients = [socket.create_connection((host, int(port)), timeout=30) for _ in range(3)]
        try:
            for number, client in enumerate(clients):
                data = sends(number, SerializeType(number % 2))
                for start in range(0, len(data), 33_333):
                    client.sendall(data[start : start + 33_333])
            waited = SENDS - SENDS // 10
            places = defaultdict[int, dict[int, str]](dict)
            for number, client in enumerate(clients):
                found = answers(client, waited)
                assert [one.opaque for one in found] == [n for n in range(SENDS) if n % 10 != 9]
                for one in found:
                    assert (one.code, one.remark) == (0, None)
                    assert one.ext["transactionId"] == f"{number}-{one.opaque}"
                    queue_offset = int(one.ext["queueOffset"])
                    assert queue_offset not in places[int(one.ext["queueId"])]
                    places[int(one.ext["queueId"])][queue_offset] = one.ext["msgId"]
        finally:
            for client in clients:
                client.close()
        fields = {"topic": TOPIC}
        stored = 0
        for queue in range(QUEUES):
            answer = ask(
                server.broker, RequestCode.GET_MAX_OFFSET, {**fields, "queueId": str(queue)}
            )
            stored += int(answer.fields["offset"])
            offset, message_id = max(places[queue].items())
            view = {"offset": str(int(message_id[16:], 16))}
            (record,) = decode_records(
                ask(server.broker, RequestCode.VIEW_MESSAGE_BY_ID, view).body
            )
            assert (record.queue_id, record.queue_offset) == (queue, offset)
        assert stored == len(clients) * SENDS
