"""Bad input, over the sockets of a running server: what attackers and broken clients send.

Whatever comes gets Apache's code and a remark that says what and which value, or, where framing is
lost, a closed connection. All along an honest client stores and reads back messages and must not
notice; the server's memory stays bounded; what is stored stays as it was.
"""

from __future__ import annotations

import random
import re
import struct
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from pyromq.units import KIB, MIB
from tests.support.hostile import (
    Honest,
    Raw,
    frame,
    json_header,
    memory_within,
    pull_fields,
    request,
    send_fields,
    talk,
)
from tests.support.processes import Answer, retries
from tests.support.pyromq_server import PyromqServer

FIRST_FRAME_MS = 500
FRAME_MS = 1_000
"""So long a first frame may take in these tests; 10 s otherwise."""
FRAME_MAX = 16 * MIB
BODY_MAX = 4 * MIB
PROPERTIES_MAX = 32_767
FAULT = re.compile(r"[A-Z][A-Za-z]+(Error|Exception)\b:")
"""How the door tells of a fault of ours: no input may cause one."""


class House:
    """A server, its directory, and the honest client that is always there."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.arguments = (
            "standalone", "--data-dir", root / "data", "--namesrv-port", 0, "--broker-port", 0,
            "--set", f"firstBytesTimeout={FIRST_FRAME_MS}",
            "--set", f"frameTimeout={FRAME_MS}",
            "--set", "flushDiskType=ASYNC_FLUSH",
        )  # fmt: skip
        self.server = PyromqServer(*self.arguments).start()
        try:
            self.honest = Honest(self.server.broker).start()
        except BaseException:
            self.server.kill()
            raise

    @property
    def broker(self) -> str:
        return self.server.broker

    @property
    def namesrv(self) -> str:
        return self.server.namesrv


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    it = House(tmp_path_factory.mktemp("bad-input"))
    try:
        yield it
    finally:
        it.honest.end()
        it.server.kill()


@pytest.fixture(autouse=True)
def nobody_else_notices(house: House) -> Iterator[None]:
    """Before and after each test the honest client gets on, and files lie only where they may."""
    house.honest.go_on(1)
    yield
    house.honest.go_on(5)
    assert house.server.process.exit_code is None
    assert {path.name for path in house.root.iterdir()} == {"data"}


@pytest.fixture(params=["broker", "namesrv"])
def address(request: pytest.FixtureRequest, house: House) -> str:
    """Both doors are attacked."""
    return str(getattr(house, request.param))


def refused(answer: Answer | None, *codes: int) -> str:
    """The remark of a refusal with one of these codes; never a fault of ours."""
    assert answer is not None, "the connection was closed"
    assert answer.code in codes, answer
    assert answer.remark
    assert not FAULT.search(answer.remark), answer.remark
    return answer.remark


def closed_or_refused(answer: Answer | None) -> None:
    """Both are right where a header is damaged."""
    if answer is not None:
        assert not FAULT.search(answer.remark), answer.remark


def ask(house: House, code: int, fields: Mapping[str, object], body: bytes = b"") -> Answer | None:
    return talk(house.broker, request(code, fields, body))


# ── frames ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(struct.pack(">i", length), id=f"length {length}")
        for length in (-1, -(2**31), 0, 1, 3, FRAME_MAX - 3, FRAME_MAX, 2**31 - 1)
    ]
    + [
        pytest.param(frame(b"", length=4, header_length=5), id="header longer than its frame"),
        pytest.param(frame(b"{}", length=6, header_length=0xFFFFFF), id="longest header length"),
        pytest.param(
            frame(b"x" * (64 * KIB + 1), length=FRAME_MAX - 4), id="header over its limit"
        ),
        pytest.param(frame(json_header(34), serialize_type=2), id="unknown serialize type"),
        pytest.param(frame(json_header(34), serialize_type=0xFF), id="negative serialize type"),
        pytest.param(frame(b""), id="no header"),
        pytest.param(frame(b"not json"), id="no JSON"),
        pytest.param(frame(b"[1,2]"), id="a list"),
        pytest.param(frame(b"null"), id="null"),
        pytest.param(frame(b"{" * 30_000), id="deep objects"),
        pytest.param(frame(b'{"extFields":' * 5_000), id="deep fields"),
        pytest.param(frame(b"[" * 60_000 + b"]" * 60_000), id="deep lists"),
        pytest.param(frame(b'{"code":' + b"9" * 60_000 + b"}"), id="a number of 60,000 digits"),
        pytest.param(frame(b'{"code":1e400}'), id="an infinite number"),
        pytest.param(frame(b'{"code":"x","extFields":3}'), id="members of wrong types"),
        pytest.param(
            frame(json_header(34, {f"f{number}": "x" for number in range(3_000)})),
            id="3,000 fields",
        ),
        pytest.param(frame(b"\x00" * 10, serialize_type=1), id="binary header cut short"),
        pytest.param(
            frame(struct.pack(">hbhiii", 34, 0, 0, 1, 0, 2**31 - 1), serialize_type=1),
            id="binary remark that lies",
        ),
        pytest.param(
            frame(struct.pack(">hbhiiii", 34, 0, 0, 1, 0, 0, -5), serialize_type=1),
            id="binary fields of negative length",
        ),
        pytest.param(
            frame(
                struct.pack(">hbhiiii", 34, 0, 0, 1, 0, 0, 6) + struct.pack(">hi", -1, 0),
                serialize_type=1,
            ),
            id="binary field name of negative length",
        ),
        pytest.param(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", id="HTTP"),
        pytest.param(b"PROXY NONSENSE 1 2 3\r\n", id="a bad HAProxy line"),
        pytest.param(b"PROXY " + b"x" * 200, id="an endless HAProxy line"),
        pytest.param(b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\xff\xff" + b"\x00" * 2_000, id="HAProxy v2"),
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", id="TLS"),
        pytest.param(b"\x10\x10\x00\x04MQTT\x04\x02\x00\x3c\x00\x04abcd", id="MQTT"),
    ],
)
def test_what_cannot_be_a_frame_closes_its_connection(address: str, data: bytes) -> None:
    with Raw(address) as raw:
        raw.send_some(data)
        assert raw.is_closed()


def test_requests_before_a_broken_frame_are_answered(address: str) -> None:
    with Raw(address) as raw:
        raw.send(request(99_999) * 3 + b"\xff\xff\xff\xff" + request(99_999))
        for _ in range(3):
            answer = raw.answer()
            assert answer is not None
            assert answer.code == 3
        assert raw.answer() is None


@pytest.mark.parametrize("seed", range(8))
def test_damaged_frames_are_answered_or_closed(address: str, seed: int) -> None:
    """Bits of good requests are flipped; the seed is the test's."""
    dice = random.Random(seed)
    good = [
        request(310, send_fields(), b"body"),
        request(11, pull_fields()),
        request(34, {}, b'{"clientID":"c","producerDataSet":[{"groupName":"P"}]}'),
        request(105, {"topic": "TopicTest"}),
        frame(
            struct.pack(">hbhiiii", 34, 9, 513, 7, 0, 0, 12) + b"\x00\x01a\x00\x00\x00\x05bcdef",
            serialize_type=1,
        ),
    ]
    for _ in range(40):
        data = bytearray(dice.choice(good))
        for _ in range(dice.randint(1, 6)):
            data[dice.randrange(4, len(data))] ^= 1 << dice.randrange(8)
        with Raw(address) as raw:
            # A second request shows whether the first left the stream intact.
            if not raw.send_some(bytes(data) + request(99_999)):
                continue
            raw.socket.shutdown(1)
            answers = []
            while (answer := raw.answer()) is not None:
                answers.append(answer)
            assert len(answers) <= 2
            for answer in answers:
                closed_or_refused(answer)


