"""The name server as a part of a process: configuration → parts → run."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from pyromq.app.house import House
from pyromq.app.lock import DirectoryLock
from pyromq.client import RemotingClient
from pyromq.codes import LanguageCode, RequestCode
from pyromq.config import NamesrvConfig, Settings
from pyromq.config.remote import NAMESRV_KEYS, Keeper, RemoteConfiguration
from pyromq.errors import PyromqError
from pyromq.frontends.remoting import RemotingDoor, namesrv_table
from pyromq.namesrv.brokers import MinBrokerIdChange
from pyromq.namesrv.namesrv import NameServer
from pyromq.store.metadata import Metadata
from pyromq.transport import Connection, Listener, Outlet
from pyromq.wire.remoting.headers import encode_ext
from pyromq.wire.remoting.headers.namesrv import MinBrokerIdChangedHeader

NOTICES_MAX: Final = 256
"""Under way at once; a broker that misses one learns the same with its next registration."""

_log = logging.getLogger("pyromq.app")


class BrokerNotices:
    """What a name server tells brokers by itself: code 905, sent once, best effort."""

    def __init__(self, client: RemotingClient) -> None:
        self._client = client
        self._tasks: set[asyncio.Task[None]] = set()

    def notify_min_broker_id_changed(self, broker_addr: str, change: MinBrokerIdChange) -> None:
        if len(self._tasks) >= NOTICES_MAX:
            _log.warning("%s is not told of its group's change: too many notices", broker_addr)
            return
        task = asyncio.get_running_loop().create_task(
            self._tell(broker_addr, change), name=f"notify {broker_addr}"
        )
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._client.close()

    async def _tell(self, broker_addr: str, change: MinBrokerIdChange) -> None:
        ext = encode_ext(
            MinBrokerIdChangedHeader(
                min_broker_id=change.min_broker_id,
                min_broker_addr=change.min_broker_addr,
                offline_broker_addr=change.offline_broker_addr,
                ha_broker_addr=change.ha_broker_addr,
            )
        )
        try:
            await self._client.tell(broker_addr, RequestCode.NOTIFY_MIN_BROKER_ID_CHANGE, ext)
        except PyromqError as error:
            _log.info("%s is not told of its group's change: %s", broker_addr, error)


class NamesrvPart:
    """One name server with its door."""

    def __init__(self, house: House, config: NamesrvConfig, data_dir: Path, keeper: Keeper) -> None:
        """`keeper`: where changes of the configuration are kept."""
        self._house = house
        self._keeper = keeper
        self._config = config
        self._root = config.kv_root(data_dir)
        self._listener: Listener | None = None
        self._lock: DirectoryLock | None = None
        self._metadata: Metadata | None = None
        self._namesrv: NameServer | None = None
        self._door: RemotingDoor | None = None
        self._notices: BrokerNotices | None = None

    @property
    def listener(self) -> Listener:
        assert self._listener is not None, "bind comes first"
        return self._listener

    @property
    def namesrv(self) -> NameServer:
        assert self._namesrv is not None, "open comes first"
        return self._namesrv

    @property
    def door(self) -> RemotingDoor:
        assert self._door is not None, "open comes first"
        return self._door

    def bind(self) -> None:
        self._listener = self._house.transport.bind(
            self._house.remoting.bind_address,
            self._config.listen_port,
            self._connect,
        )

    def _connect(self, outlet: Outlet) -> Connection:
        """The door exists by the time the transport accepts."""
        return self.door.connect(outlet)

    def open(self) -> None:
        house = self._house
        self._lock = DirectoryLock(self._root)
        try:
            metadata = Metadata.open_namesrv(self._root, sync_flush=True, clock=house.clock)
        except BaseException:
            self._lock.release()
            raise
        metadata.on_progress(house.turn.end)
        metadata.start(house.loop.call_soon_threadsafe)
        self._metadata = metadata
        self._notices = BrokerNotices(
            RemotingClient(
                connect_timeout_ms=house.remoting.connect_timeout_ms, language=LanguageCode.JAVA
            )
        )
        settings = Settings(self._config)
        self._namesrv = NameServer(
            settings,
            metadata,
            house.clock,
            request_end=house.turn.request_end,
            peers=self._notices,
            configuration=RemoteConfiguration(
                [settings], NAMESRV_KEYS, self._keeper, house.clock.now_ms, fixed=[house.remoting]
            ),
        )
        self._door = RemotingDoor(
            "namesrv",
            namesrv_table(self._namesrv),
            house.turn,
            call_soon=house.loop.call_soon,
            call_later=house.loop.call_later,
            connection_lost=self._namesrv.connection_lost,
        )

    def prepare(self) -> None:
        """What it knows it is told by brokers."""

    def stages(self) -> Sequence[Callable[[], None]]:
        assert self._namesrv is not None, "open comes first"
        return [self._namesrv.end_turn]

    def short_end(self) -> None:
        """All stages are needed for everything here."""

    def flushes(self) -> Sequence[Callable[[], None]]:
        return [self.door.flush]

    async def start(self) -> None:
        assert self._namesrv is not None, "open comes first"
        self._namesrv.start()

    async def stop(self) -> None:
        assert self._namesrv is not None, "open comes first"
        assert self._notices is not None, "open comes first"
        await self._namesrv.stop()
        await self._notices.stop()
        self._house.turn.end()

    async def close(self) -> None:
        assert self._metadata is not None, "open comes first"
        assert self._lock is not None, "open comes first"
        try:
            await self._metadata.stop()
        finally:
            self._lock.release()

    def doors(self) -> Mapping[str, str]:
        return {"namesrv": self.listener.address}


__all__ = ["NamesrvPart"]
