"""A row of brokers: what each of `standalone --brokers N` has for itself."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pyromq.app.options import BROKER_COUNT_MAX, PORT_MAX
from pyromq.app.settings import Configured
from pyromq.errors import ConfigInvalid

PORT_DISTANCE: Final = 10
"""Between two brokers, as in Apache's examples (10911, 10921, …); the VIP door is at minus two."""
LETTERS: Final = "abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True)
class PlannedBroker:
    """What one broker of the row has for itself."""

    name: str
    port: int
    directory: Path
    ha_port: int


def planned(configured: Configured, count: int) -> list[PlannedBroker]:
    """The first is the broker that would serve without `--brokers`, with its name, port and store.

    The others follow: `broker-b` 10 ports further with its store in `broker-b` below the first
    one's, and so on. So a server can grow. Raises ConfigInvalid.
    """
    config, store = configured.broker, configured.store
    if config is None:
        raise ConfigInvalid(f"--broker-port=off: {count} brokers have nowhere to serve")
    last = config.listen_port + PORT_DISTANCE * (count - 1)
    if config.listen_port and last > PORT_MAX:
        raise ConfigInvalid(
            f"--brokers={count}: the last one's port would be {last}; from the first one's"
            f" ({config.listen_port}) they are {PORT_DISTANCE} apart, {PORT_MAX} is the highest"
        )
    row = []
    for place, name in enumerate(broker_names(config.broker_name, count)):
        distance = PORT_DISTANCE * place
        row.append(
            PlannedBroker(
                name,
                config.listen_port and config.listen_port + distance,
                store.root / name if place else store.root,
                store.ha_listen_port and store.ha_listen_port + distance,
            )
        )
    return row


def broker_names(first: str, count: int) -> list[str]:
    """`broker-a`, `broker-b`, …; beside a name without `-a`: `name`, `name-b`, …."""
    stem = first.removesuffix("-a")
    return [first, *(f"{stem}-{letter}" for letter in LETTERS[1:count])]


def unserved_lines(configured: Configured, count: int) -> list[str]:
    """Stores that were served when there were more brokers, and are not now: for the log."""
    config, store = configured.broker, configured.store
    if config is None:
        return []
    further = broker_names(config.broker_name, BROKER_COUNT_MAX)[count:]
    return [
        f"the store in {store.root / name} is not served: it takes --brokers {place}"
        for place, name in enumerate(further, count + 1)
        if (store.root / name / "commitlog").is_dir()
    ]


__all__ = ["PORT_DISTANCE", "PlannedBroker", "broker_names", "planned", "unserved_lines"]
