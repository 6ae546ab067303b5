"""Properties of a broker."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pyromq.config import BrokerConfig, Settings
from pyromq.errors import ConfigInvalid


def test_defaults_are_those_users_know() -> None:
    config = BrokerConfig()
    assert (config.broker_name, config.broker_cluster_name) == ("broker-a", "DefaultCluster")
    assert (config.broker_id, config.listen_port, config.broker_permission) == (0, 10911, 6)
    assert config.auto_create_topic_enable
    assert config.auto_create_subscription_group
    assert config.default_topic_queue_nums == 8
    assert config.namesrv_addresses == ()


@pytest.mark.parametrize(
    ("period_ms", "expected_ms"),
    [(0, 10_000), (10_000, 10_000), (30_000, 30_000), (60_000, 60_000), (10**9, 60_000)],
)
def test_the_registration_period_stays_within_apaches_bounds(
    period_ms: int, expected_ms: int
) -> None:
    config = BrokerConfig(register_name_server_period_ms=period_ms)
    assert config.registration_period_ms == expected_ms


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("brokerName", BrokerConfig(broker_name="")),
        ("brokerName", BrokerConfig(broker_name="../x")),
        ("brokerName", BrokerConfig(broker_name="a" * 128)),
        ("brokerClusterName", BrokerConfig(broker_cluster_name="a b")),
        ("brokerIP1", BrokerConfig(broker_ip1="10.0.0.1 10.0.0.2")),
        ("brokerIP2", BrokerConfig(broker_ip2="a/b")),
        ("namesrvAddr", BrokerConfig(namesrv_addr="127.0.0.1")),
        ("namesrvAddr", BrokerConfig(namesrv_addr="127.0.0.1:9876,127.0.0.1:9877")),
        ("brokerPermission", BrokerConfig(broker_permission=8)),
        ("defaultTopicQueueNums", BrokerConfig(default_topic_queue_nums=0)),
        ("brokerId", BrokerConfig(broker_id=-1)),
        ("listenPort", BrokerConfig(listen_port=65_536)),
    ],
)
def test_a_value_that_cannot_be_taken_is_refused_by_name(name: str, config: BrokerConfig) -> None:
    with pytest.raises(ConfigInvalid, match=f"^{name}="):
        config.validate(lambda _name: "test")


def test_a_configuration_can_be_changed_only_as_a_whole() -> None:
    config = BrokerConfig()
    with pytest.raises(AttributeError):
        config.broker_name = "b"  # type: ignore[misc]  # frozen
    assert Settings(replace(config, broker_name="b")).current.broker_name == "b"
