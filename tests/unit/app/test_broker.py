"""What a broker's process hands to its store and its doors."""

from __future__ import annotations

from pathlib import Path

import pytest

from pyromq.app.broker import BrokerPart
from pyromq.app.house import House
from pyromq.app.kept_settings import KeptSettings
from pyromq.app.settings import engine_settings
from pyromq.config import BrokerConfig, RemotingConfig, StoreConfig
from tests.support.brokers import STORE_HOST


def test_a_smaller_message_size_does_not_shut_out_what_is_stored_already() -> None:
    largest = StoreConfig(max_message_size_bytes=512 << 20).max_message_size_bytes
    now = engine_settings(StoreConfig(max_message_size_bytes=1_000), STORE_HOST)
    assert now.message_size_max >= largest


@pytest.mark.parametrize("is_on", [True, False])
async def test_the_express_lane_can_be_switched_off(tmp_path: Path, is_on: bool) -> None:
    house = House(RemotingConfig())
    config = BrokerConfig(listen_port=0, express_lane=is_on)
    keeper = KeptSettings(tmp_path / "settings.properties", is_given=False, overrides={})
    part = BrokerPart(house, config, StoreConfig(store_path_root_dir=str(tmp_path)), keeper)
    part.bind()
    part.open()
    house.turn.set_stages(part.stages())
    part.prepare()
    assert part.door.has_lane is is_on
    await house.transport.stop(0)
    await part.close()
