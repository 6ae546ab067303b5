"""Delay levels through the door: answers as those of a live Apache broker 5.5.0."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pyromq.domain.version import DataVersion
from tests.support.broker_door import BrokerDoor, Client, pull_ext, send_ext
from tests.support.brokers import properties

VECTORS = Path(__file__).parents[3] / "vectors/remoting"
SEND, PULL, RUNTIME_INFO, DELAY_OFFSETS = 310, 11, 28, 45


@pytest.fixture
def it() -> BrokerDoor:
    return BrokerDoor()


@pytest.fixture
def client(it: BrokerDoor) -> Client:
    return it.client


def later(level: object) -> str:
    return properties(UNIQ_KEY="ID1", DELAY=str(level))


def delay_info(client: Client) -> dict[str, str]:
    table: dict[str, str] = json.loads(client.ask(RUNTIME_INFO).body)["table"]
    return {key: value for key, value in table.items() if key.startswith("schedule")}


def test_a_delayed_send_is_answered_with_its_own_queue_and_the_waiting_queues_offset(
    client: Client,
) -> None:
    client.ask(SEND, send_ext(e="2", i=later(1)), b"Hello")
    answer = client.ask(SEND, send_ext(e="3", i=later(1)), b"Hello")
    assert (answer.code, answer.remark) == (0, None)
    assert (answer.ext["queueId"], answer.ext["queueOffset"]) == ("3", "1")
    assert answer.ext["transactionId"] == "ID1"


@pytest.mark.parametrize("level", ["abc", " 1", "99999999999"])
def test_a_level_that_is_no_number_is_refused(client: Client, level: str) -> None:
    answer = client.ask(SEND, send_ext(i=later(level)), b"Hello")
    assert (answer.code, answer.remark) == (13, f"the property DELAY is no number: '{level}'")


def test_nobody_sends_to_the_schedule_topic_itself(client: Client) -> None:
    answer = client.ask(SEND, send_ext(b="SCHEDULE_TOPIC_XXXX", i=later(1)), b"Hello")
    assert (answer.code, answer.remark) == (
        16,
        "Sending message to topic[SCHEDULE_TOPIC_XXXX] is forbidden.",
    )


def test_a_delivered_message_is_pulled_from_its_queue(it: BrokerDoor, client: Client) -> None:
    client.ask(SEND, send_ext(e="2", i=later(1)), b"Hello")
    assert client.ask(PULL, pull_ext(queueId="2", suspendTimeoutMillis="0")).code == 19
    it.hand.advance(1_000)
    answer = client.ask(PULL, pull_ext(queueId="2"))
    assert answer.code == 0
    assert b"Hello" in answer.body


def test_a_broker_without_delays_answers_code_45_as_apaches_did(
    it: BrokerDoor, client: Client
) -> None:
    it.hand.metadata.tables.delay_offsets_version = DataVersion(0, 0, 1_795_231_573_972)
    captured = (VECTORS / "probe-45-get_all_delay_offset-ok.answer.bin").read_bytes()
    answer = client.ask(DELAY_OFFSETS)
    assert (answer.code, answer.remark, answer.ext) == (0, None, {})
    assert captured.endswith(answer.body)
    assert answer.body.startswith(b'{"dataVersion"')


def test_progress_is_told_by_level(it: BrokerDoor, client: Client) -> None:
    assert delay_info(client) == {}
    for level in (1, 1, 18):
        client.ask(SEND, send_ext(i=later(level)), b"Hello")
    it.hand.advance(1_000)
    it.hand.flush()
    assert delay_info(client) == {
        "scheduleMessageOffset_1": "2,2",
        "scheduleMessageOffset_18": "0,1",
    }
    assert client.ask(DELAY_OFFSETS).body.endswith(b'"offsetTable":{1:2,18:0}}')
