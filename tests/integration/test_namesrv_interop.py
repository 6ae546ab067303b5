"""Name servers and brokers of both makes together, an Apache client going through them.

With `--peer apache` our part is played by Apache's, which checks the test itself.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.support.apache import ApacheBroker
from tests.support.foreign import ForeignFailed, JavaSession
from tests.support.messages import Sent, assert_all_received, assert_all_sent, send_words
from tests.support.peers import Kind, running_broker, running_namesrv
from tests.support.processes import ask, await_answer, retries
from tests.support.pyromq_server import PyromqServer

pytestmark = [
    pytest.mark.foreign,
    pytest.mark.timeout(120),
    pytest.mark.usefixtures("java_program"),
]

ROUTE, CLUSTER, TOPICS, TOPICS_OF_CLUSTER = 105, 106, 206, 224
KV_OF_NAMESPACE, PUT_KV = 219, 100
TAGS = ("TagA", "TagB")
COUNT = 1000


def address_of(broker: ApacheBroker | PyromqServer) -> str:
    return broker.address if isinstance(broker, ApacheBroker) else broker.broker


def assert_a_client_goes_through(namesrv: str, broker_address: str) -> None:
    """Routes point to the broker; a Java client creates a topic, sends and consumes there."""
    with JavaSession(namesrv) as java:
        cluster = java.one("admin", "cluster")
        assert cluster["clusters"] == {"DefaultCluster": ["broker-a"]}
        assert cluster["brokers"]["broker-a"]["addresses"] == {"0": broker_address}
        java.run("admin", "topic-create", "--topic", "through", "--queues", 4)
        result = java.one(*send_words("through", "sync", COUNT, TAGS))
        sent = Sent("through", "sync", COUNT, TAGS, result)
        assert_all_sent(sent)
        for way in ("push", "pull"):
            words = ("--topic", "through", "--group", f"g-{way}", "--expect", COUNT)
            assert_all_received(java.one(f"consume-{way}", *words), sent)
        # A topic that the client itself brings into being: the broker tells the name server.
        automatic = java.one(*send_words("automatic", "sync", 40, TAGS))
        assert_all_sent(Sent("automatic", "sync", 40, TAGS, automatic))
        words = ("--topic", "automatic", "--group", "g-automatic", "--expect", 40)
        assert java.one("consume-push", *words)["distinct"] == 40


def test_an_apache_client_goes_through_an_apache_broker_registered_with_our_name_server(
    peer_kind: Kind, tmp_path: Path
) -> None:
    with (
        running_namesrv(peer_kind, tmp_path) as namesrv,
        running_broker("apache", tmp_path, namesrv=namesrv) as broker,
    ):
        assert_a_client_goes_through(namesrv, address_of(broker))


def test_an_apache_client_goes_through_our_broker_registered_with_apaches_name_server(
    peer_kind: Kind, tmp_path: Path
) -> None:
    with (
        running_namesrv("apache", tmp_path) as namesrv,
        running_broker(peer_kind, tmp_path, namesrv=namesrv) as broker,
    ):
        assert_a_client_goes_through(namesrv, address_of(broker))


def test_brokers_of_both_makes_share_one_name_server_and_one_topic(
    peer_kind: Kind, tmp_path: Path
) -> None:
    with (
        running_namesrv(peer_kind, tmp_path) as namesrv,
        running_broker("apache", tmp_path, namesrv=namesrv, name="broker-a") as apache,
        running_broker(peer_kind, tmp_path, namesrv=namesrv, name="broker-b") as ours,
        JavaSession(namesrv) as java,
    ):
        for broker in (apache, ours):
            create = ("--topic", "shared", "--queues", 2, "--broker", address_of(broker))
            java.run("admin", "topic-create", *create)
        await_answer(namesrv, ROUTE, {"topic": "shared"}, containing=b"broker-b")
        result = java.one(*send_words("shared", "sync", 400, TAGS))
        assert result["statuses"] == {"SEND_OK": 400}
        words = ("--topic", "shared", "--group", "g-shared", "--expect", 400, "--timeout", 60)
        received = java.one("consume-push", *words)
        assert_all_received(received, Sent("shared", "sync", 400, TAGS, result))
        rows = java.one("offsets", "--topic", "shared")["queues"]
        assert {row["broker"]: row["max"] for row in rows} == {"broker-a": 100, "broker-b": 100}


@pytest.mark.parametrize("make", ["apache", "ours"])
def test_the_route_to_a_killed_broker_disappears_and_comes_back_with_it(
    make: Kind, peer_kind: Kind, tmp_path: Path
) -> None:
    kind: Kind = "apache" if make == "apache" else peer_kind
    with running_namesrv("apache" if make == "ours" else peer_kind, tmp_path) as namesrv:
        with running_broker(kind, tmp_path, namesrv=namesrv) as broker:
            await_answer(namesrv, ROUTE, {"topic": "TBW102"}, containing=b"broker-a")
            broker.kill()
        for _ in retries(20):
            if ask(namesrv, ROUTE, {"topic": "TBW102"}).code == 17:
                break
        assert ask(namesrv, ROUTE, {"topic": "TBW102"}).code == 17
        assert b"broker-a" not in ask(namesrv, CLUSTER).body
        with running_broker(kind, tmp_path, namesrv=namesrv):
            await_answer(namesrv, ROUTE, {"topic": "TBW102"}, containing=b"broker-a")


def test_both_name_servers_say_the_same_about_the_same_brokers(
    peer_kind: Kind, tmp_path: Path
) -> None:
    """Two brokers register with Apache's name server and with ours: all answers are the same."""
    (tmp_path / "first").mkdir()
    (tmp_path / "second").mkdir()
    with (
        running_namesrv("apache", tmp_path / "first") as theirs,
        running_namesrv(peer_kind, tmp_path / "second") as ours,
        running_broker("apache", tmp_path, namesrv=f"{theirs};{ours}", name="broker-a") as first,
        running_broker(peer_kind, tmp_path, namesrv=f"{theirs};{ours}", name="broker-b") as second,
        JavaSession(theirs) as java,
    ):
        for broker, name in ((first, b"broker-a"), (second, b"broker-b")):
            words = ("--topic", "both", "--queues", 3, "--broker", address_of(broker))
            java.run("admin", "topic-create", *words)
            for namesrv in (theirs, ours):
                await_answer(namesrv, ROUTE, {"topic": "both"}, containing=b'"' + name + b'"')
        for namesrv in (theirs, ours):
            ask(namesrv, PUT_KV, {"namespace": "N", "key": "k", "value": "v"})
        for code, fields in (
            (ROUTE, {"topic": "both"}),
            (ROUTE, {"topic": "TBW102"}),
            (ROUTE, {"topic": "SELF_TEST_TOPIC", "acceptStandardJsonOnly": "true"}),
            (ROUTE, {"topic": "unknown"}),
            (CLUSTER, {}),
            (TOPICS, {}),
            (TOPICS_OF_CLUSTER, {"cluster": "DefaultCluster"}),
            (KV_OF_NAMESPACE, {"namespace": "N"}),
            (KV_OF_NAMESPACE, {"namespace": "unknown"}),
            (99_999, {}),
        ):
            for version in (513, 401, 395):
                expected = ask(theirs, code, fields, version=version)
                actual = ask(ours, code, fields, version=version)
                assert (actual.code, actual.remark) == (expected.code, expected.remark)
                assert is_plain(actual.body) == is_plain(expected.body), (code, version)
                assert meaning(actual.body) == meaning(expected.body), (code, version)


def is_plain(body: bytes) -> bool:
    """Whether integer keys stand without quotes, the older JSON dialect."""
    return re.search(rb"[{,]\d+:", body) is not None


def meaning(body: bytes) -> Any:
    """What a body says: JSON of either dialect, the order of members and lists aside."""
    if not body:
        return None
    return unordered(json.loads(re.sub(rb"([{,])(\d+):", rb'\1"\2":', body)))


def unordered(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: unordered(member) for name, member in value.items()}
    if isinstance(value, list):
        return sorted((unordered(item) for item in value), key=json.dumps)
    return value


def test_a_client_finds_nothing_where_no_broker_is(peer_kind: Kind, tmp_path: Path) -> None:
    with running_namesrv(peer_kind, tmp_path) as namesrv, JavaSession(namesrv) as java:
        assert java.one("admin", "cluster") == {
            "client": java.one("version")["client"],
            "brokers": {},
            "clusters": {},
        }
        with pytest.raises(ForeignFailed, match="No route info of this topic"):
            java.run(*send_words("nowhere", "sync", 1, TAGS))
