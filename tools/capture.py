"""Captures the golden vectors: what Apache's server and clients say to each other, and a store.

    python tools/capture.py remoting     tests/vectors/remoting/*.bin and .json
    python tools/capture.py store        tests/vectors/store/{stopped,killed}/
    python tools/capture.py all

Remoting: the real name server and brokers listen on 127.0.0.2; they tell everyone 127.0.0.1, where
a recording proxy listens and passes all bytes on unchanged. Of each kind of request — by client,
code, answer and a variant — the first one and its answer are kept, one frame per file.

Where it may (root on Linux), the script runs itself in a network namespace with nothing but the
loopback device, so that message and client ids hold 127.0.0.1 and not an address of this machine;
at the end it looks for anything else of the machine and fails if there is something.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import getpass
import hashlib
import json
import os
import re
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.support.apache import SMALL_FILES, ApacheBroker, ApacheNamesrv  # noqa: E402
from tests.support.foreign import (  # noqa: E402
    ForeignFailed,
    JavaSession,
    Row,
    go,
    java,
    java_classpath,
)

VECTORS = ROOT / "tests" / "vectors"
SERVER = "Apache RocketMQ 5.5.0"
TARGET_HOST = "127.0.0.2"
NAMESRV_PORT, BROKER_PORT, SLAVE_PORT = 9876, 10911, 11911
NAMESRV = f"127.0.0.1:{NAMESRV_PORT}"
BROKER = f"127.0.0.1:{BROKER_PORT}"
FRAME_SIZE_MAX = 100_000
INSIDE = "PYROMQ_CAPTURE_INSIDE"

RESPONSE_FLAG, ONEWAY_FLAG = 1, 2


# --- frames -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Frame:
    """One frame as it was on the wire, and its header."""

    data: bytes
    serialize_type: int
    code: int
    language: str
    version: int
    opaque: int
    flag: int
    remark: str | None
    fields: Mapping[str, str]
    body: bytes

    @property
    def is_answer(self) -> bool:
        return bool(self.flag & RESPONSE_FLAG)

    @property
    def is_oneway(self) -> bool:
        return bool(self.flag & ONEWAY_FLAG)


LANGUAGES = ("JAVA CPP DOTNET PYTHON DELPHI ERLANG RUBY OTHER HTTP GO PHP OMS RUST NODE_JS").split()  # noqa: SIM905 — their order is their number


def decode(data: bytes) -> Frame:
    _, mark = struct.unpack_from(">ii", data)
    kind, header_length = mark >> 24, mark & 0xFFFFFF
    header, body = data[8 : 8 + header_length], data[8 + header_length :]
    if kind == 0:
        said: dict[str, Any] = json.loads(header)
        return Frame(
            data,
            kind,
            said["code"],
            said.get("language", ""),
            said.get("version", 0),
            said["opaque"],
            said["flag"],
            said.get("remark"),
            said.get("extFields") or {},
            body,
        )
    code, language, version, opaque, flag, size = struct.unpack_from(">hbhiii", header)
    at = 17 + size
    remark = header[17:at].decode() if size else None
    (size,) = struct.unpack_from(">i", header, at)
    fields, at = {}, at + 4
    while at < len(header):
        (length,) = struct.unpack_from(">h", header, at)
        key, at = header[at + 2 : at + 2 + length].decode(), at + 2 + length
        (length,) = struct.unpack_from(">i", header, at)
        fields[key], at = header[at + 4 : at + 4 + length].decode(), at + 4 + length
    return Frame(data, kind, code, LANGUAGES[language], version, opaque, flag, remark, fields, body)


def encode(code: int, fields: Mapping[str, str], body: bytes, *, version: int, kind: int) -> bytes:
    """A request of our own, to ask the real server what no client asks."""
    if kind == 0:
        said = {"code": code, "extFields": dict(fields), "flag": 0, "language": "PYTHON"}
        more = {"opaque": 1, "serializeTypeCurrentRPC": "JSON", "version": version}
        header = json.dumps(said | more).encode()
    else:
        pairs = b"".join(
            struct.pack(">h", len(key))
            + key.encode()
            + struct.pack(">i", len(text))
            + text.encode()
            for key, text in fields.items()
        )
        start = struct.pack(">hbhiii", code, LANGUAGES.index("PYTHON"), version, 1, 0, 0)
        header = start + struct.pack(">i", len(pairs)) + pairs
    mark = (kind << 24) | len(header)
    return struct.pack(">ii", 4 + len(header) + len(body), mark) + header + body


def variant(request: Frame) -> str:
    """What makes requests of one code differ in kind."""
    said: list[str] = []
    fields = request.fields
    if request.code == 34:
        data = json.loads(request.body)
        kinds = [entry["consumeType"].removeprefix("CONSUME_") for entry in data["consumerDataSet"]]
        said += [kind.lower() for kind in sorted(kinds)] or ["producer"]
    elif request.code in (10, 310, 320):
        if int(fields.get("f", fields.get("sysFlag", "0"))) & 1:
            said.append("compressed")
    elif request.code in (11, 361):
        said.append("flags" + fields["sysFlag"])
    elif request.code == 12 and fields.get("_UNIQUE_KEY_QUERY") == "true":
        said.append("unique_key")
    elif request.code == 105:
        topic = fields.get("topic", "")
        said.append("retry" if topic.startswith("%RETRY%") else "topic")
    if request.is_oneway:
        said.append("oneway")
    return "_".join(said)


# --- recording proxy ----------------------------------------------------------------------------


@dataclass
class Recorder:
    """Keeps the first frame of each kind; `who` and `step` say who talks now and what it does."""

    names: Mapping[int, str]
    who: str = ""
    client: str = ""
    step: str = ""
    kept: dict[str, tuple[Frame, dict[str, Any]]] = field(default_factory=dict)

    def keep(self, request: Frame, answer: Frame | None, way: tuple[str, str], said: Row) -> None:
        name = self.names.get(request.code, "unknown").lower()
        parts = [said["who"], str(request.code), name, said["case"] or variant(request)]
        if answer is not None and answer.code != 0:
            parts.append(f"code{answer.code}")
        stem = "-".join(part for part in parts if part)
        if f"{stem}.request" in self.kept:
            return
        sizes = [len(frame.data) for frame in (request, answer) if frame is not None]
        if max(sizes) > FRAME_SIZE_MAX:
            return
        about = {
            "meaning": said["step"],
            "request_code": request.code,
            "request_name": self.names.get(request.code, "unknown"),
            "client": said["client"],
            "server": SERVER,
            "captured": "tools/capture.py remoting: recording proxy between client and server",
        }
        self._keep(f"{stem}.request", request, about, f"{way[0]} to {way[1]}", answer)
        if answer is not None:
            self._keep(f"{stem}.answer", answer, about, f"{way[1]} to {way[0]}", request)

    def _keep(
        self, name: str, frame: Frame, about: Row, direction: str, other: Frame | None
    ) -> None:
        kind = "answer" if frame.is_answer else "oneway request" if frame.is_oneway else "request"
        beside = name.rsplit(".", 1)[0] + (".request" if frame.is_answer else ".answer")
        more = {
            "kind": kind,
            "direction": direction,
            "header": "ROCKETMQ" if frame.serialize_type else "JSON",
            "pair": f"{beside}.bin" if other is not None else None,
            "code": frame.code,
            "remark": frame.remark,
            "header_size": len(frame.data) - 8 - len(frame.body),
            "body_size": len(frame.body),
        }
        self.kept[name] = (frame, about | more)

    def write(self, folder: Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for name, (frame, about) in sorted(self.kept.items()):
            (folder / f"{name}.bin").write_bytes(frame.data)
            (folder / f"{name}.json").write_text(json.dumps(about, indent=2) + "\n")


@dataclass
class Connection:
    """Who opened it, and the requests that wait for an answer, by the side that asked."""

    who: str
    client: str
    pending: dict[tuple[str, int], tuple[Frame, Row]] = field(default_factory=dict)


class Proxy:
    """Passes bytes between 127.0.0.1 and the real server, and shows each frame to the recorder."""

    def __init__(self, recorder: Recorder, doors: Mapping[str, int]) -> None:
        self._recorder = recorder
        self._doors = doors
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._tasks: set[asyncio.Task[None]] = set()
        self._servers: list[asyncio.Server] = []

    def __enter__(self) -> Proxy:
        self._thread.start()
        for name, port in self._doors.items():
            opening = asyncio.run_coroutine_threadsafe(self._open(name, port), self._loop)
            opening.result(10)
        return self

    def __exit__(self, *_: object) -> None:
        for server in self._servers:
            self._loop.call_soon_threadsafe(server.close)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    async def _open(self, name: str, port: int) -> None:
        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                there = await asyncio.open_connection(TARGET_HOST, port)
            except OSError:
                writer.close()
                return
            who = self._recorder.who
            side = "broker" if who.split("-")[0] in ("broker", "slave") else "client"
            seen = Connection(who, self._recorder.client)
            for source, sink, way in (
                (reader, there[1], (side, name)),
                (there[0], writer, (name, side)),
            ):
                task = self._loop.create_task(self._pass(source, sink, way, seen))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

        self._servers.append(await asyncio.start_server(accept, "127.0.0.1", port))

    async def _pass(
        self,
        source: asyncio.StreamReader,
        sink: asyncio.StreamWriter,
        way: tuple[str, str],
        seen: Connection,
    ) -> None:
        held = b""
        with contextlib.suppress(OSError):
            while data := await source.read(65536):
                held += data
                while len(held) >= 4 and len(held) >= (end := 4 + struct.unpack(">i", held[:4])[0]):
                    self._see(decode(held[:end]), way, seen)
                    held = held[end:]
                sink.write(data)
                await sink.drain()
        with contextlib.suppress(OSError):
            sink.close()

    def _see(self, frame: Frame, way: tuple[str, str], seen: Connection) -> None:
        now = self._recorder
        if frame.is_answer:
            asked = seen.pending.pop((way[1], frame.opaque), None)
            if asked is not None:
                now.keep(asked[0], frame, (way[1], way[0]), asked[1])
            return
        case, _, step = now.step.rpartition("|")
        is_probe = seen.who.startswith("probe")
        case = case if is_probe else ""
        said = {"who": seen.who, "client": seen.client, "step": step, "case": case}
        if frame.is_oneway:
            now.keep(frame, None, way, said)
        else:
            seen.pending[way[0], frame.opaque] = (frame, said)


# --- what is said -------------------------------------------------------------------------------

TAGS = ("--tags", "TagA,TagB", "--keys", "k")


def basic_steps(topic: str) -> Iterator[tuple[str, list[object]]]:
    """What every application does."""
    to: list[object] = ["--topic", topic]
    yield "creates a topic", ["admin", "topic-create", *to, "--queues", 2]
    yield "sends synchronously", ["send", *to, "--mode", "sync", "--count", 3, *TAGS]
    yield "sends asynchronously", ["send", *to, "--mode", "async", "--count", 2, *TAGS]
    yield "sends one-way", ["send", *to, "--mode", "oneway", "--count", 2, *TAGS]
    batch: list[object] = ["--count", 3, "--batch-size", 3]
    yield "sends a batch of three", ["send", *to, "--mode", "batch", *batch, *TAGS]
    big: list[object] = ["--count", 1, "--body-size", 5000, "--compress"]
    yield "sends a compressed body", ["send", *to, "--mode", "sync", *big, *TAGS]
    group: list[object] = ["--expect", 3, "--timeout", 20]
    push: list[object] = ["--group", f"{topic}-push", *group]
    yield "push consumer, all tags", ["consume-push", *to, *push]
    tagged: list[object] = ["--group", f"{topic}-tag", "--expect", 2, "--timeout", 20]
    yield "push consumer, one tag", ["consume-push", *to, *tagged, "--sub", "TagB"]


def java_steps(topic: str) -> Iterator[tuple[str, list[object]]]:
    yield from basic_steps(topic)
    to: list[object] = ["--topic", topic]
    group: list[object] = ["--expect", 3, "--timeout", 20]
    yield "lite pull consumer", ["consume-pull", *to, "--group", f"{topic}-pull", *group]
    yield "assigned queues, from the beginning", ["consume-assign", *to, "--group", "a", *group]
    orderly: list[object] = ["--group", f"{topic}-orderly", *group, "--orderly"]
    yield "orderly push consumer", ["consume-push", *to, *orderly]
    waiting: list[object] = ["--group", f"{topic}-wait", "--expect", 99, "--timeout", 34]
    yield "push consumer at the end of its queues", ["consume-push", *to, *waiting]
    yield "query by key", ["query-key", *to, "--key", "k1"]
    yield "query by a key that is not there", ["query-key", *to, "--key", "nothing"]
    yield "offsets: min, max, by time, earliest store time", ["offsets", *to]
    for verb in ("topic-list", "cluster", "runtime", "groups"):
        yield f"admin client: {verb}", ["admin", verb]
    for verb in ("topic-config", "topic-stats", "topic-route"):
        yield f"admin client: {verb}", ["admin", verb, *to]
    yield "admin client: progress", ["admin", "progress", *to, "--group", f"{topic}-pull"]
    doomed: list[object] = ["--topic", f"{topic}-doomed"]
    yield "creates a topic to delete", ["admin", "topic-create", *doomed, "--queues", 1]
    yield "deletes a topic", ["admin", "topic-delete", *doomed]
    automatic: list[object] = ["--topic", f"{topic}-auto", "--count", 1, *TAGS]
    yield "sends to a topic that does not exist yet", ["send", *automatic]


def mqadmin_commands(topic: str, ids: Row) -> Iterator[str]:
    """Apache's mqadmin, command by command, while a consumer of group `watched` is online."""
    at, group = f"-b {BROKER}", "-g watched"
    yield "topicList"
    yield "topicList -c"
    yield f"topicRoute -t {topic}"
    yield f"topicStatus -t {topic}"
    yield f"topicClusterList -t {topic}"
    yield f"updateTopic {at} -t admin-topic -r 2 -w 2"
    yield f"updateTopicPerm {at} -t admin-topic -p 4"
    yield "updateOrderConf -t admin-topic -m put -v broker-a:2"
    yield "updateOrderConf -t admin-topic -m get"
    yield "updateOrderConf -t admin-topic -m delete"
    yield "deleteTopic -c DefaultCluster -t admin-topic"
    yield f"updateSubGroup {at} -g admin-group"
    yield "getConsumerConfig -g admin-group"
    yield f"setConsumeMode {at} -t {topic} -g admin-group -m PULL"
    yield f"deleteSubGroup {at} -g admin-group"
    yield f"brokerStatus {at}"
    yield f"brokerConsumeStats {at}"
    yield "clusterList"
    yield "clusterList -m"
    yield "consumerProgress"
    yield f"consumerProgress {group}"
    yield f"consumerConnection {group}"
    yield f"consumerStatus {group}"
    yield f"producerConnection -g CLIENT_INNER_PRODUCER -t {topic}"
    yield f"producer {at}"
    yield "statsAll"
    yield f"queryMsgByKey -t {topic} -k k1"
    yield f"queryMsgById -t {topic} -i {ids['first_offset_id']}"
    yield f"queryMsgByUniqueKey -t {topic} -i {ids['first_id']}"
    yield f"queryMsgByOffset -t {topic} -b broker-a -i 0 -o 0"
    yield f"queryCq {at} -t {topic} -q 0 -i 0"
    yield f"printMsg -t {topic}"
    yield f"sendMessage -t {topic} -p body -k key -c tag"
    yield f"checkMsgSendRT -t {topic} -a 1 -s 16"
    yield "sendMsgStatus -b broker-a -s 16 -c 1"
    yield "updateKvConfig -s space -k key -v value"
    yield "deleteKvConfig -s space -k key"
    yield "wipeWritePerm -b broker-a"
    yield "addWritePerm -b broker-a"
    yield "getNamesrvConfig"
    yield "updateNamesrvConfig -k scanNotActiveBrokerInterval -v 5000"
    yield f"getBrokerConfig {at}"
    yield f"updateBrokerConfig {at} -k flushDelayOffsetInterval -v 10000"
    yield f"allocateMQ -t {topic} -i 127.0.0.1"
    yield f"resetOffsetByTime {group} -t {topic} -s 0"
    yield f"skipAccumulatedMessage {group} -t {topic}"
    yield f"cloneGroupOffset -s watched -d watched-clone -t {topic}"
    yield f"cleanExpiredCQ {at}"
    yield f"cleanUnusedTopic {at}"
    yield f"deleteExpiredCommitLog {at}"
    yield f"haStatus {at}"


