"""Long lists, in parts and in frames that clients accept."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyromq.domain.version import DataVersion
from pyromq.errors import RequestFailed
from pyromq.frontends.remoting.lists import LIST_SIZE_MAX, PART_COUNT_MAX, listed, part
from pyromq.wire.remoting.frame import FRAME_SIZE_MAX
from tests.support.broker_door import BrokerDoor

VERSION = DataVersion(7, 0, 1234)
VERSION_TEXT = '{"counter":7,"stateVersion":0,"timestamp":1234}'


def collected(table: Mapping[str, int], count_max: int) -> dict[str, int]:
    """As MQClientAPIImpl collects a table: it ends when all but one have come."""
    found: dict[str, int] = {}
    text = ""
    for _ in range(len(table) + 2):
        got = part(table, VERSION, begin=len(found), count_max=count_max, version_text=text)
        text = VERSION_TEXT
        found.update(got)
        if len(found) >= len(table) - 1:
            return found
    raise AssertionError("it never ends")


@given(st.integers(0, 60), st.integers(1, 12))
def test_apaches_client_gets_every_entry_whatever_the_size(size: int, count_max: int) -> None:
    table = {f"n{number}": number for number in range(size)}
    found = collected(table, count_max)
    assert found == table or size == 1  # with one entry it may end before it has asked
    assert list(found) == list(table)[: len(found)]


def test_who_does_not_ask_for_parts_gets_all() -> None:
    table = {f"n{number}": number for number in range(3 * PART_COUNT_MAX)}
    assert part(table, VERSION, begin=None, count_max=None, version_text=None) == table


@pytest.mark.parametrize("text", ["", None, "{}", "nonsense", VERSION_TEXT.replace("7", "8")])
def test_a_part_of_another_version_begins_anew(text: str | None) -> None:
    table = {f"n{number}": number for number in range(10)}
    got = part(table, VERSION, begin=4, count_max=2, version_text=text)
    assert list(got) == ["n0", "n1"]
    got = part(table, VERSION, begin=4, count_max=2, version_text=VERSION_TEXT)
    assert list(got) == ["n4", "n5"]


@pytest.mark.parametrize("count_max", [None, 0, -1, 10**9])
def test_a_part_has_one_entry_at_least_and_a_bound(count_max: int | None) -> None:
    table = {f"n{number}": number for number in range(3 * PART_COUNT_MAX)}
    got = part(table, VERSION, begin=-5, count_max=count_max, version_text="")
    assert len(got) == (1 if count_max == -1 else PART_COUNT_MAX)


def test_a_list_that_no_frame_carries_is_refused() -> None:
    assert len(listed(bytes(LIST_SIZE_MAX)).body) < FRAME_SIZE_MAX
    with pytest.raises(RequestFailed, match="more than the 16711680 that a frame carries"):
        listed(bytes(LIST_SIZE_MAX + 1))


def test_topics_and_groups_are_listed_in_parts() -> None:
    house = BrokerDoor()
    for number in range(5):
        house.hand.create_topic(f"Topic{number}")
    whole = json.loads(house.client.ask(21).body)["topicConfigTable"]
    answer = house.client.ask(21, {"topicSeq": "0", "maxTopicNum": "3", "dataVersion": ""})
    assert answer.ext["totalTopicNum"] == str(len(whole))
    body = json.loads(answer.body)
    assert len(body["topicConfigTable"]) == 3
    version = json.dumps(body["dataVersion"])
    rest = house.client.ask(21, {"topicSeq": "3", "maxTopicNum": "2000", "dataVersion": version})
    assert {**body["topicConfigTable"], **json.loads(rest.body)["topicConfigTable"]} == whole
    groups = json.loads(house.client.ask(201).body)["subscriptionGroupTable"]
    part_of_groups = house.client.ask(201, {"groupSeq": "0", "maxGroupNum": "2"})
    assert part_of_groups.ext["totalGroupNum"] == str(len(groups))
    assert len(json.loads(part_of_groups.body)["subscriptionGroupTable"]) == 2
