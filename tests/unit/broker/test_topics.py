"""Topics: created, changed, deleted, listed, and bounded."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from pyromq.domain.topic import SYSTEM_TOPICS, TOPIC_COUNT_MAX, TopicConfig
from pyromq.errors import (
    FlushTimedOut,
    InvalidParameter,
    NoPermission,
    RequestFailed,
    RequestRefused,
    ServiceUnavailable,
    StoreFailed,
    SystemBusy,
    TopicNotFound,
)
from pyromq.units import QueueOffset
from tests.support.brokers import BrokerInHand, caller, heartbeat, send_request


@pytest.fixture
def hand() -> BrokerInHand:
    return BrokerInHand()


def put(hand: BrokerInHand, name: str = "T", **settings: Any) -> None:
    settings = {"read_queue_nums": 8, "write_queue_nums": 8, **settings}
    hand.run(hand.broker.put_topic(TopicConfig(topic_name=name, **settings)))


def refused(hand: BrokerInHand, name: str = "T", **settings: Any) -> RequestRefused:
    with pytest.raises(RequestRefused) as error:
        put(hand, name, **settings)
    return error.value


def delete(hand: BrokerInHand, name: str) -> None:
    hand.run(hand.broker.delete_topic(name))


# --- at start -------------------------------------------------------------------------------------


def test_the_system_topics_exist_from_the_start(hand: BrokerInHand) -> None:
    names = set(hand.broker.topics()[1])
    assert {"TBW102", "SELF_TEST_TOPIC", "DefaultCluster", "broker-a"} <= names
    assert set(hand.broker.system_topics()) == SYSTEM_TOPICS | names


def test_what_exists_is_left_as_it_is_at_the_next_start(hand: BrokerInHand) -> None:
    changed = TopicConfig(topic_name="BenchmarkTest", read_queue_nums=3, write_queue_nums=3)
    hand.metadata.put_topic(changed)
    version = hand.broker.topics()[0]
    hand.broker.open()
    assert hand.broker.topic("BenchmarkTest") == changed
    assert hand.broker.topics()[0] == version, "nothing was written"


def test_the_trace_topic_exists_on_demand() -> None:
    hand = BrokerInHand(trace_topic_enable=True, msg_trace_topic_name="MyTrace")
    assert hand.broker.topic("MyTrace").write_queue_nums == 1
    assert "MyTrace" in hand.broker.system_topics()


# --- creating and changing ------------------------------------------------------------------------


def test_a_topic_is_created_as_told(hand: BrokerInHand) -> None:
    put(
        hand,
        read_queue_nums=4,
        write_queue_nums=2,
        perm=4,
        order=True,
        topic_sys_flag=1,
        attributes={"+message.type": "FIFO"},
    )
    assert hand.broker.topic("T") == TopicConfig(
        topic_name="T",
        read_queue_nums=4,
        write_queue_nums=2,
        perm=4,
        order=True,
        topic_sys_flag=1,
        attributes={"message.type": "FIFO"},
    )
    assert hand.changed_topics == ["T"]


def test_a_change_replaces_everything_but_attributes_not_named(hand: BrokerInHand) -> None:
    put(hand, perm=6, attributes={"+message.type": "FIFO", "+queue.type": "SimpleCQ"})
    put(hand, perm=4, attributes={"+message.type": "NORMAL"})
    config = hand.broker.topic("T")
    assert config.perm == 4
    assert config.attributes == {"message.type": "NORMAL", "queue.type": "SimpleCQ"}


def test_every_change_moves_the_version_and_a_repetition_does_not(hand: BrokerInHand) -> None:
    before = hand.broker.topics()[0].counter
    put(hand)
    assert hand.broker.topics()[0].counter == before + 1
    put(hand)
    assert hand.broker.topics()[0].counter == before + 1
    assert hand.changed_topics == ["T"]
    put(hand, perm=4)
    assert hand.broker.topics()[0].counter == before + 2
    assert hand.changed_topics == ["T", "T"]


def test_a_topic_is_answered_when_the_journal_has_it() -> None:
    hand = BrokerInHand(sync_flush=True)
    asked = hand.ask(hand.broker.put_topic(TopicConfig(topic_name="T")))
    hand.end_turn()
    assert asked.is_waiting
    hand.flush()
    assert asked.result is None


@pytest.mark.parametrize(
    ("settings", "remark"),
    [
        ({"name": ""}, "The specified topic is blank."),
        (
            {"name": "a b"},
            "The specified topic: a b, contains illegal characters, "
            "allowing only ^[%|a-zA-Z0-9_-]+$",
        ),
        ({"name": "TBW102"}, "The topic[TBW102] is conflict with system topic."),
        ({"name": "rmq_sys_x"}, "The topic[rmq_sys_x] is conflict with system topic."),
        ({"name": "DefaultCluster"}, "The topic[DefaultCluster] is conflict with system topic."),
        ({"name": "broker-a"}, "The topic[broker-a] is conflict with system topic."),
        ({"read_queue_nums": 0}, "readQueueNums[0] is illegal, accepted is 1 to 1024"),
        ({"write_queue_nums": -1}, "writeQueueNums[-1] is illegal, accepted is 1 to 1024"),
        ({"write_queue_nums": 1025}, "writeQueueNums[1025] is illegal, accepted is 1 to 1024"),
        ({"perm": 8}, "perm[8] is illegal, accepted is 0 to 7"),
        ({"perm": -1}, "perm[-1] is illegal, accepted is 0 to 7"),
        ({"attributes": {"+message.type": "MIXED"}}, "MIXED message type is not supported."),
    ],
)
def test_what_cannot_be_is_refused(
    hand: BrokerInHand, settings: dict[str, Any], remark: str
) -> None:
    error = refused(hand, **settings)
    assert isinstance(error, InvalidParameter)
    assert error.remark == remark
    assert hand.changed_topics == []


@pytest.mark.parametrize(
    ("attributes", "remark"),
    [
        ({"+queue.type": "BatchCQ"}, "the attribute queue.type=BatchCQ is not supported yet"),
        (
            {"+cleanup.policy": "COMPACTION"},
            "the attribute cleanup.policy=COMPACTION is not supported yet",
        ),
        ({"+reserve.time": "5"}, "Update topic reserveTime not supported"),
        ({"+colour": "red"}, "unsupported key: colour"),
    ],
)
def test_attributes_that_cannot_be_are_refused(
    hand: BrokerInHand, attributes: dict[str, str], remark: str
) -> None:
    error = refused(hand, attributes=attributes)
    assert isinstance(error, RequestFailed)
    assert error.remark == remark
    with pytest.raises(TopicNotFound):
        hand.broker.topic("T")


def test_mixed_message_types_and_system_topics_can_be_allowed() -> None:
    hand = BrokerInHand(
        enable_mixed_message_type=True, validate_system_topic_when_update_topic=False
    )
    put(hand, attributes={"+message.type": "MIXED"})
    put(hand, "SELF_TEST_TOPIC", read_queue_nums=2)
    assert hand.broker.topic("SELF_TEST_TOPIC").read_queue_nums == 2


def test_topics_are_bounded_however_they_come_into_being(
    hand: BrokerInHand, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert TOPIC_COUNT_MAX == 100_000
    monkeypatch.setattr("pyromq.broker.topics.TOPIC_COUNT_MAX", len(hand.broker.topics()[1]) + 1)
    put(hand, "First")
    assert "the most it takes" in refused(hand, "Second").remark
    with pytest.raises(RequestFailed, match=r"topic\[Third\] cannot be created"):
        hand.send("Third")
    with pytest.raises(RequestFailed, match=r"topic\[%RETRY%CG\] cannot be created"):
        hand.run(hand.broker.heartbeat(caller(), heartbeat("c")))
    put(hand, "First", perm=4)


# --- deleting -------------------------------------------------------------------------------------


def test_a_deleted_topic_takes_queues_and_offsets_along(hand: BrokerInHand) -> None:
    hand.send("T")
    hand.pull("T", commit_offset=QueueOffset(0))
    hand.changed_topics.clear()
    delete(hand, "T")
    with pytest.raises(TopicNotFound) as unknown:
        hand.broker.topic("T")
    assert unknown.value.remark == "No topic in this broker. topic: T"
    assert hand.broker.max_offset("T", 0) == 0
    assert hand.metadata.tables.offsets == {}
    assert hand.metadata.tables.pull_offsets == {}
    assert hand.changed_topics == ["T"]


def test_a_topic_of_the_same_name_begins_at_zero(hand: BrokerInHand) -> None:
    hand.send("T")
    hand.send("T")
    delete(hand, "T")
    assert hand.send("T").queue_offset == 0


def test_other_topics_keep_their_offsets(hand: BrokerInHand) -> None:
    hand.send("T")
    hand.send("T2")
    hand.pull("T2", commit_offset=QueueOffset(1))
    delete(hand, "T")
    assert hand.metadata.tables.offset("CG", "T2", 0) == 1
    assert hand.broker.max_offset("T2", 0) == 1


def test_pop_retry_topics_go_with_their_topic(hand: BrokerInHand) -> None:
    for name in ("T", "%RETRY%CG+T", "%RETRY%CG_T", "%RETRY%CG"):
        hand.metadata.put_topic(TopicConfig(topic_name=name))
    hand.metadata.commit_offset("CG", "T", 0, 1)
    delete(hand, "T")
    assert [name for name in hand.broker.topics()[1] if name.startswith("%RETRY%")] == ["%RETRY%CG"]


def test_pop_retry_topics_stay_if_told_so(hand: BrokerInHand) -> None:
    hand.configure(clear_retry_topic_when_delete_topic=False)
    for name in ("T", "%RETRY%CG+T"):
        hand.metadata.put_topic(TopicConfig(topic_name=name))
    hand.metadata.commit_offset("CG", "T", 0, 1)
    delete(hand, "T")
    assert "%RETRY%CG+T" in hand.broker.topics()[1]


def test_deleting_an_unknown_topic_succeeds(hand: BrokerInHand) -> None:
    version = hand.broker.topics()[0]
    delete(hand, "Nope")
    assert hand.broker.topics()[0] == version


@pytest.mark.parametrize(
    ("name", "remark"),
    [
        ("", "The specified topic is blank."),
        (" ", "The specified topic is blank."),
        ("TBW102", "The topic[TBW102] is conflict with system topic."),
        ("broker-a", "The topic[broker-a] is conflict with system topic."),
    ],
)
def test_some_topics_cannot_be_deleted(hand: BrokerInHand, name: str, remark: str) -> None:
    with pytest.raises(InvalidParameter) as error:
        delete(hand, name)
    assert error.value.remark == remark


def test_a_message_on_its_way_into_a_deleted_topic_does_no_harm(hand: BrokerInHand) -> None:
    put(hand)
    sent = hand.ask(hand.broker.send(caller(), send_request("T")))
    hand.ask(hand.broker.delete_topic("T"))
    hand.end_turn()
    assert not sent.is_waiting
    assert hand.broker.max_offset("T", 0) == 0
    assert hand.send("T").queue_offset == 0


def test_queues_are_dropped_once_the_deletion_cannot_get_lost() -> None:
    hand = BrokerInHand(sync_flush=True)
    hand.send("T")
    asked = hand.ask(hand.broker.delete_topic("T"))
    hand.end_turn()
    assert asked.is_waiting
    assert hand.broker.max_offset("T", 0) == 1
    assert list(hand.metadata.tables.doomed_topics) == ["T"]
    hand.flush()
    assert asked.result is None
    assert hand.broker.max_offset("T", 0) == 0
    assert not hand.metadata.tables.doomed_topics


def test_the_name_is_free_again_once_the_deletion_is_done() -> None:
    hand = BrokerInHand(sync_flush=True)
    hand.send("T")
    asked = hand.ask(hand.broker.delete_topic("T"))
    hand.end_turn()
    for create in (
        hand.broker.put_topic(TopicConfig(topic_name="T")),
        hand.broker.send(caller(), send_request("T")),
    ):
        with pytest.raises(SystemBusy, match=r"topic\[T\] is being deleted, try again"):
            _ = hand.ask(create).result
    hand.flush()
    assert asked.result is None
    assert hand.send("T").queue_offset == 0


def test_a_second_deletion_does_not_take_a_new_topic_of_the_name() -> None:
    hand = BrokerInHand(sync_flush=True)
    hand.send("T")
    first = hand.ask(hand.broker.delete_topic("T"))
    hand.end_turn()
    hand.metadata.put_topic(TopicConfig(topic_name="Other"))
    second = hand.ask(hand.broker.delete_topic("T"))
    hand.flush()
    assert first.result is None
    assert second.is_waiting
    hand.ask(hand.broker.put_topic(TopicConfig(topic_name="T")))
    hand.ask(hand.broker.send(caller(), send_request("T")))
    hand.end_turn()
    hand.flush()
    assert second.result is None
    assert hand.broker.max_offset("T", 0) == 1


def test_a_deletion_that_a_kill_interrupted_is_finished_at_the_start(hand: BrokerInHand) -> None:
    hand.send("T")
    hand.metadata.delete_topic("T")  # kept, and then the process died
    hand.broker.open()
    assert hand.broker.max_offset("T", 0) == 0
    assert not hand.metadata.tables.doomed_topics


def test_queues_that_cannot_be_dropped_are_dropped_before_the_name_is_used_again(
    hand: BrokerInHand, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    hand.send("T")
    waiting = hand.start_pull("T", queue_offset=QueueOffset(1))

    def fail(topic: str) -> None:
        raise StoreFailed(f"no {topic} today")

    with monkeypatch.context() as broken:
        broken.setattr(hand.engine, "drop_topic", fail)
        with pytest.raises(ServiceUnavailable, match="queues cannot be dropped: no T today"):
            delete(hand, "T")
        with pytest.raises(TopicNotFound):  # its long polls are not left waiting
            _ = waiting.result
        with pytest.raises(ServiceUnavailable, match="no T today"):
            hand.send("T")
        hand.broker.open()
        assert "no T today" in caplog.text
    assert hand.send("T").queue_offset == 0


def test_long_polls_of_a_topic_end_also_if_its_deletion_fails() -> None:
    hand = BrokerInHand(sync_flush=True)
    put(hand)
    waiting = hand.start_pull("T")
    asked = hand.ask(hand.broker.delete_topic("T"))
    hand.end_turn()
    hand.advance(6_000)  # the sync does not end
    with pytest.raises(FlushTimedOut):
        _ = asked.result
    assert not waiting.is_waiting
    hand.flush()
    put(hand)
    assert not hand.metadata.tables.doomed_topics


def test_several_topics_wait_for_one_sync() -> None:
    hand = BrokerInHand(sync_flush=True)
    configs = [TopicConfig(topic_name=name) for name in ("A", "B", "C")]
    asked = hand.ask(hand.broker.put_topics(configs))
    hand.end_turn()
    assert asked.is_waiting
    hand.flush()
    assert asked.result is None
    assert {"A", "B", "C"} <= set(hand.broker.topics()[1])


def test_of_several_topics_all_are_created_or_none(
    hand: BrokerInHand, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = dict(hand.broker.topics()[1])
    bad = [TopicConfig(topic_name="A"), TopicConfig(topic_name="b b")]
    with pytest.raises(InvalidParameter):
        hand.run(hand.broker.put_topics(bad))
    monkeypatch.setattr("pyromq.broker.topics.TOPIC_COUNT_MAX", len(before) + 1)
    with pytest.raises(RequestFailed, match="the most it takes"):
        hand.run(hand.broker.put_topics([TopicConfig(topic_name=name) for name in ("A", "B")]))
    assert hand.broker.topics()[1] == before
    hand.run(hand.broker.put_topics([]))
    hand.run(hand.broker.put_topics([TopicConfig(topic_name="A"), TopicConfig(topic_name="A")]))


def test_the_listed_configs_can_be_encoded(hand: BrokerInHand) -> None:
    _, table = hand.broker.topics()
    encoded = msgspec.json.decode(msgspec.json.encode(table["TBW102"]))
    assert encoded["writeQueueNums"] == 8
    assert encoded["perm"] == 7


# --- ordered across brokers -----------------------------------------------------------------------


def test_topics_that_name_servers_know_as_ordered_are_ordered_here(hand: BrokerInHand) -> None:
    put(hand, "T")
    put(hand, "U", order=True)
    put(hand, "V")
    version = hand.broker.topics()[0]
    hand.changed_topics.clear()
    hand.broker.take_order_topics(["T", "Elsewhere"])
    hand.end_turn()
    assert [hand.broker.topic(name).order for name in "TUV"] == [True, True, False]
    assert hand.changed_topics == ["T"]
    assert hand.broker.topics()[0].counter == version.counter + 1


def test_order_topics_known_already_change_nothing(hand: BrokerInHand) -> None:
    put(hand, "T", order=True)
    version = hand.broker.topics()[0]
    hand.broker.take_order_topics(["T"])
    assert hand.broker.topics()[0] == version


def test_an_order_topic_takes_nothing_while_the_broker_may_not_write(hand: BrokerInHand) -> None:
    put(hand, "T")
    hand.configure(broker_permission=4)
    hand.send("T")
    hand.broker.take_order_topics(["T"])
    with pytest.raises(NoPermission, match=r"the broker\[127.0.0.1\] sending message is forbidden"):
        hand.send("T")