def send_fields(topic: str, **changes: str) -> dict[str, str]:
    """The letters of a V2 send header."""
    letters = {
        "a": "probe-producer",
        "b": topic,
        "c": "TBW102",
        "d": "4",
        "e": "0",
        "f": "0",
        "g": "1700000000000",
        "h": "0",
        "i": "UNIQ_KEY\x01PROBE0001\x02WAIT\x01true\x02TAGS\x01TagA\x02",
        "j": "0",
        "k": "false",
        "m": "false",
    }
    return letters | changes


def pull_fields(topic: str, **changes: str) -> dict[str, str]:
    fields = {
        "consumerGroup": "probe-pull",
        "topic": topic,
        "queueId": "0",
        "queueOffset": "0",
        "maxMsgNums": "2",
        "sysFlag": "4",
        "commitOffset": "0",
        "suspendTimeoutMillis": "0",
        "subscription": "*",
        "subVersion": "0",
        "expressionType": "TAG",
    }
    return fields | changes


def probes(topic: str, consumer: str) -> Iterator[tuple[str, str, int, dict[str, str], bytes]]:
    """(case, where, code, fields, body): what no client asks, errors above all."""
    queue = {"topic": topic, "queueId": "0"}
    group = {"consumerGroup": consumer, **queue}
    name, broker = "name server", "broker"
    yield "unknown_topic", name, 105, {"topic": "nope"}, b""
    yield "known_topic", name, 105, {"topic": topic}, b""
    yield "missing_field", name, 105, {}, b""
    yield "unknown_code", name, 9999, {}, b""
    yield "missing", name, 101, {"namespace": "ORDER_TOPIC_CONFIG", "key": "x"}, b""
    yield "missing", name, 219, {"namespace": "nope"}, b""
    pair = {"namespace": "space", "key": "key"}
    yield "put", name, 100, {**pair, "value": "value"}, b""
    yield "found", name, 101, pair, b""
    yield "found", name, 219, {"namespace": "space"}, b""
    yield "delete", name, 102, pair, b""
    yield "wipe_unknown_broker", name, 205, {"brokerName": "nope"}, b""
    yield "all_topics", name, 206, {}, b""
    yield "cluster", name, 224, {"cluster": "DefaultCluster"}, b""
    yield "system_topics", name, 304, {}, b""
    yield "unknown_code", broker, 9999, {}, b""
    yield "ok", broker, 310, send_fields(topic), b"probe"
    yield "long_names", broker, 10, send_long(topic), b"probe"
    yield "empty_body", broker, 310, send_fields(topic), b""
    yield "broker_picks_queue", broker, 310, send_fields(topic, e="-1"), b"probe"
    yield "unknown_topic", broker, 310, send_fields("nope", c="nope"), b"probe"
    yield "bad_queue", broker, 310, send_fields(topic, e="77"), b"probe"
    yield "bad_name", broker, 310, send_fields("bad topic!"), b"probe"
    yield "long_name", broker, 310, send_fields("x" * 128), b"probe"
    yield "empty_name", broker, 310, send_fields(""), b"probe"
    yield "system_topic", broker, 310, send_fields("RMQ_SYS_TRANS_HALF_TOPIC"), b"probe"
    yield "schedule_topic", broker, 310, send_fields("SCHEDULE_TOPIC_XXXX"), b"probe"
    long = "UNIQ_KEY\x01P\x02long\x01" + "p" * 33000 + "\x02"
    yield "long_properties", broker, 310, send_fields(topic, i=long), b"probe"
    yield "batch_of_garbage", broker, 320, send_fields(topic, m="true"), b"\x00\x00\x00\x05abc"
    yield "read_only_topic", broker, 310, send_fields("read-only"), b"probe"
    yield "missing_field", broker, 310, {"a": "g", "b": topic}, b"probe"
    yield "found", broker, 11, pull_fields(topic), b""
    yield "beyond_the_end", broker, 11, pull_fields(topic, queueOffset="9999"), b""
    yield "below_the_start", broker, 11, pull_fields(topic, queueOffset="-1"), b""
    yield "no_tag_matches", broker, 11, pull_fields(topic, subscription="Nothing"), b""
    yield "bad_queue", broker, 11, pull_fields(topic, queueId="9"), b""
    yield "unknown_topic", broker, 11, pull_fields("nope"), b""
    yield "write_only_topic", broker, 11, pull_fields("write-only"), b""
    nobody = {"sysFlag": "0", "consumerGroup": "nobody"}
    yield "group_without_client", broker, 11, pull_fields(topic, **nobody), b""
    yield "bad_expression", broker, 11, pull_fields(topic, expressionType="SQL92"), b""
    yield "empty_queue", broker, 11, pull_fields("empty"), b""
    yield "miss", broker, 12, query_fields(topic, "nothing"), b""
    yield "hit", broker, 12, query_fields(topic, "k1"), b""
    yield "first", broker, 33, {"offset": "0"}, b""
    yield "between_records", broker, 33, {"offset": "5"}, b""
    yield "beyond_the_end", broker, 33, {"offset": "99999999"}, b""
    for case, boundary in (("lower", "LOWER"), ("upper", "UPPER")):
        for when in ("0", "9999999999999"):
            asked = {"timestamp": when, "boundaryType": boundary, **queue}
            yield f"{case}_{'start' if when == '0' else 'end'}", broker, 29, asked, b""
    yield "ok", broker, 30, queue, b""
    yield "unknown_topic", broker, 30, {"topic": "nope", "queueId": "0"}, b""
    yield "ok", broker, 31, queue, b""
    yield "ok", broker, 32, queue, b""
    yield "empty_queue", broker, 32, {"topic": "empty", "queueId": "0"}, b""
    yield "never_committed", broker, 14, group, b""
    yield "not_zero", broker, 14, {"setZeroIfNotFound": "false", **group}, b""
    yield "commit", broker, 15, {"commitOffset": "1", **group}, b""
    yield "committed", broker, 14, group, b""
    yield "commit_unknown_topic", broker, 15, {**group, "commitOffset": "1", "topic": "nope"}, b""
    yield "nobody", broker, 38, {"consumerGroup": "nobody"}, b""
    yield "empty", broker, 34, {}, b'{"clientID":"probe","consumerDataSet":[],"producerDataSet":[]}'
    yield "not_json", broker, 34, {}, b"nonsense"
    yield "nobody", broker, 35, {"clientID": "probe", "consumerGroup": "nobody"}, b""
    create = {"defaultTopic": "TBW102", "readQueueNums": "2", "writeQueueNums": "2", "perm": "6"}
    flags = {"topicFilterType": "SINGLE_TAG", "topicSysFlag": "0", "order": "false"}
    yield "bad_name", broker, 17, {"topic": "bad topic!", **create, **flags}, b""
    yield "system_topic", broker, 17, {"topic": "TBW102", **create, **flags}, b""
    yield "unknown_topic", broker, 215, {"topic": "nope"}, b""
    yield "unknown_topic", broker, 202, {"topic": "nope"}, b""
    yield "empty_topic", broker, 202, {"topic": "empty"}, b""
    yield "nobody", broker, 203, {"consumerGroup": "nobody"}, b""
    yield "nobody", broker, 204, {"producerGroup": "nobody"}, b""
    yield "ok", broker, 21, {}, b""
    yield "ok", broker, 201, {}, b""
    yield "ok", broker, 26, {}, b""
    yield "ok", broker, 28, {}, b""
    yield "ok", broker, 43, {}, b""
    yield "ok", broker, 45, {}, b""
    yield "ok", broker, 305, {}, b""
    yield "ok", broker, 351, {"topic": topic}, b""
    yield "unknown_topic", broker, 351, {"topic": "nope"}, b""
    yield "ok", broker, 352, {"group": f"{topic}-push"}, b""
    yield "ok", broker, 300, {"topic": topic}, b""
    yield "ok", broker, 343, {"group": f"{topic}-push"}, b""


