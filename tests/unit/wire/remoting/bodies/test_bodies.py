"""Bodies, held to texts that Apache's classes and a live Apache server wrote."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyromq.domain.group import ConsumerData, GroupConfig, Subscription
from pyromq.domain.route import (
    BrokerData,
    BrokerMemberGroup,
    ClusterInfo,
    MessageQueue,
    QueueData,
    TopicQueueMapping,
    TopicRoute,
)
from pyromq.domain.topic import TopicConfig
from pyromq.domain.version import DataVersion
from pyromq.errors import RequestFailed
from pyromq.wire import dialect
from pyromq.wire.remoting.bodies import admin, clients, groups, registration, routes, topics
from pyromq.wire.remoting.bodies.clients import Connection, ConsumerConnections
from pyromq.wire.remoting.bodies.groups import GroupTable, OffsetTable
from pyromq.wire.remoting.bodies.registration import RegisterBrokerBody
from pyromq.wire.remoting.bodies.topics import TopicOffset, TopicStats, TopicTable

BROKER = BrokerData(
    cluster="DefaultCluster",
    broker_name="broker-a",
    broker_addrs={0: "127.0.0.1:10911", 1: "127.0.0.1:11911"},
)
ROUTE = TopicRoute(
    broker_datas=[BROKER],
    queue_datas=[QueueData(broker_name="broker-a", read_queue_nums=8, write_queue_nums=8, perm=6)],
)
ROUTE_TEXT = (
    b'{"brokerDatas":[{"brokerAddrs":{%b:"127.0.0.1:10911",%b:"127.0.0.1:11911"},'
    b'"brokerName":"broker-a","cluster":"DefaultCluster","enableActingMaster":false}],'
    b'"filterServerTable":{},"queueDatas":[{"brokerName":"broker-a","perm":6,"readQueueNums":8,'
    b'"topicSysFlag":0,"writeQueueNums":8}]}'
)
TOPIC_TEXT = (
    b'{"attributes":{},"order":false,"perm":6,"readQueueNums":8,"topicFilterType":"SINGLE_TAG",'
    b'"topicName":"TopicTest","topicSysFlag":0,"writeQueueNums":8}'
)
TOPIC = TopicConfig(topic_name="TopicTest", read_queue_nums=8, write_queue_nums=8)
GROUP_TEXT = (
    b'{"attributes":{},"brokerId":0,"consumeBroadcastEnable":true,"consumeEnable":true,'
    b'"consumeFromMinEnable":true,"consumeMessageOrderly":false,"consumeTimeoutMinute":15,'
    b'"groupName":"CG","groupRetryPolicy":{"type":"CUSTOMIZED"},"groupSysFlag":0,'
    b'"notifyConsumerIdsChangedEnable":true,"retryMaxTimes":16,"retryQueueNums":1,'
    b'"whichBrokerWhenConsumeSlowly":1}'
)
VERSION_TEXT = b'{"counter":0,"stateVersion":0,"timestamp":1}'
VERSION = DataVersion(timestamp=1)
HEARTBEAT_TEXT = (
    b'{"clientID":"10.0.0.1@1#2","consumerDataSet":[{"consumeFromWhere":"CONSUME_FROM_LAST_OFFSET",'
    b'"consumeType":"CONSUME_PASSIVELY","groupName":"CG","messageModel":"CLUSTERING",'
    b'"subscriptionDataSet":[{"classFilterMode":false,"codeSet":[2598919,2598920],'
    b'"expressionType":"TAG","subString":"TagA || TagB","subVersion":1700000000000,'
    b'"tagsSet":["TagA","TagB"],"topic":"TopicTest"}],"unitMode":false}],"heartbeatFingerprint":0,'
    b'"producerDataSet":[{"groupName":"PG"}],"withoutSub":false}'
)
SUBSCRIPTION = Subscription(
    topic="TopicTest",
    sub_string="TagA || TagB",
    tags_set=["TagA", "TagB"],
    code_set=[2598919, 2598920],
    sub_version=1700000000000,
)
HEARTBEAT = clients.Heartbeat(
    client_id="10.0.0.1@1#2",
    producer_data_set=[clients.ProducerData("PG")],
    consumer_data_set=[ConsumerData(group_name="CG", subscription_data_set=[SUBSCRIPTION])],
)
REGISTER_TEXT = (
    b'{"filterServerList":[],"topicConfigSerializeWrapper":{"dataVersion":%b,'
    b'"mappingDataVersion":%b,"topicConfigTable":{"TopicTest":%b},"topicQueueMappingDetailMap":{},'
    b'"topicQueueMappingInfoMap":{}}}' % (VERSION_TEXT, VERSION_TEXT, TOPIC_TEXT)
)
TABLE = TopicTable(
    topic_config_table={"TopicTest": TOPIC}, data_version=VERSION, mapping_data_version=VERSION
)

VECTORS: list[tuple[str, Any, bytes, Callable[[Any], bytes], Callable[[bytes], Any]]] = [
    (
        "route",
        ROUTE,
        ROUTE_TEXT % (b"0", b"1"),
        lambda route: routes.encode_topic_route(route, standard=False),
        routes.decode_topic_route,
    ),
    (
        "route, standard JSON",
        ROUTE,
        ROUTE_TEXT % (b'"0"', b'"1"'),
        lambda route: routes.encode_topic_route(route, standard=True),
        routes.decode_topic_route,
    ),
    (
        "cluster",
        ClusterInfo(
            broker_addr_table={"broker-a": BROKER},
            cluster_addr_table={"DefaultCluster": ["broker-a"]},
        ),
        b'{"brokerAddrTable":{"broker-a":{"brokerAddrs":{0:"127.0.0.1:10911",1:"127.0.0.1:11911"},'
        b'"brokerName":"broker-a","cluster":"DefaultCluster","enableActingMaster":false}},'
        b'"clusterAddrTable":{"DefaultCluster":["broker-a"]}}',
        routes.encode_cluster_info,
        routes.decode_cluster_info,
    ),
    (
        "topic list",
        routes.TopicList(topic_list=["broker-a", "DefaultCluster"], broker_addr="127.0.0.1:33911"),
        b'{"brokerAddr":"127.0.0.1:33911","topicList":["broker-a","DefaultCluster"]}',
        routes.encode_topic_list,
        routes.decode_topic_list,
    ),
    (
        "kv table",
        {"TopicTest": "broker-a:4;broker-b:4"},
        b'{"table":{"TopicTest":"broker-a:4;broker-b:4"}}',
        routes.encode_kv_table,
        routes.decode_kv_table,
    ),
    (
        "member group",
        BrokerMemberGroup(cluster="C", broker_name="b", broker_addrs={0: "1.2.3.4:5"}),
        b'{"brokerMemberGroup":{"brokerAddrs":{0:"1.2.3.4:5"},"brokerName":"b","cluster":"C"}}',
        routes.encode_broker_member_group,
        routes.decode_broker_member_group,
    ),
    ("no member group", None, b"{}", routes.encode_broker_member_group,
     routes.decode_broker_member_group),
    ("heartbeat", HEARTBEAT, HEARTBEAT_TEXT, clients.encode_heartbeat, clients.decode_heartbeat),
    (
        "consumer ids",
        ["10.0.0.99@22334#3751793107883"],
        b'{"consumerIdList":["10.0.0.99@22334#3751793107883"]}',
        clients.encode_consumer_ids,
        clients.decode_consumer_ids,
    ),
    (
        "consumer connections",
        ConsumerConnections(
            connection_set=[Connection(client_id="cid", client_addr="1.2.3.4:5", version=513)],
            subscription_table={"TopicTest": Subscription(topic="TopicTest", sub_version=9)},
            consume_type="CONSUME_PASSIVELY",
            message_model="CLUSTERING",
            consume_from_where="CONSUME_FROM_LAST_OFFSET",
        ),
        b'{"connectionSet":[{"clientAddr":"1.2.3.4:5","clientId":"cid","language":"JAVA",'
        b'"version":513}],"consumeFromWhere":"CONSUME_FROM_LAST_OFFSET",'
        b'"consumeType":"CONSUME_PASSIVELY","messageModel":"CLUSTERING",'
        b'"subscriptionTable":{"TopicTest":{"classFilterMode":false,"codeSet":[],'
        b'"expressionType":"TAG","subString":"*","subVersion":9,"tagsSet":[],'
        b'"topic":"TopicTest"}}}',
        clients.encode_consumer_connections,
        clients.decode_consumer_connections,
    ),
    (
        "producer connections",
        [Connection(client_id="cid", client_addr="1.2.3.4:5", language="GO", version=401)],
        b'{"connectionSet":[{"clientAddr":"1.2.3.4:5","clientId":"cid","language":"GO",'
        b'"version":401}]}',
        clients.encode_producer_connections,
        clients.decode_producer_connections,
    ),
    (
        "producer table",
        {
            "PG": [
                clients.ProducerInfo(
                    client_id="cid",
                    remote_ip="/127.0.0.1:56160",
                    version=513,
                    last_update_timestamp=1795222456187,
                )
            ]
        },
        b'{"data":{"PG":[{"clientId":"cid","language":"JAVA","lastUpdateTimestamp":1795222456187,'
        b'"remoteIP":"/127.0.0.1:56160","version":513}]}}',
        clients.encode_producer_table,
        clients.decode_producer_table,
    ),
    (
        "group names",
        ["CG1"],
        b'{"groupList":["CG1"]}',
        groups.encode_group_names,
        groups.decode_group_names,
    ),
    (
        "topic table",
        TABLE,
        b'{"dataVersion":%b,"mappingDataVersion":%b,"topicConfigTable":{"TopicTest":%b},'
        b'"topicQueueMappingDetailMap":{},"topicQueueMappingInfoMap":{}}'
        % (VERSION_TEXT, VERSION_TEXT, TOPIC_TEXT),
        topics.encode_topic_table,
        topics.decode_topic_table,
    ),
    ("topic", TOPIC, TOPIC_TEXT, topics.encode_topic_config, topics.decode_topic_config),
    (
        "topic config list",
        [TOPIC],
        b'{"topicConfigList":[%b]}' % TOPIC_TEXT,
        topics.encode_topic_config_list,
        topics.decode_topic_config_list,
    ),
    (
        "topic stats",
        TopicStats(
            offset_table={
                MessageQueue("broker-a", 3, "TopicTest"): TopicOffset(
                    min_offset=0, max_offset=10, last_update_timestamp=9
                )
            }
        ),
        b'{"offsetTable":{{"brokerName":"broker-a","queueId":3,"topic":"TopicTest"}:'
        b'{"lastUpdateTimestamp":9,"maxOffset":10,"minOffset":0}},"topicPutTps":0.0}',
        topics.encode_topic_stats,
        topics.decode_topic_stats,
    ),
    (
        "group table",
        GroupTable(subscription_group_table={"CG": GroupConfig(group_name="CG")},
                   data_version=VERSION),
        b'{"dataVersion":%b,"forbiddenTable":{},"subscriptionGroupTable":{"CG":%b}}'
        % (VERSION_TEXT, GROUP_TEXT),
        groups.encode_group_table,
        groups.decode_group_table,
    ),
    ("group", GroupConfig(group_name="CG"), GROUP_TEXT, groups.encode_group_config,
     groups.decode_group_config),
    ("group list", [GroupConfig(group_name="CG")], b'{"groupConfigList":[%b]}' % GROUP_TEXT,
     groups.encode_group_config_list, groups.decode_group_config_list),
    (
        "offsets",
        OffsetTable(
            offset_table={"TopicTest@CG1": {3: 1}},
            data_version=VERSION,
            group_topic_map={"CG1": ["TopicTest"]},
            pull_offset_table={"TopicTest@CG1": {0: 1, 1: 2}},
        ),
        b'{"dataVersion":%b,"groupTopicMap":{"CG1":["TopicTest"]},'
        b'"offsetTable":{"TopicTest@CG1":{3:1}},"pullOffsetTable":{"TopicTest@CG1":{0:1,1:2}}}'
        % VERSION_TEXT,
        groups.encode_offset_table,
        groups.decode_offset_table,
    ),
    (
        "registration",
        RegisterBrokerBody(topic_config_serialize_wrapper=TABLE),
        REGISTER_TEXT,
        registration.encode_register_broker,
        lambda body: registration.decode_register_broker(
            body, compressed=False, broker_version=513
        ),
    ),
    ("data version", VERSION, VERSION_TEXT, registration.encode_data_version,
     registration.decode_data_version),
]  # fmt: skip
vectors = pytest.mark.parametrize(
    ("value", "text", "encode", "decode"),
    [pytest.param(*rest, id=name) for name, *rest in VECTORS],
)


@vectors
def test_a_body_is_written_as_apache_writes_it(
    value: Any, text: bytes, encode: Callable[[Any], bytes], decode: Callable[[bytes], Any]
) -> None:
    assert encode(value) == text


@vectors
def test_a_body_of_apache_is_read(
    value: Any, text: bytes, encode: Callable[[Any], bytes], decode: Callable[[bytes], Any]
) -> None:
    assert decode(text) == value


@vectors
def test_members_we_do_not_know_are_skipped(
    value: Any, text: bytes, encode: Callable[[Any], bytes], decode: Callable[[bytes], Any]
) -> None:
    assert decode(b'{"aNewMember":[{"x":1}],' + text[1:] if text != b"{}" else text) == value


@vectors
def test_garbage_is_refused_as_a_failed_request(
    value: Any, text: bytes, encode: Callable[[Any], bytes], decode: Callable[[bytes], Any]
) -> None:
    for garbage in (b"", b"[1]", b'"x"', b"\xff", text[:-1], b"[" * 100_000, b'{"a":' * 50_000):
        with pytest.raises(RequestFailed, match="body"):
            decode(garbage)


def test_nulls_of_other_sdks_are_taken_as_absent() -> None:
    body = (
        b'{"clientID":"c","consumerDataSet":null,"producerDataSet":[{"groupName":"P"}],'
        b'"heartbeatFingerprint":null}'
    )
    assert clients.decode_heartbeat(body) == clients.Heartbeat(
        client_id="c", producer_data_set=[clients.ProducerData("P")]
    )


def test_topic_stats_with_quoted_queue_keys_are_read_too() -> None:
    key = json.dumps('{"brokerName":"broker-a","queueId":3,"topic":"TopicTest"}')
    stats = topics.decode_topic_stats(b'{"offsetTable":{%b:{"maxOffset":4}}}' % key.encode())
    assert stats.offset_table == {
        MessageQueue("broker-a", 3, "TopicTest"): TopicOffset(max_offset=4)
    }


def test_topic_stats_with_a_key_that_is_no_queue_are_refused() -> None:
    for key in (b'"x"', b'{"queueId":1}', b"7"):
        with pytest.raises(RequestFailed, match="queue key"):
            topics.decode_topic_stats(b'{"offsetTable":{%b:{"maxOffset":4}}}' % key)


@pytest.mark.parametrize(
    ("field", "value", "width"),
    [("perm", 2**31, 32), ("readQueueNums", -(2**31) - 1, 32), ("topicSysFlag", 10**30, 32)],
)
def test_numbers_apache_could_not_hold_are_refused(field: str, value: int, width: int) -> None:
    body = json.dumps({"topicName": "T", field: value}).encode()
    with pytest.raises(RequestFailed, match=f"does not fit {width} bits"):
        topics.decode_topic_config(body)


def test_long_numbers_fit_64_bits() -> None:
    body = json.dumps({"groupName": "g", "brokerId": 2**63 - 1}).encode()
    assert groups.decode_group_config(body).broker_id == 2**63 - 1
    with pytest.raises(RequestFailed, match="does not fit 64 bits"):
        groups.decode_group_config(json.dumps({"groupName": "g", "brokerId": 2**63}).encode())


def test_a_retry_policy_nested_too_deep_is_refused() -> None:
    deep = b'{"groupName":"g","groupRetryPolicy":{"a":' + b"[" * 200 + b"]" * 200 + b"}}"
    with pytest.raises(RequestFailed, match="nested deeper than 16"):
        groups.decode_group_config(deep)


def test_a_request_may_not_be_as_long_as_a_frame() -> None:
    body = b'{"clientID":"c","padding":"' + bytes(2_097_152).replace(b"\0", b"x") + b'"}'
    with pytest.raises(RequestFailed, match="HeartbeatData body: 2097181 bytes are over the limit"):
        clients.decode_heartbeat(body)


def test_text_outside_ascii_is_escaped_for_standard_clients_only() -> None:
    route = TopicRoute(order_topic_conf="中")
    assert b'"\\u4e2d"' in routes.encode_topic_route(route, standard=True)
    assert '"中"'.encode() in routes.encode_topic_route(route, standard=False)


def test_properties_are_sorted_lines() -> None:
    body = admin.encode_properties({"b": "2", "a": "1=1"})
    assert body == b"a=1=1\nb=2\n"
    assert admin.decode_properties(body + b"no separator\n") == {"a": "1=1", "b": "2"}


# ── the compressed registration ──────────────────────────────────────────────────────────────────


def part(data: bytes) -> bytes:
    return struct.pack(">i", len(data)) + data


def compressed(*tail: bytes, topic: bytes = b'TopicTest 8 4 6 SINGLE_TAG {"k":"v"}') -> bytes:
    return zlib.compress(
        part(VERSION_TEXT) + struct.pack(">i", 1) + part(topic) + part(b"[]") + b"".join(tail), 9
    )


def decode_compressed(body: bytes, version: int = 513) -> RegisterBrokerBody:
    return registration.decode_register_broker(body, compressed=True, broker_version=version)


def test_a_compressed_registration_is_read() -> None:
    mapping = b'{"bname":"b","currIdMap":{0:1},"epoch":5,"topic":"TopicTest","totalQueues":8}'
    body = decode_compressed(compressed(struct.pack(">i", 1), part(mapping)))
    table = body.topic_config_serialize_wrapper
    assert table.data_version == VERSION
    assert table.topic_config_table == {
        "TopicTest": TopicConfig(
            topic_name="TopicTest", read_queue_nums=8, write_queue_nums=4, attributes={"k": "v"}
        )
    }
    assert table.topic_queue_mapping_info_map == {
        "TopicTest": TopicQueueMapping(
            topic="TopicTest", bname="b", epoch=5, total_queues=8, curr_id_map={0: 1}
        )
    }


def test_an_old_brokers_registration_has_no_mapping_part() -> None:
    assert decode_compressed(compressed(), 401).filter_server_list == []
    with pytest.raises(RequestFailed, match="cut short"):
        decode_compressed(compressed(), 413)


def test_attributes_with_a_blank_are_lost_as_in_java() -> None:
    body = decode_compressed(compressed(topic=b'T 1 1 6 SINGLE_TAG {"k":"a b"}'), 401)
    assert body.topic_config_serialize_wrapper.topic_config_table["T"].attributes == {}


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"no zlib", "not a zlib stream"),
        (b"", "cut short"),
        (compressed()[:-5], "cut short"),
        (zlib.compress(bytes(1_000_000)), "inflates beyond the limit"),
        (zlib.compress(struct.pack(">i", -1) + bytes(9)), "part of -1 bytes"),
        (zlib.compress(struct.pack(">i", 100)), "part of 100 bytes where 0 follow"),
        (
            zlib.compress(part(VERSION_TEXT) + struct.pack(">i", 2**30)),
            "count 1073741824 is outside 0..100000",
        ),
        (zlib.compress(part(VERSION_TEXT) + struct.pack(">i", -2)), "count -2"),
        (compressed(topic=b"T 1 1 6"), "fewer than 5 words"),
        (compressed(topic=b"T one 1 6 SINGLE_TAG"), "has a bad number"),
        (compressed(topic=b"T 1 1 2147483648 SINGLE_TAG"), "has a bad number"),
    ],
)
def test_a_broken_compressed_registration_is_refused(body: bytes, text: str) -> None:
    with pytest.raises(RequestFailed, match=text):
        decode_compressed(body, 401)


def test_a_body_of_zeros_is_refused_before_it_is_inflated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registration, "INFLATED_SIZE_MAX", 1_000)
    with pytest.raises(RequestFailed, match="beyond the limit of 1000 bytes"):
        registration.inflate(zlib.compress(bytes(range(256)) * 40))


def test_the_crc_has_no_highest_bit() -> None:
    assert registration.body_crc32(b"Hello") == zlib.crc32(b"Hello") & 0x7FFFFFFF == 2010220930


@given(
    st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"]), max_size=6),
        st.builds(
            TopicConfig,
            topic_name=st.text(st.characters(exclude_categories=["Cs"]), max_size=6),
            read_queue_nums=st.integers(-(2**31), 2**31 - 1),
            order=st.booleans(),
            attributes=st.dictionaries(st.sampled_from("bca"), st.text('xé"\\', max_size=2)),
        ),
        max_size=4,
    ),
    st.booleans(),
)
def test_a_table_of_topics_has_the_same_text_by_either_encoder(
    configs: dict[str, TopicConfig], has_mapping: bool
) -> None:
    table = TopicTable(
        topic_config_table=configs,
        data_version=VERSION,
        topic_queue_mapping_info_map={"t": TopicQueueMapping()} if has_mapping else {},
    )
    assert topics.encode_topic_table(table) == dialect.encode(table)
