"""Properties of logs."""

from __future__ import annotations

import pytest

from pyromq.config import LogFormat, LogLevel, ObserveConfig, load, set_source
from pyromq.errors import ConfigInvalid


def test_logs_are_for_people_by_default() -> None:
    assert ObserveConfig() == load(ObserveConfig, [])
    assert (ObserveConfig().log_level, ObserveConfig().log_format) == (
        LogLevel.INFO,
        LogFormat.TEXT,
    )


def test_level_and_format_are_chosen_by_name() -> None:
    config = load(ObserveConfig, [set_source(["logLevel=DEBUG", "logFormat=JSON"])])
    assert (config.log_level, config.log_format) == (LogLevel.DEBUG, LogFormat.JSON)
    with pytest.raises(ConfigInvalid, match=r"^logLevel='LOUD' .*: DEBUG, INFO, WARN, ERROR$"):
        load(ObserveConfig, [set_source(["logLevel=LOUD"])])
