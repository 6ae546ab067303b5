"""A sync or a write that hangs: sends are told so at their deadline, and nobody else notices.

Figures: `python -m bench.slow_disk`.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from pyromq.client import RemotingClient
from pyromq.codes import RequestCode, ResponseCode
from pyromq.wire import dialect
from pyromq.wire.remoting.frame import Command
from tests.support.disk_error_run import probe_pull, probe_send
from tests.support.kill_run import server
from tests.support.processes import ask, retries
from tests.support.strace import Strace, why_impossible

HANG_US = 3_000_000
DEADLINE_MS = 700
BUSY_MS = 500
TOPIC = "slow"

_WHY_NOT = why_impossible()

pytestmark = [
    pytest.mark.crash,
    pytest.mark.skipif(_WHY_NOT is not None, reason=f"NO SLOW DISKS HERE: {_WHY_NOT}"),
]


def max_offset(address: str) -> int:
    fields = {"topic": TOPIC, "queueId": "0"}
    return int(ask(address, RequestCode.GET_MAX_OFFSET, fields).fields["offset"])


async def answer_to(client: RemotingClient, address: str, code: RequestCode) -> Command:
    """A send, a pull of the first message, a heartbeat, or the max offset."""
    ext = {"topic": TOPIC, "queueId": "0"}
    body = b""
    if code is RequestCode.SEND_MESSAGE_V2:
        ext = {"a": "probes", "b": TOPIC, "c": "TBW102", "d": "1", "e": "0", "f": "0", "g": "0"}
        ext |= {"h": "0", "i": "UNIQ_KEY\x01late\x02"}
        body = b"late"
    elif code is RequestCode.PULL_MESSAGE:
        ext |= {"consumerGroup": "probes", "queueOffset": "0", "maxMsgNums": "32", "sysFlag": "4"}
        ext |= {"commitOffset": "0", "suspendTimeoutMillis": "0", "subVersion": "0"}
        ext |= {"subscription": "*", "expressionType": "TAG"}
    elif code is RequestCode.HEART_BEAT:
        producers = [{"groupName": "probes"}]
        beat = {"clientID": "c", "producerDataSet": producers, "consumerDataSet": []}
        ext, body = {}, dialect.encode(beat)
    return await client.invoke(address, int(code), ext, body, timeout_ms=20_000)


async def test_while_a_sync_hangs_reads_go_on_and_a_send_is_told_at_its_deadline(
    tmp_path: Path,
) -> None:
    with server(tmp_path / "store", "SYNC_FLUSH", syncFlushTimeout=DEADLINE_MS) as broker:
        assert probe_send(broker.broker, TOPIC).code == 0
        assert probe_pull(broker.broker, TOPIC).code == 0
        with Strace(broker.pid, f"fdatasync:delay_exit={HANG_US}:when=1"):
            sender, reader = RemotingClient(), RemotingClient()
            try:
                began = time.monotonic()
                send = asyncio.create_task(
                    answer_to(sender, broker.broker, RequestCode.SEND_MESSAGE_V2)
                )
                answers: dict[RequestCode, Command] = {}
                for code in (RequestCode.PULL_MESSAGE, RequestCode.HEART_BEAT) * 5:
                    answers[code] = await answer_to(reader, broker.broker, code)
                    assert answers[code].code == 0
                assert not send.done(), "the others did not wait for the sync"
                assert answers[RequestCode.PULL_MESSAGE].ext["maxOffset"] == "1"
                late = await send
                assert late.code == ResponseCode.FLUSH_DISK_TIMEOUT
                assert time.monotonic() - began < 2 * DEADLINE_MS / 1000
                answer = await answer_to(reader, broker.broker, RequestCode.GET_MAX_OFFSET)
                assert answer.ext["offset"] == "1", "not synced yet, and so not readable"
            finally:
                await sender.close()
                await reader.close()
            for _ in retries(20):
                if max_offset(broker.broker) == 2:
                    break
            assert max_offset(broker.broker) == 2, "the sync ended, and the message is there"
            assert probe_send(broker.broker, TOPIC).code == 0
            broker.kill()  # a clean end would have slow syncs of its own


async def test_while_a_write_hangs_the_others_are_served_and_a_send_is_told_at_its_deadline(
    tmp_path: Path,
) -> None:
    """The first slow write is waited for by all; those after it only by who sent."""
    settings = {"syncFlushTimeout": DEADLINE_MS, "osPageCacheBusyTimeOutMills": BUSY_MS}
    with server(tmp_path / "store", "ASYNC_FLUSH", **settings) as broker:
        assert probe_send(broker.broker, TOPIC).code == 0
        assert probe_pull(broker.broker, TOPIC).code == 0
        sender, second, reader = RemotingClient(), RemotingClient(), RemotingClient()
        address = broker.broker
        # Per thread: the loop's next write, and the first one of the writer.
        slow = f"pwrite64:delay_exit={HANG_US}:when=1"
        with Strace(broker.pid, slow) as tracer:
            try:
                first = await answer_to(sender, address, RequestCode.SEND_MESSAGE_V2)
                assert first.code == 0
                began = time.monotonic()
                send = asyncio.create_task(answer_to(sender, address, RequestCode.SEND_MESSAGE_V2))
                behind = asyncio.create_task(
                    answer_to(second, address, RequestCode.SEND_MESSAGE_V2)
                )
                for code in (RequestCode.PULL_MESSAGE, RequestCode.HEART_BEAT) * 5:
                    answer = await answer_to(reader, address, code)
                    assert answer.code == 0
                    if code is RequestCode.PULL_MESSAGE:
                        assert answer.ext["maxOffset"] == "2"
                assert not send.done(), "the others did not wait for the write"
                for late in (await send, await behind):
                    assert late.code == ResponseCode.FLUSH_DISK_TIMEOUT
                assert time.monotonic() - began < 2 * DEADLINE_MS / 1000
                refused = await answer_to(second, address, RequestCode.SEND_MESSAGE_V2)
                assert refused.code == ResponseCode.SYSTEM_BUSY, refused.remark
                assert max_offset(address) == 2, "not written yet, and so not readable"
                for _ in retries(20):
                    if max_offset(address) == 4:
                        break
                assert max_offset(address) == 4, "the write ended; what waited behind it is there"
                again = await answer_to(second, address, RequestCode.SEND_MESSAGE_V2)
                assert again.code == 0
                calls = [call for call in tracer.calls() if "/commitlog/" in call.path]
                writes = [call for call in calls if call.name == "pwrite64"]
                assert writes[0].thread == broker.pid, "a quick disk is written to by the loop"
                assert broker.pid not in {call.thread for call in writes[1:]}, "a slow one is not"
            finally:
                for client in (sender, second, reader):
                    await client.close()
                broker.kill()  # a clean end would have slow writes of its own
