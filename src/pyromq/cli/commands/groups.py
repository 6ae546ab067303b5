"""Commands about consumer groups and their offsets, as mqadmin has them."""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence

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
    checked_address,
)
from pyromq.cli.commands.topics import read_list, shortened
from pyromq.client.admin import Admin, AnswerRefused, NotThere
from pyromq.client.admin.groups import TO_THE_END, Reset
from pyromq.client.admin.versions import version_name
from pyromq.codes import ResponseCode
from pyromq.domain.group import GroupConfig
from pyromq.domain.route import MessageQueue
from pyromq.domain.topic import RETRY_PREFIX, dlq_topic, retry_topic


async def update_sub_group(call: Call) -> Answer:
    group = call.text("groupName")
    plain = GroupConfig(group_name=group)
    policy = call.optional("groupRetryPolicy")
    try:
        retry_policy = plain.group_retry_policy if policy is None else json.loads(policy)
    except ValueError as error:
        raise CallRefused(f"-p is not JSON: {error}") from error
    if not isinstance(retry_policy, dict):
        raise CallRefused("-p is not accepted: a JSON object is")
    config = GroupConfig(
        group_name=group,
        consume_enable=call.is_set("consumeEnable", plain.consume_enable),
        consume_from_min_enable=call.is_set("consumeFromMinEnable", False),
        consume_broadcast_enable=call.is_set("consumeBroadcastEnable", False),
        consume_message_orderly=call.is_set("consumeMessageOrderly", False),
        retry_queue_nums=call.number("retryQueueNums", plain.retry_queue_nums),
        retry_max_times=call.number("retryMaxTimes", plain.retry_max_times),
        group_retry_policy=retry_policy,
        broker_id=call.number("brokerId", plain.broker_id),
        which_broker_when_consume_slowly=call.number(
            "whichBrokerWhenConsumeSlowly", plain.which_broker_when_consume_slowly
        ),
        notify_consumer_ids_changed_enable=call.is_set("notifyConsumerIdsChanged", True),
    )
    return Plan(
        [
            Step(
                f"create or change group {group} on {broker.address}",
                functools.partial(call.admin.groups.create, broker.address, config),
            )
            for broker in await call.brokers()
        ]
    )


async def update_sub_group_list(call: Call) -> Answer:
    configs = read_list(call.text("filename"), GroupConfig)
    return Plan(
        [
            Step(
                f"create or change {len(configs)} groups on {broker.address}: "
                + shortened([config.group_name for config in configs]),
                functools.partial(call.admin.groups.create_all, broker.address, configs),
            )
            for broker in await call.brokers()
        ]
    )


async def delete_sub_group(call: Call) -> Answer:
    group, with_offsets = call.text("groupName"), call.is_set("removeOffset")
    admin, cluster = call.admin, call.optional("clusterName")
    brokers = await call.brokers()
    steps = [
        Step(
            f"delete group {group}"
            + (" and its offsets" if with_offsets else "")
            + f" on {broker.address}",
            functools.partial(
                admin.groups.delete, broker.address, group, with_offsets=with_offsets
            ),
        )
        for broker in brokers
    ]
    if cluster is not None:
        steps += [
            Step(
                f"delete topic {topic} in {cluster}",
                functools.partial(admin.topics.delete, topic, cluster),
            )
            for topic in (retry_topic(group), dlq_topic(group))
        ]
    return Plan(steps, destroys=True)


async def get_consumer_config(call: Call) -> Answer:
    group = call.text("groupName")
    rows: list[tuple[Cell, ...]] = []
    for broker in await call.admin.brokers.addresses():
        # All of them, as mqadmin asks: a broker asked for one group may create it.
        config = (await call.admin.groups.configs(broker.address)).get(group)
        if config is None:
            continue
        for name in config.__struct_fields__:
            value = getattr(config, name)
            shown = value if isinstance(value, str | int | float | None) else json.dumps(value)
            rows.append((broker.cluster, broker.name, _camel(name), shown))
    if not rows:
        raise CallFailed(f"no broker has group {group}")
    return Rows(("cluster", "broker", "key", "value"), rows)


async def consumer_progress(call: Call) -> Answer:
    group = call.optional("groupName")
    if group is None:
        return await _all_groups(call)
    stats = await call.admin.groups.progress(group, call.optional("topicName"))
    owners = await _owners(call.admin, group) if call.is_set("showClientIP") else None
    rows: list[tuple[Cell, ...]] = []
    for queue, one in stats.offset_table.items():
        row: tuple[Cell, ...] = (
            queue.topic,
            queue.broker_name,
            queue.queue_id,
            one.broker_offset,
            one.consumer_offset,
            one.broker_offset - one.consumer_offset,
            one.pull_offset - one.consumer_offset,
            Moment(one.last_timestamp),
        )
        rows.append(row if owners is None else (*row, owners.get(queue)))
    columns = ["topic", "broker", "queueId", "brokerOffset", "consumerOffset", "diff", "inflight"]
    columns += ["lastTime"] if owners is None else ["lastTime", "client"]
    values = stats.offset_table.values()
    totals: dict[str, Cell] = {
        "consumeTps": stats.consume_tps,
        "diffTotal": sum(one.broker_offset - one.consumer_offset for one in values),
        "inflightTotal": sum(one.pull_offset - one.consumer_offset for one in values),
    }
    return [Rows(columns, rows, title="queues"), Fields(totals, title="total")]


