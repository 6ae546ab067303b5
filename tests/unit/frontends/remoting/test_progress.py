"""Progress, subscriptions and rates, frame in, frame out."""

from __future__ import annotations

import json
import time

import pytest

from pyromq.domain.group import GroupConfig
from tests.support.broker_door import BrokerDoor, Client, pull_ext
from tests.support.brokers import properties
from tests.support.clock import START_MS

QUEUE_0 = b'{"brokerName":"broker-a","queueId":0,"topic":"TopicTest"}'


@pytest.fixture
def it() -> BrokerDoor:
    """Three messages a second apart in the one queue; CG has consumed two and pulled three."""
    it = BrokerDoor()
    it.hand.create_topic("TopicTest", 1)
    it.hand.run(it.hand.broker.put_group(GroupConfig(group_name="CG")))
    for tag in ("TagA", "TagB", ""):
        it.client.send(properties(UNIQ_KEY="ID", TAGS=tag) if tag else properties(UNIQ_KEY="ID"))
        it.hand.advance(1_000)
    it.client.ask(11, pull_ext(consumerGroup="CG"))
    ext = {"consumerGroup": "CG", "topic": "TopicTest", "queueId": "0", "commitOffset": "2"}
    assert it.client.ask(15, ext).code == 0
    return it


@pytest.fixture
def client(it: BrokerDoor) -> Client:
    return it.client


# --- queues and groups ----------------------------------------------------------------------------


def test_topic_stats_are_keyed_by_queue(client: Client) -> None:
    answer = client.ask(202, {"topic": "TopicTest"})
    assert answer.body == (
        b'{"offsetTable":{' + QUEUE_0 + b':{"lastUpdateTimestamp":%d,"maxOffset":3,"minOffset":0}}'
        b',"topicPutTps":0.3}' % (START_MS + 2_000)
    )


def test_consume_stats_are_keyed_by_queue(client: Client) -> None:
    for ext in ({}, {"topic": "TopicTest"}, {"topic": ""}, {"topicList": "Nope;TopicTest;"}):
        answer = client.ask(208, {"consumerGroup": "CG", **ext})
        assert answer.body == (
            b'{"consumeTps":0.3,"offsetTable":{'
            + QUEUE_0
            + b':{"brokerOffset":3,"consumerOffset":2,"lastTimestamp":%d,"pullOffset":3}}}'
            % (START_MS + 1_000)
        )


def test_an_unknown_group_has_empty_stats(client: Client) -> None:
    answer = client.ask(208, {"consumerGroup": "Nobody"})
    assert (answer.code, answer.body) == (0, b'{"consumeTps":0.0,"offsetTable":{}}')


def test_the_stats_of_all_groups_are_a_list_of_tables(client: Client) -> None:
    answer = client.ask(317, {"isOrder": "false"})
    tree = json.loads(answer.body.replace(QUEUE_0, b'"queue 0"'))
    assert tree["brokerAddr"] == "127.0.0.1:10911"
    assert (tree["totalDiff"], tree["totalInflightDiff"]) == (1, 1)
    tables = [table for table in tree["consumeStatsList"] if "CG" in table]
    assert [list(table) for table in tables] == [["CG"]]
    [stats] = tables[0]["CG"]
    assert stats["offsetTable"]["queue 0"]["consumerOffset"] == 2
    assert {"TOOLS_CONSUMER": []} in tree["consumeStatsList"]
    assert b"queue 0" not in client.ask(317, {"isOrder": "true"}).body


