"""What a broker says to name servers, byte for byte where it matters."""

from __future__ import annotations

import asyncio
import threading
import zlib

import pytest

from pyromq.cluster import announcement
from pyromq.cluster.announcement import Announcement, Identity
from pyromq.config import BrokerConfig, Settings
from pyromq.domain.topic import TopicConfig
from pyromq.domain.version import DataVersion
from pyromq.wire.remoting.bodies import registration as bodies
from pyromq.wire.remoting.bodies.registration import decode_register_broker
from pyromq.wire.remoting.bodies.routes import decode_topic_route

IDENTITY = Identity("c", "a", 0, "127.0.0.1:10911", "127.0.0.1:10912")


class Said:
    """An announcement over topics that a test changes."""

    def __init__(self, *names: str, **config: int) -> None:
        self.version = DataVersion(1, 0, 7)
        self.table = {name: TopicConfig(topic_name=name, topic_sys_flag=1) for name in names}
        self.settings = Settings(BrokerConfig(**config))  # type: ignore[arg-type]
        self.made = Announcement(IDENTITY, self.settings, lambda: (self.version, self.table))


def topics_in(body: bytes) -> dict[str, TopicConfig]:
    read = decode_register_broker(body, compressed=False, broker_version=513)
    return read.topic_config_serialize_wrapper.topic_config_table


async def test_the_whole_table_is_encoded_once_per_version() -> None:
    said = Said("t", "u")
    first = await said.made.whole_body()
    assert topics_in(first) == said.table
    assert await said.made.whole_body() is first
    said.table["v"] = TopicConfig(topic_name="v")
    said.version = said.version.next(8)
    assert topics_in(await said.made.whole_body()) == said.table


async def test_a_large_table_is_encoded_beside_the_loop_once_for_all_who_ask(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(announcement, "INLINE_TOPICS_MAX", 2)
    threads: list[threading.Thread] = []

    def encode_and_note(body: bodies.RegisterBrokerBody) -> bytes:
        threads.append(threading.current_thread())
        return bodies.encode_register_broker(body)

    monkeypatch.setattr(announcement, "encode_register_broker", encode_and_note)
    said = Said("t", "u")
    first, second = await asyncio.gather(said.made.whole_body(), said.made.whole_body())
    assert first is second
    assert topics_in(first) == said.table
    assert len(threads) == 1
    assert threads[0] is not threading.main_thread()


def test_changes_are_the_named_topics_under_the_same_version() -> None:
    said = Said("t", "u", "v")
    body = said.made.changes_body(["u"])
    read = decode_register_broker(body, compressed=False, broker_version=513)
    wrapper = read.topic_config_serialize_wrapper
    assert wrapper.topic_config_table == {"u": said.table["u"]}
    assert wrapper.data_version == said.version


def test_the_header_says_who_and_the_checksum_of_the_body() -> None:
    ext = Said("t").made.register_ext(b"body")
    assert ext == {
        "brokerName": "a",
        "brokerAddr": "127.0.0.1:10911",
        "clusterName": "c",
        "brokerId": "0",
        "haServerAddr": "127.0.0.1:10912",
        "enableActingMaster": "false",
        "compressed": "false",
        "bodyCrc32": str(zlib.crc32(b"body") & 0x7FFFFFFF),
    }


def test_question_and_farewell_say_who() -> None:
    said = Said("t").made
    who = {
        "brokerName": "a",
        "brokerAddr": "127.0.0.1:10911",
        "clusterName": "c",
        "brokerId": "0",
    }
    assert said.query_ext() == who
    assert said.unregister_ext() == who


def test_a_single_topic_is_a_route() -> None:
    (queues,) = decode_topic_route(Said("t").made.route_body("t")).queue_datas
    assert (queues.broker_name, queues.perm, queues.topic_sys_flag) == ("a", 6, 1)


@pytest.mark.parametrize(("permission", "expected"), [(4, 4), (2, 2), (6, 6), (0, 0)])
async def test_a_topic_allows_no_more_than_its_broker(permission: int, expected: int) -> None:
    said = Said("t", "u", broker_permission=permission)
    table = topics_in(await said.made.whole_body())
    assert {config.perm for config in table.values()} == {expected}
    assert {config.topic_sys_flag for config in table.values()} == {1}
    (queues,) = decode_topic_route(said.made.route_body("t")).queue_datas
    assert queues.perm == expected


async def test_a_changed_permission_is_told_with_the_next_table() -> None:
    said = Said("t", "u")
    before = await said.made.whole_body()
    said.settings.replace(BrokerConfig(broker_permission=4))
    assert topics_in(await said.made.whole_body())["t"].perm == 4
    assert topics_in(before)["t"].perm == 6


def test_known_topics_are_told_from_those_that_went() -> None:
    said = Said("t", "u").made
    assert said.has_all([])
    assert said.has_all(["t", "u"])
    assert not said.has_all(["t", "gone"])