def send_long(topic: str) -> dict[str, str]:
    """A V1 send header: the same values under their long names."""
    names = {
        "a": "producerGroup",
        "b": "topic",
        "c": "defaultTopic",
        "d": "defaultTopicQueueNums",
        "e": "queueId",
        "f": "sysFlag",
        "g": "bornTimestamp",
        "h": "flag",
        "i": "properties",
        "j": "reconsumeTimes",
        "k": "unitMode",
        "m": "batch",
    }
    return {names[letter]: value for letter, value in send_fields(topic).items()}


def query_fields(topic: str, key: str) -> dict[str, str]:
    times = {"beginTimestamp": "0", "endTimestamp": str(2**62)}
    return {"topic": topic, "key": key, "maxNum": "32", **times}


# --- the captures -------------------------------------------------------------------------------


def request_names() -> dict[int, str]:
    """Apache's names of the request codes, from the class itself."""
    jar = next(jar for jar in java_classpath() if "rocketmq-remoting" in jar)
    name = "org.apache.rocketmq.remoting.protocol.RequestCode"
    command = ["javap", "-cp", jar, "-constants", name]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return {int(code): name for name, code in re.findall(r"int (\w+) = (\d+);", text)}


def probe(frame: bytes, where: str) -> None:
    host, port = (NAMESRV if where == "name server" else BROKER).split(":")
    with socket.create_connection((host, int(port)), 20) as connection:
        connection.settimeout(20)
        connection.sendall(frame)
        held = b""
        while len(held) < 4 or len(held) < 4 + struct.unpack(">i", held[:4])[0]:
            data = connection.recv(65536)
            if not data:
                break
            held += data