def test_random_bytes_are_closed(address: str) -> None:
    dice = random.Random(2024)
    for _ in range(40):
        with Raw(address) as raw:
            if raw.send_some(dice.randbytes(dice.randint(8, 3_000))):
                raw.socket.shutdown(1)
            assert raw.is_closed()


def test_text_that_is_not_utf8_is_answered_or_closed(house: House) -> None:
    header = json_header(105, {"topic": "TOPIC"}).replace(b"TOPIC", b"T\xff\xfe\xc0\x80")
    closed_or_refused(talk(house.namesrv, frame(header)))
    header = json_header(310, send_fields(b="TOPIC")).replace(b"TOPIC", b"T\xed\xa0\x80")
    answer = talk(house.broker, frame(header, b"body"))
    if answer is not None:
        refused(answer, 1, 29)


def test_unknown_codes_are_answered_with_3(address: str) -> None:
    for code in (0, -1, 9, 99_999, 2**31 - 1, -(2**31)):
        answer = talk(address, request(code))
        assert answer is not None
        assert (answer.code, answer.remark) == (3, f" request type {code} not supported")


# ── memory and time ──────────────────────────────────────────────────────────────────────────────


def test_a_first_frame_that_stalls_is_closed(address: str) -> None:
    for half in (
        b"",
        b"\x00",
        b"\x00\x00\x01",
        request(34)[:20],
        frame(b"x", length=FRAME_MAX - 4),
    ):
        with Raw(address) as raw:
            raw.send(half)
            assert raw.is_closed(within_seconds=5)


