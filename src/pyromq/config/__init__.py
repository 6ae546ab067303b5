"""Typed settings under RocketMQ's property names: declared once, read from everywhere, checked."""

from pyromq.config.broker import BrokerConfig
from pyromq.config.frontends import RemotingConfig, defaults_for
from pyromq.config.namesrv import NamesrvConfig
from pyromq.config.observe import LogFormat, LogLevel, ObserveConfig
from pyromq.config.settings import Settings
from pyromq.config.sources import (
    Leftover,
    Source,
    environment_source,
    file_source,
    leftover_lines,
    leftovers,
    load,
    namesrv_source,
    set_source,
)
from pyromq.config.store import BrokerRole, FlushDiskType, StoreConfig

__all__ = [
    "BrokerConfig",
    "BrokerRole",
    "FlushDiskType",
    "Leftover",
    "LogFormat",
    "LogLevel",
    "NamesrvConfig",
    "ObserveConfig",
    "RemotingConfig",
    "Settings",
    "Source",
    "StoreConfig",
    "defaults_for",
    "environment_source",
    "file_source",
    "leftover_lines",
    "leftovers",
    "load",
    "namesrv_source",
    "set_source",
]
