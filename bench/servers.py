"""The servers under measurement: ours, and Apache's name server and broker. Start, stop, kill.

Both get the same properties and keep their data below one directory that the caller removes.
"""

from __future__ import annotations

import importlib.metadata
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from bench.loads import Target
from pyromq import _native
from tests.support.apache import ApacheBroker, ApacheNamesrv
from tests.support.foreign import java_command
from tests.support.processes import ServerProcess, child_environment, free_port

SERVERS = ("pyromq", "apache")
APACHE_VERSION = "5.5.0"
START_SECONDS = 60.0
DOORS_OFF = ("grpc", "http", "mqtt")

# What Apache's own scripts choose in kind, in the size that a small machine bears.
APACHE_JVM = ("-XX:TieredStopAtLevel=4", "-XX:-UseSerialGC", "-XX:+UseG1GC")
APACHE_BROKER_JVM = (*APACHE_JVM, "-Xms2g", "-Xmx2g", "-XX:MaxDirectMemorySize=1g")


class Server(Target, Protocol):
    """A server under measurement."""

    @property
    def version(self) -> str: ...

    @property
    def data(self) -> Path:
        """Its store."""

    @property
    def pids(self) -> Mapping[str, int]:
        """All its processes by what they are."""

    @property
    def namesrv(self) -> str:
        """Address of its name server."""

    def start(self) -> float:
        """Starts on the data it has; seconds until it serves."""

    def stop(self) -> None: ...

    def kill(self) -> None: ...

    def clear(self) -> None:
        """Stops whatever still runs and removes its data."""


def servers_named(
    names: Sequence[str], root: Path, settings: Sequence[str], *, is_ephemeral: bool
) -> list[Server]:
    made: list[Server] = []
    for name in names:
        if name == "pyromq":
            made.append(Pyromq(root, settings, is_ephemeral=is_ephemeral))
        else:
            made.append(Apache(root, settings))
    return made


def children(pid: int) -> list[int]:
    """Processes that this one started and that still run."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except FileNotFoundError:
            continue
        if fields[1] == str(pid):
            found.append(int(stat.parent.name))
    return sorted(found)


class Pyromq:
    """`pyromq standalone` from the interpreter that runs this script."""

    def __init__(
        self,
        root: Path,
        settings: Sequence[str],
        *,
        is_ephemeral: bool = False,
        name: str = "pyromq",
        brokers: int = 1,
    ) -> None:
        """`name`: on the page, and of its directory; several may run beside each other."""
        self.name = name
        self._brokers = brokers
        number = importlib.metadata.version("pyromq")
        self.version = f"pyromq {number} (native engine: {_native.build_profile()} build)"
        self._root = root
        self.data = root / re.sub(r"[^a-z]+", "-", name)
        self._settings = settings
        self._is_ephemeral = is_ephemeral
        self._process: ServerProcess | None = None
        self.address = self.namesrv = ""
        self.addresses: Sequence[str] = ()

    def start(self) -> float:
        command = [sys.executable, "-m", "pyromq", "standalone"]
        if self._is_ephemeral:
            command.append("--ephemeral")
        else:
            command += ["--data-dir", str(self.data), "--namesrv-port", "0", "--broker-port", "0"]
        if self._brokers > 1:
            command += ["--brokers", str(self._brokers)]
        for door in DOORS_OFF:
            command += [f"--{door}-port", "off"]
        for setting in self._settings:
            command += ["--set", setting]
        began = time.monotonic()
        # An ephemeral one that is killed cannot remove its directory, so that is put under ours.
        environment = child_environment(TMPDIR=str(self._root))
        self._process = ServerProcess("pyromq", command, environment=environment)
        line = self._process.await_line("READY ", START_SECONDS)
        seconds = time.monotonic() - began
        doors = dict(word.split("=", 1) for word in line.split() if "=" in word)
        self.namesrv = doors["namesrv"]
        self.addresses = [address for door, address in doors.items() if door.startswith("broker")]
        self.address = self.addresses[0]
        return seconds

    @property
    def broker_pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def pids(self) -> Mapping[str, int]:
        if self._brokers == 1:
            return {"one process": self.broker_pid}
        brokers = {f"broker {n}": pid for n, pid in enumerate(children(self.broker_pid), 1)}
        return {"supervisor and name server": self.broker_pid} | brokers

    def stop(self) -> None:
        if self._process is not None:
            process, self._process = self._process, None
            process.stop()

    def kill(self) -> None:
        if self._process is not None:
            process, self._process = self._process, None
            process.kill()

    def clear(self) -> None:
        self.kill()
        shutil.rmtree(self.data, ignore_errors=True)
        for data in self._root.glob("pyromq-*") if self._is_ephemeral else ():
            shutil.rmtree(data, ignore_errors=True)


class Apache:
    """Apache's name server, then its broker: two JVMs."""

    name = "Apache"

    def __init__(self, root: Path, settings: Sequence[str]) -> None:
        java = subprocess.run(
            [java_command(), "--version"], capture_output=True, text=True, timeout=20, check=True
        )
        self.version = (
            f"Apache RocketMQ {APACHE_VERSION} on {java.stdout.splitlines()[0]} (G1, both JIT"
            " compilers, broker -Xms2g -Xmx2g, name server -Xms256m -Xmx512m, logs at WARN)"
        )
        self.data = root / "apache"
        # Apache's default, said because the measurement depends on it.
        properties = {"timerWheelEnable": "true"}
        properties |= dict(setting.split("=", 1) for setting in settings)
        self._properties = properties
        self.address = ""
        self._names: ApacheNamesrv | None = None
        self._broker: ApacheBroker | None = None

    def start(self) -> float:
        began = time.monotonic()
        port = free_port(-2, 1)
        self.address = f"127.0.0.1:{port}"
        self._names = ApacheNamesrv(jvm=APACHE_JVM).start()
        self._broker = ApacheBroker(
            self.data,
            namesrv=self._names.address,
            port=port,
            properties=self._properties,
            jvm=APACHE_BROKER_JVM,
        ).start()
        return time.monotonic() - began

    @property
    def broker_pid(self) -> int:
        assert self._broker is not None
        return self._broker.pid

    @property
    def namesrv(self) -> str:
        assert self._names is not None
        return self._names.address

    @property
    def pids(self) -> Mapping[str, int]:
        assert self._names is not None
        return {"broker": self.broker_pid, "name server": self._names.pid}

    def stop(self) -> None:
        for part in (self._broker, self._names):
            if part is not None:
                part.stop()
        self._broker = self._names = None

    def kill(self) -> None:
        for part in (self._broker, self._names):
            if part is not None:
                part.kill()
        self._broker = self._names = None

    def clear(self) -> None:
        self.kill()
        shutil.rmtree(self.data, ignore_errors=True)


@dataclass(frozen=True)
class NullServer:
    """rmqload's own server: answers at once and stores nothing. Shows the generator's ceiling."""

    address: str
    broker_pid: int
    name: str = "null-server"