def test_a_later_frame_that_stalls_is_closed_too(address: str) -> None:
    with Raw(address) as raw:
        raw.send(request(34, {}, b'{"clientID":"c"}'))
        assert raw.answer() is not None
        raw.send(frame(b"x" * 100, length=1 * MIB))
        assert raw.is_closed(within_seconds=10)


def test_a_drip_of_bytes_does_not_keep_a_connection(address: str) -> None:
    data = request(34, {}, b"x" * 1_000)
    with Raw(address) as raw:
        raw.socket.settimeout(0.02)
        for byte in data:
            if not raw.send_some(bytes([byte])):
                break
            try:
                if raw.socket.recv(1) == b"":
                    break
            except TimeoutError:
                continue
            except OSError:
                break
        else:
            pytest.fail("a slow peer was never closed")


def test_giant_frames_of_unknown_peers_do_not_fill_the_memory(house: House, address: str) -> None:
    """25 connections announce 16 MB, send 15 MB of it and stall."""
    head = frame(json_header(310, send_fields()), length=FRAME_MAX - 4)
    filling = bytes(1 * MIB)
    with memory_within(house.server.pid, 200 * MIB):
        peers = [Raw(address) for _ in range(25)]
        for raw in peers:
            raw.send_some(head)
        for _ in range(15):
            for raw in peers:
                raw.send_some(filling)
        house.honest.go_on(5)
        for raw in peers:
            assert raw.is_closed(), "neither over the budget nor stalled"
            raw.socket.close()


def test_giant_frames_of_known_peers_do_not_fill_the_memory(house: House) -> None:
    head = frame(json_header(310, send_fields()), length=FRAME_MAX - 4)
    filling = bytes(1 * MIB)
    with memory_within(house.server.pid, 400 * MIB):
        peers = []
        for _ in range(30):
            raw = Raw(house.broker)
            raw.send(request(28))
            assert raw.answer() is not None
            raw.send_some(head)
            peers.append(raw)
        for _ in range(15):
            for raw in peers:
                raw.send_some(filling)
        house.honest.go_on(5)
        for raw in peers:
            raw.socket.close()


def test_a_peer_that_asks_and_does_not_read_is_slowed_down_not_served_from_memory(
    house: House,
) -> None:
    for _ in range(40):
        answer = ask(house, 310, send_fields(b="Big", e="0"), bytes(200_000))
        assert answer is not None
        assert answer.code == 0
    pulls = request(11, pull_fields(topic="Big")) * 2_000
    with memory_within(house.server.pid, 150 * MIB):
        peers = [Raw(house.broker) for _ in range(5)]
        for raw in peers:
            raw.socket.settimeout(0.3)
            raw.send_some(pulls)
        house.honest.go_on(20)
        for raw in peers:
            raw.socket.close()


def test_thousands_of_connections_that_say_nothing_are_let_go(house: House) -> None:
    peers = [Raw(house.broker) for _ in range(500)]
    house.honest.go_on(5)
    for raw in peers:
        assert raw.is_closed()
        raw.socket.close()


def test_requests_flooding_one_connection_are_all_answered(house: House) -> None:
    with Raw(house.broker) as raw:
        raw.send(request(99_999) * 5_000)
        for _ in range(5_000):
            answer = raw.answer()
            assert answer is not None
            assert answer.code == 3


# ── fields ───────────────────────────────────────────────────────────────────────────────────────

NUMBERS = ["", "abc", "1.5", "0x10", "99999999999999999999", "2147483648", "-2147483649"]


@pytest.mark.parametrize("name", ["a", "b", "c", "d", "e", "f", "g", "h"])
def test_a_send_without_a_required_field_is_refused_by_its_name(house: House, name: str) -> None:
    remark = refused(ask(house, 310, send_fields(**{name: None}), b"body"), 1)
    assert f"<{name}>" in remark


@pytest.mark.parametrize("value", NUMBERS)
@pytest.mark.parametrize("name", ["d", "e", "f", "h", "j"])
def test_a_send_with_a_number_that_is_none_is_refused(house: House, name: str, value: str) -> None:
    remark = refused(ask(house, 310, send_fields(**{name: value}), b"body"), 1)
    assert f"<{name}>" in remark


@pytest.mark.parametrize("name", ["queueId", "queueOffset", "maxMsgNums", "sysFlag", "subVersion"])
def test_a_pull_with_a_number_that_is_none_is_refused(house: House, name: str) -> None:
    for value in ("", "abc", "1.5", "99999999999999999999"):
        remark = refused(ask(house, 11, pull_fields(**{name: value})), 1)
        assert f"<{name}>" in remark


