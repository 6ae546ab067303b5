"""The broker's table, frame in, frame out: what clients and tools of Apache RocketMQ get to see.

Requests and answers are those of a live 5.5.0 broker: codes, remarks, field names, body members.
The broker behind the door is real, its store is in memory.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pyromq.codes import LanguageCode
from pyromq.domain.group import GroupConfig
from pyromq.wire.remoting.frame import Command, SerializeType, encode
from tests.support.broker_door import BrokerDoor, Client, pull_ext, send_ext
from tests.support.brokers import batch, caller, heartbeat, properties

VECTORS = Path(__file__).parents[3] / "vectors" / "remoting"
FAQ = "\nSee https://rocketmq.apache.org/docs/bestPractice/06FAQ for further details."
HEARTBEAT = (
    b'{"clientID":"10.0.0.99@22334#1","consumerDataSet":[{"consumeFromWhere":'
    b'"CONSUME_FROM_FIRST_OFFSET","consumeType":"CONSUME_PASSIVELY","groupName":"CG2",'
    b'"messageModel":"CLUSTERING","subscriptionDataSet":[{"classFilterMode":false,"codeSet":'
    b'[2598919],"expressionType":"TAG","subString":"TagA","subVersion":1795222505419,"tagsSet":'
    b'["TagA"],"topic":"TopicTest"}],"unitMode":false}],"heartbeatFingerprint":0,'
    b'"producerDataSet":[{"groupName":"PG2"}],"withoutSub":false}'
)


@pytest.fixture
def it() -> BrokerDoor:
    return BrokerDoor()


@pytest.fixture
def client(it: BrokerDoor) -> Client:
    return it.client


def test_a_send_is_answered_with_where_the_message_is(client: Client) -> None:
    answer = client.send(properties(UNIQ_KEY="FD00", TAGS="TagA", WAIT="true"))
    assert (answer.code, answer.remark, answer.body) == (0, None, b"")
    assert answer.ext == {
        "queueId": "0",
        "transactionId": "FD00",
        "msgId": "7F00000100002A9F0000000000000000",
        "TRACE_ON": "true",
        "MSG_REGION": "DefaultRegion",
        "queueOffset": "0",
    }


def test_code_10_with_long_names_is_the_same_send(client: Client) -> None:
    long_names = {
        "producerGroup": "PG2", "topic": "TopicTest", "defaultTopic": "TBW102",
        "defaultTopicQueueNums": "4", "queueId": "2", "sysFlag": "0", "bornTimestamp": "1",
        "flag": "0", "properties": properties(UNIQ_KEY="X"), "reconsumeTimes": "0",
        "unitMode": "false", "batch": "false",
    }  # fmt: skip
    answer = client.ask(10, long_names, b"Hello")
    assert answer.code == 0
    assert answer.ext["queueId"] == "2"


@pytest.mark.parametrize("code", [320, 310])
def test_a_batch_is_answered_with_all_its_ids(client: Client, code: int) -> None:
    body = batch((b"one", properties(UNIQ_KEY="A")), (b"two", properties(UNIQ_KEY="B")))
    answer = client.ask(code, send_ext(m="true", i=properties(UNIQ_KEY="BATCH")), body)
    assert answer.code == 0
    assert len(answer.ext["msgId"].split(",")) == 2
    assert answer.ext["queueOffset"] == "0"
    assert client.ask(30, {"topic": "TopicTest", "queueId": "0"}).ext == {"offset": "2"}


def test_a_batch_without_a_unique_key_is_answered_without_transaction_id(client: Client) -> None:
    answer = client.ask(320, send_ext(m="true"), batch((b"one", properties(UNIQ_KEY="A"))))
    assert answer.code == 0
    assert "transactionId" not in answer.ext


def test_a_pull_gets_the_records_as_stored(client: Client) -> None:
    client.send(properties(UNIQ_KEY="A", TAGS="TagA"))
    client.send(properties(UNIQ_KEY="B", TAGS="TagB"))
    answer = client.ask(11, pull_ext())
    assert (answer.code, answer.remark) == (0, "FOUND")
    assert answer.ext == {
        "suggestWhichBrokerId": "0",
        "groupSysFlag": "0",
        "nextBeginOffset": "2",
        "maxOffset": "2",
        "minOffset": "0",
        "topicSysFlag": "0",
    }
    assert answer.body.count(b"Hello") == 2


def test_a_lite_pull_filters_by_its_own_tags(client: Client) -> None:
    client.send(properties(UNIQ_KEY="A", TAGS="TagA"))
    client.send(properties(UNIQ_KEY="B", TAGS="TagB"))
    answer = client.ask(361, pull_ext(subscription="TagB"))
    assert answer.code == 0
    assert b"TagB" in answer.body
    assert b"TagA" not in answer.body
    answer = client.ask(361, pull_ext(subscription="TagX"))
    assert (answer.code, answer.remark) == (20, "NO_MATCHED_MESSAGE")
    assert answer.ext["nextBeginOffset"] == "2"
    assert answer.body == b""


def test_a_pull_waits_for_a_message_and_others_are_answered_meanwhile(it: BrokerDoor) -> None:
    client = it.client
    client.put(11, pull_ext(sysFlag="6"))
    assert client.take() == []
    other = Client(it, 40_961)
    assert other.send(properties(UNIQ_KEY="A")).code == 0
    (answer,) = client.take()
    assert (answer.code, answer.remark) == (0, "FOUND")


def test_a_pull_that_nothing_comes_for_ends_when_its_time_is_over(it: BrokerDoor) -> None:
    it.client.put(11, pull_ext(sysFlag="6"))
    assert it.client.take() == []
    it.hand.advance(15_200)
    (answer,) = it.client.take()
    assert answer.code == 19
    assert answer.ext["nextBeginOffset"] == "0"


def test_a_pull_commits_the_offset_that_it_carries(client: Client) -> None:
    client.send(properties(UNIQ_KEY="A"))
    client.ask(11, pull_ext(sysFlag="5", commitOffset="1"))
    question = {"consumerGroup": "CG2", "topic": "TopicTest", "queueId": "0"}
    assert client.ask(14, question).ext == {"offset": "1"}


def test_messages_are_found_by_key_and_by_place(client: Client) -> None:
    client.send(properties(UNIQ_KEY="A", KEYS="order-1"))
    question = {
        "topic": "TopicTest", "key": "order-1", "maxNum": "32", "beginTimestamp": "0",
        "endTimestamp": str(2**62),
    }  # fmt: skip
    answer = client.ask(12, question)
    assert answer.code == 0
    assert set(answer.ext) == {"indexLastUpdateTimestamp", "indexLastUpdatePhyoffset"}
    assert b"order-1" in answer.body
    assert client.ask(33, {"offset": "0"}).body == answer.body
    unique = client.ask(12, {**question, "key": "A", "_UNIQUE_KEY_QUERY": "true"})
    assert unique.body == answer.body
    client.send(properties(UNIQ_KEY="B", TAGS="order-1"))
    tagged = client.ask(12, {**question, "indexType": "T"})
    assert tagged.code == 0
    assert tagged.body != answer.body
    missing = client.ask(12, {**question, "key": "nobody"})
    assert (missing.code, missing.remark) == (
        22,
        "can not find message, maybe time range not correct",
    )
    assert set(missing.ext) == {"indexLastUpdateTimestamp", "indexLastUpdatePhyoffset"}
    assert client.ask(33, {"offset": "7"}).code == 1


def test_a_heartbeat_is_answered_and_the_group_is_known(client: Client) -> None:
    answer = client.ask(34, body=HEARTBEAT)
    assert answer.code == 0
    assert answer.ext == {"IS_SUPPORT_HEART_BEAT_V2": "true", "IS_SUB_CHANGE": "true"}
    ids = client.ask(38, {"consumerGroup": "CG2"})
    assert ids.body == b'{"consumerIdList":["10.0.0.99@22334#1"]}'
    connections = json.loads(client.ask(203, {"consumerGroup": "CG2"}).body)
    assert connections["connectionSet"] == [
        {
            "clientAddr": "127.0.0.1:40960",
            "clientId": "10.0.0.99@22334#1",
            "language": "JAVA",
            "version": 513,
        }
    ]
    assert connections["consumeType"] == "CONSUME_PASSIVELY"
    assert connections["messageModel"] == "CLUSTERING"
    assert connections["consumeFromWhere"] == "CONSUME_FROM_FIRST_OFFSET"
    assert connections["subscriptionTable"]["TopicTest"]["tagsSet"] == ["TagA"]
    producers = json.loads(client.ask(204, {"producerGroup": "PG2"}).body)
    assert [each["clientId"] for each in producers["connectionSet"]] == ["10.0.0.99@22334#1"]
    table = json.loads(client.ask(328).body)
    assert table["data"]["PG2"][0]["remoteIP"] == "/127.0.0.1:40960"
    assert set(table["data"]["PG2"][0]) == {
        "clientId",
        "language",
        "lastUpdateTimestamp",
        "remoteIP",
        "version",
    }


def test_members_of_a_group_hear_of_each_other(it: BrokerDoor) -> None:
    first = it.client
    first.ask(34, body=HEARTBEAT)
    second = Client(it, 40_961)
    first.take_notices()
    second.ask(34, body=HEARTBEAT.replace(b"#1", b"#2"))
    (notice,) = first.take_notices()
    assert (notice.code, notice.flag, notice.ext) == (40, 2, {"consumerGroup": "CG2"})
    second.connection.closed("closed by the peer")
    (notice,) = first.take_notices()
    assert notice.code == 40
    ids = json.loads(first.ask(38, {"consumerGroup": "CG2"}).body)
    assert ids == {"consumerIdList": ["10.0.0.99@22334#1"]}


def test_a_client_leaves_its_groups(client: Client) -> None:
    client.ask(34, body=HEARTBEAT)
    answer = client.ask(35, {"clientID": "10.0.0.99@22334#1", "consumerGroup": "CG2"})
    assert answer.code == 0
    assert client.ask(38, {"consumerGroup": "CG2"}).code == 1


def test_offsets_are_committed_and_answered(client: Client) -> None:
    for _ in range(3):
        client.send(properties(UNIQ_KEY="A"))
    queue = {"topic": "TopicTest", "queueId": "0"}
    assert client.ask(30, queue).ext == {"offset": "3"}
    minimum = client.ask(31, queue)
    assert (minimum.ext, minimum.remark) == ({"offset": "0"}, "")
    assert client.ask(29, {**queue, "timestamp": "0"}).ext == {"offset": "0"}
    upper = client.ask(29, {**queue, "timestamp": str(2**60), "boundaryType": "upper"})
    assert upper.ext == {"offset": "2"}
    assert int(client.ask(32, queue).ext["timestamp"]) > 0
    committed = {**queue, "consumerGroup": "CG2", "commitOffset": "2"}
    client.ask(34, body=HEARTBEAT)
    assert client.ask(15, committed).code == 0
    assert client.ask(14, {**queue, "consumerGroup": "CG2"}).ext == {"offset": "2"}
    table = client.ask(43)
    assert b'"TopicTest@CG2":{0:2}' in table.body


def test_a_topic_is_created_shown_and_deleted(client: Client) -> None:
    answer = client.ask(
        17,
        {
            "topic": "Orders", "defaultTopic": "TBW102", "readQueueNums": "2",
            "writeQueueNums": "2", "perm": "6", "topicFilterType": "SINGLE_TAG",
            "topicSysFlag": "0", "order": "false", "attributes": "+message.type=FIFO",
        },
    )  # fmt: skip
    assert (answer.code, answer.remark) == (0, "not set any response code")
    shown = json.loads(client.ask(351, {"topic": "Orders"}).body)
    assert shown == {
        "attributes": {"message.type": "FIFO"},
        "order": False,
        "perm": 6,
        "readQueueNums": 2,
        "topicFilterType": "SINGLE_TAG",
        "topicName": "Orders",
        "topicSysFlag": 0,
        "writeQueueNums": 2,
    }
    stats = client.ask(202, {"topic": "Orders"}).body
    assert stats == (
        b'{"offsetTable":{'
        b'{"brokerName":"broker-a","queueId":0,"topic":"Orders"}:'
        b'{"lastUpdateTimestamp":0,"maxOffset":0,"minOffset":0},'
        b'{"brokerName":"broker-a","queueId":1,"topic":"Orders"}:'
        b'{"lastUpdateTimestamp":0,"maxOffset":0,"minOffset":0}},"topicPutTps":0.0}'
    )
    everything = client.ask(21)
    assert int(everything.ext["totalTopicNum"]) == everything.body.count(b'"topicName"')
    assert b'"Orders"' in everything.body
    assert client.ask(215, {"topic": "Orders"}).code == 0
    assert client.ask(351, {"topic": "Orders"}).code == 17


def test_removing_old_files_is_answered_as_apache_does(it: BrokerDoor, client: Client) -> None:
    for code, name in (
        (329, "mqadmin-329-delete_expired_commitlog"),
        (306, "mqadmin-306-clean_expired_consumequeue"),
    ):
        recorded = json.loads((VECTORS / f"{name}.answer.json").read_text())
        answer = client.ask(code)
        assert (answer.code, answer.remark) == (recorded["code"], recorded["remark"])
        assert (len(answer.body), answer.ext) == (recorded["body_size"], {})
    it.hand.advance(0)
    assert it.hand.engine.log_min() == 0  # nothing was old


def test_several_topics_are_created_at_once(client: Client) -> None:
    body = (
        b'{"topicConfigList":[{"topicName":"A1","readQueueNums":1,"writeQueueNums":1,"perm":6},'
        b'{"topicName":"A2","readQueueNums":1,"writeQueueNums":1,"perm":6}]}'
    )
    assert client.ask(18, body=body).code == 0
    assert client.ask(351, {"topic": "A1"}).code == 0
    assert client.ask(351, {"topic": "A2"}).code == 0


def test_a_group_is_created_shown_and_deleted(client: Client) -> None:
    assert client.ask(200, body=b'{"groupName":"G1","retryMaxTimes":3}').code == 0
    shown = json.loads(client.ask(352, {"group": "G1"}).body)
    assert (shown["groupName"], shown["retryMaxTimes"]) == ("G1", 3)
    assert client.ask(225, body=b'{"groupConfigList":[{"groupName":"G2"}]}').code == 0
    everything = client.ask(201)
    table = json.loads(everything.body)["subscriptionGroupTable"]
    assert {"G1", "G2"} <= set(table)
    assert everything.ext == {"totalGroupNum": str(len(table))}
    assert client.ask(207, {"groupName": "G1", "cleanOffset": "true"}).code == 0
    assert "G1" not in json.loads(client.ask(201).body)["subscriptionGroupTable"]


def test_a_broker_tells_of_itself(client: Client) -> None:
    table = json.loads(client.ask(28).body)["table"]
    assert table["brokerVersionDesc"] == "V5_5_0"
    topics = json.loads(client.ask(305).body)["topicList"]
    assert {"TBW102", "SELF_TEST_TOPIC", "SCHEDULE_TOPIC_XXXX"} <= set(topics)
    client.ask(34, body=HEARTBEAT)
    groups = json.loads(client.ask(300, {"topic": "TopicTest"}).body)
    assert groups == {"groupList": ["CG2"]}


@pytest.mark.parametrize(
    ("code", "ext", "answer_code", "remark"),
    [
        (38, {"consumerGroup": "nobody"}, 1, "no consumer for this group, nobody"),
        (203, {"consumerGroup": "nobody"}, 206, "the consumer group[nobody] not online"),
        (204, {"producerGroup": "nobody"}, 1, "the producer group[nobody] not exist"),
        (11, pull_ext(sysFlag="2"), 24, "the consumer's group info not exist" + FAQ),
        (11, pull_ext(topic="nono"), 17, "topic[nono] not exist, apply first please! " + FAQ),
        (
            11,
            pull_ext(queueId="9"),
            29,
            "queueId[9] is illegal, topic:[TopicTest] topicConfig.readQueueNums:[4] "
            "consumer:[/127.0.0.1:40960]",
        ),
        (
            310,
            send_ext(b="New", c="nobody"),
            17,
            "topic[New] not exist, apply first please!" + FAQ,
        ),
        (
            310,
            send_ext(e="77"),
            29,
            "request queueId[77] is illegal, TopicConfig [topicName=TopicTest, readQueueNums=4, "
            "writeQueueNums=4, perm=RW-, topicFilterType=SINGLE_TAG, topicSysFlag=0, order=false, "
            "attributes={}] Producer: 127.0.0.1:40960",
        ),
        (
            310,
            send_ext(b="RMQ_SYS_TRANS_HALF_TOPIC"),
            16,
            "Sending message to topic[RMQ_SYS_TRANS_HALF_TOPIC] is forbidden.",
        ),
        (
            310,
            send_ext(b="bad topic!"),
            29,
            "The specified topic: bad topic!, contains illegal characters, "
            "allowing only ^[%|a-zA-Z0-9_-]+$",
        ),
        (99_999, {}, 3, " request type 99999 not supported"),
        (360, {}, 3, " request type 360 not supported"),
        (202, {"topic": "nono"}, 17, "topic[nono] not exist"),
        (351, {"topic": "nono"}, 17, "No topic in this broker. topic: nono"),
    ],
)
def test_refusals_say_what_apaches_say(
    client: Client, code: int, ext: dict[str, str], answer_code: int, remark: str
) -> None:
    answer = client.ask(code, ext, b"Hello")
    assert (answer.code, answer.remark) == (answer_code, remark)
    assert answer.body == b""


@pytest.mark.parametrize(
    ("code", "ext"),
    [
        (310, send_ext(b="bad topic!")),
        (310, send_ext(b="bad topic!", m="true")),
        (310, send_ext(e="99")),
        (320, send_ext(b="SCHEDULE_TOPIC_XXXX")),
    ],
)
def test_a_refused_send_tells_region_and_trace_too(
    client: Client, code: int, ext: dict[str, str]
) -> None:
    answer = client.ask(code, ext, b"Hello")
    assert answer.code != 0
    assert answer.ext == {"MSG_REGION": "DefaultRegion", "TRACE_ON": "true"}


def test_a_pull_that_is_forbidden_says_by_what(it: BrokerDoor) -> None:
    client, hand = it.client, it.hand

    def forbidden(code: int = 11, **changed: str) -> str:
        answer = client.ask(code, pull_ext(**changed))
        assert answer.code == 16
        assert list(answer.ext) == ["forbiddenType"]
        return answer.ext["forbiddenType"]

    hand.configure(broker_permission=2)
    assert forbidden() == "1"
    hand.configure(broker_permission=6, lite_pull_message_enable=False)
    assert forbidden(361) == "1"
    hand.run(hand.broker.put_group(GroupConfig(group_name="CLOSED", consume_enable=False)))
    assert forbidden(consumerGroup="CLOSED") == "2"
    hand.create_topic("WriteOnly", perm=2)
    assert forbidden(topic="WriteOnly") == "3"
    hand.run(hand.broker.put_group(GroupConfig(group_name="CG2", consume_broadcast_enable=False)))
    hand.run(hand.broker.heartbeat(caller(), heartbeat("c1", "CG2", message_model="BROADCASTING")))
    assert forbidden(sysFlag="0", subVersion="0") == "4"
    hand.run(hand.broker.heartbeat(caller(), heartbeat("c1", "CG3")))
    hand.metadata.put_forbidden("CG3", "TopicTest", 4)
    assert forbidden(sysFlag="0", subVersion="0", consumerGroup="CG3") == "5"


@pytest.mark.parametrize("offset", ["5", "9999"])
def test_an_offset_behind_the_end_is_corrected(client: Client, offset: str) -> None:
    client.send(properties(UNIQ_KEY="A"))
    answer = client.ask(11, pull_ext(queueOffset=offset))
    assert (answer.code, answer.remark) == (21, "OFFSET_OVERFLOW_BADLY")
    assert answer.ext["nextBeginOffset"] == "1"


def test_binary_headers_are_served_like_json(it: BrokerDoor) -> None:
    command = Command.request(
        310,
        send_ext(),
        b"Hello",
        opaque=5,
        language=LanguageCode.GO,
        serialize_type=SerializeType.ROCKETMQ,
    )
    it.client.connection.receive(memoryview(encode(command)))
    (answer,) = it.client.take()
    assert (answer.code, answer.serialize_type) == (0, SerializeType.ROCKETMQ)
    assert answer.ext["queueOffset"] == "0"


@pytest.mark.parametrize(
    ("code", "body"),
    [
        (34, b""),
        (34, b"not json"),
        (34, b'{"clientID":5}'),
        (34, b"\xff\xfe{}"),
        (200, b"[]"),
        (200, b'{"groupName":null}'),
        (18, b'{"topicConfigList":[{"topicName":"x","readQueueNums":99999999999}]}'),
        (225, b'{"groupConfigList":{}}'),
    ],
)
def test_a_body_that_cannot_be_read_is_refused_by_name(
    client: Client, code: int, body: bytes
) -> None:
    answer = client.ask(code, body=body)
    assert answer.code == 1
    assert answer.remark is not None
    assert "body" in answer.remark