def broker(folder: Path, **properties: str) -> ApacheBroker:
    """The master, behind the proxy. Relative paths: answers tell where the store is."""
    relative = {"storePathRootDir": "store", "storePathCommitLog": "store/commitlog"}
    sizes = {**SMALL_FILES, "mappedFileSizeCommitLog": str(1024 * 1024)}
    return ApacheBroker(
        folder,
        namesrv=NAMESRV,
        host=TARGET_HOST,
        port=BROKER_PORT,
        properties={**relative, **sizes, **properties},
    )


def slave(folder: Path, **properties: str) -> ApacheBroker:
    relative = {"storePathRootDir": "store", "storePathCommitLog": "store/commitlog"}
    role = {"brokerId": "1", "brokerRole": "SLAVE"}
    sizes = {**SMALL_FILES, "mappedFileSizeCommitLog": str(1024 * 1024)}
    return ApacheBroker(
        folder,
        namesrv=NAMESRV,
        host=TARGET_HOST,
        port=SLAVE_PORT,
        properties={**relative, **sizes, **role, **properties},
    )


def capture_remoting() -> None:
    recorder = Recorder(request_names())
    doors = {
        "name server": NAMESRV_PORT,
        "broker": BROKER_PORT,
        # Where a slave asks its master for the topics, of all things.
        "broker's VIP port": BROKER_PORT - 2,
        "slave broker": SLAVE_PORT,
    }

    def talk(who: str, client: str, step: str) -> None:
        recorder.who, recorder.client, recorder.step = who, client, step
        print(f"{who}: {step}", flush=True)

    with contextlib.ExitStack() as open_things:
        folder = Path(open_things.enter_context(tempfile.TemporaryDirectory()))
        open_things.enter_context(Proxy(recorder, doors))
        open_things.enter_context(ApacheNamesrv(host=TARGET_HOST, port=NAMESRV_PORT))
        talk("broker", SERVER, "a master broker starts and registers")
        master = open_things.enter_context(broker(folder))
        capture_java(talk)
        capture_go(talk)
        for kind, header in ((0, "JSON"), (1, "ROCKETMQ")):
            who = "probe" if kind == 0 else "probe_binary"
            for case, where, code, fields, body in probes("java", f"{who}-group"):
                step = f"a hand-made request with {header} header: {case.replace('_', ' ')}"
                talk(who, "none: written by hand", f"{case}|{step}")
                probe(encode(code, fields, body, version=513, kind=kind), where)
        for version in (401, 395):
            step = f"route asked by a client of version {version}"
            talk("probe", "none: written by hand", f"version_{version}|{step}")
            probe(encode(105, {"topic": "java"}, b"", version=version, kind=0), "name server")
        talk("slave", SERVER, "a slave broker starts, registers and asks its master for metadata")
        with slave(folder):
            # A slave asks for the first time when it is a minute old.
            await_kept(recorder, "slave-21-", "slave-43-", "slave-45-", "slave-201-")
        talk("broker", SERVER, "a master broker stops and unregisters")
        master.stop()
        acting = {"enableSlaveActingMaster": "true", "forceRegister": "false"}
        talk("broker-acting", SERVER, "a broker with acting master and no forced registration")
        with broker(folder, **acting):
            await_kept(recorder, "broker-acting-322-query_data_version.", "broker-acting-105-")
        acting |= {"compatibleWithOldNameSrv": "false"}
        talk("broker-new", SERVER, "the same, and not compatible with old name servers")
        with broker(folder, **acting):
            await_kept(recorder, "broker-new-904-", "broker-new-901-")
            talk("slave-new", SERVER, "a slave of it")
            with slave(folder, **acting):
                await_kept(recorder, "slave-new-904-", "slave-new-901-")
    recorder.write(VECTORS / "remoting")
    print(f"{len(recorder.kept)} frames")