BAD_NAMES = [
    ("", "blank"),
    (" ", "blank"),
    ("..", "illegal characters"),
    (".", "illegal characters"),
    ("../../etc/passwd", "illegal characters"),
    ("/etc/passwd", "illegal characters"),
    ("a/b", "illegal characters"),
    ("a\\b", "illegal characters"),
    ("a\x00b", "illegal characters"),
    ("a b", "illegal characters"),
    ("a\nb", "illegal characters"),
    ("a.b", "illegal characters"),
    ("ünïcödé", "illegal characters"),
    ("x" * 128, "longer than"),
    ("x" * 30_000, "longer than"),
    ("%RETRY%" + "x" * 260, "longer than"),
]


@pytest.mark.parametrize(("name", "words"), BAD_NAMES, ids=lambda value: repr(value)[:24])
def test_a_topic_name_that_is_none_is_refused_everywhere(
    house: House, name: str, words: str
) -> None:
    remark = refused(ask(house, 310, send_fields(b=name), b"body"), 29, 13, 17)
    assert words in remark or name[:8] in remark
    create = {"topic": name, "readQueueNums": "1", "writeQueueNums": "1", "perm": "6"}
    assert words in refused(ask(house, 17, create), 29)
    refused(ask(house, 11, pull_fields(topic=name)), 17, 29)
    body = b'{"topicConfigList":[{"topicName":%b}]}' % _json_text(name)
    refused(ask(house, 18, {}, body), 29, 1)
    for code in (202, 351):
        refused(ask(house, code, {"topic": name}), 17, 29)
    refused(talk(house.namesrv, request(105, {"topic": name})), 17)
    for code in (29, 30, 31, 32):
        closed_or_refused(ask(house, code, {"topic": name, "queueId": "0", "timestamp": "0"}))
    commit = {"topic": name, "queueId": "0", "consumerGroup": "CG", "commitOffset": "1"}
    refused(ask(house, 15, commit), 17, 29)


@pytest.mark.parametrize("name", [name for name, _ in BAD_NAMES if not name.startswith("%RETRY%")])
def test_a_group_name_that_is_none_is_refused(house: House, name: str) -> None:
    body = b'{"groupName":%b}' % _json_text(name)
    refused(ask(house, 200, {}, body), 29, 1)
    heartbeat = (
        b'{"clientID":"c","consumerDataSet":[{"groupName":%b,"subscriptionDataSet":'
        b'[{"topic":"TopicTest","subString":"*"}]}]}' % _json_text(name)
    )
    closed_or_refused(ask(house, 34, {}, heartbeat))
    closed_or_refused(ask(house, 11, pull_fields(consumerGroup=name)))
    closed_or_refused(ask(house, 38, {"consumerGroup": name}))


@pytest.mark.parametrize(
    ("topic", "codes"),
    [
        ("SCHEDULE_TOPIC_XXXX", (16,)),
        ("RMQ_SYS_TRANS_HALF_TOPIC", (16,)),
        ("RMQ_SYS_TRANS_OP_HALF_TOPIC", (16,)),
        ("TRANS_CHECK_MAX_TIME_TOPIC", (16,)),
        ("SELF_TEST_TOPIC", (16,)),
        ("OFFSET_MOVED_EVENT", (16,)),
    ],
)
def test_topics_that_rocketmq_keeps_for_itself_are_not_written(
    house: House, topic: str, codes: tuple[int, ...]
) -> None:
    remark = refused(ask(house, 310, send_fields(b=topic), b"body"), *codes)
    assert topic in remark
    create = {"topic": topic, "readQueueNums": "1", "writeQueueNums": "1", "perm": "6"}
    assert topic in refused(ask(house, 17, create), 29)
    assert topic in refused(ask(house, 215, {"topic": topic}), 29)


@pytest.mark.parametrize("queue_id", ["-2", "4", "77", "2147483647", "-2147483648"])
def test_a_queue_that_is_none_is_refused(house: House, queue_id: str) -> None:
    assert ask(house, 310, send_fields(b="Queues"), b"body") is not None
    sent = ask(house, 310, send_fields(b="Queues", e=queue_id), b"body")
    if queue_id.startswith("-"):  # any negative number means: the broker chooses
        assert sent is not None
        assert 0 <= int(sent.fields["queueId"]) < 4
    else:
        assert queue_id in refused(sent, 29)
    pulled = ask(house, 11, pull_fields(topic="Queues", queueId=queue_id))
    assert queue_id in refused(pulled, 29)
    for code in (29, 30, 31, 32):
        where = {"topic": "Queues", "queueId": queue_id, "timestamp": "0"}
        closed_or_refused(ask(house, code, where))


