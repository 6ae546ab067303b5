"""Commands about name servers."""

from __future__ import annotations

import functools

from pyromq.cli.calls import Answer, Call, Cell, Plan, Rows, Step


async def update_kv_config(call: Call) -> Answer:
    namespace, key, value = call.text("namespace"), call.text("key"), call.text("value")
    act = functools.partial(call.admin.names.set_value, namespace, key, value)
    return Plan([Step(f"set {key} of {namespace} to {value} on {_all(call)}", act)])


async def delete_kv_config(call: Call) -> Answer:
    namespace, key = call.text("namespace"), call.text("key")
    act = functools.partial(call.admin.names.delete_value, namespace, key)
    return Plan([Step(f"delete {key} of {namespace} on {_all(call)}", act)], destroys=True)


async def wipe_write_perm(call: Call) -> Answer:
    broker = call.text("brokerName")

    async def act() -> str:
        return _topics(await call.admin.names.wipe_write_perm(broker))

    return Plan([Step(f"take the right to write from broker {broker} on {_all(call)}", act)])


async def add_write_perm(call: Call) -> Answer:
    broker = call.text("brokerName")

    async def act() -> str:
        return _topics(await call.admin.names.add_write_perm(broker))

    return Plan([Step(f"give broker {broker} the right to write on {_all(call)}", act)])


async def get_namesrv_config(call: Call) -> Answer:
    configs = await call.admin.names.configs()
    rows: list[tuple[Cell, ...]] = [
        (address, key, value)
        for address, properties in configs.items()
        for key, value in sorted(properties.items())
    ]
    return Rows(("namesrv", "key", "value"), rows)


async def update_namesrv_config(call: Call) -> Answer:
    key, value = call.text("key"), call.text("value")
    act = functools.partial(call.admin.names.change_configs, {key: value})
    return Plan([Step(f"set property {key} to {value} on {_all(call)}", act)])


def _all(call: Call) -> str:
    return ", ".join(call.admin.names.addresses)


def _topics(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} topics on {address}" for address, count in counts.items())


__all__ = [
    "add_write_perm",
    "delete_kv_config",
    "get_namesrv_config",
    "update_kv_config",
    "update_namesrv_config",
    "wipe_write_perm",
]
