"""Commands about topics, as those of org.apache.rocketmq.tools.command.topic 5.5.0."""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from pyromq.cli.calls import (
    Answer,
    Call,
    CallFailed,
    CallRefused,
    Cell,
    Fields,
    Moment,
    Plan,
    Rows,
    Step,
)
from pyromq.client.admin import Admin, AnswerRefused
from pyromq.client.admin.servers import AT_ONCE_MAX
from pyromq.client.admin.topics import merged_order_conf
from pyromq.domain.route import MASTER_ID
from pyromq.domain.topic import TopicConfig, is_retry_or_dlq, perm_text
from pyromq.errors import RequestFailed

if TYPE_CHECKING:
    from pyromq.wire.remoting.bodies.progress import BrokerStatsData

_UNIT_FLAG = 0x1
_UNIT_SUB_FLAG = 0x2
_PERMS = (2, 4, 6)


async def update_topic(call: Call) -> Answer:
    topic = call.text("topic")
    config = TopicConfig(
        topic_name=topic,
        read_queue_nums=call.number("readQueueNums", 8),
        write_queue_nums=call.number("writeQueueNums", 8),
        perm=call.number("perm", 6),
        topic_sys_flag=(_UNIT_FLAG if call.is_set("unit") else 0)
        | (_UNIT_SUB_FLAG if call.is_set("hasUnitSub") else 0),
        order=call.is_set("order"),
        attributes=_attributes(call.optional("attributes")),
    )
    brokers = await call.brokers()
    steps = [
        Step(
            f"create or change topic {topic} on {broker.address}",
            functools.partial(call.admin.topics.create, broker.address, config),
        )
        for broker in brokers
    ]
    if config.order:
        names = [broker.name for broker in brokers]
        if call.optional("brokerAddr") is not None:
            names = [await _name_of(call.admin, brokers[0].address)]
        parts = [f"{name}:{config.write_queue_nums}" for name in names]
        before = None
        if call.optional("brokerAddr") is not None:
            before = await call.admin.topics.order_conf(topic)
        conf = merged_order_conf(before, parts)
        steps.append(
            Step(
                f"set the order of topic {topic} to {conf}",
                functools.partial(call.admin.topics.set_order_conf, topic, conf),
            )
        )
    return Plan(steps)


async def update_topic_list(call: Call) -> Answer:
    configs = read_list(call.text("filename"), TopicConfig)
    return Plan(
        [
            Step(
                f"create or change {len(configs)} topics on {broker.address}: "
                + shortened([config.topic_name for config in configs]),
                functools.partial(call.admin.topics.create_all, broker.address, configs),
            )
            for broker in await call.brokers()
        ]
    )


async def delete_topic(call: Call) -> Answer:
    topic, cluster = call.text("topic"), call.text("clusterName")
    topics = call.admin.topics
    steps = [
        Step(
            f"delete topic {topic} and its messages on {broker.address}",
            functools.partial(topics.delete_on_broker, broker.address, topic),
        )
        for broker in await call.admin.brokers.addresses(cluster)
    ]
    steps.append(
        Step(
            f"delete the route of topic {topic} on {', '.join(call.admin.names.addresses)}",
            functools.partial(topics.delete_on_name_servers, topic, cluster),
        )
    )
    return Plan(steps, destroys=True)


async def update_topic_perm(call: Call) -> Answer:
    topic, perm = call.text("topic"), call.number("perm", 6)
    if perm not in _PERMS:
        raise CallRefused(f"-p {perm} is not accepted: 2 write, 4 read, 6 both")
    steps = []
    for broker in await call.brokers():
        config = await call.admin.topics.config(broker.address, topic)
        if config.perm == perm:
            continue
        changed = msgspec.structs.replace(config, perm=perm, attributes={})
        steps.append(
            Step(
                f"change topic {topic} on {broker.address} from {perm_text(config.perm)} to "
                f"{perm_text(perm)}",
                functools.partial(call.admin.topics.create, broker.address, changed),
            )
        )
    return Plan(steps)