def test_time_spans_are_told_in_numbers_and_in_local_words(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "Asia/Shanghai")
    time.tzset()
    try:
        answer = client.ask(303, {"group": "CG", "topic": "TopicTest"})
    finally:
        monkeypatch.undo()
        time.tzset()
    [span] = json.loads(answer.body)["consumeTimeSpanSet"]
    assert START_MS == 1_700_000_000_000
    assert span == {
        "messageQueue": {"brokerName": "broker-a", "queueId": 0, "topic": "TopicTest"},
        "minTimeStamp": START_MS,
        "minTimeStampStr": "2023-11-15#06:13:20:000",
        "maxTimeStamp": START_MS + 2_000,
        "maxTimeStampStr": "2023-11-15#06:13:22:000",
        "consumeTimeStamp": START_MS + 1_000,
        "consumeTimeStampStr": "2023-11-15#06:13:21:000",
        "delayTime": 1_000,
    }


def test_times_of_an_empty_queue_can_be_told_too(it: BrokerDoor) -> None:
    it.hand.create_topic("Empty", 1)
    [span] = json.loads(it.client.ask(303, {"group": "CG", "topic": "Empty"}).body)[
        "consumeTimeSpanSet"
    ]
    assert (span["minTimeStamp"], span["delayTime"]) == (-1, 0)
    assert span["minTimeStampStr"].endswith(":59:999")


def test_correction_offsets_have_bare_keys(client: Client) -> None:
    ext = {"topic": "TopicTest", "compareGroup": "CG", "filterGroups": ""}
    assert client.ask(308, ext).body == b'{"correctionOffsets":{0:2}}'
    ext["filterGroups"] = "CG,Other"
    assert client.ask(308, ext).body == b'{"correctionOffsets":{}}'
    assert client.ask(14, {"consumerGroup": "CG", "topic": "TopicTest", "queueId": "0"}).ext == {
        "offset": "2"
    }


def test_entries_of_a_queue_are_told(client: Client) -> None:
    ext = {"topic": "TopicTest", "queueId": "0", "index": "0", "count": "10"}
    answer = client.ask(321, ext)
    assert (answer.code, answer.remark) == (0, "not set any response code")
    tree = json.loads(answer.body)
    assert (tree["minQueueIndex"], tree["maxQueueIndex"]) == (0, 3)
    assert [one["tagsCode"] for one in tree["queueData"]] == [2598919, 2598920, 0]
    [first, second, _] = tree["queueData"]
    assert first["physicOffset"] + first["physicSize"] == second["physicOffset"]
    assert set(tree) == {"maxQueueIndex", "minQueueIndex", "queueData"}
    assert set(first) == {"eval", "physicOffset", "physicSize", "tagsCode"}


def test_entries_are_told_with_the_subscription_of_a_group(client: Client) -> None:
    ext = {"topic": "TopicTest", "queueId": "0", "index": "2", "count": "1"}
    tree = json.loads(client.ask(321, {**ext, "consumerGroup": "CG"}).body)
    assert tree["filterData"] == "CG@TopicTest is not online!"
    client.beat("c1", consumer_group="CG")
    tree = json.loads(client.ask(321, {**ext, "consumerGroup": "CG"}).body)
    assert tree["filterData"] == "null"
    assert tree["subscriptionData"]["subString"] == "*"
    assert len(tree["queueData"]) == 1


def test_an_index_outside_the_queue_is_told_without_a_body(client: Client) -> None:
    answer = client.ask(321, {"topic": "TopicTest", "queueId": "0", "index": "4", "count": "1"})
    assert (answer.code, answer.body) == (0, b"")
    assert answer.remark == "Index 4 of 0@TopicTest is not exist!"
    answer = client.ask(321, {"topic": "TopicTest", "queueId": "9", "index": "0", "count": "1"})
    assert (answer.code, answer.remark) == (1, "9@TopicTest is not exist!")


# --- what was counted -----------------------------------------------------------------------------


def test_stats_are_told_for_minute_hour_and_day(client: Client) -> None:
    answer = client.ask(315, {"statsName": "TOPIC_PUT_NUMS", "statsKey": "TopicTest"})
    tree = json.loads(answer.body)
    assert tree["statsMinute"] == {"avgpt": 1.0, "sum": 3, "tps": 0.3}
    assert set(tree) == {"statsMinute", "statsHour", "statsDay"}