async def _all_groups(call: Call) -> Answer:
    admin = call.admin
    groups = [
        name.removeprefix(RETRY_PREFIX)
        for name in await admin.topics.names()
        if name.startswith(RETRY_PREFIX)
    ]
    rows: list[tuple[Cell, ...]] = []
    for group in call.progress(groups, "groups"):
        tps, diff = 0.0, 0
        try:
            stats = await admin.groups.progress(group)
            tps = stats.consume_tps
            diff = sum(
                one.broker_offset - one.consumer_offset for one in stats.offset_table.values()
            )
        except (AnswerRefused, NotThere):
            pass  # it has consumed nothing yet, or was deleted meanwhile
        count, version, kind, model = 0, "OFFLINE", "", ""
        try:
            members = await admin.clients.consumers(group)
        except (AnswerRefused, NotThere):
            pass  # nobody is connected
        else:
            count = len(members.connection_set)
            version = version_name(min(one.version for one in members.connection_set))
            kind = "PULL" if members.consume_type == "CONSUME_ACTIVELY" else "PUSH"
            model = members.message_model or "" if kind == "PUSH" else ""
        rows.append((group, count, version, kind, model, tps, diff))
    return Rows(("group", "count", "version", "type", "model", "tps", "diffTotal"), rows)


async def _owners(admin: Admin, group: str) -> dict[MessageQueue, str]:
    """Which client has which queue, as the clients themselves say."""
    owners: dict[MessageQueue, str] = {}
    try:
        members = await admin.clients.consumers(group)
    except AnswerRefused as refused:
        if refused.code != ResponseCode.CONSUMER_NOT_ONLINE:
            raise
        return owners
    for connection in members.connection_set:
        info = await admin.clients.running_info(group, connection.client_id)
        owners.update(dict.fromkeys(info.queues(), connection.client_id))
    return owners


async def broker_consume_stats(call: Call) -> Answer:
    address = checked_address("-b", call.text("brokerAddr"))
    level = call.number("level", 0)
    stats = await call.admin.groups.progress_of_all(
        address,
        is_order=call.is_set("order"),
        timeout_ms=call.number("timeoutMillis", 50_000),
    )
    rows: list[tuple[Cell, ...]] = [
        (
            queue.topic,
            group,
            queue.broker_name,
            queue.queue_id,
            offsets.broker_offset,
            offsets.consumer_offset,
            offsets.broker_offset - offsets.consumer_offset,
            Moment(offsets.last_timestamp),
        )
        for table in stats.consume_stats_list
        for group, parts in table.items()
        for part in parts
        for queue, offsets in sorted(part.offset_table.items())
        if offsets.broker_offset - offsets.consumer_offset >= level
    ]
    columns = (
        "topic", "group", "broker", "queueId", "brokerOffset", "consumerOffset", "diff", "lastTime",
    )  # fmt: skip
    total = Fields({"diffTotal": stats.total_diff}, title="total")
    return [Rows(columns, rows, title="queues"), total]


async def reset_offset_by_time(call: Call) -> Answer:
    group, topic = call.text("group"), call.text("topic")
    time_ms = call.time_ms("timestamp", 0)
    broker, queue_id = call.optional("broker"), call.number("queue", -1)
    if broker is not None and queue_id >= 0:
        address = checked_address("-b", broker)
        name = next(
            (one.name for one in await call.admin.brokers.addresses() if one.address == address), ""
        )
        queue = MessageQueue(broker_name=name, queue_id=queue_id, topic=topic)
        offset = call.number("offset", -1)
        if offset < 0:
            offset = await call.admin.groups.offset_at(address, queue, time_ms)
        act = functools.partial(call.admin.groups.reset_queue, address, queue, group, offset)
        text = f"let group {group} go on at offset {offset} of {topic} queue {queue_id} on {broker}"
        return Plan([Step(text, act)], destroys=True)
    where = "behind the newest message" if time_ms == TO_THE_END else f"at {Moment(time_ms)}"
    return _reset(call, topic, group, time_ms, where)


async def skip_accumulated_message(call: Call) -> Answer:
    group, topic = call.text("group"), call.text("topic")
    return _reset(call, topic, group, TO_THE_END, "behind the newest message")


def _reset(call: Call, topic: str, group: str, time_ms: int, where: str) -> Plan:
    is_force = call.is_set("force", True)

    async def act() -> Rows:
        return _resets(await call.admin.groups.reset(topic, group, time_ms, is_force=is_force))

    return Plan([Step(f"let group {group} go on in {topic} {where}", act)], destroys=True)


async def clone_group_offset(call: Call) -> Answer:
    source, target, topic = call.text("srcGroup"), call.text("destGroup"), call.text("topic")

    async def act() -> Rows:
        return _resets(await call.admin.groups.clone_offsets(source, target, topic))

    text = f"give group {target} the offsets of group {source} in {topic}"
    return Plan([Step(text, act)], destroys=True)


def _resets(resets: Sequence[Reset]) -> Rows:
    rows = [(one.queue.broker_name, one.queue.queue_id, one.was, one.offset) for one in resets]
    return Rows(("broker", "queueId", "before", "offset"), rows, title="offsets")


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(part.capitalize() for part in rest)


__all__ = [
    "broker_consume_stats",
    "clone_group_offset",
    "consumer_progress",
    "delete_sub_group",
    "get_consumer_config",
    "reset_offset_by_time",
    "skip_accumulated_message",
    "update_sub_group",
    "update_sub_group_list",
]
