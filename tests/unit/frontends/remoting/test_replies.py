"""Request and reply (codes 324, 325, 326), frame in, frame out."""

from __future__ import annotations

import pytest

from pyromq.broker import replies
from tests.support.broker_door import BrokerDoor, Client, send_ext
from tests.support.brokers import properties
from tests.support.records import Record, records_of

REPLY_TOPIC = "DefaultCluster_REPLY_TOPIC"
PROPERTIES = properties(
    CORRELATION_ID="R1", MSG_TYPE="reply", REPLY_TO_CLIENT="c1", TTL="3000", UNIQ_KEY="U1"
)
MARKS = {"MSG_REGION": "DefaultRegion", "TRACE_ON": "true"}


@pytest.fixture
def it() -> BrokerDoor:
    return BrokerDoor()


@pytest.fixture
def requester(it: BrokerDoor) -> Client:
    client = Client(it, 41_000)
    client.beat("c1", producer_group="REQUESTERS")
    return client


def reply_ext(**changed: str) -> dict[str, str]:
    return send_ext(**{"a": "REPLIERS", "b": REPLY_TOPIC, "i": PROPERTIES, **changed})


def stored(it: BrokerDoor, topic: str = REPLY_TOPIC) -> list[Record]:
    return records_of(it.hand.pull(topic).body)


def test_a_reply_reaches_the_producer_that_its_properties_name(
    it: BrokerDoor, requester: Client
) -> None:
    it.client.put(325, reply_ext(f="1", h="7", j="2", k="true"), b"the answer")
    assert it.client.take() == []
    push = requester.take_question()
    assert push.code == 326
    assert push.body == b"the answer"
    now_ms = it.hand.clock.now_ms()
    assert push.ext == {
        "producerGroup": "REPLIERS",
        "topic": REPLY_TOPIC,
        "defaultTopic": "TBW102",
        "defaultTopicQueueNums": "4",
        "queueId": "0",
        "sysFlag": "1",
        "bornTimestamp": "1795222505090",
        "flag": "7",
        "properties": PROPERTIES + properties(**MARKS, PUSH_REPLY_TIME=str(now_ms)),
        "reconsumeTimes": "2",
        "unitMode": "true",
        "bornHost": "127.0.0.1:40960",
        "storeHost": "127.0.0.1:10911",
        "storeTimestamp": str(now_ms),
    }
    requester.answer(push)
    (answer,) = it.client.take()
    assert (answer.code, answer.remark) == (0, None)
    assert answer.ext == {
        **MARKS,
        "msgId": "7F00000100002A9F0000000000000000",
        "queueId": "0",
        "queueOffset": "0",
    }
    (record,) = stored(it)
    assert record.body == b"the answer"
    assert record.properties == {
        "CORRELATION_ID": "R1",
        "MSG_TYPE": "reply",
        "REPLY_TO_CLIENT": "c1",
        "TTL": "3000",
        "UNIQ_KEY": "U1",
        **MARKS,
    }


def test_code_324_with_long_names_is_the_same_reply(it: BrokerDoor, requester: Client) -> None:
    ext = {
        "producerGroup": "REPLIERS", "topic": REPLY_TOPIC, "defaultTopic": "TBW102",
        "defaultTopicQueueNums": "4", "queueId": "-1", "sysFlag": "0",
        "bornTimestamp": "1795222505090", "flag": "0", "properties": PROPERTIES,
    }  # fmt: skip
    it.client.put(324, ext, b"x")
    push = requester.take_question()
    assert (push.ext["queueId"], push.ext["reconsumeTimes"]) == ("-1", "0")
    requester.answer(push)
    (answer,) = it.client.take()
    assert (answer.code, answer.ext["queueId"]) == (0, "0")


def test_a_reply_that_its_requester_refuses_is_stored_and_a_failure(
    it: BrokerDoor, requester: Client
) -> None:
    it.client.put(325, reply_ext(), b"x")
    requester.answer(requester.take_question(), 1, remark="process reply message fail")
    (answer,) = it.client.take()
    assert (answer.code, answer.remark) == (1, "push reply message to c1fail.")
    assert (answer.ext["queueOffset"], answer.ext["MSG_REGION"]) == ("0", "DefaultRegion")
    assert len(stored(it)) == 1