# ── messages ─────────────────────────────────────────────────────────────────────────────────────


def test_a_body_over_its_limit_is_refused_and_the_largest_is_taken(house: House) -> None:
    remark = refused(ask(house, 310, send_fields(), bytes(BODY_MAX + 1)), 13)
    assert str(BODY_MAX) in remark
    refused(ask(house, 310, send_fields(), bytes(8 * MIB)), 13)
    largest = ask(house, 310, send_fields(), bytes(BODY_MAX))
    assert largest is not None
    assert largest.code == 0


def test_an_empty_body_is_refused(house: House) -> None:
    refused(ask(house, 310, send_fields(), b""), 13)


def test_properties_over_their_limit_are_refused(house: House) -> None:
    for size in (PROPERTIES_MAX + 1, 40_000, 60_000):
        answer = ask(house, 310, send_fields(i="K\x01" + "x" * size + "\x02"), b"body")
        if answer is not None:  # the header itself may be over its limit
            refused(answer, 13)


@pytest.mark.parametrize(
    "text",
    [
        "\x01\x02", "\x02\x02\x02", "\x01", "A\x01", "A\x01B", "A\x01B\x02C", "=;:&", "\x00",
        "DELAY\x01abc\x02", "DELAY\x01-5\x02", "DELAY\x0199999999999\x02", "WAIT\x01maybe\x02",
        "TRAN_MSG\x01true\x02", "UNIQ_KEY\x01\x02", "KEYS\x01" + "k " * 5_000 + "\x02",
        "TAGS\x01" + "t" * 20_000 + "\x02", "TIMER_DELIVER_MS\x01x\x02",
        "TIMER_DELAY_SEC\x01-1\x02", "UNIQ_KEY\x01" + "u" * 30_000 + "\x02",
        "INNER_MULTI_DISPATCH\x01%LMQ%../../x\x02INNER_MULTI_QUEUE_OFFSET\x010\x02",
        "INNER_NUM\x01-1\x02", "REAL_TOPIC\x01../../x\x02REAL_QID\x01-1\x02",
        "DELAY\x011\x02REAL_TOPIC\x01../../x\x02REAL_QID\x01-1\x02", "DELAY\x012147483647\x02",
    ],
    ids=lambda text: repr(text)[:32],
)  # fmt: skip
def test_strange_properties_are_stored_or_refused(house: House, text: str) -> None:
    answer = ask(house, 310, send_fields(b="Strange", i=text), b"body")
    assert answer is not None
    if answer.code != 0:
        refused(answer, 1, 13, 16, 29)


def _item(
    content: bytes,
    text: bytes = b"",
    *,
    size: int | None = None,
    body: int | None = None,
    properties: int | None = None,
) -> bytes:
    """One message of a batch body; each length may lie."""
    size = 4 + 4 + 4 + 4 + 4 + len(content) + 2 + len(text) if size is None else size
    body = len(content) if body is None else body
    properties = len(text) if properties is None else properties
    head = struct.pack(">iiiii", size, 0, 0, 0, body)
    return head + content + struct.pack(">h", properties) + text


GOOD_ITEM = _item(b"good", b"UNIQ_KEY\x01A\x02")


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"\x00", id="one byte"),
        pytest.param(GOOD_ITEM[:-1], id="cut short"),
        pytest.param(GOOD_ITEM + b"\x00", id="a byte too many"),
        pytest.param(GOOD_ITEM + GOOD_ITEM[:10], id="second one cut short"),
        pytest.param(_item(b"x", body=2**31 - 1), id="body length too large"),
        pytest.param(_item(b"x", body=-1), id="body length negative"),
        pytest.param(_item(b"x", properties=32_767), id="properties length too large"),
        pytest.param(_item(b"x", properties=-1), id="properties length negative"),
        pytest.param(GOOD_ITEM + _item(b"x", body=100), id="second body lies"),
        pytest.param(bytes(BODY_MAX + 1), id="over the limit"),
        pytest.param(b"\xff" * 10_000, id="all ones"),
    ],
)
@pytest.mark.parametrize("code", [320, 310])
def test_a_batch_that_lies_is_refused_whole(house: House, code: int, body: bytes) -> None:
    where = {"topic": "Batches", "queueId": "0"}
    refused(ask(house, code, send_fields(b="Batches", m="true"), body), 13)
    answer = ask(house, 30, where)
    assert answer is not None
    assert answer.fields["offset"] == "0", "a part of a refused batch was stored"


