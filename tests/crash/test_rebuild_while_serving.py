"""A broker whose queue files are damaged serves at once, but for the queues that it rebuilds.

The log is read slowly here (strace delays each read of it), so that there is a time in between.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from pyromq.codes import RequestCode, ResponseCode
from pyromq.store.engine import Engine, QueueRange
from pyromq.store.native import open_store
from pyromq.units import QueueOffset
from pyromq.wire.batch import BatchItem, encode_batch
from tests.support.engines import BORN_HOST, settings
from tests.support.processes import Answer, ask
from tests.support.pyromq_server import PyromqServer
from tests.support.strace import why_impossible

SEGMENT_SIZE = 16 << 20
QUEUE_FILE_SIZE = 1_000_000
INDEX_SLOTS, INDEX_ENTRIES = 100_000, 400_000
LOG_SIZE = 100 << 20
BODY = b"b" * 900
BATCH_COUNT = 50
READ_DELAY_US = 30_000
"""Of a megabyte of log: a hundred of them take three seconds."""
TIME_LIMIT_S = 30.0
LOAD = "load"
HEALTHY, DAMAGED = (0, 3), (1, 2)

_WHY_NOT = why_impossible()

pytestmark = [
    pytest.mark.crash,
    pytest.mark.skipif(_WHY_NOT is not None, reason=f"NO SLOW READS HERE: {_WHY_NOT}"),
]


def server(root: Path, tracer: tuple[str, ...] = ()) -> PyromqServer:
    words = [
        "standalone", "--data-dir", root, "--namesrv-port", 0, "--broker-port", 0,
        "--set", "flushDiskType=ASYNC_FLUSH",
        "--set", f"mappedFileSizeCommitLog={SEGMENT_SIZE}",
        "--set", f"mappedFileSizeConsumeQueue={QUEUE_FILE_SIZE}",
        "--set", f"maxHashSlotNum={INDEX_SLOTS}", "--set", f"maxIndexNum={INDEX_ENTRIES}",
        "--set", "diskReserveBytes=0",
    ]  # fmt: skip
    return PyromqServer(*words, tracer=tracer)


def slow_reads(root: Path) -> tuple[str, ...]:
    """The tracer that delays reads of the log's finished segments."""
    segments = sorted((root / "commitlog").iterdir())[:-2]
    paths = [word for segment in segments for word in ("-P", str(segment))]
    inject = f"inject=pread64:delay_enter={READ_DELAY_US}"
    return (
        "strace",
        "-D",
        "-f",
        "-q",
        "-o",
        "/dev/null",
        "-e",
        "trace=pread64",
        "-e",
        inject,
        *paths,
    )


def fill(root: Path) -> dict[int, QueueRange]:
    """100 MB in four queues of a topic; what each holds."""
    engine: Engine = open_store(
        settings(
            root,
            segment_size=SEGMENT_SIZE,
            consume_queue_file_size=QUEUE_FILE_SIZE,
            index_slot_count=INDEX_SLOTS,
            index_entry_count=INDEX_ENTRIES,
            message_size_max=4 << 20,
        )
    )
    number = 0
    while engine.positions().appended < LOG_SIZE:
        batch = encode_batch(
            BatchItem(0, BODY, f"KEYS\x01k{number + place}\x02".encode())
            for place in range(BATCH_COUNT)
        )
        engine.append_batch(
            LOAD,
            number // BATCH_COUNT % 4,
            batch,
            sys_flag=0,
            born_timestamp_ms=1,
            born_host=BORN_HOST,
            reconsume_times=0,
            now_ms=1_700_000_000_000 + number,
        )
        engine.write()
        number += BATCH_COUNT
    ranges = {queue_id: engine.queue_range(LOAD, queue_id) for queue_id in range(4)}
    engine.close()
    return ranges


def send(address: str, topic: str, queue_id: int) -> Answer:
    ext = {"a": "P", "b": topic, "c": "TBW102", "d": "4", "e": str(queue_id), "f": "0", "g": "0"}
    return ask(address, RequestCode.SEND_MESSAGE_V2, ext | {"h": "0", "i": ""}, b"late")


