"""What is remembered of a broker and of its group."""

from __future__ import annotations

from pyromq.namesrv.brokers import SILENCE_MS_MAX, BrokerGroup, LiveBroker
from tests.unit.namesrv.builders import registration


def test_silence_is_measured_from_the_last_sign() -> None:
    live = LiveBroker(registration(), 1, 500)
    assert not live.is_silent(500 + SILENCE_MS_MAX)
    assert live.is_silent(501 + SILENCE_MS_MAX)
    live.last_sign_ms = 1_000
    assert not live.is_silent(501 + SILENCE_MS_MAX)


def test_a_broker_may_be_due_at_once() -> None:
    live = LiveBroker(registration(heartbeat_timeout_ms=0), 1, 500)
    assert not live.is_silent(500)
    assert live.is_silent(501)


def test_a_group_shows_its_members_in_order() -> None:
    empty, group = BrokerGroup("c", "a"), BrokerGroup("c", "a")
    assert empty.min_broker_id is None
    assert not empty.has_master
    group.addrs = {2: "h:2", 1: "h:1"}
    group.zone_name = "z"
    group.enable_acting_master = True
    assert [group.min_broker_id, group.has_master] == [1, False]
    data = group.data()
    assert list(data.broker_addrs.items()) == [(1, "h:1"), (2, "h:2")]
    assert (data.cluster, data.broker_name) == ("c", "a")
    assert (data.zone_name, data.enable_acting_master) == ("z", True)
    group.addrs[0] = "h:0"
    assert [group.has_master, 0 in data.broker_addrs] == [True, False]


def test_only_id_zero_is_the_master() -> None:
    assert registration(broker_id=0).is_master
    assert not registration(broker_id=1).is_master
    assert not registration(broker_id=-1).is_master