@pytest.mark.parametrize("size", [-1, 0, 5, 2**31 - 1])
def test_the_size_of_a_batch_item_is_not_believed(house: House, size: int) -> None:
    """Nor does Apache look at it: the lengths behind it say the same."""
    answer = ask(house, 320, send_fields(b="Sizes", m="true"), _item(b"x", size=size) + GOOD_ITEM)
    assert answer is not None
    assert answer.code == 0
    offset = answer.fields["queueOffset"]
    stored = ask(house, 11, pull_fields(topic="Sizes", queueOffset=offset))
    assert stored is not None
    assert b"good" in stored.body


@pytest.mark.parametrize(
    "fields",
    [
        {"maxMsgNums": "0"},
        {"maxMsgNums": "-1"},
        {"maxMsgNums": "2147483647"},
        {"queueOffset": "-1"},
        {"queueOffset": str(2**63 - 1)},
        {"queueOffset": str(-(2**63))},
        {"commitOffset": "-1", "sysFlag": "5"},
        {"commitOffset": str(2**63 - 1), "sysFlag": "5"},
        {"sysFlag": "-1", "suspendTimeoutMillis": "-1"},
        {"sysFlag": "6", "suspendTimeoutMillis": str(-(2**63))},
        {"maxMsgBytes": "0"},
        {"maxMsgBytes": "-1"},
        {"subscription": "a" * 10_000},
        {"subscription": "||||||"},
        {"subscription": " || ".join(f"Tag{number}" for number in range(5_000))},
        {"expressionType": "SQL92", "subscription": "a > "},
        {"expressionType": "NONSENSE", "subscription": "x"},
        {"subVersion": str(-(2**63))},
        {"liteTopic": "../../x"},
    ],
    ids=str,
)
def test_strange_pulls_are_answered(house: House, fields: Mapping[str, object]) -> None:
    assert ask(house, 310, send_fields(b="Pulled"), b"body") is not None
    answer = ask(house, 11, pull_fields(topic="Pulled", **fields))
    assert answer is not None
    assert not FAULT.search(answer.remark), answer.remark
    assert answer.code in (0, 1, 13, 19, 20, 21, 23, 24, 29), answer


@pytest.mark.parametrize(
    "fields",
    [
        {"readQueueNums": "0"},
        {"readQueueNums": "-1"},
        {"writeQueueNums": "2147483647"},
        {"perm": "99"},
        {"perm": "-1"},
        {"attributes": "+nonsense"},
        {"attributes": "+a=b,+a=c"},
        {"attributes": "x" * 20_000},
        {"attributes": "+message.type=NONSENSE"},
    ],
    ids=lambda fields: str(fields)[:40],
)
def test_topic_settings_out_of_range_are_refused(
    house: House, fields: Mapping[str, object]
) -> None:
    good = {"topic": "Settings", "readQueueNums": "1", "writeQueueNums": "1", "perm": "6"}
    refused(ask(house, 17, {**good, **fields}), 1, 29)
    missing = ask(house, 351, {"topic": "Settings"})
    assert missing is not None
    assert missing.code == 17