def pull(address: str, queue_id: int, offset: int) -> Answer:
    ext = {"consumerGroup": "CG", "topic": LOAD, "queueId": str(queue_id), "maxMsgNums": "32"}
    ext |= {"queueOffset": str(offset), "sysFlag": "4", "commitOffset": "0", "subVersion": "0"}
    ext |= {"suspendTimeoutMillis": "0", "subscription": "*", "expressionType": "TAG"}
    return ask(address, RequestCode.PULL_MESSAGE, ext)


def of_queue(address: str, code: RequestCode, queue_id: int, **more: str) -> Answer:
    return ask(address, code, {"topic": LOAD, "queueId": str(queue_id)} | more)


def runtime_info(address: str) -> Mapping[str, str]:
    answer = ask(address, RequestCode.GET_BROKER_RUNTIME_INFO)
    assert answer.code == 0, answer
    table = json.loads(answer.body)["table"]
    assert isinstance(table, dict)
    return table


def until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + TIME_LIMIT_S
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def until_rebuilt(address: str, meanwhile: Callable[[], None]) -> list[int]:
    """Percents as they were told."""
    told: list[int] = []
    deadline = time.monotonic() + TIME_LIMIT_S
    while (percent := int(runtime_info(address)["storeRebuildPercent"])) < 100:
        assert time.monotonic() < deadline, told
        told.append(percent)
        meanwhile()
    return told


def assert_refused(answer: Answer) -> None:
    assert answer.code == ResponseCode.SERVICE_NOT_AVAILABLE, answer
    assert "being rebuilt" in answer.remark, answer
    assert "nextBeginOffset" not in answer.fields
    assert "offset" not in answer.fields


def assert_served(address: str, ranges: dict[int, QueueRange]) -> None:
    """Healthy queues take and give; their next offset is one more each time."""
    for queue_id in HEALTHY:
        begin, end = ranges[queue_id]
        answer = send(address, LOAD, queue_id)
        assert answer.code == 0, answer
        assert int(answer.fields["queueOffset"]) == end
        ranges[queue_id] = QueueRange(begin, QueueOffset(end + 1))
        answer = pull(address, queue_id, end)
        assert answer.code == 0
        assert answer.body.count(b"late") == 1
        maximum = of_queue(address, RequestCode.GET_MAX_OFFSET, queue_id)
        assert int(maximum.fields["offset"]) == end + 1


def assert_waiting(address: str, ranges: dict[int, QueueRange]) -> None:
    """Nothing is known of the others, and nobody is told anything wrong."""
    for queue_id in DAMAGED:
        assert_refused(send(address, LOAD, queue_id))
        assert_refused(pull(address, queue_id, 5))
        assert_refused(pull(address, queue_id, ranges[queue_id].max_offset))
        for code in (
            RequestCode.GET_MAX_OFFSET,
            RequestCode.GET_MIN_OFFSET,
            RequestCode.GET_EARLIEST_MSG_STORETIME,
        ):
            assert_refused(of_queue(address, code, queue_id))
        time_ms = {"timestamp": "1700000000500"}
        assert_refused(
            of_queue(address, RequestCode.SEARCH_OFFSET_BY_TIMESTAMP, queue_id, **time_ms)
        )
        # Where a new group begins depends on the queue; what was committed does not.
        assert_refused(
            of_queue(address, RequestCode.QUERY_CONSUMER_OFFSET, queue_id, consumerGroup="new")
        )
        commit = {"consumerGroup": "CG", "commitOffset": "7"}
        code = RequestCode.UPDATE_CONSUMER_OFFSET
        assert of_queue(address, code, queue_id, **commit).code == 0
        code = RequestCode.QUERY_CONSUMER_OFFSET
        answer = of_queue(address, code, queue_id, consumerGroup="CG")
        assert answer.fields["offset"] == "7"
    assert_refused(send(address, "never-seen", 0))


def pull_all(address: str, queue_id: int) -> int:
    """How many messages a queue gives, from its minimum to its end."""
    offset = int(of_queue(address, RequestCode.GET_MIN_OFFSET, queue_id).fields["offset"])
    count = 0
    while (answer := pull(address, queue_id, offset)).code == 0:
        count += answer.body.count(BODY)
        offset = int(answer.fields["nextBeginOffset"])
    assert answer.code == ResponseCode.PULL_NOT_FOUND
    return count