def await_kept(recorder: Recorder, *prefixes: str, timeout_seconds: float = 90) -> None:
    """Waits until a frame of each prefix was seen; what does not come is said, not an error."""
    done = threading.Event()
    for _ in range(int(timeout_seconds * 10)):
        if all(any(name.startswith(prefix) for name in recorder.kept) for prefix in prefixes):
            return
        done.wait(0.1)
    missing = [p for p in prefixes if not any(name.startswith(p) for name in recorder.kept)]
    print(f"did not come: {missing}", flush=True)


def capture_java(talk: Any) -> None:
    for who, jvm, profile in (
        ("java", (), ""),
        ("java_binary", ("-Drocketmq.serialize.type=ROCKETMQ",), ""),
        ("java_4.9.8", (), "client-4.9.8"),
    ):
        (row,) = java("version", namesrv=NAMESRV, jvm=jvm, profile=profile)
        client = row["client"]
        with JavaSession(NAMESRV, jvm=jvm, profile=profile) as session:
            topic = who.replace(".", "")
            steps = java_steps(topic) if who != "java_4.9.8" else basic_steps(topic)
            for step, words in steps:
                talk(who, client, step)
                session.run(*words)
            if who != "java":
                continue
            for name, perm in (("read-only", 4), ("write-only", 2), ("empty", 6)):
                talk(who, client, "creates a topic")
                words = ["admin", "topic-create", "--topic", name, "--queues", 1, "--perm", perm]
                session.run(*words)
            ids = session.one("send", "--topic", topic, "--count", 1, *TAGS)
            for subcommand, key in (("query-id", "offset_id"), ("query-unique", "id")):
                talk(who, client, f"{subcommand} of a message")
                session.run(subcommand, "--topic", topic, "--id", ids[f"first_{key}"])
            capture_mqadmin(talk, topic, ids)


