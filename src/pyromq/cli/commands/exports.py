"""Commands that write what a cluster is into a file, in the form of Apache's export commands."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from pyromq.cli.calls import Answer, Call, Fields
from pyromq.cli.commands.brokers import first_number, whole
from pyromq.client.admin import Admin, AnswerRefused, NotThere
from pyromq.client.admin.versions import version_name
from pyromq.codes import VERSION_5_5_0
from pyromq.domain.group import SYSTEM_GROUP_PREFIX, SYSTEM_GROUPS, GroupConfig
from pyromq.domain.topic import (
    SCHEDULE_TOPIC,
    TRANS_HALF_TOPIC,
    TopicConfig,
    is_retry_or_dlq,
    is_system_topic,
)

FOLDER: Final = "/tmp/rocketmq/export"  # noqa: S108  Apache's default
_CONFIG_KEYS: Final = (
    "brokerClusterName", "brokerId", "brokerName", "brokerRole", "fileReservedTime",
    "filterServerNums", "flushDiskType", "maxMessageSize", "messageDelayLevel",
    "msgTraceTopicName", "slaveReadEnable", "traceOn", "traceTopicEnable", "useTLS",
    "autoCreateTopicEnable", "autoCreateSubscriptionGroup",
)  # fmt: skip


async def export_metadata(call: Call) -> Answer:
    only_topics, only_groups = call.is_set("topic"), call.is_set("subscriptionGroup")
    topics: dict[str, TopicConfig] = {}
    groups: dict[str, GroupConfig] = {}
    for broker in await call.brokers():
        if not only_groups:
            found = await user_topics(call.admin, broker.address, call.is_set("specialTopic"))
            for name, config in found.items():
                before = topics.get(name)
                topics[name] = config if before is None else _joined(before, config)
        if not only_topics:
            for name, group in (await user_groups(call.admin, broker.address)).items():
                known = groups.get(name)
                more = 0 if known is None else known.retry_queue_nums
                groups[name] = msgspec.structs.replace(
                    group, retry_queue_nums=group.retry_queue_nums + more
                )
    data: dict[str, object] = {}
    if not only_groups:
        data["topicConfigTable"] = topics
    if not only_topics:
        data["subscriptionGroupTable"] = groups
    data["exportTime"] = call.now_ms
    file = "topic" if only_topics else "subscriptionGroup" if only_groups else "metadata"
    return _written(call, f"{file}.json", data)


async def export_configs(call: Call) -> Answer:
    cluster = call.text("clusterName")
    brokers = await call.admin.brokers.addresses(cluster, with_slaves=True)
    masters = [broker for broker in brokers if broker.broker_id == 0]
    configs = {}
    for broker in masters:
        properties = await call.admin.brokers.config(broker.address)
        configs[broker.name] = {key: properties[key] for key in _CONFIG_KEYS if key in properties}
    scale = {
        "namesrvSize": len(call.admin.names.addresses),
        "masterBrokerSize": len(masters),
        "slaveBrokerSize": len(brokers) - len(masters),
    }
    return _written(call, "configs.json", {"brokerConfigs": configs, "clusterScale": scale})


async def export_metrics(call: Call) -> Answer:
    brokers = await call.admin.brokers.addresses(call.text("clusterName"))
    tps = {"normalInTps": 0.0, "normalOutTps": 0.0, "transInTps": 0.0, "scheduleInTps": 0.0}
    day = {
        "normalOneDayInNum": 0,
        "normalOneDayOutNum": 0,
        "transOneDayInNum": 0,
        "scheduleOneDayInNum": 0,
    }
    reports: dict[str, object] = {}
    for broker in call.progress(brokers, "brokers"):
        address = broker.address
        info = await call.admin.brokers.runtime(address)
        properties = await call.admin.brokers.config(address)
        trans = await _counted(call.admin, address, TRANS_HALF_TOPIC)
        schedule = await _counted(call.admin, address, SCHEDULE_TOPIC)
        own_tps = {
            "normalInTps": first_number(info.get("putTps", "")) or 0.0,
            "normalOutTps": first_number(info.get("getTransferredTps", "")) or 0.0,
            "transInTps": trans[0],
            "scheduleInTps": schedule[0],
        }
        own_day = {
            "normalOneDayInNum": _yesterday(info, "Put"),
            "normalOneDayOutNum": _yesterday(info, "Get"),
            "transOneDayInNum": trans[1],
            "scheduleOneDayInNum": schedule[1],
        }
        tps = {name: value + own_tps[name] for name, value in tps.items()}
        day = {name: value + own_day[name] for name, value in day.items()}
        groups = await user_groups(call.admin, address)
        reports[broker.name] = {
            "runtimeEnv": {
                "cpuNum": properties.get("clientCallbackExecutorThreads"),
                "totalMemKBytes": info.get("totalMemKBytes"),
            },
            "runtimeQuota": {
                "diskRatio": {
                    name: info.get(name) for name in ("commitLogDiskRatio", "consumeQueueDiskRatio")
                },
                "tps": own_tps,
                "oneDayNum": own_day,
                "messageAverageSize": info.get("putMessageAverageSize"),
                "topicSize": len(await user_topics(call.admin, address, False)),
                "groupSize": len(groups),
            },
            "runtimeVersion": {
                "rocketmqVersion": version_name(VERSION_5_5_0),
                "clientInfo": sorted(await _clients(call.admin, list(groups))),
            },
        }
    totals = {f"total{name[0].upper()}{name[1:]}": value for name, value in tps.items()}
    data = {
        "evaluateReport": reports,
        "totalData": {"totalTps": totals, "totalOneDayNum": day},
    }
    return _written(call, "metrics.json", data)


async def user_topics(admin: Admin, address: str, with_special: bool) -> dict[str, TopicConfig]:
    """A broker's topics without those RocketMQ keeps for itself."""
    system = set(await admin.topics.system_names(address))
    return {
        name: config
        for name, config in (await admin.topics.configs(address)).items()
        if name not in system
        and not is_system_topic(name)
        and (with_special or not is_retry_or_dlq(name))
        and 0 <= config.perm < 16
    }