def test_damaged_queues_come_back_while_the_others_serve_also_after_a_kill_in_between(
    tmp_path: Path,
) -> None:
    with server(tmp_path / "data") as broker:
        assert send(broker.broker, LOAD, 0).code == 0
        assert pull(broker.broker, 0, 0).code == 0  # the group is known now
        broker.stop()
    root = next((tmp_path / "data").rglob("commitlog")).parent
    ranges = fill(root)
    with server(tmp_path / "data") as broker:
        broker.kill()
    shutil.rmtree(root / "consumequeue" / LOAD / "1")
    units = root / "consumequeue" / LOAD / "2" / f"{0:020}"
    units.write_bytes(units.read_bytes()[:5000])

    tracer = slow_reads(root)
    with server(tmp_path / "data", tracer) as broker:
        info = runtime_info(broker.broker)
        assert int(info["storeRebuildPercent"]) < 60
        assert int(info["storeRebuildQueues"]) == len(DAMAGED)
        assert_waiting(broker.broker, ranges)
        assert_served(broker.broker, ranges)
        assert runtime_info(broker.broker)["storeRebuildQueues"] == str(len(DAMAGED))
        broker.kill()

    with server(tmp_path / "data", tracer) as broker:
        assert_waiting(broker.broker, ranges)
        told = until_rebuilt(broker.broker, lambda: assert_served(broker.broker, ranges))
        assert told == sorted(told)
        assert told[-1] > told[0]
        assert runtime_info(broker.broker)["storeRebuildQueues"] == "0"
        until(lambda: "the rebuild is done" in broker.process.tail())
        assert "all queues are rebuilt" in broker.process.tail()
        for queue_id in DAMAGED:
            answer = send(broker.broker, LOAD, queue_id)
            assert answer.code == 0
            assert int(answer.fields["queueOffset"]) == ranges[queue_id].max_offset
        broker.stop()

    with server(tmp_path / "data") as broker:
        for queue_id in DAMAGED:
            assert pull_all(broker.broker, queue_id) == ranges[queue_id].max_offset
        assert send(broker.broker, "never-seen", 0).code == 0
        broker.stop()


def test_with_all_derived_files_gone_the_broker_is_ready_before_they_are_made(
    tmp_path: Path,
) -> None:
    with server(tmp_path / "data") as broker:
        assert send(broker.broker, LOAD, 0).code == 0
        assert pull(broker.broker, 0, 0).code == 0
        broker.stop()
    root = next((tmp_path / "data").rglob("commitlog")).parent
    ranges = fill(root)
    with server(tmp_path / "data") as broker:
        broker.kill()
    shutil.rmtree(root / "consumequeue")
    shutil.rmtree(root / "index")
    with server(tmp_path / "data", slow_reads(root)) as broker:
        assert runtime_info(broker.broker)["storeRebuildIndex"] == "1"
        for queue_id in range(4):
            assert_refused(send(broker.broker, LOAD, queue_id))
            assert_refused(pull(broker.broker, queue_id, 0))
        # Metadata knows no difference.
        assert ask(broker.broker, RequestCode.GET_ALL_TOPIC_CONFIG).code == 0
        topic = {"topic": "made", "readQueueNums": "1", "writeQueueNums": "1", "perm": "6"}
        topic |= {"defaultTopic": "TBW102", "topicFilterType": "SINGLE_TAG", "order": "false"}
        assert ask(broker.broker, RequestCode.UPDATE_AND_CREATE_TOPIC, topic).code == 0
        until_rebuilt(broker.broker, lambda: None)
        for queue_id, found in ranges.items():
            answer = send(broker.broker, LOAD, queue_id)
            assert int(answer.fields["queueOffset"]) == found.max_offset
        number = ranges[0].max_offset  # a key of some message in the middle
        key = {"topic": LOAD, "key": f"k{number}", "maxNum": "32"}
        key |= {"beginTimestamp": "0", "endTimestamp": str(2**62)}
        answer = ask(broker.broker, RequestCode.QUERY_MESSAGE, key)
        assert answer.code == 0
        assert answer.body.count(BODY) == 1
        broker.stop()
