"""Commands about connected clients."""

from __future__ import annotations

from pyromq.cli.calls import Answer, Call, CallFailed, Cell, Fields, Moment, Rows, checked_address
from pyromq.client.admin.versions import version_name


async def consumer_connection(call: Call) -> Answer:
    group, address = call.text("consumerGroup"), call.optional("brokerAddr")
    if address is not None:
        checked_address("-b", address)
    found = await call.admin.clients.consumers(group, address)
    clients = Rows(
        ("clientId", "address", "language", "version"),
        [
            (one.client_id, one.client_addr, one.language, version_name(one.version))
            for one in sorted(found.connection_set, key=lambda one: one.client_id)
        ],
        title="clients",
    )
    subscriptions = Rows(
        ("topic", "expression", "type"),
        [
            (topic, one.sub_string, one.expression_type)
            for topic, one in sorted(found.subscription_table.items())
        ],
        title="subscriptions",
    )
    settings: dict[str, Cell] = {
        "consumeType": found.consume_type,
        "messageModel": found.message_model,
        "consumeFromWhere": found.consume_from_where,
    }
    return [clients, subscriptions, Fields(settings, title="settings")]


async def producer_connection(call: Call) -> Answer:
    found = await call.admin.clients.producers(call.text("producerGroup"), call.text("topic"))
    rows = [
        (one.client_id, one.client_addr, one.language, version_name(one.version)) for one in found
    ]
    return Rows(("clientId", "address", "language", "version"), rows)


async def producer(call: Call) -> Answer:
    found = await call.admin.clients.all_producers(checked_address("-b", call.text("broker")))
    rows = [
        (
            group,
            one.client_id,
            one.remote_ip.removeprefix("/"),
            one.language,
            version_name(one.version),
            Moment(one.last_update_timestamp),
        )
        for group, producers in sorted(found.items())
        for one in producers
    ]
    return Rows(("group", "clientId", "address", "language", "version", "lastSeen"), rows)


async def consumer_status(call: Call) -> Answer:
    group, wanted = call.text("consumerGroup"), call.optional("clientId")
    with_stack = call.is_set("jstack")
    members = await call.admin.clients.consumers(group, call.optional("brokerAddr"))
    connections = [one for one in members.connection_set if wanted in (None, one.client_id)]
    if not connections:
        raise CallFailed(f"no client {wanted} in group {group}")
    queues: list[tuple[Cell, ...]] = []
    rates: list[tuple[Cell, ...]] = []
    stacks: dict[str, Cell] = {}
    for connection in call.progress(connections, "clients"):
        client = connection.client_id
        info = await call.admin.clients.running_info(group, client, with_stack=with_stack)
        queues += [
            (
                client,
                queue.topic,
                queue.broker_name,
                queue.queue_id,
                held.commit_offset,
                held.cached_msg_count,
                Moment(held.last_pull_timestamp),
                Moment(held.last_consume_timestamp),
            )
            for queue, held in sorted(info.queues().items())
        ]
        rates += [
            (
                client,
                topic,
                one.pull_rt,
                one.pull_tps,
                one.consume_rt,
                one.consume_ok_tps,
                one.consume_failed_tps,
                one.consume_failed_msgs,
            )
            for topic, one in sorted(info.status_table.items())
        ]
        if info.jstack:
            stacks[client] = info.jstack
    shown: list[Rows | Fields] = [
        Rows(
            (
                "client", "topic", "broker", "queueId", "consumerOffset", "cached", "lastPull",
                "lastConsumed",
            ),
            queues,
            title="queues",
        ),
        Rows(
            (
                "client", "topic", "pullMs", "pullTps", "consumeMs", "okTps", "failedTps",
                "failedMessages",
            ),
            rates,
            title="rates",
        ),
    ]  # fmt: skip
    return [*shown, Fields(stacks, title="jstack")] if stacks else shown


async def get_consumer_status(call: Call) -> Answer:
    found = await call.admin.groups.status(
        call.text("topic"), call.text("group"), call.text("originClientId", "")
    )
    rows = [
        (client, queue.broker_name, queue.queue_id, offset)
        for client, offsets in sorted(found.items())
        for queue, offset in sorted(offsets.items())
    ]
    return Rows(("client", "broker", "queueId", "offset"), rows)


__all__ = [
    "consumer_connection",
    "consumer_status",
    "get_consumer_status",
    "producer",
    "producer_connection",
]