async def user_groups(admin: Admin, address: str) -> dict[str, GroupConfig]:
    """A broker's groups without those RocketMQ keeps for itself."""
    return {
        name: config
        for name, config in (await admin.groups.configs(address)).items()
        if not name.startswith(SYSTEM_GROUP_PREFIX) and name not in SYSTEM_GROUPS
    }


def _joined(before: TopicConfig, config: TopicConfig) -> TopicConfig:
    return msgspec.structs.replace(
        config,
        read_queue_nums=before.read_queue_nums + config.read_queue_nums,
        write_queue_nums=before.write_queue_nums + config.write_queue_nums,
    )


async def _counted(admin: Admin, address: str, topic: str) -> tuple[float, int]:
    stats = await admin.brokers.stats(address, "TOPIC_PUT_NUMS", topic)
    if stats is None:
        return 0.0, 0
    day = stats.stats_day.sum or stats.stats_hour.sum or stats.stats_minute.sum
    return stats.stats_minute.tps, day


def _yesterday(info: dict[str, str], verb: str) -> int:
    today = whole(info.get(f"msg{verb}TotalTodayMorning", "")) or 0
    return today - (whole(info.get(f"msg{verb}TotalYesterdayMorning", "")) or 0)


async def _clients(admin: Admin, groups: list[str]) -> set[str]:
    found: set[str] = set()
    for group in groups:
        try:
            members = await admin.clients.consumers(group)
        except (AnswerRefused, NotThere):
            continue  # nobody is connected
        found.update(
            f"{one.language}%{version_name(one.version)}" for one in members.connection_set
        )
    return found


def _written(call: Call, name: str, data: Mapping[str, object]) -> Fields:
    file = Path(call.text("filePath", FOLDER)) / name
    file.parent.mkdir(parents=True, exist_ok=True)
    members = _without_nothing(msgspec.to_builtins(data))
    text = json.dumps(members, ensure_ascii=False, indent=2, sort_keys=True)
    file.write_text(text + "\n")
    return Fields({"exported": str(file)})


def _without_nothing(data: object) -> object:
    """Without members that have no value: Apache's exports leave them out."""
    if not isinstance(data, dict):
        return data
    return {name: _without_nothing(value) for name, value in data.items() if value is not None}


__all__ = ["export_configs", "export_metadata", "export_metrics", "user_groups", "user_topics"]
