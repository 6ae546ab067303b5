"""Consumer groups: created, changed, deleted, asked for, and bounded."""

from __future__ import annotations

from typing import Any

import pytest

from pyromq.domain.group import GROUP_COUNT_MAX, SYSTEM_GROUPS, GroupConfig
from pyromq.errors import GroupNotFound, InvalidParameter, RequestFailed, RequestRefused
from pyromq.units import QueueOffset
from tests.support.brokers import BrokerInHand


@pytest.fixture
def hand() -> BrokerInHand:
    hand = BrokerInHand()
    hand.create_topic("TopicTest")
    return hand


def put(hand: BrokerInHand, name: str = "CG", **settings: Any) -> None:
    hand.run(hand.broker.put_group(GroupConfig(group_name=name, **settings)))


def refused(hand: BrokerInHand, name: str = "CG", **settings: Any) -> RequestRefused:
    with pytest.raises(RequestRefused) as error:
        put(hand, name, **settings)
    return error.value


def test_the_system_groups_exist_from_the_start(hand: BrokerInHand) -> None:
    assert set(hand.broker.groups()[1]) == set(SYSTEM_GROUPS)
    version = hand.broker.groups()[0]
    hand.broker.open()
    assert hand.broker.groups()[0] == version


def test_a_group_is_created_and_changed_as_told(hand: BrokerInHand) -> None:
    put(hand, retry_max_times=3, attributes={"+priority.factor": "50"})
    put(hand, retry_max_times=5)
    config = hand.broker.group("CG")
    assert config.retry_max_times == 5
    assert config.attributes == {"priority.factor": "50"}


def test_every_change_moves_the_version_and_a_repetition_does_not(hand: BrokerInHand) -> None:
    before = hand.broker.groups()[0].counter
    put(hand)
    put(hand)
    assert hand.broker.groups()[0].counter == before + 1


@pytest.mark.parametrize(
    ("settings", "kind", "remark"),
    [
        ({"name": ""}, InvalidParameter, "The specified group is blank."),
        ({"name": "a b"}, InvalidParameter, "The specified group: a b, contains illegal"),
        ({"name": "x" * 121}, InvalidParameter, f"The specified group: {'x' * 121}, is longer"),
        ({"retry_queue_nums": -1}, InvalidParameter, "retryQueueNums[-1] is illegal"),
        ({"retry_queue_nums": 1025}, InvalidParameter, "retryQueueNums[1025] is illegal"),
        ({"attributes": {"+colour": "red"}}, RequestFailed, "unsupported key: colour"),
    ],
)
def test_what_cannot_be_is_refused(
    hand: BrokerInHand, settings: dict[str, Any], kind: type[RequestRefused], remark: str
) -> None:
    error = refused(hand, **settings)
    assert isinstance(error, kind)
    assert error.remark.startswith(remark)


def test_groups_are_bounded_however_they_come_into_being(
    hand: BrokerInHand, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert GROUP_COUNT_MAX == 100_000
    monkeypatch.setattr("pyromq.broker.groups.GROUP_COUNT_MAX", len(hand.broker.groups()[1]) + 1)
    put(hand, "First")
    assert "the most it takes" in refused(hand, "Second").remark
    with pytest.raises(GroupNotFound):
        hand.pull(consumer_group="Third")
    put(hand, "First", retry_max_times=1)


def test_a_deleted_group_keeps_or_loses_its_offsets(hand: BrokerInHand) -> None:
    hand.pull(commit_offset=QueueOffset(5))
    hand.run(hand.broker.delete_group("CG", is_offset_cleaned=False))
    assert "CG" not in hand.broker.groups()[1]
    assert hand.metadata.tables.offset("CG", "TopicTest", 0) == 5
    hand.run(hand.broker.delete_group("CG", is_offset_cleaned=True))
    assert hand.metadata.tables.offset("CG", "TopicTest", 0) == -1


def test_deleting_an_unknown_group_succeeds(hand: BrokerInHand) -> None:
    hand.run(hand.broker.delete_group("Nobody", is_offset_cleaned=True))


def test_asking_for_a_group_does_not_create_it(hand: BrokerInHand) -> None:
    assert hand.broker.group("Nobody") == GroupConfig(group_name="Nobody")
    assert "Nobody" not in hand.broker.groups()[1]


@pytest.mark.parametrize("name", ["", "a b", "x" * 200])
def test_a_group_that_cannot_be_is_not_found(hand: BrokerInHand, name: str) -> None:
    with pytest.raises(GroupNotFound) as error:
        hand.broker.group(name)
    assert error.value.remark.startswith("No group in this broker")


def test_without_creation_an_unknown_group_is_not_found() -> None:
    hand = BrokerInHand(auto_create_subscription_group=False)
    with pytest.raises(GroupNotFound):
        hand.broker.group("Nobody")
    assert hand.broker.group("CID_RMQ_SYS_ANY").group_name == "CID_RMQ_SYS_ANY"
