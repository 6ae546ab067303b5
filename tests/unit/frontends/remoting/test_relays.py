"""Tools ask consumers through the broker (codes 307 and 309), frame in, frame out."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from pyromq.broker import relays
from pyromq.codes import VERSION_3_1_8_SNAPSHOT
from tests.support.broker_door import BrokerDoor, Client
from tests.support.brokers import properties
from tests.support.records import records_of

MESSAGE_ID = "7F00000100002A9F0000000000000000"


@pytest.fixture
def it() -> BrokerDoor:
    return BrokerDoor()


@pytest.fixture
def consumer(it: BrokerDoor) -> Client:
    client = Client(it, 41_000)
    client.beat("c1", consumer_group="CG")
    return client


def ask_info(tool: Client, **changed: str) -> None:
    tool.put(307, {"consumerGroup": "CG", "clientId": "c1", "jstackEnable": "true", **changed})


def ask_to_consume(tool: Client, **changed: str) -> None:
    ext = {"consumerGroup": "CG", "clientId": "c1", "msgId": MESSAGE_ID, "topic": "TopicTest"}
    tool.put(309, {**ext, **changed})


def test_what_a_consumer_says_of_itself_goes_back_as_it_is(
    it: BrokerDoor, consumer: Client
) -> None:
    ask_info(it.client)
    assert it.client.take() == []
    question = consumer.take_question()
    assert question.code == 307
    assert question.ext == {"consumerGroup": "CG", "clientId": "c1", "jstackEnable": "true"}
    consumer.answer(question, body=b'{"properties":{}} \xff', remark="not set any response code")
    (answer,) = it.client.take()
    assert (answer.code, answer.remark) == (0, "not set any response code")
    assert answer.body == b'{"properties":{}} \xff'


def test_a_consumer_that_cannot_answer_says_so_itself(it: BrokerDoor, consumer: Client) -> None:
    ask_info(it.client)
    consumer.answer(consumer.take_question(), 1, remark="The Consumer Group <CG> not exist")
    (answer,) = it.client.take()
    assert (answer.code, answer.remark) == (1, "The Consumer Group <CG> not exist")


def test_a_message_is_consumed_by_the_consumer_that_a_tool_names(
    it: BrokerDoor, consumer: Client
) -> None:
    it.client.send(properties(UNIQ_KEY="U1", TAGS="TagA"), b"again")
    ask_to_consume(it.client)
    assert it.client.take() == []
    question = consumer.take_question()
    assert question.code == 309
    assert question.ext == {
        "consumerGroup": "CG",
        "clientId": "c1",
        "msgId": MESSAGE_ID,
        "topic": "TopicTest",
        "topicSysFlag": "0",
        "groupSysFlag": "0",
        "brokerName": it.hand.broker.broker_name,
    }
    (record,) = records_of(question.body)
    assert (record.body, record.properties["UNIQ_KEY"]) == (b"again", "U1")
    result = json.dumps({"order": False, "consumeResult": "CR_SUCCESS"}).encode()
    consumer.answer(question, body=result)
    (answer,) = it.client.take()
    assert (answer.code, answer.body) == (0, result)


@pytest.mark.parametrize("ask", [ask_info, ask_to_consume])
def test_a_consumer_that_is_not_there_is_named(it: BrokerDoor, ask: Callable[..., None]) -> None:
    it.client.send()
    ask(it.client, clientId="x")
    (answer,) = it.client.take()
    assert (answer.code, answer.remark) == (1, "The Consumer <CG> <x> not online")


@pytest.mark.parametrize("ask", [ask_info, ask_to_consume])
def test_a_consumer_that_does_not_answer_costs_ten_seconds(
    it: BrokerDoor, consumer: Client, ask: Callable[..., None]
) -> None:
    it.client.send()
    ask(it.client)
    question = consumer.take_question()
    it.turns.advance(9.9)
    assert it.client.take() == []
    it.turns.advance(0.2)
    (answer,) = it.client.take()
    assert answer.code == 207
    assert answer.remark == (
        "consumer <CG> <c1> Timeout: the client did not answer within 10000 ms"
    )
    consumer.answer(question, body=b"too late")
    assert it.client.take() == []


@pytest.mark.parametrize("ask", [ask_info, ask_to_consume])
def test_a_consumer_that_leaves_before_it_answered_is_told_at_once(
    it: BrokerDoor, consumer: Client, ask: Callable[..., None]
) -> None:
    it.client.send()
    ask(it.client)
    consumer.take_question()
    consumer.leave()
    (answer,) = it.client.take()
    assert answer.code == 1
    assert answer.remark == (
        "invoke consumer <CG> <c1> Exception: the client left before it answered"
    )


def test_a_client_older_than_the_question_is_not_asked(it: BrokerDoor) -> None:
    for name, version in (("old", VERSION_3_1_8_SNAPSHOT - 1), ("new", VERSION_3_1_8_SNAPSHOT)):
        client = Client(it, 41_001 + version, version=version)
        client.beat(name, consumer_group="CG")
    ask_info(it.client, clientId="old")
    (answer,) = it.client.take()
    assert answer.code == 1
    assert answer.remark == (
        "The Consumer <old> Version <61> too low to finish, please upgrade it to V3_1_8_SNAPSHOT"
    )
    ask_info(it.client, clientId="new")
    assert it.client.take() == []


def test_a_client_that_came_again_is_asked_on_its_newest_connection(
    it: BrokerDoor, consumer: Client
) -> None:
    again = Client(it, 41_002)
    again.beat("c1", consumer_group="CG")
    consumer.take_notices()
    ask_info(it.client)
    assert [notice.code for notice in consumer.take_notices()] == []
    assert again.take_question().code == 307


@pytest.mark.parametrize(
    ("changed", "remark"),
    [
        ({"msgId": ""}, "msgId[] is illegal, accepted is an offsetMsgId of 32 or 56 hex digits"),
        (
            {"msgId": "F" * 31},
            f"msgId[{'F' * 31}] is illegal, accepted is an offsetMsgId of 32 or 56 hex digits",
        ),
        (
            {"msgId": "x" * 5_000},
            f"msgId[{'x' * 128}] is illegal, accepted is an offsetMsgId of 32 or 56 hex digits",
        ),
        (
            {"msgId": "7F00000100002A9F" + "F" * 16},
            "can not find message by the offset, -1",
        ),
        (
            {"msgId": "7F00000100002A9F0000000000000001"},
            "can not find message by the offset, 1",
        ),
    ],
)
def test_a_message_that_does_not_exist_is_named(
    it: BrokerDoor, consumer: Client, changed: dict[str, str], remark: str
) -> None:
    it.client.send()
    ask_to_consume(it.client, **changed)
    (answer,) = it.client.take()
    assert (answer.code, answer.remark) == (1, remark)
    assert consumer.take_notices() == []


def test_messages_on_their_way_to_consumers_are_bounded(
    it: BrokerDoor, consumer: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    it.client.send(body=b"x" * 1_000)
    monkeypatch.setattr(relays, "HELD_SIZE_MAX", 2_000)
    ask_to_consume(it.client)
    question = consumer.take_question()
    ask_to_consume(it.client)
    (busy,) = it.client.take()
    assert busy.code == 2
    assert busy.remark is not None
    assert busy.remark.endswith(" bytes wait for their consumers, at most 2000 do")
    consumer.answer(question)
    assert [answer.code for answer in it.client.take()] == [0]
    ask_to_consume(it.client)
    consumer.leave()
    assert [answer.code for answer in it.client.take()] == [1]
    back = Client(it, 41_003)
    back.beat("c1", consumer_group="CG")
    ask_to_consume(it.client)
    back.answer(back.take_question())
    assert [answer.code for answer in it.client.take()] == [0]


def test_a_field_that_is_missing_is_named(it: BrokerDoor) -> None:
    for code, ext, field in (
        (307, {"consumerGroup": "CG"}, "clientId"),
        (307, {"clientId": "c1"}, "consumerGroup"),
        (309, {"clientId": "c1"}, "consumerGroup"),
    ):
        answer = it.client.ask(code, ext)
        assert answer.code == 1
        assert answer.remark is not None
        assert f"the custom field <{field}> is null" in answer.remark
