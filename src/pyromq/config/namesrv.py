"""Properties of the name server: NamesrvConfig of org.apache.rocketmq.common 5.5.0."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pyromq.config.prop import LONG_MAX, Origins, check_ranges, prop, require
from pyromq.units import HOUR_MS, KIB, MIB

NAMESRV_PORT: Final = 9876
KV_FILE: Final = "kvConfig.json"


@dataclass(frozen=True, kw_only=True)
class NamesrvConfig:
    """How routes are kept and answered."""

    listen_port: int = prop(
        "listenPort",
        NAMESRV_PORT,
        high=65_535,
        boot_only=True,
        doc="Port of the name server; 0 picks a free one. `--namesrv-port` sets it.",
    )
    kv_config_path: str = prop(
        "kvConfigPath",
        "",
        boot_only=True,
        doc="File of the KV configuration, named kvConfig.json; empty: in the folder `namesrv` of "
        "the data directory. Apache's default is ~/namesrv/kvConfig.json.",
    )
    scan_not_active_broker_interval_ms: int = prop(
        "scanNotActiveBrokerInterval",
        5_000,
        low=10,
        high=24 * HOUR_MS,
        doc="Time (ms) between searches for brokers that went silent.",
    )
    order_message_enable: bool = prop(
        "orderMessageEnable",
        False,
        doc="Add the topic's entry of ORDER_TOPIC_CONFIG to its route.",
    )
    return_order_topic_config_to_broker: bool = prop(
        "returnOrderTopicConfigToBroker",
        True,
        doc="Answer a broker's registration with all entries of ORDER_TOPIC_CONFIG.",
    )
    support_acting_master: bool = prop(
        "supportActingMaster",
        False,
        doc="Let the oldest replica of a group without a master stand for it in routes.",
    )
    notify_min_broker_id_changed: bool = prop(
        "notifyMinBrokerIdChanged",
        False,
        doc="Tell a group's brokers when the smallest live broker id changes.",
    )
    enable_all_topic_list: bool = prop(
        "enableAllTopicList",
        True,
        doc="Answer the list of all topics (code 206).",
    )
    enable_topic_list: bool = prop(
        "enableTopicList",
        True,
        doc="Answer the other topic lists (codes 224, 304, 311 to 313).",
    )
    delete_topic_with_broker_registration: bool = prop(
        "deleteTopicWithBrokerRegistration",
        False,
        doc="Drop a broker's routes of topics that its newest registration does not list.",
    )
    need_wait_for_service: bool = prop(
        "needWaitForService",
        False,
        boot_only=True,
        doc="Refuse route questions in the first `waitSecondsForService`, so that brokers can "
        "register before clients are told that a topic does not exist.",
    )
    wait_seconds_for_service: int = prop(
        "waitSecondsForService",
        45,
        high=86_400,
        boot_only=True,
        doc="See needWaitForService.",
    )
    kv_value_size_max: int = prop(
        "kvValueSizeMax",
        64 * KIB,
        low=1,
        high=4 * MIB,
        ours=True,
        doc="Longest value (bytes of UTF-8) of a KV configuration entry.",
    )
    kv_entry_count_max: int = prop(
        "kvEntryCountMax",
        100_000,
        low=1,
        ours=True,
        doc="Most entries of the KV configuration.",
    )
    broker_count_max: int = prop(
        "brokerCountMax",
        10_000,
        low=1,
        ours=True,
        doc="Most brokers kept; registrations of further ones are refused.",
    )
    route_count_max: int = prop(
        "routeCountMax",
        1_000_000,
        low=1,
        high=LONG_MAX,
        ours=True,
        doc="Most routes (topic on a broker) kept; registrations beyond it are refused.",
    )

    def kv_root(self, data_dir: Path) -> Path:
        """Directory of kvConfig.json and of its journal."""
        return Path(self.kv_config_path).parent if self.kv_config_path else data_dir / "namesrv"

    def validate(self, origins: Origins) -> None:
        check_ranges(self, origins)
        path = self.kv_config_path
        require(
            not path or (Path(path).name == KV_FILE and "\0" not in path),
            "kvConfigPath",
            path,
            origins,
            f"the path of a file named {KV_FILE}",
        )


__all__ = ["KV_FILE", "NAMESRV_PORT", "NamesrvConfig"]