def capture_mqadmin(talk: Any, topic: str, ids: Row) -> None:
    with JavaSession(NAMESRV) as watched, JavaSession(NAMESRV) as session:
        client = session.one("version")["client"]
        talk("java", client, "push consumer that an admin looks at")
        words = ["--topic", topic, "--group", "watched", "--expect", 9999, "--timeout", 600]
        watched.begin("consume-push", *words)
        talk("mqadmin", client, "consumer list until the consumer is there")
        for _ in range(50):
            with contextlib.suppress(ForeignFailed):
                session.run("admin", "consumers", "--group", "watched")
                break
        for command in mqadmin_commands(topic, ids):
            talk("mqadmin", client.replace("rocketmq-client", "mqadmin"), f"mqadmin {command}")
            try:
                session.mqadmin(command, timeout_seconds=40)
            except ForeignFailed as error:
                print(str(error)[:300], flush=True)
                raise


def capture_go(talk: Any) -> None:
    for step, words in basic_steps("go"):
        talk("go", "rocketmq-client-go v2.1.2 (Go)", step)
        where = ["--broker", BROKER] if words[0] == "admin" else []
        go(*words, *where, namesrv=NAMESRV)
    for way in ("poll", "pull"):
        talk("go", "rocketmq-client-go v2.1.2 (Go)", f"pull consumer, {way}")
        group = ["--group", f"go-{way}", "--expect", 3, "--timeout", 20]
        go(f"consume-{way}", "--topic", "go", *group, namesrv=NAMESRV)
    for verb in ("topic-list", "groups"):
        talk("go", "rocketmq-client-go v2.1.2 (Go)", f"admin client: {verb}")
        go("admin", verb, "--broker", BROKER, namesrv=NAMESRV)


