"""What a broker tells the name server, and what is remembered of each one that is alive."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from pyromq.domain.route import MASTER_ID, BrokerData, TopicQueueMapping
from pyromq.domain.topic import TopicConfig
from pyromq.domain.version import DataVersion
from pyromq.errors import InvalidParameter

TEXT_LENGTH_MAX: Final = 255
"""Of a cluster's, broker's or zone's name, and of an address."""
FILTER_SERVER_COUNT_MAX: Final = 64
SILENCE_MS_MAX: Final = 120_000
"""A broker that says nothing for so long is gone, unless its registration asks for another time."""


class Registration(msgspec.Struct, frozen=True, kw_only=True):
    """A broker announces itself and its topics (code 103)."""

    cluster_name: str
    broker_name: str
    broker_addr: str
    broker_id: int
    data_version: DataVersion = DataVersion()
    topics: Mapping[str, TopicConfig] = {}
    ha_server_addr: str = ""
    zone_name: str | None = None
    heartbeat_timeout_ms: int | None = None
    enable_acting_master: bool | None = None
    """None: a broker that is too old to know of acting masters."""
    mappings: Mapping[str, TopicQueueMapping] = {}
    """Static topics; handed on as they are."""
    filter_servers: Sequence[str] = ()

    @property
    def is_master(self) -> bool:
        return self.broker_id == MASTER_ID


def check_texts(registration: Registration) -> None:
    """Raises InvalidParameter for a text that is missing or too long."""
    for name, text in (
        ("clusterName", registration.cluster_name),
        ("brokerName", registration.broker_name),
        ("brokerAddr", registration.broker_addr),
    ):
        if not 0 < len(text) <= TEXT_LENGTH_MAX:
            raise InvalidParameter(
                f"{name} has {len(text)} characters, must have 1 to {TEXT_LENGTH_MAX}"
            )
    for name, optional in (
        ("haServerAddr", registration.ha_server_addr),
        ("zone name", registration.zone_name or ""),
    ):
        if len(optional) > TEXT_LENGTH_MAX:
            raise InvalidParameter(
                f"{name} has {len(optional)} characters, may have {TEXT_LENGTH_MAX}"
            )
    servers = registration.filter_servers
    if len(servers) > FILTER_SERVER_COUNT_MAX or any(
        len(server) > TEXT_LENGTH_MAX for server in servers
    ):
        raise InvalidParameter(f"too many or too long filter servers: {len(servers)}")


class MinBrokerIdChange(msgspec.Struct, frozen=True, kw_only=True):
    """The smallest broker id alive in a group became another one; `notify` should hear of it."""

    min_broker_id: int
    min_broker_addr: str
    offline_broker_addr: str | None
    ha_broker_addr: str | None
    notify: tuple[str, ...]


class LiveBroker:
    """One broker that registered and was not silent for too long since."""

    __slots__ = (
        "cluster_name",
        "connection_id",
        "data_version",
        "filter_servers",
        "ha_server_addr",
        "last_sign_ms",
        "timeout_ms",
    )

    def __init__(self, registration: Registration, connection_id: int, now_ms: int) -> None:
        self.cluster_name = registration.cluster_name
        self.connection_id = connection_id
        self.data_version = registration.data_version
        self.filter_servers = list(registration.filter_servers)
        self.ha_server_addr = registration.ha_server_addr
        self.last_sign_ms = now_ms
        asked = registration.heartbeat_timeout_ms
        self.timeout_ms = SILENCE_MS_MAX if asked is None else asked

    def is_silent(self, now_ms: int) -> bool:
        return self.last_sign_ms + self.timeout_ms < now_ms


class BrokerGroup:
    """The members of one broker name. Exists as long as it has one."""

    __slots__ = ("addrs", "cluster_name", "enable_acting_master", "name", "zone_name")

    def __init__(self, cluster_name: str, name: str) -> None:
        self.cluster_name = cluster_name
        self.name = name
        self.addrs: dict[int, str] = {}
        self.enable_acting_master = False
        self.zone_name: str | None = None

    @property
    def min_broker_id(self) -> int | None:
        return min(self.addrs, default=None)

    @property
    def has_master(self) -> bool:
        """Whether somebody may be written to. DLedger followers have negative ids, as Apache's."""
        smallest = self.min_broker_id
        return smallest is not None and smallest <= MASTER_ID

    def data(self) -> BrokerData:
        return BrokerData(
            cluster=self.cluster_name,
            broker_name=self.name,
            broker_addrs=dict(sorted(self.addrs.items())),
            zone_name=self.zone_name,
            enable_acting_master=self.enable_acting_master,
        )


__all__ = [
    "FILTER_SERVER_COUNT_MAX",
    "SILENCE_MS_MAX",
    "TEXT_LENGTH_MAX",
    "BrokerGroup",
    "LiveBroker",
    "MinBrokerIdChange",
    "Registration",
    "check_texts",
]