@pytest.mark.parametrize(
    ("code", "fields"),
    [
        (33, {"offset": "-1"}),
        (33, {"offset": str(2**63 - 1)}),
        (33, {"offset": "7"}),
        (12, {"topic": "T", "key": "", "maxNum": "1", "beginTimestamp": "0", "endTimestamp": "1"}),
        (
            12,
            {
                "topic": "T", "key": "k" * 30_000, "maxNum": "2147483647",
                "beginTimestamp": str(2**63 - 1), "endTimestamp": str(-(2**63)),
            },
        ),
        (12, {"topic": "T", "key": "k", "maxNum": "-1", "beginTimestamp": "0",
              "endTimestamp": "1"}),
        (29, {"topic": "Honest", "queueId": "0", "timestamp": str(-(2**63))}),
        (29, {"topic": "Honest", "queueId": "0", "timestamp": str(2**63 - 1),
              "boundaryType": "nonsense"}),
        (14, {"topic": "../x", "consumerGroup": "../x", "queueId": "-1"}),
        (15, {"topic": "Honest", "consumerGroup": "CG", "queueId": "0", "commitOffset": "-1"}),
        (15, {"topic": "Honest", "consumerGroup": "CG", "queueId": "-7", "commitOffset": "0"}),
        (35, {"clientID": "x" * 30_000}),
        (36, {"offset": str(-(2**63)), "group": "CG", "delayLevel": "-2147483648",
              "maxReconsumeTimes": "-2147483648"}),
        (36, {"offset": str(2**63 - 1), "group": "../../x", "delayLevel": "2147483647"}),
        (36, {"offset": "7", "group": "x" * 20_000, "delayLevel": "0"}),
        (203, {"consumerGroup": "\x00"}),
        (207, {"groupName": "../../x"}),
        (215, {"topic": "../../x"}),
        (222, {"group": "CG", "topic": "../../x", "timestamp": "0", "isForce": "maybe"}),
        (222, {"group": "x" * 20_000, "topic": "Strange", "timestamp": str(-(2**63))}),
        (222, {"group": "CG", "topic": "Strange", "timestamp": str(2**63 - 1),
               "queueId": "-2147483648", "offset": str(2**63 - 1)}),
        (222, {"group": "CG", "topic": "Strange", "timestamp": "0", "queueId": "2147483647",
               "offset": str(-(2**63))}),
        (223, {"group": "x" * 20_000, "topic": "\x00", "clientAddr": "y" * 20_000}),
        (300, {}),
        (303, {"group": "../../x", "topic": "x" * 20_000}),
        (308, {"topic": "Strange", "compareGroup": "@", "filterGroups": "," * 20_000}),
        (314, {"srcGroup": "CG", "destGroup": "a@b"}),
        (314, {"srcGroup": "@", "destGroup": "x" * 20_000, "topic": "../../x"}),
        (315, {"statsName": "x" * 20_000, "statsKey": "y" * 20_000}),
        (317, {"isOrder": "maybe"}),
        (321, {"topic": "Honest", "queueId": "0", "index": "0", "count": "2147483647"}),
        (321, {"topic": "../../x", "queueId": "-2147483648", "index": str(-(2**63)),
               "count": "-2147483648", "consumerGroup": "\x00"}),
        (343, {"group": "@" * 20_000}),
        (345, {"group": "", "topic": "../../x"}),
        (208, {"consumerGroup": "CG", "topicList": "Honest;" * 5_000}),
        (307, {"consumerGroup": "x" * 20_000, "clientId": "y" * 20_000, "jstackEnable": "maybe"}),
        (307, {"consumerGroup": "", "clientId": ""}),
        (307, {"consumerGroup": "CG"}),
        (309, {"consumerGroup": "CG", "clientId": "c", "msgId": "x" * 30_000}),
        (309, {"consumerGroup": "CG", "msgId": "7F00000100002A9F" + "F" * 16}),
        (309, {"consumerGroup": "CG", "msgId": "7F00000100002A9F" + "7" * 16}),
        (309, {"consumerGroup": "CG", "topicSysFlag": "x"}),
        (324, send_fields()),
        (325, send_fields(b="Honest")),
        (325, send_fields(b="Honest", e=str(2**31 - 1))),
        (325, send_fields(b="Honest", f="-1", i="REPLY_TO_CLIENT\x01" + "x" * 30_000)),
        (326, {"topic": "Honest"}),
    ],
    ids=lambda value: str(value)[:40],
)  # fmt: skip
def test_strange_questions_are_answered(
    house: House, code: int, fields: Mapping[str, object]
) -> None:
    answer = ask(house, code, fields)
    assert answer is not None
    assert not FAULT.search(answer.remark), answer.remark


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe",
        b'{"clientID":null}',
        b'{"clientID":"c","consumerDataSet":5}',
        b'{"clientID":"c","consumerDataSet":[null]}',
        b'{"clientID":"' + b"c" * 100_000 + b'"}',
        b"[" * 100_000,
        b'{"clientID":"c","heartbeatFingerprint":1e999}',
        b'{"clientID":"c","producerDataSet":['
        + b",".join(b'{"groupName":"P%d"}' % number for number in range(20_000))
        + b"]}",
        b'{"clientID":"c","consumerDataSet":[{"groupName":"CGX","consumeType":"NONSENSE",'
        b'"subscriptionDataSet":[{"topic":"../../x","subString":"a","codeSet":[99999999999]}]}]}',
    ],
    ids=lambda body: repr(body)[:32],
)
@pytest.mark.parametrize("code", [34, 46, 200, 18, 225, 41, 42])
def test_strange_bodies_are_refused_or_taken(house: House, code: int, body: bytes) -> None:
    answer = ask(house, code, {}, body)
    assert answer is not None
    assert not FAULT.search(answer.remark), answer.remark