async def update_order_conf(call: Call) -> Answer:
    topic, method = call.text("topic"), call.text("method")
    topics = call.admin.topics
    if method == "get":
        conf = await topics.order_conf(topic)
        if conf is None:
            raise CallFailed(f"topic {topic} has no order configuration")
        return Fields({"topic": topic, "orderConf": conf})
    if method == "put":
        conf = call.text("orderConf")
        act = functools.partial(topics.set_order_conf, topic, conf)
        return Plan([Step(f"set the order of topic {topic} to {conf}", act)])
    if method == "delete":
        act = functools.partial(topics.delete_order_conf, topic)
        return Plan([Step(f"delete the order of topic {topic}", act)], destroys=True)
    raise CallRefused(f"-m {method} is not accepted: get, put or delete")


async def topic_list(call: Call) -> Answer:
    topics = call.admin.topics
    if not call.is_set("clusterModel"):
        return Rows(("topic",), [(name,) for name in await topics.names()])
    rows: list[tuple[str, str, str]] = []
    info = await call.admin.brokers.cluster_info()
    for cluster in sorted(info.cluster_addr_table):
        found = await topics.names_of_cluster(cluster)
        names = [name for name in found if not is_retry_or_dlq(name)]
        parts = [names[at : at + AT_ONCE_MAX] for at in range(0, len(names), AT_ONCE_MAX)]
        for part in call.progress(parts, f"parts of {len(names)} topics"):
            groups = await call.admin.servers.each(part, topics.consumers)
            for name, consumers in zip(part, groups, strict=True):
                rows += [(cluster, name, group) for group in consumers or [""]]
    return Rows(("cluster", "topic", "consumerGroup"), rows)


async def topic_route(call: Call) -> Answer:
    route = await call.admin.topics.route(call.text("topic"))
    brokers = {data.broker_name: data for data in route.broker_datas}
    rows = []
    for queues in sorted(route.queue_datas, key=lambda one: one.broker_name):
        broker = brokers.get(queues.broker_name)
        addresses = {} if broker is None else broker.broker_addrs
        rows.append(
            (
                "-" if broker is None else broker.cluster,
                queues.broker_name,
                [f"{number}={address}" for number, address in sorted(addresses.items())],
                queues.read_queue_nums,
                queues.write_queue_nums,
                perm_text(queues.perm),
                queues.topic_sys_flag,
            )
        )
    return Rows(
        ("cluster", "broker", "addresses", "readQueues", "writeQueues", "perm", "sysFlag"), rows
    )


async def topic_status(call: Call) -> Answer:
    table = await call.admin.topics.stats(call.text("topic"))
    if not table:
        raise CallFailed(f"topic {call.text('topic')} has no queues")
    return Rows(
        ("broker", "queueId", "minOffset", "maxOffset", "lastUpdated"),
        [
            (
                queue.broker_name,
                queue.queue_id,
                one.min_offset,
                one.max_offset,
                Moment(one.last_update_timestamp),
            )
            for queue, one in sorted(table.items())
        ],
    )


async def topic_cluster_list(call: Call) -> Answer:
    clusters = await call.admin.topics.clusters(call.text("topic"))
    return Rows(("cluster",), [(cluster,) for cluster in clusters])


async def allocate_mq(call: Call) -> Answer:
    """Apache's averagely allocation of the topic's readable queues among the given clients."""
    topic = call.text("topic")
    clients = sorted(part.strip() for part in call.text("ipList").split(",") if part.strip())
    route = await call.admin.topics.route(topic)
    queues = [
        (one.broker_name, queue_id)
        for one in sorted(route.queue_datas, key=lambda one: one.broker_name)
        for queue_id in range(one.read_queue_nums)
    ]
    rows = []
    for index, client in enumerate(clients):
        size, more = divmod(len(queues), len(clients))
        begin = index * size + min(index, more)
        mine = queues[begin : begin + size + (index < more)]
        rows += [(client, broker, queue_id) for broker, queue_id in mine]
    return Rows(("client", "broker", "queueId"), rows)


