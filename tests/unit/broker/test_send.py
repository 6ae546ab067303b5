"""Sending one message: what is stored, what is answered, and in which order it is refused."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from pyromq.codes import ResponseCode
from pyromq.domain.message import log_offset_of
from pyromq.domain.topic import TopicConfig
from pyromq.errors import (
    InvalidParameter,
    MessageIllegal,
    NoPermission,
    RequestFailed,
    RequestRefused,
    ServiceUnavailable,
    TopicNotFound,
)
from pyromq.units import LogOffset
from tests.support.brokers import (
    BrokerInHand,
    caller,
    properties,
    send_request,
    stored_properties,
)

FAQ = "\nSee https://rocketmq.apache.org/docs/bestPractice/06FAQ for further details."


@pytest.fixture
def hand() -> BrokerInHand:
    return BrokerInHand()


def record(hand: BrokerInHand, log_offset: int = 0) -> bytes:
    found = hand.engine.record_at(LogOffset(log_offset))
    assert found is not None
    return found


def records(hand: BrokerInHand) -> Iterator[bytes]:
    """All records, in the order of the log."""
    offset = 0
    while (found := hand.engine.record_at(LogOffset(offset))) is not None:
        yield found
        offset += len(found)


def refused(hand: BrokerInHand, **request: Any) -> RequestRefused:
    with pytest.raises(RequestRefused) as error:
        hand.send(**request)
    return error.value


# --- what is stored and answered ------------------------------------------------------------------


def test_a_message_is_answered_with_its_place_and_its_ids(hand: BrokerInHand) -> None:
    hand.send()
    result = hand.send(queue_id=0)
    assert result.queue_id == 0
    assert result.queue_offset == 1
    assert result.transaction_id == "ID1"
    assert result.msg_id == f"7F00000100002A9F{len(record(hand)):016X}"
    assert (result.region_id, result.is_traced) == ("DefaultRegion", True)


def test_region_trace_switch_and_cluster_are_added_to_the_stored_properties(
    hand: BrokerInHand,
) -> None:
    hand.send(properties=properties(UNIQ_KEY="ID1", KEYS="k", WAIT="true"))
    assert stored_properties(record(hand)) == {
        "UNIQ_KEY": "ID1",
        "KEYS": "k",
        "WAIT": "true",
        "MSG_REGION": "DefaultRegion",
        "TRACE_ON": "true",
        "CLUSTER": "DefaultCluster",
    }


def test_the_added_properties_follow_the_settings() -> None:
    hand = BrokerInHand(region_id="east", broker_cluster_name="C1")
    hand.send()
    hand.configure(trace_on=False)
    result = hand.send()
    first, second = map(stored_properties, records(hand))
    assert (first["MSG_REGION"], first["CLUSTER"], first["TRACE_ON"]) == ("east", "C1", "true")
    assert second["TRACE_ON"] == "false"
    assert result.is_traced is False


def test_a_message_that_is_sent_again_carries_each_added_property_once(hand: BrokerInHand) -> None:
    text = properties(MSG_REGION="west", UNIQ_KEY="ID1", TRACE_ON="false", CLUSTER="old", a="1")
    hand.send(properties=text)
    assert record(hand).count(b"MSG_REGION\x01") == 1
    assert stored_properties(record(hand)) == {
        "UNIQ_KEY": "ID1",
        "a": "1",
        "MSG_REGION": "DefaultRegion",
        "TRACE_ON": "true",
        "CLUSTER": "DefaultCluster",
    }


def test_a_pop_handle_of_a_client_is_not_stored(hand: BrokerInHand) -> None:
    hand.send(properties=properties(POP_CK="0 1 2 3", UNIQ_KEY="ID1", MY_POP_CK="kept"))
    stored = stored_properties(record(hand))
    assert "POP_CK" not in stored
    assert stored["MY_POP_CK"] == "kept"


def test_a_message_without_unique_key_gets_one(hand: BrokerInHand) -> None:
    result = hand.send(properties="")
    assert result.transaction_id.startswith("7F00000112670000CAFE")
    assert stored_properties(record(hand))["UNIQ_KEY"] == result.transaction_id
    assert hand.send(properties="").transaction_id != result.transaction_id


def test_an_empty_unique_key_is_replaced(hand: BrokerInHand) -> None:
    result = hand.send(properties="UNIQ_KEY\x01\x02a\x011")
    assert record(hand).count(b"UNIQ_KEY\x01") == 1
    assert stored_properties(record(hand))["UNIQ_KEY"] == result.transaction_id


def test_a_missing_last_separator_is_added(hand: BrokerInHand) -> None:
    hand.send(properties="UNIQ_KEY\x01ID1\x02TAGS\x01TagA")
    assert stored_properties(record(hand))["TAGS"] == "TagA"


def test_text_that_is_no_unicode_is_stored_as_question_marks(hand: BrokerInHand) -> None:
    hand.send(properties="UNIQ_KEY\x01ID1\x02a\x01\ud800\x02")
    assert stored_properties(record(hand))["a"] == "?"


def test_flags_hosts_times_and_a_compressed_body_pass_through(hand: BrokerInHand) -> None:
    hand.send(body=b"\x78\x9c...", flag=7, sys_flag=0x301, reconsume_times=3)
    stored = record(hand)
    assert stored[16:20] == (7).to_bytes(4)
    assert stored[36:40] == (0x301).to_bytes(4)
    assert stored[40:48] == (1_700_000_000_000).to_bytes(8)
    assert stored[48:56] == caller().host
    assert stored[72:76] == (3).to_bytes(4)
    assert b"\x78\x9c..." in stored


def test_a_topic_with_several_tags_marks_its_messages(hand: BrokerInHand) -> None:
    hand.create_topic("Many", topic_filter_type="MULTI_TAG")
    hand.send("Many", sys_flag=0x1)
    assert record(hand)[36:40] == (0x3).to_bytes(4)


def test_queue_minus_one_lets_the_broker_choose(hand: BrokerInHand) -> None:
    hand.create_topic("T", 4)
    hand.randoms = [3]
    assert hand.send("T", queue_id=-1).queue_id == 3
    assert hand.engine.queue_range("T", 3).max_offset == 1


def test_a_queue_that_is_only_read_or_only_written_is_taken(hand: BrokerInHand) -> None:
    """While a topic shrinks, its read and its write count differ; the larger one counts."""
    hand.create_topic("T", 4)
    shrunk = TopicConfig(topic_name="T", read_queue_nums=4, write_queue_nums=2)
    hand.run(hand.broker.put_topic(shrunk))
    assert hand.send("T", queue_id=3).queue_id == 3
    assert refused(hand, topic="T", queue_id=4).code == ResponseCode.INVALID_PARAMETER


# --- topics that come into being ------------------------------------------------------------------


def test_an_unknown_topic_is_created_in_the_image_of_tbw102(hand: BrokerInHand) -> None:
    hand.send("New", default_topic_queue_nums=4)
    config = hand.broker.topic("New")
    assert (config.read_queue_nums, config.write_queue_nums, config.perm) == (4, 4, 6)
    assert hand.changed_topics == ["New"]


def test_an_automatic_topic_has_no_more_queues_than_tbw102() -> None:
    hand = BrokerInHand(default_topic_queue_nums=2)
    hand.send("New", default_topic_queue_nums=16)
    assert hand.broker.topic("New").write_queue_nums == 2


def test_a_topic_with_no_queues_is_not_created(hand: BrokerInHand) -> None:
    error = refused(hand, topic="New", default_topic_queue_nums=0)
    assert error.code == ResponseCode.INVALID_PARAMETER
    assert "defaultTopicQueueNums[0]" in error.remark
    assert "New" not in hand.broker.topics()[1]


def test_a_unit_topic_is_marked(hand: BrokerInHand) -> None:
    hand.send("New", unit_mode=True)
    assert hand.broker.topic("New").topic_sys_flag == 1


def test_any_topic_that_allows_it_can_be_the_image(hand: BrokerInHand) -> None:
    hand.create_topic("Mother", 2, perm=7)
    hand.send("Child", default_topic="Mother")
    child = hand.broker.topic("Child")
    assert (child.write_queue_nums, child.perm) == (2, 6)


@pytest.mark.parametrize("default_topic", ["NoSuchTopic", "Closed", ""])
def test_an_unknown_topic_without_image_is_refused(hand: BrokerInHand, default_topic: str) -> None:
    hand.create_topic("Closed", perm=6)
    error = refused(hand, topic="NewTopic", default_topic=default_topic)
    assert isinstance(error, TopicNotFound)
    assert error.remark == "topic[NewTopic] not exist, apply first please!" + FAQ


def test_no_topic_is_created_when_that_is_switched_off(hand: BrokerInHand) -> None:
    hand.configure(auto_create_topic_enable=False)
    assert isinstance(refused(hand, topic="New"), TopicNotFound)
    closed = BrokerInHand(auto_create_topic_enable=False)
    assert isinstance(refused(closed, topic="New"), TopicNotFound)
    assert "TBW102" not in closed.broker.topics()[1]


def test_a_retry_topic_is_created_even_so() -> None:
    hand = BrokerInHand(auto_create_topic_enable=False)
    hand.send("%RETRY%CG", unit_mode=True)
    config = hand.broker.topic("%RETRY%CG")
    assert (config.write_queue_nums, config.perm, config.topic_sys_flag) == (1, 6, 2)


# --- refusals -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("topic", "remark"),
    [
        ("", "The specified topic is blank."),
        (
            "bad topic!",
            "The specified topic: bad topic!, contains illegal characters, "
            "allowing only ^[%|a-zA-Z0-9_-]+$",
        ),
        (
            "../x",
            "The specified topic: ../x, contains illegal characters, "
            "allowing only ^[%|a-zA-Z0-9_-]+$",
        ),
        (
            "x" * 128,
            f"The specified topic: {'x' * 128}, is longer than topic max length: 127",
        ),
    ],
)
def test_an_illegal_name_is_refused(hand: BrokerInHand, topic: str, remark: str) -> None:
    error = refused(hand, topic=topic)
    assert isinstance(error, InvalidParameter)
    assert error.remark == remark


@pytest.mark.parametrize(
    "topic",
    [
        "SCHEDULE_TOPIC_XXXX",
        "RMQ_SYS_TRANS_HALF_TOPIC",
        "RMQ_SYS_TRANS_OP_HALF_TOPIC",
        "TRANS_CHECK_MAX_TIME_TOPIC",
        "SELF_TEST_TOPIC",
        "OFFSET_MOVED_EVENT",
        "RMQ_SYS_ROCKSDB_TRANS_HALF_TOPIC",
        "RMQ_SYS_ROCKSDB_TRANS_OP_HALF_TOPIC",
    ],
)
def test_system_topics_take_no_messages(hand: BrokerInHand, topic: str) -> None:
    error = refused(hand, topic=topic)
    assert isinstance(error, NoPermission)
    assert error.remark == f"Sending message to topic[{topic}] is forbidden."


def test_a_queue_out_of_range_is_refused_with_topic_and_producer(hand: BrokerInHand) -> None:
    hand.create_topic("TopicTest", 4)
    error = refused(hand, queue_id=77)
    assert isinstance(error, InvalidParameter)
    assert error.remark == (
        "request queueId[77] is illegal, TopicConfig [topicName=TopicTest, readQueueNums=4, "
        "writeQueueNums=4, perm=RW-, topicFilterType=SINGLE_TAG, topicSysFlag=0, order=false, "
        "attributes={}] Producer: 10.0.0.1:40001"
    )


def test_a_broker_that_may_not_be_written_refuses_order_topics(hand: BrokerInHand) -> None:
    """As in Apache: other topics go on, until clients have learnt the permission by their route."""
    hand.create_topic("Order", order=True)
    hand.create_topic("Plain")
    hand.configure(broker_permission=4)
    error = refused(hand, topic="Order")
    assert isinstance(error, NoPermission)
    assert error.remark == "the broker[127.0.0.1] sending message is forbidden"
    hand.send("Plain")


def test_sends_before_the_start_time_are_refused() -> None:
    hand = BrokerInHand(start_accept_send_request_timestamp_ms=1_700_000_005_000)
    error = refused(hand)
    assert isinstance(error, RequestFailed)
    assert "until 1700000005000" in error.remark
    hand.advance(5_000)
    hand.send()


@pytest.mark.parametrize("size", [0, 101])
def test_a_body_that_is_empty_or_too_large_is_refused(size: int) -> None:
    hand = BrokerInHand(store={"max_message_size_bytes": 100})
    error = refused(hand, body=bytes(size))
    assert isinstance(error, MessageIllegal)
    assert error.remark.startswith(
        "the message is illegal, maybe msg body or properties length not matched. "
        "msg body length limit 100B, msg properties length limit 32KB."
    )
    assert f"a body of {size}B" in error.remark
    hand.send(body=bytes(100))


def test_properties_over_the_limit_are_refused_with_their_length(hand: BrokerInHand) -> None:
    hand.send(properties=properties(UNIQ_KEY="ID1", a="x" * 32_600))
    error = refused(hand, properties=properties(UNIQ_KEY="ID1", a="x" * 32_700))
    assert isinstance(error, MessageIllegal)
    assert "properties of 32" in error.remark


def test_the_limit_counts_bytes_not_characters(hand: BrokerInHand) -> None:
    error = refused(hand, properties=properties(UNIQ_KEY="ID1", a="é" * 20_000))
    assert isinstance(error, MessageIllegal)


def test_of_several_faults_the_one_apache_names_is_named(hand: BrokerInHand) -> None:
    body = bytes(5 << 20)
    assert isinstance(refused(hand, topic="a b", queue_id=99, body=body), InvalidParameter)
    assert isinstance(refused(hand, topic="SELF_TEST_TOPIC", queue_id=99), NoPermission)
    assert isinstance(
        refused(hand, topic="New", default_topic="", queue_id=99, body=body), TopicNotFound
    )
    assert isinstance(refused(hand, queue_id=99, body=body), InvalidParameter)
    assert isinstance(refused(hand, body=body), MessageIllegal)


def test_nothing_refused_is_stored(hand: BrokerInHand) -> None:
    hand.create_topic("TopicTest")
    refused(hand, queue_id=99)
    refused(hand, body=b"")
    refused(hand, properties=properties(TIMER_DELAY_SEC="3"))
    assert hand.engine.positions().appended == 0


def test_a_stopped_broker_stores_nothing(hand: BrokerInHand) -> None:
    hand.ask(hand.broker.stop())
    error = refused(hand)
    assert isinstance(error, ServiceUnavailable)
    assert "shutting down" in error.remark


# --- kinds that are not built yet -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (properties(TIMER_DELAY_SEC="5"), "TIMER_DELAY_SEC"),
        (properties(TIMER_DELAY_MS="5000"), "TIMER_DELAY_MS"),
        (properties(TIMER_DELIVER_MS="1700000005000"), "TIMER_DELIVER_MS"),
        (properties(TRAN_MSG="true", PGROUP="PG"), "TRAN_MSG"),
        (properties(TRAN_MSG="TRUE"), "TRAN_MSG"),
        (properties(__LITE_TOPIC="lite"), "__LITE_TOPIC"),
        (properties(INNER_NUM="2"), "INNER_NUM"),
    ],
)
def test_kinds_not_built_yet_are_refused_by_the_name_of_their_property(
    hand: BrokerInHand, text: str, name: str
) -> None:
    error = refused(hand, properties=properties(UNIQ_KEY="ID1") + text)
    assert isinstance(error, MessageIllegal)
    assert error.remark.startswith(f"{name}: ")
    assert "not supported yet" in error.remark


@pytest.mark.parametrize(
    "text",
    [
        properties(DELAY="0"),
        properties(DELAY="-1"),
        properties(TRAN_MSG="false"),
        properties(MY_DELAY="3"),
        properties(TIMER_DELAYED="3"),
        properties(a="DELAY\x013"[:5]),
    ],
)
def test_properties_that_only_look_like_them_are_ordinary(hand: BrokerInHand, text: str) -> None:
    hand.send(properties=properties(UNIQ_KEY="ID1") + text)


def test_a_delay_that_is_no_number_is_refused(hand: BrokerInHand) -> None:
    error = refused(hand, properties=properties(DELAY="soon"))
    assert isinstance(error, MessageIllegal)
    assert error.remark == "the property DELAY is no number: 'soon'"


def test_a_delayed_message_waits_elsewhere_and_its_sender_is_told_as_by_apache(
    hand: BrokerInHand,
) -> None:
    text = properties(UNIQ_KEY="ID1", DELAY="3")
    hand.send(queue_id=1, properties=text)
    result = hand.send(queue_id=2, properties=text)
    assert (result.queue_id, result.queue_offset) == (2, 1)
    assert hand.engine.queue_range("SCHEDULE_TOPIC_XXXX", 2).max_offset == 2
    assert hand.engine.queue_range("TopicTest", 2).max_offset == 0
    waiting = stored_properties(hand.broker.message_at(log_offset_of(result.msg_id)))
    assert (waiting["REAL_TOPIC"], waiting["REAL_QID"]) == ("TopicTest", "2")


@pytest.mark.parametrize("sys_flag", [0x4, 0x8, 0xC, 0x40, 0x80])
def test_transaction_and_inner_batch_bits_are_refused(hand: BrokerInHand, sys_flag: int) -> None:
    error = refused(hand, sys_flag=sys_flag)
    assert isinstance(error, MessageIllegal)
    assert f"sysFlag[{sys_flag}]" in error.remark


def test_a_compaction_topic_from_another_server_wants_keys(hand: BrokerInHand) -> None:
    hand.metadata.put_topic(
        TopicConfig(topic_name="Compact", attributes={"cleanup.policy": "COMPACTION"})
    )
    error = refused(hand, topic="Compact")
    assert isinstance(error, MessageIllegal)
    assert error.remark == "Required message key is missing"
    hand.send("Compact", properties=properties(UNIQ_KEY="ID1", KEYS="k"))


# --- priority -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("priority", "queue_id"), [("0", 0), ("2", 2), ("99", 3)])
def test_a_priority_chooses_the_queue(hand: BrokerInHand, priority: str, queue_id: int) -> None:
    hand.create_topic("T", 4)
    text = properties(UNIQ_KEY="ID1", _SYS_MSG_PRIORITY_=priority)
    assert hand.send("T", queue_id=1, properties=text).queue_id == queue_id


def test_a_priority_of_another_kind_of_message_is_dropped(hand: BrokerInHand) -> None:
    text = properties(UNIQ_KEY="ID1", _SYS_MSG_PRIORITY_="3", __SHARDINGKEY="s")
    assert hand.send(queue_id=1, properties=text).queue_id == 1
    assert "_SYS_MSG_PRIORITY_" not in stored_properties(record(hand))


def test_a_priority_that_is_no_number_means_nothing(hand: BrokerInHand) -> None:
    text = properties(UNIQ_KEY="ID1", _SYS_MSG_PRIORITY_="high")
    assert hand.send(queue_id=1, properties=text).queue_id == 1


# --- messages a consumer sends back ---------------------------------------------------------------


def test_a_message_sent_back_too_often_becomes_a_dead_letter(hand: BrokerInHand) -> None:
    text = properties(UNIQ_KEY="ID1", DELAY="18", TRAN_MSG="true")
    result = hand.send("%RETRY%CG", properties=text, reconsume_times=17)
    assert hand.engine.queue_range("%DLQ%CG", 0).max_offset == 1
    assert stored_properties(record(hand))["DELAY"] == "-1"
    assert result.queue_id == 0
    config = hand.broker.topic("%DLQ%CG")
    assert (config.write_queue_nums, config.perm) == (1, 6)


def test_the_client_may_say_how_often_is_too_often(hand: BrokerInHand) -> None:
    hand.send("%RETRY%CG", reconsume_times=3, max_reconsume_times=2)
    assert hand.engine.queue_range("%DLQ%CG", 0).max_offset == 1
    hand.send("%RETRY%CG", reconsume_times=3, max_reconsume_times=3)
    assert hand.engine.queue_range("%RETRY%CG", 0).max_offset == 1


def test_clients_before_3_4_9_have_no_say(hand: BrokerInHand) -> None:
    hand.send("%RETRY%CG", to=caller(version=120), reconsume_times=3, max_reconsume_times=2)
    assert hand.engine.queue_range("%RETRY%CG", 0).max_offset == 1


def test_a_retry_with_delay_waits_like_any_message(hand: BrokerInHand) -> None:
    text = properties(UNIQ_KEY="ID1", DELAY="3")
    hand.send("%RETRY%CG", properties=text, reconsume_times=1)
    assert hand.engine.queue_range("%RETRY%CG", 0).max_offset == 0
    hand.advance(10_000)
    assert hand.engine.queue_range("%RETRY%CG", 0).max_offset == 1


def test_the_group_of_a_retry_topic_must_be_possible() -> None:
    hand = BrokerInHand(auto_create_subscription_group=False)
    error = refused(hand, topic="%RETRY%Nobody")
    assert error.code == ResponseCode.SUBSCRIPTION_GROUP_NOT_EXIST
    assert error.remark.startswith("subscription group not exist, Nobody")


def test_a_request_is_never_changed(hand: BrokerInHand) -> None:
    request = send_request(properties=properties(POP_CK="x", DELAY="0"))
    hand.run(hand.broker.send(caller(), request))
    assert request.properties == properties(POP_CK="x", DELAY="0")
