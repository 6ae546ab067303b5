"""Codes 41 and 42, frame in, frame out."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.broker_door import BrokerDoor, Client


@pytest.fixture
def client() -> Client:
    client = BrokerDoor().client
    client.beat("a", consumer_group="CG")
    return client


def batch(client_id: str, *queue_ids: int, **changed: Any) -> bytes:
    queues = [
        {"brokerName": "broker-a", "queueId": queue_id, "topic": "TopicTest"}
        for queue_id in queue_ids
    ]
    body = {"clientId": client_id, "consumerGroup": "CG", "mqSet": queues, "onlyThisBroker": False}
    return json.dumps({**body, **changed}).encode()


def test_a_lock_is_answered_with_the_queues_that_were_locked(client: Client) -> None:
    answer = client.ask(41, body=batch("a", 2))
    assert (answer.code, answer.remark, answer.ext) == (0, None, {})
    assert answer.body == (
        b'{"lockOKMQSet":[{"brokerName":"broker-a","queueId":2,"topic":"TopicTest"}]}'
    )
    assert client.ask(41, body=batch("b", 2)).body == b'{"lockOKMQSet":[]}'


def test_an_unlock_is_answered_with_success_whoever_asks(client: Client) -> None:
    client.ask(41, body=batch("a", 2))
    for client_id in ("b", "a"):
        answer = client.ask(42, body=batch(client_id, 2))
        assert (answer.code, answer.ext, answer.body) == (0, {}, b"")
    assert b'"queueId":2' in client.ask(41, body=batch("b", 2)).body


@pytest.mark.parametrize(
    ("body", "code", "remark"),
    [
        (batch("", 0), 29, "clientId[] is illegal, 1 to 1024 characters are accepted"),
        (batch("a", 0, clientId=None), 29, "clientId[] is illegal, 1 to 1024 characters"),
        (batch("a", 0, consumerGroup=None), 29, "consumerGroup is blank"),
        (batch("a", *range(10_000)), 29, "mqSet has 10000 queues, at most 8192 are accepted"),
        (b"not json", 1, "LockBatchRequestBody body: "),
        (b"", 1, "LockBatchRequestBody body: "),
    ],
)
@pytest.mark.parametrize("code_asked", [41, 42])
def test_nonsense_is_refused_by_name(
    client: Client, code_asked: int, body: bytes, code: int, remark: str
) -> None:
    answer = client.ask(code_asked, body=body)
    assert answer.code == code
    assert (answer.remark or "").startswith(remark)


def test_a_lock_of_an_unknown_group_is_refused_and_an_unlock_is_not(client: Client) -> None:
    body = batch("a", 0, consumerGroup="Nobody")
    assert client.ask(41, body=body).code == 26
    assert client.ask(42, body=body).code == 0