async def stats_all(call: Call) -> Answer:
    only_active, wanted = call.is_set("activeTopic"), call.optional("topic")
    names = [
        name
        for name in await call.admin.topics.names()
        if not is_retry_or_dlq(name) and wanted in (None, name)
    ]
    rows: list[tuple[Cell, ...]] = []
    for name in call.progress(names, "topics"):
        try:
            rows += await _stats_of(call.admin, name, only_active)
        except (AnswerRefused, RequestFailed):
            # A topic that was deleted meanwhile, or that no living broker has.
            continue
    columns = ("topic", "consumerGroup", "backlog", "inTps", "outTps", "in24Hours", "out24Hours")
    return Rows(columns, rows)


async def _stats_of(admin: Admin, topic: str, only_active: bool) -> list[tuple[Cell, ...]]:
    route = await admin.topics.route(topic)
    masters = [
        data.broker_addrs[MASTER_ID]
        for data in route.broker_datas
        if MASTER_ID in data.broker_addrs
    ]

    async def counted(name: str, key: str) -> tuple[float, int]:
        found = [await admin.brokers.stats(address, name, key) for address in masters]
        known = [stats for stats in found if stats is not None]
        return sum(one.stats_minute.tps for one in known), sum(map(_day_sum, known))

    in_tps, in_day = await counted("TOPIC_PUT_NUMS", topic)
    groups = await admin.topics.consumers(topic)
    if not groups:
        is_shown = not only_active or in_day > 0
        return [(topic, "", None, in_tps, None, in_day, None)] if is_shown else []
    rows: list[tuple[Cell, ...]] = []
    for group in groups:
        out_tps, out_day = await counted("GROUP_GET_NUMS", f"{topic}@{group}")
        try:
            stats = (await admin.groups.progress(group, topic)).offset_table.values()
            backlog = max(sum(one.broker_offset - one.consumer_offset for one in stats), 0)
        except AnswerRefused:
            backlog = 0
        if not only_active or in_day > 0 or out_day > 0:
            rows.append((topic, group, backlog, in_tps, out_tps, in_day, out_day))
    return rows


def _day_sum(stats: BrokerStatsData) -> int:
    """As StatsAllSubCommand: the widest window that has anything yet."""
    return stats.stats_day.sum or stats.stats_hour.sum or stats.stats_minute.sum


def _attributes(text: str | None) -> dict[str, str]:
    """`+name=value,-name` as AttributeParser reads it. Raises CallRefused."""
    attributes: dict[str, str] = {}
    for part in (text or "").split(","):
        name, separator, value = part.strip().partition("=")
        if not name:
            continue
        if not name.startswith(("+", "-")) or (name.startswith("+") and not separator):
            raise CallRefused(f"-a {part.strip()!r} is not accepted: +name=value or -name is")
        attributes[name] = value
    return attributes


async def _name_of(admin: Admin, address: str) -> str:
    for broker in await admin.brokers.addresses():
        if broker.address == address:
            return broker.name
    raise CallFailed(f"no broker with the address {address} is known to the name server")


def read_list(file: str, type_: type[msgspec.Struct]) -> list:  # type: ignore[type-arg]
    """The JSON list in a file. Raises CallFailed that names the file and what is wrong."""
    from pathlib import Path

    try:
        data = json.loads(Path(file).read_text())
        found = msgspec.convert(data, list[type_])  # type: ignore[valid-type]
    except (ValueError, msgspec.ValidationError) as error:
        raise CallFailed(f"{file}: {error}") from error
    if not found:
        raise CallFailed(f"{file}: the list is empty")
    return found


def shortened(names: Sequence[str]) -> str:
    shown = ", ".join(names[:5])
    return f"{shown} and {len(names) - 5} more" if len(names) > 5 else shown


__all__ = [
    "allocate_mq",
    "delete_topic",
    "read_list",
    "shortened",
    "stats_all",
    "topic_cluster_list",
    "topic_list",
    "topic_route",
    "topic_status",
    "update_order_conf",
    "update_topic",
    "update_topic_list",
    "update_topic_perm",
]