@pytest.mark.parametrize(
    ("subscriptions", "words"),
    [
        (
            b",".join(b'{"topic":"T%d","subString":"*"}' % number for number in range(10_001)),
            "subscribes to 10001 topics, at most 10000 are taken",
        ),
        (
            b",".join(
                b'{"classFilterMode":false,"codeSet":[],"expressionType":"TAG","subString":"*",'
                b'"subVersion":%d,"tagsSet":[],"topic":"A-topic-with-some-name-%d"}' % (0, number)
                for number in range(20_000)
            ),
            "bytes are over the limit of 2097152",
        ),
        (b'{"topic":"T","subString":"' + b"x" * (2 * MIB) + b'"}', "are over the limit"),
    ],
    ids=lambda value: repr(value)[:32],
)
def test_subscriptions_without_end_are_refused(
    house: House, subscriptions: bytes, words: str
) -> None:
    body = (
        b'{"clientID":"greedy","consumerDataSet":[{"groupName":"Greedy",'
        b'"subscriptionDataSet":[' + subscriptions + b"]}]}"
    )
    with memory_within(house.server.pid, 100 * MIB):
        for _ in range(3):
            assert words in refused(ask(house, 34, {}, body), 1, 29)
    refused(ask(house, 38, {"consumerGroup": "Greedy"}), 1)


def test_ten_thousand_subscriptions_are_taken_and_forgotten_with_their_client(
    house: House,
) -> None:
    topics = b",".join(b'{"topic":"T%d"}' % number for number in range(10_000))
    body = (
        b'{"clientID":"many","consumerDataSet":[{"groupName":"Many",'
        b'"messageModel":"BROADCASTING","subscriptionDataSet":[' + topics + b"]}]}"
    )
    with memory_within(house.server.pid, 100 * MIB):
        answer = ask(house, 34, {}, body)
    assert answer is not None
    assert answer.code == 0
    for _ in retries(10):
        gone = ask(house, 38, {"consumerGroup": "Many"})
        if gone is not None and gone.code == 1:
            return
    raise AssertionError("the client is gone and its group is not")


# ── the name server ──────────────────────────────────────────────────────────────────────────────


def _register(**changed: object) -> dict[str, object]:
    return {
        "brokerId": "0", "bodyCrc32": "0", "clusterName": "EvilCluster",
        "brokerAddr": "10.0.0.1:10911", "haServerAddr": "10.0.0.1:10912", "compressed": "false",
        "brokerName": "evil", **changed,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "body"),
    [
        ({"compressed": "true"}, zlib.compress(bytes(64 * MIB), 9)),
        ({"compressed": "true"}, b"not zlib"),
        ({"compressed": "true"}, zlib.compress(struct.pack(">i", 2**31 - 1))),
        ({"compressed": "true"}, zlib.compress(struct.pack(">i", -1))),
        ({}, b"{"),
        ({}, b'{"topicConfigSerializeWrapper":7}'),
        ({}, b'{"topicConfigSerializeWrapper":{"topicConfigTable":{"x":{"topicName":null}}}}'),
        ({"bodyCrc32": "5"}, b"{}"),
        ({"brokerId": "abc"}, b"{}"),
        ({"brokerName": "x" * 10_000}, b"{}"),
        ({"brokerAddr": "../../x\n"}, b"{}"),
    ],
    ids=lambda value: repr(value)[:32],
)
def test_registrations_that_lie_change_nothing(
    house: House, fields: Mapping[str, object], body: bytes
) -> None:
    with memory_within(house.server.pid, 100 * MIB):
        closed_or_refused(talk(house.namesrv, request(103, _register(**fields), body)))
    cluster = talk(house.namesrv, request(106))
    assert cluster is not None
    assert b'"DefaultCluster":["broker-a"]' in cluster.body
    route = talk(house.namesrv, request(105, {"topic": "Honest"}))
    assert route is not None
    assert house.broker.encode() in route.body


@pytest.mark.parametrize(
    "fields",
    [
        {"namespace": "", "key": "k", "value": "v"},
        {"namespace": "n", "key": "", "value": "v"},
        {"namespace": "n", "key": "k"},
        {"namespace": "n", "key": "k", "value": "v" * 60_000},
        {"namespace": "n" * 30_000, "key": "k", "value": "v"},
    ],
    ids=lambda fields: str(fields)[:40],
)
def test_strange_key_values_are_refused_or_taken(
    house: House, fields: Mapping[str, object]
) -> None:
    closed_or_refused(talk(house.namesrv, request(100, fields)))
    answer = talk(house.namesrv, request(219, {"namespace": "n"}))
    assert answer is not None


# ── the end ──────────────────────────────────────────────────────────────────────────────────────


def test_after_all_this_every_stored_message_is_there_also_after_a_restart(house: House) -> None:
    house.honest.stop()
    assert house.honest.count > 200
    house.honest.check_all_stored(house.broker)
    house.server.stop()
    house.server = PyromqServer(*house.arguments).start()
    house.honest.check_all_stored(house.broker)
    house.honest = Honest(house.broker, "HonestAgain").start()


def _json_text(text: str) -> bytes:
    escaped = "".join(
        char if char.isalnum() and char.isascii() else f"\\u{ord(char):04x}" for char in text
    )
    return f'"{escaped}"'.encode()
