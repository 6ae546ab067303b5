"""The cell that holds one valid snapshot."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pyromq.config import BrokerConfig, Settings
from pyromq.errors import ConfigInvalid


def test_a_change_swaps_the_snapshot_and_tells_the_listeners() -> None:
    cell = Settings(BrokerConfig())
    seen: list[tuple[int, int]] = []
    cell.on_change(lambda old, new: seen.append((old.broker_permission, new.broker_permission)))
    cell.replace(replace(cell.current, broker_permission=4))
    assert cell.current.broker_permission == 4
    assert seen == [(6, 4)]


def test_an_invalid_change_changes_nothing_and_tells_nobody() -> None:
    cell = Settings(BrokerConfig())
    seen: list[object] = []
    cell.on_change(lambda old, new: seen.append((old, new)))
    with pytest.raises(ConfigInvalid, match=r"brokerPermission='9' \(update by admin\)"):
        cell.replace(replace(cell.current, broker_permission=9), "update by admin")
    assert cell.current == BrokerConfig()
    assert seen == []


def test_an_invalid_first_snapshot_is_refused() -> None:
    with pytest.raises(ConfigInvalid):
        Settings(BrokerConfig(listen_port=-1))


def test_a_listener_taken_back_hears_nothing_more() -> None:
    cell = Settings(BrokerConfig())
    seen: list[object] = []
    undo = cell.on_change(lambda old, new: seen.append((old, new)))
    undo()
    cell.replace(BrokerConfig(broker_name="b"))
    assert seen == []


def test_a_listener_sees_the_new_snapshot_in_the_cell() -> None:
    cell = Settings(BrokerConfig())
    seen: list[bool] = []
    cell.on_change(lambda _old, new: seen.append(cell.current is new))
    cell.replace(BrokerConfig(broker_name="b"))
    assert seen == [True]
