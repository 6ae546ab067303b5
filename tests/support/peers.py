"""The server under test of the foreign-client suites: ours, or Apache's to check the suites.

    uv run pytest tests/integration                  against ours
    uv run pytest tests/integration --peer apache    the same tests against Apache RocketMQ 5.5.0

A test that passes against ours and fails against Apache's demands something that RocketMQ does not
do; one that fails only against ours shows a difference to mend.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

from tests.support.apache import MEDIUM_FILES, ApacheBroker, ApacheNamesrv
from tests.support.processes import free_port
from tests.support.pyromq_server import PyromqServer

Kind = Literal["ours", "apache"]


@dataclass(frozen=True)
class Peer:
    """A running name server and broker of either kind."""

    kind: Kind
    namesrv: str
    broker: str


@contextlib.contextmanager
def running_peer(
    kind: Kind, folder: Path, properties: Mapping[str, str] | None = None
) -> Iterator[Peer]:
    """Name server and broker on free ports with an empty store; how they end is no matter.

    `properties` are the broker's, under the names both kinds know; those that begin with
    `rocketmq.` are system properties of its JVM at Apache's.
    """
    more = dict(properties or {})
    if kind == "apache":
        store = folder / "store"
        jvm = tuple(f"-D{key}={more.pop(key)}" for key in list(more) if key.startswith("rocketmq."))
        apaches = {**MEDIUM_FILES, "waitTimeMillsInSendQueue": "20000", **more}
        with (
            ApacheNamesrv() as names,
            # A JVM that is still cold is too slow for a flood of one-way messages: after 200 ms in
            # its queue it throws them away.
            ApacheBroker(store, namesrv=names.address, properties=apaches, jvm=jvm) as broker,
        ):
            yield Peer(kind, names.address, broker.address)
    else:
        words = [word for name, value in more.items() for word in ("--set", f"{name}={value}")]
        with PyromqServer.ephemeral(*words) as server:
            yield Peer(kind, server.namesrv, server.broker)


class StoreOwner:
    """Name server and broker of either kind over a given store, to be stopped or killed."""

    def __init__(self, kind: Kind, store: Path, *, properties: Mapping[str, str]) -> None:
        self.kind = kind
        self._ours: PyromqServer | None = None
        self._names: ApacheNamesrv | None = None
        self._broker: ApacheBroker | None = None
        if kind == "apache":
            self._names = ApacheNamesrv().start()
            # A clean stop of the timer services would take six seconds more; and a JVM that is
            # still cold throws sends away that waited 200 ms in its queue.
            quick = {"timerWheelEnable": "false", "waitTimeMillsInSendQueue": "20000"}
            try:
                self._broker = ApacheBroker(
                    store, namesrv=self._names.address, properties={**quick, **properties}
                ).start()
            except BaseException:
                self._names.kill()
                raise
            self.namesrv, self.broker = self._names.address, self._broker.address
        else:
            settings = [
                word for key, value in properties.items() for word in ("--set", f"{key}={value}")
            ]
            doors = ("--namesrv-port", 0, "--broker-port", 0)
            self._ours = PyromqServer("standalone", "--data-dir", store, *doors, *settings).start()
            self.namesrv, self.broker = self._ours.namesrv, self._ours.broker

    def stop(self) -> None:
        """A clean stop of the broker: SIGTERM, then everything is on disk."""
        if self._ours is not None:
            self._ours.stop()
        if self._broker is not None:
            self._broker.stop()
        self.kill()

    def kill(self) -> None:
        """kill -9; nothing happens if it has ended."""
        for server in (self._ours, self._broker, self._names):
            if server is not None:
                server.kill()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


@contextlib.contextmanager
def running_namesrv(kind: Kind, folder: Path) -> Iterator[str]:
    """A name server alone, as its own process."""
    if kind == "apache":
        with ApacheNamesrv() as names:
            yield names.address
    else:
        file = folder / "namesrv.conf"
        file.write_text(f"listenPort={free_port()}\nkvConfigPath={folder / 'kvConfig.json'}\n")
        with PyromqServer("namesrv", "-c", file) as server:
            yield server.namesrv


@contextlib.contextmanager
def running_broker(
    kind: Kind, folder: Path, *, namesrv: str, name: str = "broker-a"
) -> Iterator[ApacheBroker | PyromqServer]:
    """A broker alone, as its own process, registered with the given name servers."""
    store = folder / f"store-{name}"
    if kind == "apache":
        with ApacheBroker(store, namesrv=namesrv, name=name, properties=MEDIUM_FILES) as broker:
            yield broker
    else:
        file = folder / f"{name}.conf"
        lines = {
            "brokerClusterName": "DefaultCluster",
            "brokerName": name,
            "brokerId": "0",
            "brokerIP1": "127.0.0.1",
            "listenPort": str(free_port(-2, 1)),
            "storePathRootDir": str(store),
            **MEDIUM_FILES,
        }
        file.write_text("".join(f"{key}={value}\n" for key, value in lines.items()))
        with PyromqServer("broker", "-c", file, "-n", namesrv) as server:
            yield server
