"""Code 36 and what comes of it, frame in, frame out."""

from __future__ import annotations

import pytest

from tests.support.broker_door import BrokerDoor, Client, pull_ext
from tests.support.brokers import properties

FAQ = "\nSee https://rocketmq.apache.org/docs/bestPractice/06FAQ for further details."


@pytest.fixture
def client() -> Client:
    client = BrokerDoor().client
    client.beat("a", consumer_group="CG")
    client.send(properties(UNIQ_KEY="K"))
    return client


def back_ext(**changed: str) -> dict[str, str]:
    """The fields as Apache's client sends them."""
    return {
        "offset": "0", "group": "CG", "delayLevel": "0", "originMsgId": "K",
        "originTopic": "TopicTest", "unitMode": "false", "maxReconsumeTimes": "16",
        "bname": "broker-a", **changed,
    }  # fmt: skip


def test_a_message_given_back_is_answered_with_nothing_but_success(client: Client) -> None:
    answer = client.ask(36, back_ext())
    assert (answer.code, answer.remark, answer.ext, answer.body) == (0, None, {}, b"")


def test_a_message_given_up_can_be_read_as_dead_letter(client: Client) -> None:
    assert client.ask(36, back_ext(delayLevel="-1")).code == 0
    answer = client.ask(11, pull_ext(topic="%DLQ%CG"))
    assert answer.code == 0
    assert b"Hello" in answer.body


def test_fields_that_other_clients_leave_out_are_not_needed(client: Client) -> None:
    assert client.ask(36, {"offset": "0", "group": "CG", "delayLevel": "3"}).code == 0


@pytest.mark.parametrize(
    ("changed", "code", "remark"),
    [
        ({"offset": "7"}, 1, "look message by offset failed, 7"),
        ({"offset": "-1"}, 1, "look message by offset failed, -1"),
        ({"group": "no way"}, 26, "subscription group not exist, no way " + FAQ),
        ({"group": ""}, 26, "subscription group not exist,  " + FAQ),
    ],
)
def test_refusals_say_what_apaches_say(
    client: Client, changed: dict[str, str], code: int, remark: str
) -> None:
    answer = client.ask(36, back_ext(**changed))
    assert (answer.code, answer.remark) == (code, remark)


@pytest.mark.parametrize("field", ["offset", "group", "delayLevel"])
def test_a_missing_field_is_named(client: Client, field: str) -> None:
    ext = back_ext()
    del ext[field]
    answer = client.ask(36, ext)
    assert answer.code == 1
    assert f"<{field}>" in (answer.remark or "")


@pytest.mark.parametrize(
    ("field", "value"),
    [("offset", "x"), ("delayLevel", "99999999999"), ("maxReconsumeTimes", "1e40")],
)
def test_a_number_that_is_none_is_named(client: Client, field: str, value: str) -> None:
    answer = client.ask(36, back_ext(**{field: value}))
    assert answer.code == 1
    assert f"<{field}>" in (answer.remark or "")
