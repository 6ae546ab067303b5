"""The name server's table, frame in, frame out: what brokers, clients and tools get to see."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping

import pytest

from pyromq.config import NamesrvConfig, Settings
from pyromq.frontends.remoting import RemotingDoor, namesrv_table
from pyromq.namesrv.namesrv import NameServer
from pyromq.store.metadata import Metadata
from pyromq.turn import Turn
from pyromq.wire.remoting.frame import Command, encode
from tests.support.clock import ManualClock
from tests.support.connections import ManualTurns, MemoryOutput

FAQ = "\nSee https://rocketmq.apache.org/docs/bestPractice/06FAQ for further details."
BODY = (
    b'{"filterServerList":[],"topicConfigSerializeWrapper":{"dataVersion":{"counter":137,'
    b'"stateVersion":0,"timestamp":1795222713937},"mappingDataVersion":{"counter":0,'
    b'"stateVersion":0,"timestamp":1795222737729},"topicConfigTable":{"TopicTest":{"attributes":{},'
    b'"order":false,"perm":6,"readQueueNums":4,"topicFilterType":"SINGLE_TAG","topicName":'
    b'"TopicTest","topicSysFlag":0,"writeQueueNums":4},"TBW102":{"attributes":{},"order":false,'
    b'"perm":7,"readQueueNums":8,"topicFilterType":"SINGLE_TAG","topicName":"TBW102",'
    b'"topicSysFlag":0,"writeQueueNums":8}}}}'
)
"""A registration as captured from a 5.5.0 broker, cut down to two topics."""


class NamesrvDoor:
    """A name server, its door, and one connection to it."""

    def __init__(self, **config: bool) -> None:
        clock = ManualClock()
        self.turns = ManualTurns()
        turn = Turn(self.turns.call_soon)
        self.namesrv = NameServer(
            Settings(NamesrvConfig(**config)),  # type: ignore[arg-type]
            Metadata.in_memory(clock=clock),
            clock,
            request_end=turn.request_end,
        )
        self.door = RemotingDoor(
            "namesrv",
            namesrv_table(self.namesrv),
            turn,
            call_soon=self.turns.call_soon,
            call_later=self.turns.call_later,
            connection_lost=self.namesrv.connection_lost,
        )
        turn.set_stages([self.namesrv.end_turn, self.door.flush])
        self.output = MemoryOutput()
        self.connection = self.door.connect(self.output)

    def ask(
        self,
        code: int,
        ext: Mapping[str, str] | None = None,
        body: bytes = b"",
        *,
        version: int = 513,
    ) -> Command:
        command = Command.request(code, dict(ext or {}), body, opaque=1)
        command.version = version
        self.connection.receive(memoryview(encode(command)))
        self.turns.run()
        (answer,) = self.output.answers
        self.output.answers = []
        return answer

    def register(self, body: bytes = BODY, *, version: int = 513, **changed: str) -> Command:
        ext = {
            "brokerId": "0", "bodyCrc32": str(zlib.crc32(body) & 0x7FFF_FFFF),
            "clusterName": "DefaultCluster", "brokerAddr": "127.0.0.1:33911",
            "enableActingMaster": "false", "haServerAddr": "10.0.0.99:33922",
            "compressed": "false", "brokerName": "broker-a",
        }  # fmt: skip
        return self.ask(103, {**ext, **changed}, body, version=version)


@pytest.fixture
def it() -> NamesrvDoor:
    return NamesrvDoor()


def test_a_registered_broker_is_in_the_route(it: NamesrvDoor) -> None:
    answer = it.register()
    assert (answer.code, answer.ext, answer.body) == (0, {}, b"")
    route = it.ask(105, {"topic": "TopicTest"})
    assert route.body == (
        b'{"brokerDatas":[{"brokerAddrs":{"0":"127.0.0.1:33911"},"brokerName":"broker-a",'
        b'"cluster":"DefaultCluster","enableActingMaster":false}],"filterServerTable":{},'
        b'"queueDatas":[{"brokerName":"broker-a","perm":6,"readQueueNums":4,"topicSysFlag":0,'
        b'"writeQueueNums":4}]}'
    )


@pytest.mark.parametrize(
    ("version", "ext", "key"),
    [
        (400, {}, b"{0:"),
        (401, {}, b'{"0":'),
        (0, {"acceptStandardJsonOnly": "true"}, b'{"0":'),
        (0, {"acceptStandardJsonOnly": "false"}, b"{0:"),
    ],
)
def test_old_clients_get_the_old_json(
    it: NamesrvDoor, version: int, ext: dict[str, str], key: bytes
) -> None:
    it.register()
    route = it.ask(105, {"topic": "TopicTest", **ext}, version=version)
    assert b'"brokerAddrs":' + key + b'"127.0.0.1:33911"' in route.body.replace(b": ", b":")


def test_a_topic_without_route_is_refused_with_apaches_text(it: NamesrvDoor) -> None:
    answer = it.ask(105, {"topic": "nope"})
    assert (answer.code, answer.remark) == (
        17,
        "No topic route info in name server for the topic: nope" + FAQ,
    )


def test_the_cluster_is_shown(it: NamesrvDoor) -> None:
    it.register()
    assert it.ask(106).body == (
        b'{"brokerAddrTable":{"broker-a":{"brokerAddrs":{0:"127.0.0.1:33911"},"brokerName":'
        b'"broker-a","cluster":"DefaultCluster","enableActingMaster":false}},"clusterAddrTable":'
        b'{"DefaultCluster":["broker-a"]}}'
    )


def test_a_body_that_does_not_match_its_sum_is_refused(it: NamesrvDoor) -> None:
    answer = it.register(bodyCrc32="12345")
    assert (answer.code, answer.remark) == (1, "crc32 not match")
    assert it.register(bodyCrc32="0").code == 0


def test_a_compressed_registration_is_read(it: NamesrvDoor) -> None:
    def part(data: bytes) -> bytes:
        return len(data).to_bytes(4) + data

    plain = (
        part(b'{"counter":1,"stateVersion":0,"timestamp":2}')
        + (2).to_bytes(4)
        + part(b"Squeezed 3 3 6 SINGLE_TAG")
        + part(b'Other 1 1 6 SINGLE_TAG {"message.type":"FIFO"}')
        + part(b"[]")
        + (0).to_bytes(4)
    )
    assert it.register(zlib.compress(plain, 9), compressed="true").code == 0
    route = json.loads(it.ask(105, {"topic": "Squeezed"}).body)
    assert route["queueDatas"][0]["readQueueNums"] == 3


def test_a_registration_without_body_has_no_topics(it: NamesrvDoor) -> None:
    assert it.register(b"", bodyCrc32="0").code == 0
    assert it.ask(105, {"topic": "TopicTest"}).code == 17
    assert b'"clusterAddrTable":{"DefaultCluster":["broker-a"]}' in it.ask(106).body


def test_a_broker_older_than_the_body_is_refused(it: NamesrvDoor) -> None:
    answer = it.register(version=36)
    assert answer.code == 1
    assert answer.remark is not None
    assert "36" in answer.remark


def test_a_broker_leaves_by_farewell_or_with_its_connection(it: NamesrvDoor) -> None:
    it.register()
    farewell = {
        "brokerId": "0", "clusterName": "DefaultCluster", "brokerAddr": "127.0.0.1:33911",
        "brokerName": "broker-a",
    }  # fmt: skip
    assert it.ask(104, farewell).code == 0
    assert it.ask(105, {"topic": "TopicTest"}).code == 17
    it.register()
    assert it.ask(105, {"topic": "TopicTest"}).code == 0
    it.connection.closed("lost")
    it.connection = it.door.connect(it.output)
    assert it.ask(105, {"topic": "TopicTest"}).code == 17


def test_a_known_data_version_needs_no_registration(it: NamesrvDoor) -> None:
    it.register()
    who = {
        "brokerId": "0", "clusterName": "DefaultCluster", "brokerAddr": "127.0.0.1:33911",
        "brokerName": "broker-a",
    }  # fmt: skip
    version = b'{"counter":137,"stateVersion":0,"timestamp":1795222713937}'
    known = it.ask(322, who, version)
    assert (known.code, known.ext, known.body) == (0, {"changed": "false"}, version)
    changed = it.ask(322, who, version.replace(b"137", b"138"))
    assert (changed.ext, changed.body) == ({"changed": "true"}, version)


def test_a_heartbeat_and_the_members_of_a_group(it: NamesrvDoor) -> None:
    it.register()
    who = {"clusterName": "DefaultCluster", "brokerAddr": "127.0.0.1:33911"}
    assert it.ask(904, {**who, "brokerName": "broker-a"}).code == 0
    members = it.ask(901, {"clusterName": "DefaultCluster", "brokerName": "broker-a"})
    assert members.body == (
        b'{"brokerMemberGroup":{"brokerAddrs":{0:"127.0.0.1:33911"},"brokerName":"broker-a",'
        b'"cluster":"DefaultCluster"}}'
    )


def test_topic_lists(it: NamesrvDoor) -> None:
    it.register()
    assert it.ask(206).body == b'{"topicList":["TopicTest","TBW102"]}'
    of_cluster = json.loads(it.ask(224, {"cluster": "DefaultCluster"}).body)
    assert sorted(of_cluster["topicList"]) == ["TBW102", "TopicTest"]
    assert json.loads(it.ask(304).body) == {
        "brokerAddr": "127.0.0.1:33911",
        "topicList": ["DefaultCluster", "broker-a"],
    }
    for code in (311, 312, 313):
        assert it.ask(code).body == b'{"topicList":[]}'


def test_topic_lists_may_be_switched_off() -> None:
    it = NamesrvDoor(enable_topic_list=False, enable_all_topic_list=False)
    for code in (206, 224, 311, 312, 313):
        answer = it.ask(code, {"cluster": "DefaultCluster"})
        assert (answer.code, answer.remark) == (1, "disable")


def test_write_permission_is_wiped_and_given_back(it: NamesrvDoor) -> None:
    it.register()
    assert it.ask(205, {"brokerName": "broker-a"}).ext == {"wipeTopicCount": "2"}
    route = json.loads(it.ask(105, {"topic": "TopicTest"}).body)
    assert route["queueDatas"][0]["perm"] == 4
    assert it.ask(327, {"brokerName": "broker-a"}).ext == {"addTopicCount": "2"}
    route = json.loads(it.ask(105, {"topic": "TopicTest"}).body)
    assert route["queueDatas"][0]["perm"] == 6


def test_one_topic_is_registered_and_deleted(it: NamesrvDoor) -> None:
    it.register()
    queues = (
        b'{"queueDatas":[{"brokerName":"broker-a","perm":6,"readQueueNums":1,"topicSysFlag":0,'
        b'"writeQueueNums":1}]}'
    )
    assert it.ask(217, {"topic": "Single"}, queues).code == 0
    assert it.ask(105, {"topic": "Single"}).code == 0
    assert it.ask(216, {"topic": "Single", "clusterName": "DefaultCluster"}).code == 0
    assert it.ask(105, {"topic": "Single"}).code == 17
    assert it.ask(216, {"topic": "TopicTest"}).code == 0
    assert it.ask(105, {"topic": "TopicTest"}).code == 17


def test_key_values_are_put_answered_listed_and_deleted(it: NamesrvDoor) -> None:
    where = {"namespace": "ORDER_TOPIC_CONFIG", "key": "TopicTest"}
    missing = it.ask(101, where)
    assert (missing.code, missing.remark) == (
        22,
        "No config item, Namespace: ORDER_TOPIC_CONFIG Key: TopicTest",
    )
    assert it.ask(100, {**where, "value": "broker-a:4"}).code == 0
    assert it.ask(101, where).ext == {"value": "broker-a:4"}
    assert it.ask(219, where).body == b'{"table":{"TopicTest":"broker-a:4"}}'
    assert it.register().body == b'{"table":{"TopicTest":"broker-a:4"}}'
    assert it.ask(102, where).code == 0
    assert it.ask(101, where).code == 22
    nothing = it.ask(219, {"namespace": "other"})
    assert (nothing.code, nothing.remark) == (22, "No config item, Namespace: other")


@pytest.mark.parametrize(
    ("code", "ext", "body", "word"),
    [
        (103, {"brokerName": "b"}, b"", "is null"),
        (105, {}, b"", "topic"),
        (322, {}, b"", "is null"),
        (217, {"topic": "T"}, b"{", "TopicRouteData"),
        (101, {"namespace": "n"}, b"", "key"),
    ],
)
def test_bad_requests_are_refused_with_what_is_wrong(
    it: NamesrvDoor, code: int, ext: dict[str, str], body: bytes, word: str
) -> None:
    answer = it.ask(code, ext, body)
    assert answer.code == 1
    assert answer.remark is not None
    assert word in answer.remark


@pytest.mark.parametrize("body", [b"{", b"[]", b"\x00\xff", b'{"topicConfigSerializeWrapper":[]}'])
def test_a_registration_that_cannot_be_read_changes_nothing(it: NamesrvDoor, body: bytes) -> None:
    answer = it.register(body)
    assert answer.code == 1
    assert b'"clusterAddrTable":{}' in it.ask(106).body


def test_broker_codes_are_not_the_name_servers_business(it: NamesrvDoor) -> None:
    answer = it.ask(310)
    assert (answer.code, answer.remark) == (3, " request type 310 not supported")