def test_stats_that_do_not_exist_are_refused(client: Client) -> None:
    answer = client.ask(315, {"statsName": "TOPIC_PUT_NUMS", "statsKey": "Nope"})
    assert (answer.code, answer.remark) == (1, "The stats <TOPIC_PUT_NUMS> <Nope> not exist")


# --- subscriptions --------------------------------------------------------------------------------


def test_topics_of_a_group_are_told_with_the_brokers_address(client: Client) -> None:
    answer = client.ask(343, {"group": "CG"})
    assert answer.body == b'{"brokerAddr":"127.0.0.1:10911","topicList":["TopicTest"]}'
    answer = client.ask(343, {"group": "Nobody"})
    assert answer.body == b'{"brokerAddr":"127.0.0.1:10911","topicList":[]}'


def test_the_subscription_of_a_group_is_told(client: Client) -> None:
    ext = {"group": "CG", "topic": "TopicTest"}
    assert client.ask(345, ext).body == b'{"group":"CG","topic":"TopicTest"}'
    client.beat("c1", consumer_group="CG")
    tree = json.loads(client.ask(345, ext).body)
    assert tree["subscriptionData"]["topic"] == "TopicTest"
    assert client.ask(345, {"group": "CG"}).body == b'{"group":"CG"}'


@pytest.mark.parametrize(
    ("body", "code", "remark"),
    [
        (b"", 0, None),
        (b"{}", 0, None),
        (b'{"clientId":"c","group":"CG"}', 0, None),
        (b'{"subscriptionData":{"topic":"T","subString":"*"}}', 0, None),
        (b'{"subscriptionData":{"topic":"T","subString":"A","expressionType":"TAG"}}', 0, None),
        (
            b'{"subscriptionData":{"topic":"T","subString":"a>5","expressionType":"SQL92"}}',
            1,
            "The broker does not support consumer to filter message by SQL92",
        ),
    ],
)
def test_a_client_asks_whether_its_filter_can_be(
    client: Client, body: bytes, code: int, remark: str | None
) -> None:
    answer = client.ask(46, body=body)
    assert (answer.code, answer.remark) == (code, remark)


@pytest.mark.parametrize("body", [b"not json", b"[]", b'{"subscriptionData":5}', b"{" * 100])
def test_a_question_that_cannot_be_read_is_refused(client: Client, body: bytes) -> None:
    answer = client.ask(46, body=body)
    assert answer.code == 1
    assert (answer.remark or "").startswith("CheckClientRequestBody body: ")


@pytest.mark.parametrize(
    ("code", "ext"),
    [
        (202, {}),
        (208, {}),
        (303, {"topic": "TopicTest"}),
        (303, {"group": "CG"}),
        (308, {"topic": "TopicTest"}),
        (315, {"statsName": "TOPIC_PUT_NUMS"}),
        (317, {}),
        (321, {"topic": "TopicTest", "queueId": "x"}),
        (321, {"topic": "TopicTest", "index": "9223372036854775808"}),
        (343, {}),
        (345, {"topic": "TopicTest"}),
    ],
)
def test_headers_that_lack_or_break_a_field_are_refused(
    client: Client, code: int, ext: dict[str, str]
) -> None:
    answer = client.ask(code, ext)
    assert answer.code == 1
    assert "the custom field <" in (answer.remark or "")


@pytest.mark.parametrize(
    ("code", "ext", "remark"),
    [
        (202, {"topic": "Nope"}, "topic[Nope] not exist"),
        (303, {"topic": "Nope", "group": "CG"}, "topic[Nope] not exist"),
    ],
)
def test_topics_that_do_not_exist_are_refused(
    client: Client, code: int, ext: dict[str, str], remark: str
) -> None:
    answer = client.ask(code, ext)
    assert (answer.code, answer.remark) == (17, remark)
