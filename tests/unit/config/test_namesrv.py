"""Properties of the name server."""

from __future__ import annotations

from pathlib import Path

import pytest

from pyromq.config import NamesrvConfig
from pyromq.errors import ConfigInvalid


def test_defaults_are_those_users_know() -> None:
    config = NamesrvConfig()
    assert config.listen_port == 9876
    assert config.scan_not_active_broker_interval_ms == 5_000
    assert config.enable_all_topic_list
    assert config.enable_topic_list
    assert config.return_order_topic_config_to_broker
    assert not config.order_message_enable
    assert not config.support_acting_master
    assert not config.need_wait_for_service


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("listenPort", NamesrvConfig(listen_port=65_536)),
        ("scanNotActiveBrokerInterval", NamesrvConfig(scan_not_active_broker_interval_ms=0)),
        ("kvValueSizeMax", NamesrvConfig(kv_value_size_max=0)),
        ("routeCountMax", NamesrvConfig(route_count_max=0)),
        ("kvConfigPath", NamesrvConfig(kv_config_path="/data/other.json")),
    ],
)
def test_a_value_out_of_bounds_is_refused_by_name(name: str, config: NamesrvConfig) -> None:
    with pytest.raises(ConfigInvalid, match=f"^{name}="):
        config.validate(lambda _name: "test")


def test_the_kv_configuration_lies_beside_its_file() -> None:
    assert NamesrvConfig().kv_root(Path("/d")) == Path("/d/namesrv")
    config = NamesrvConfig(kv_config_path="/home/u/namesrv/kvConfig.json")
    config.validate(lambda _name: "test")
    assert config.kv_root(Path("/d")) == Path("/home/u/namesrv")