STORE_SIZES = SMALL_FILES
STORE_SKIPPED = ("rocksdbstore", "compaction", "timerwheel", "timerlog", "lock")


def capture_store() -> None:
    for ending in ("stopped", "killed"):
        with tempfile.TemporaryDirectory() as name, ApacheNamesrv() as names:
            store = Path(name) / "store"
            # The port is in every record, as the host that stored it.
            master = ApacheBroker(
                store,
                namesrv=names.address,
                port=BROKER_PORT,
                properties={**STORE_SIZES, "timerWheelEnable": "false"},
            ).start()
            expected = fill_store(names.address)
            if ending == "stopped":
                master.stop()
            else:
                master.kill()
            write_store(store, VECTORS / "store" / ending, ending, expected)


def fill_store(namesrv: str) -> Row:
    with JavaSession(namesrv) as session:
        client = session.one("version")["client"]
        for topic, queues in (("plain", 2), ("packed", 1), ("empty", 1)):
            session.run("admin", "topic-create", "--topic", topic, "--queues", queues)
        to = ["send", "--topic", "plain", "--tags", "TagA,TagB,TagC", "--keys", "plain-"]
        sent = session.one(*to, "--mode", "sync", "--count", 300, "--body-size", 100)
        session.run(*to, "--mode", "batch", "--count", 400, "--first", 300, "--batch-size", 16)
        big = ["--mode", "sync", "--count", 10, "--body-size", 30000, "--compress"]
        session.run("send", "--topic", "packed", "--tags", "TagA", "--keys", "packed-", *big)
        group = ["--group", "half", "--expect", 350, "--timeout", 30]
        half = session.one("consume-pull", "--topic", "plain", *group)
        offsets = {
            topic: session.one("offsets", "--topic", topic)["queues"]
            for topic in ("plain", "packed", "empty")
        }
        progress = session.one("admin", "progress", "--topic", "plain", "--group", "half")
    return {
        "written by": f"{SERVER} broker for {client}",
        "messages": (
            "topic plain: numbers 0…699 (from 300 on in batches of 16), key plain-<number>, "
            "tags TagA TagB TagC in turn; topic packed: numbers 0…9, key packed-<number>, 30,000 "
            "bytes compressed with ZLIB; bodies as in tests/foreign/java/…/Sample.java"
        ),
        "first unique key": sent["first_id"],
        "first message id": sent["first_offset_id"],
        "offsets": offsets,
        "group half has consumed": half["received"],
        "group half": progress["queues"],
        "file sizes": STORE_SIZES,
    }


