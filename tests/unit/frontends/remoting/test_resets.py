"""Resets, clones and status, frame in, frame out."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from pyromq.codes import LanguageCode
from pyromq.domain.group import GroupConfig
from pyromq.wire.remoting.frame import Command, encode
from tests.support.broker_door import BrokerDoor, Client, pull_ext

NULL = "the custom field <{}> is null"
QUEUE_0 = b'{"brokerName":"broker-a","queueId":0,"topic":"TopicTest"}'


def house(**settings: object) -> BrokerDoor:
    """Two messages in the one queue of TopicTest, both consumed by CG."""
    it = BrokerDoor(**settings)
    it.hand.create_topic("TopicTest", 1)
    it.hand.run(it.hand.broker.put_group(GroupConfig(group_name="CG")))
    for _ in range(2):
        it.client.send()
    commit(it.client, 2)
    return it


def commit(client: Client, offset: int) -> Command:
    return client.ask(
        15,
        {
            "consumerGroup": "CG",
            "topic": "TopicTest",
            "queueId": "0",
            "commitOffset": str(offset),
        },
    )


def reset_ext(**changed: str) -> dict[str, str]:
    """As mqadmin sends it."""
    return {
        "group": "CG",
        "topic": "TopicTest",
        "queueId": "-1",
        "offset": "-1",
        "timestamp": "0",
        "isForce": "true",
        **changed,
    }


# --- 222 ------------------------------------------------------------------------------------------


def test_a_reset_is_answered_with_the_new_offset_of_each_queue() -> None:
    client = house().client
    answer = client.ask(222, reset_ext())
    assert (answer.code, answer.remark, answer.ext) == (0, None, {})
    assert answer.body == b'{"offsetTable":{' + QUEUE_0 + b":0}}"


def test_a_reset_of_one_queue_needs_no_more_fields_than_apache_asks_for() -> None:
    client = house().client
    ext = {"group": "CG", "topic": "TopicTest", "timestamp": "-1", "queueId": "0", "offset": "1"}
    answer = client.ask(222, ext)
    assert answer.body == b'{"offsetTable":{' + QUEUE_0 + b":1}}"


def test_a_commit_before_the_reset_is_known_is_ignored_and_says_so() -> None:
    client = house().client
    client.ask(222, reset_ext())
    answer = commit(client, 2)
    assert (answer.code, answer.remark) == (0, "Offset has been previously reset")
    answer = client.ask(11, pull_ext(queueOffset="2", consumerGroup="CG"))
    assert (answer.code, answer.remark) == (21, "OFFSET_RESET")
    assert answer.ext["nextBeginOffset"] == answer.ext["minOffset"] == "0"
    assert answer.ext["maxOffset"] == "2"
    assert answer.ext["suggestWhichBrokerId"] == "0"
    answer = commit(client, 2)
    assert (answer.code, answer.remark) == (0, None)


@pytest.mark.parametrize(
    ("changed", "code", "remark"),
    [
        ({"topic": "Nope"}, 17, "Topic Nope does not exist"),
        ({"group": "Nobody"}, 26, "Group Nobody does not exist"),
        (
            {"queueId": "0", "offset": "3"},
            1,
            "Target offset 3 not in consume queue range [0-2]",
        ),
        (
            {"queueId": "0", "offset": "-2"},
            1,
            "Target offset -2 not in consume queue range [0-2]",
        ),
        (
            {"queueId": "1"},
            29,
            "queueId[1] is illegal, topic:[TopicTest] topicConfig.readQueueNums:[1]",
        ),
        (
            {"queueId": "2147483648"},
            1,
            "ResetOffsetHeader: the custom field <queueId> has the value '2147483648': "
            "Expected `int` <= 2147483647",
        ),
    ],
)
def test_resets_that_cannot_be_are_refused(
    changed: Mapping[str, str], code: int, remark: str
) -> None:
    answer = house().client.ask(222, reset_ext(**changed))
    assert (answer.code, answer.remark) == (code, remark)
    assert answer.body == b""


@pytest.mark.parametrize("name", ["group", "topic", "timestamp"])
def test_a_reset_without_a_field_it_needs_is_refused(name: str) -> None:
    ext = reset_ext()
    del ext[name]
    answer = house().client.ask(222, ext)
    assert (answer.code, answer.remark) == (1, "ResetOffsetHeader: " + NULL.format(name))


# --- 220 ------------------------------------------------------------------------------------------


def test_clients_are_told_in_one_way() -> None:
    it = house(use_server_side_reset_offset=False)
    consumer = Client(it, 40_961)
    consumer.beat("c1", consumer_group="CG")
    answer = it.client.ask(222, reset_ext(timestamp="1"))
    assert answer.body == b'{"offsetTable":{' + QUEUE_0 + b":0}}"
    (told,) = consumer.take_notices()
    assert told.is_oneway
    assert (told.code, told.body) == (220, answer.body)
    assert told.ext == {
        "group": "CG",
        "topic": "TopicTest",
        "queueId": "-1",
        "timestamp": "1",
        "isForce": "false",
    }


def test_clients_are_told_in_the_form_of_cpp_if_one_in_cpp_asks() -> None:
    it = house(use_server_side_reset_offset=False)
    consumer = Client(it, 40_961)
    consumer.beat("c1", consumer_group="CG")
    asked = Command.request(222, reset_ext(), opaque=99)
    asked.language = LanguageCode.CPP
    it.client.connection.receive(memoryview(encode(asked)))
    (answer,) = it.client.take()
    assert answer.body == b'{"offsetTable":{' + QUEUE_0 + b":0}}"
    (told,) = consumer.take_notices()
    assert told.body == (
        b'{"offsetTable":[{"brokerName":"broker-a","offset":0,"queueId":0,"topic":"TopicTest"}]}'
    )


# --- 223 and 221 ----------------------------------------------------------------------------------


def test_the_status_of_consumers_is_collected_from_them() -> None:
    it = house()
    first, second, third = (Client(it, port) for port in (40_961, 40_962, 40_963))
    for client, name in ((first, "c1"), (second, "c2"), (third, "c3")):
        client.beat(name, consumer_group="CG")
    for client in (first, second, third):
        client.take()
        client.notices.clear()
    it.client.put(223, {"group": "CG", "topic": "TopicTest", "clientAddr": ""})
    assert it.client.take() == []
    for client, body, code in (
        (first, b'{"consumerTable":{},"messageQueueTable":{' + QUEUE_0 + b":5}}", 0),
        (second, b"not json", 0),
        (third, b"", 1),
    ):
        question = client.take_question()
        assert (question.code, question.ext) == (221, {"topic": "TopicTest", "group": "CG"})
        client.answer(question, code, body)
    (answer,) = it.client.take()
    assert answer.code == 0
    assert answer.body == (b'{"consumerTable":{"c1":{' + QUEUE_0 + b':5}},"messageQueueTable":{}}')


def test_a_consumer_that_leaves_or_is_silent_does_not_fail_the_others() -> None:
    it = house()
    first, second = Client(it, 40_961), Client(it, 40_962)
    first.beat("c1", consumer_group="CG")
    second.beat("c2", consumer_group="CG")
    it.client.put(223, {"group": "CG", "topic": "TopicTest"})
    assert it.client.take() == []
    second.leave()
    it.turns.advance(4.9)
    assert it.client.take() == []
    it.turns.advance(0.1)
    (answer,) = it.client.take()
    assert answer.body == b'{"consumerTable":{},"messageQueueTable":{}}'


def test_the_status_of_a_group_without_consumers_is_refused() -> None:
    answer = house().client.ask(223, {"group": "CG", "topic": "TopicTest"})
    assert (answer.code, answer.remark) == (
        1,
        "No Any Consumer online in the consumer group: [CG]",
    )


# --- 314 ------------------------------------------------------------------------------------------


def test_a_clone_is_done_when_it_is_answered() -> None:
    client = house().client
    answer = client.ask(314, {"srcGroup": "CG", "destGroup": "CG2", "offline": "true"})
    assert (answer.code, answer.remark, answer.body) == (0, None, b"")
    asked = {"consumerGroup": "CG2", "topic": "TopicTest", "queueId": "0"}
    assert client.ask(14, asked).ext == {"offset": "2"}


@pytest.mark.parametrize("name", ["srcGroup", "destGroup"])
def test_a_clone_needs_two_groups(name: str) -> None:
    ext = {"srcGroup": "CG", "destGroup": "CG2"}
    del ext[name]
    answer = house().client.ask(314, ext)
    assert (answer.code, answer.remark) == (1, "CloneOffsetsHeader: " + NULL.format(name))
