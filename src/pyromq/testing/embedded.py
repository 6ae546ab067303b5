"""A broker on the caller's event loop.

It is the product: the same parts as `pyromq standalone --ephemeral`, put together in a loop that
somebody else runs. So it takes no signals, changes no setting of the process, reads no environment
variable, and listens on free ports of 127.0.0.1; its store is a temporary directory. What is not
synced when a machine loses power is not kept: flushDiskType is ASYNC_FLUSH unless set.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pyromq.app.settings import Configured
    from pyromq.broker import Broker
    from pyromq.namesrv.namesrv import NameServer

QUEUE_COUNT: Final = 8
"""Queues of a topic that `create_topic` makes: as mqadmin updateTopic."""


class EmbeddedBroker:
    """A name server and a broker that serve as long as their block lasts."""

    def __init__(
        self,
        namesrv: NameServer,
        broker: Broker,
        *,
        namesrv_addr: str,
        address: str,
        store_dir: Path,
    ) -> None:
        self._namesrv = namesrv
        self._broker = broker
        self.namesrv_addr = namesrv_addr
        """What clients are given: `127.0.0.1:PORT` of the name server."""
        self.address = address
        """`127.0.0.1:PORT` of the broker."""
        self.store_dir = store_dir
        """The store, in Apache's files. Gone after the block."""

    async def create_topic(
        self, name: str, *, queue_count: int = QUEUE_COUNT, is_order: bool = False
    ) -> None:
        """Creates a topic, or changes one; the name server knows it when this returns.

        Without it a topic comes into being with its first message, as in Apache's default set-up.
        Raises InvalidParameter for a name or count that RocketMQ does not take.
        """
        from pyromq.domain.topic import TopicConfig

        await self._broker.put_topic(
            TopicConfig(
                topic_name=name,
                read_queue_nums=queue_count,
                write_queue_nums=queue_count,
                order=is_order,
            )
        )

    async def delete_topic(self, name: str) -> None:
        """Deletes a topic with its messages, and its route at the name server. Raises
        InvalidParameter for a name that is none."""
        await self._broker.delete_topic(name)
        self._namesrv.delete_topic(name)  # brokers do not take routes back: mqadmin does this too


@asynccontextmanager
async def embedded_broker(
    *, properties: Mapping[str, object] | None = None
) -> AsyncIterator[EmbeddedBroker]:
    """A broker of its own for the block; several at once are several clusters.

    `properties`: any of docs/reference/configuration.md by their RocketMQ names, such as
    `{"autoCreateTopicEnable": False}`. Raises ConfigInvalid for a name or value that is not taken,
    and StartFailed if there is no room for a temporary directory.

    Clients should be closed before the block ends; one that is not is cut off.
    """
    from pyromq.app.broker import BrokerPart
    from pyromq.app.ephemeral import ephemeral_directory
    from pyromq.app.house import House
    from pyromq.app.namesrv import NamesrvPart
    from pyromq.app.serve import parts_of

    with ephemeral_directory() as directory:
        configured = _configured(directory, properties or {})
        house = House(configured.remoting)
        parts = parts_of(house, configured)
        namesrv, broker = parts
        assert isinstance(namesrv, NamesrvPart)
        assert isinstance(broker, BrokerPart)
        async with house.serving(parts):
            doors = {name: address for part in parts for name, address in part.doors().items()}
            yield EmbeddedBroker(
                namesrv.namesrv,
                broker.broker,
                namesrv_addr=_reachable(doors["namesrv"]),
                address=_reachable(doors["broker"]),
                store_dir=directory,
            )


def _configured(directory: Path, properties: Mapping[str, object]) -> Configured:
    from pyromq.app.options import parse
    from pyromq.app.settings import configure
    from pyromq.config import Source
    from pyromq.errors import ConfigInvalid

    texts = {
        name: str(value).lower() if isinstance(value, bool) else str(value)
        for name, value in properties.items()
    }
    if "storePathRootDir" in texts:
        raise ConfigInvalid("storePathRootDir is the temporary directory of an embedded broker")
    source = Source("properties", texts)
    options = parse(["standalone", "--ephemeral"])
    configured = configure(options, str(directory), environ={}, more=[source])
    if configured.remarks:  # on a server a warning; in a test it is a typing error
        raise ConfigInvalid("; ".join(configured.remarks))
    return configured


def _reachable(address: str) -> str:
    """An address that listens everywhere is reached by loopback."""
    host, _, port = address.rpartition(":")
    return f"127.0.0.1:{port}" if host in ("0.0.0.0", "[::]") else address  # noqa: S104


__all__ = ["QUEUE_COUNT", "EmbeddedBroker", "embedded_broker"]