def write_store(store: Path, folder: Path, ending: str, expected: Row) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    files = {}
    for file in sorted(store.rglob("*")):
        relative = file.relative_to(store)
        if file.is_file() and relative.parts[0] not in STORE_SKIPPED:
            target = folder / "files" / relative
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)
            digest = hashlib.sha256(file.read_bytes()).hexdigest()
            files[str(relative)] = {"size": file.stat().st_size, "sha256": digest}
    about = {
        "meaning": f"the store directory of a real broker that was {ending}",
        "captured": "tools/capture.py store",
        "left out": "empty folders, lock, and rocksdbstore (an empty database made at each start)",
        **expected,
        "files": files,
    }
    (folder / "store.json").write_text(json.dumps(about, indent=2, ensure_ascii=False) + "\n")


def assert_nothing_of_this_machine(folder: Path) -> None:
    """No home folder, no host name, no address that is not a loopback or documentation one."""
    words = {str(ROOT), str(Path.home()), socket.gethostname(), "/tmp/"}
    words |= {word for word in (os.environ.get(INSIDE, "").split(",")) if word}
    if getpass.getuser() != "root":
        words.add(getpass.getuser())
    for file in folder.rglob("*"):
        data = file.read_bytes() if file.is_file() else b""
        for word in words:
            if len(word) > 3 and word.encode() in data:
                raise SystemExit(f"{file.relative_to(ROOT)} contains {word!r}: not committed")


def enter_quiet_network() -> None:
    """Runs this script again where the only network device is loopback, if that is possible."""
    addresses = subprocess.run(["hostname", "-I"], capture_output=True, text=True, check=False)
    inside = ",".join(addresses.stdout.split()) or "none"
    if os.environ.get(INSIDE) or shutil.which("unshare") is None:
        return
    java_classpath()
    java_classpath("client-4.9.8")
    up = 'ip link set lo up && exec "$@"'
    words = ["unshare", "--net", "sh", "-c", up, "sh", sys.executable, *sys.argv]
    trial = subprocess.run(["unshare", "--net", "true"], capture_output=True, check=False)
    if trial.returncode == 0:
        os.execvpe("unshare", words, {**os.environ, INSIDE: inside})
    print("no network namespace: message ids will hold an address of this machine", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("what", choices=("remoting", "store", "all"))
    what = parser.parse_args().what
    enter_quiet_network()
    if what in ("remoting", "all"):
        capture_remoting()
    if what in ("store", "all"):
        capture_store()
    assert_nothing_of_this_machine(VECTORS)


if __name__ == "__main__":
    main()