def test_a_requester_that_does_not_confirm_costs_ten_seconds_and_no_one_else_anything(
    it: BrokerDoor, requester: Client
) -> None:
    it.client.put(325, reply_ext(), b"x")
    requester.take_question()
    assert it.client.send().code == 0
    it.turns.advance(9.9)
    assert it.client.take() == []
    it.turns.advance(0.2)
    (answer,) = it.client.take()
    assert (answer.code, answer.remark) == (1, "push reply message to c1fail.")


def test_a_requester_that_leaves_meanwhile_fails_the_reply_at_once(
    it: BrokerDoor, requester: Client
) -> None:
    it.client.put(325, reply_ext(), b"x")
    requester.take_question()
    requester.leave()
    (answer,) = it.client.take()
    assert (answer.code, answer.remark) == (1, "push reply message to c1fail.")
    again = it.client.ask(325, reply_ext(), b"x")
    assert again.remark == "push reply message fail, channel of <c1> not found."


def test_a_reply_to_nobody_is_refused_by_name(it: BrokerDoor) -> None:
    answer = it.client.ask(325, reply_ext(i=properties(REPLY_TO_CLIENT="x" * 1_000)), b"x")
    assert answer.code == 1
    assert answer.remark == (
        f"push reply message fail, channel of <{'x' * 128}… (1000 characters)> not found."
    )
    answer = it.client.ask(325, reply_ext(i=""), b"x")
    assert (answer.code, answer.remark) == (
        1,
        "reply message properties[REPLY_TO_CLIENT] is null",
    )


def test_a_reply_that_cannot_be_stored_is_pushed_all_the_same(
    it: BrokerDoor, requester: Client
) -> None:
    it.client.put(325, reply_ext(), b"")
    requester.answer(requester.take_question())
    (answer,) = it.client.take()
    assert answer.code == 0
    assert answer.ext == {**MARKS, "msgId": "0", "queueId": "0", "queueOffset": "0"}
    assert stored(it) == []


def test_a_topic_that_was_deleted_meanwhile_gets_no_reply(
    it: BrokerDoor, requester: Client
) -> None:
    it.client.put(325, reply_ext(b="TopicTest"), b"x")
    push = requester.take_question()
    assert it.client.ask(215, {"topic": "TopicTest"}).code == 0
    requester.answer(push)
    (answer,) = it.client.take()
    assert (answer.code, answer.ext["msgId"]) == (0, "0")
    it.hand.create_topic("TopicTest")
    assert stored(it, "TopicTest") == []


def test_a_compressed_reply_can_be_read_by_consumers_too(it: BrokerDoor, requester: Client) -> None:
    it.client.put(325, reply_ext(f=str(0x301 | 0x8)), b"zlib")
    requester.answer(requester.take_question())
    it.client.take()
    record = it.hand.pull(REPLY_TOPIC).body
    assert int.from_bytes(record[36:40]) == 0x301


def test_replies_that_wait_for_their_requesters_are_bounded(
    it: BrokerDoor, requester: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = properties(REPLY_TO_CLIENT="c1", long="x" * 1_000)
    monkeypatch.setattr(replies, "HELD_SIZE_MAX", 2_000)
    it.client.put(325, reply_ext(i=text), b"12345678")
    push = requester.take_question()
    busy = it.client.ask(325, reply_ext(i=text), b"123")
    assert (busy.code, busy.ext) == (2, MARKS)
    held = len(text + properties(**MARKS)) + 8
    assert busy.remark == f"replies of {held} bytes wait for their requesters, at most 2000 do"
    requester.answer(push)
    assert [answer.code for answer in it.client.take()] == [0]
    it.client.put(325, reply_ext(), b"123")
    requester.answer(requester.take_question())
    assert [answer.code for answer in it.client.take()] == [0]


def test_a_refused_reply_tells_region_and_trace_like_any_send(it: BrokerDoor) -> None:
    answer = it.client.ask(325, reply_ext(b="bad topic!"), b"x")
    assert (answer.code, answer.ext) == (29, MARKS)


def test_a_request_keeps_the_properties_that_its_reply_needs(it: BrokerDoor) -> None:
    text = properties(
        CORRELATION_ID="R1", REPLY_TO_CLIENT="c1", TTL="3000", UNIQ_KEY="U1", CLUSTER="mine"
    )
    it.client.send(text)
    (record,) = stored(it, "TopicTest")
    assert record.properties == {
        "CORRELATION_ID": "R1",
        "REPLY_TO_CLIENT": "c1",
        "TTL": "3000",
        "UNIQ_KEY": "U1",
        "MSG_REGION": "DefaultRegion",
        "TRACE_ON": "true",
        "CLUSTER": "DefaultCluster",
    }
