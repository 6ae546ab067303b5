"""Administration of clusters, Apache's or ours, from Python.

    async with Admin("127.0.0.1:9876") as admin:
        for broker in await admin.brokers.addresses("DefaultCluster"):
            await admin.topics.create(broker.address, TopicConfig(topic_name="orders"))
        print(await admin.groups.progress("billing"))

The parts follow what they are about: `topics`, `groups`, `brokers`, `names` (name servers),
`messages`, `clients`. Every question may raise `AnswerRefused` (the server said no, with its code),
`NotThere`, `PeerUnreachable` or `AnswerOverdue`; the text of each is one line.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Self

from pyromq.client.admin.servers import (
    ANSWER_TIMEOUT_MS,
    AnswerRefused,
    BrokerAddress,
    NotThere,
    Servers,
    parse_addresses,
)
from pyromq.client.remoting import RemotingClient

if TYPE_CHECKING:
    from pyromq.client.admin.brokers import Brokers
    from pyromq.client.admin.clients import Clients
    from pyromq.client.admin.groups import Groups
    from pyromq.client.admin.messages import Messages
    from pyromq.client.admin.names import NameServers
    from pyromq.client.admin.topics import Topics


class Admin:
    """One administrator's connections. Belongs to one loop; `close` it at the end."""

    def __init__(
        self,
        namesrv: str | Sequence[str] | None = None,
        *,
        timeout_ms: int = ANSWER_TIMEOUT_MS,
    ) -> None:
        """`namesrv`: host:port, several with `;` between them or as a list; NAMESRV_ADDR if not
        given. Raises ConfigInvalid."""
        if namesrv is None:
            namesrv = os.environ.get("NAMESRV_ADDR", "")
        text = namesrv if isinstance(namesrv, str) else ";".join(namesrv)
        self._remoting = RemotingClient()
        self.servers = Servers(parse_addresses(text), self._remoting, timeout_ms=timeout_ms)

    # The parts are imported when they are first used: a command needs one or two of them.

    @cached_property
    def names(self) -> NameServers:
        """Name servers: values, settings, write permission."""
        from pyromq.client.admin.names import NameServers

        return NameServers(self.servers)

    @cached_property
    def topics(self) -> Topics:
        from pyromq.client.admin.topics import Topics

        return Topics(self.servers)

    @cached_property
    def groups(self) -> Groups:
        """Consumer groups: settings, progress, offsets."""
        from pyromq.client.admin.groups import Groups

        return Groups(self.servers)

    @cached_property
    def brokers(self) -> Brokers:
        from pyromq.client.admin.brokers import Brokers

        return Brokers(self.servers)

    @cached_property
    def clients(self) -> Clients:
        """Connected clients."""
        from pyromq.client.admin.clients import Clients

        return Clients(self.servers)

    @cached_property
    def messages(self) -> Messages:
        from pyromq.client.admin.messages import Messages

        return Messages(self.servers, self.groups, self.clients)

    async def close(self) -> None:
        await self._remoting.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


__all__ = ["Admin", "AnswerRefused", "BrokerAddress", "NotThere"]
