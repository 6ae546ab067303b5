"""The real Apache RocketMQ 5.5.0 server: name server and broker from the jars of Maven Central.

Used as the peer that decides: our files and our name server must serve it, its files must be served
by us, and a test program is believed after it ran against it. Each instance lives in a home folder
of its own (configuration, quiet logs); only the store directory is given from outside.

    with ApacheNamesrv() as names, ApacheBroker(store, namesrv=names.address) as broker: …
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from tests.support.foreign import PEERS_MET, java_classpath, java_command
from tests.support.processes import (
    ServerFailed,
    ServerProcess,
    ask,
    await_answer,
    child_environment,
    free_port,
)

UPDATE_BROKER_CONFIG = 25
GET_BROKER_CONFIG = 26
GET_BROKER_CLUSTER_INFO = 106
START_SECONDS = 60.0
STOP_SECONDS = 60.0

SERVER_JVM = (
    "-Xms256m",
    "-Xmx512m",
    "-XX:MaxDirectMemorySize=512m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-XX:-UsePerfData",
    # Else both servers make a self-signed certificate at start, which takes over a second.
    "-Dtls.server.mode=disabled",
    # As Apache's runbroker.sh: the store unmaps its files itself.
    "--add-exports=java.base/jdk.internal.ref=ALL-UNNAMED",
    "--add-opens=java.base/java.nio=ALL-UNNAMED",
    "--add-opens=java.base/sun.nio.ch=ALL-UNNAMED",
)

# Files of a size that a test can fill, copy and commit. Apache demands that both servers which
# use a directory have the same sizes.
SMALL_FILES = {
    "mappedFileSizeCommitLog": str(64 * 1024),
    "mappedFileSizeConsumeQueue": str(300 * 20),
    "maxHashSlotNum": "100",
    "maxIndexNum": "400",
}
MEDIUM_FILES = {
    "mappedFileSizeCommitLog": str(4 * 1024 * 1024),
    "mappedFileSizeConsumeQueue": str(2000 * 20),
    "maxHashSlotNum": "5000",
    "maxIndexNum": "20000",
}

_LOGBACK_PACKAGE = "org.apache.rocketmq.logging.ch.qos.logback"
_LOGBACK = """<?xml version="1.0" encoding="UTF-8"?>
<configuration>
  <appender name="FILE" class="{package}.core.FileAppender">
    <file>{log}</file>
    <encoder class="{package}.classic.encoder.PatternLayoutEncoder">
      <pattern>%d{{HH:mm:ss.SSS}} %-5p %t %c{{1}} %m%n</pattern>
    </encoder>
  </appender>
  <root level="{level}"><appender-ref ref="FILE"/></root>
</configuration>
"""


class _ApacheServer:
    """What name server and broker have in common: a home folder and one JVM."""

    main_class: str
    kind: str
    label: str

    def __init__(
        self, host: str, port: int, properties: Mapping[str, str], jvm: tuple[str, ...]
    ) -> None:
        self.port = port
        self.address = f"{host}:{port}"
        self.properties = dict(properties)
        self._jvm = jvm
        self._home: Path | None = None
        self._process: ServerProcess | None = None

    def start(self) -> Self:
        assert self._process is None, "already started"
        self._home = Path(tempfile.mkdtemp(prefix=f"apache-{self.kind}-"))
        configuration = self._home / f"{self.kind}.conf"
        configuration.write_text("".join(f"{k}={v}\n" for k, v in self.properties.items()))
        logback = self._home / "logback.xml"
        level = os.environ.get("APACHE_LOG_LEVEL", "WARN")
        logback.write_text(
            _LOGBACK.format(package=_LOGBACK_PACKAGE, log=self._home / "server.log", level=level)
        )
        command = [
            java_command(),
            *SERVER_JVM,
            *self._jvm,
            f"-Drmq.logback.configurationFile={logback}",
            # What it tells of its configuration are relative paths, nothing of this machine.
            "-Duser.home=.",
            f"-Djava.io.tmpdir={self._home}",
            "-cp",
            os.pathsep.join(java_classpath()[1:]),
            self.main_class,
            "-c",
            configuration.name,
        ]
        self._process = ServerProcess(
            f"Apache {self.kind} {self.address}",
            command,
            environment=child_environment(ROCKETMQ_HOME="."),
            cwd=self._home,
        )
        try:
            self._process.await_line("boot success", START_SECONDS)
            self._await_service()
            PEERS_MET.append(self.label)
        except BaseException as error:
            log = self.log()
            self.kill()
            if isinstance(error, ServerFailed):
                raise ServerFailed(f"{error}\nits log ends:\n{log[-4000:]}") from error
            raise
        return self

    def _await_service(self) -> None:
        raise NotImplementedError

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def log(self) -> str:
        """Its own log so far."""
        file = self._home / "server.log" if self._home is not None else None
        return file.read_text(errors="replace") if file is not None and file.is_file() else ""

    def stop(self) -> None:
        """A clean stop: SIGTERM, and its shutdown hook runs to the end."""
        if self._process is not None:
            process, self._process = self._process, None
            try:
                process.stop(STOP_SECONDS)
            finally:
                self._remove_home()

    def kill(self) -> None:
        """kill -9."""
        if self._process is not None:
            process, self._process = self._process, None
            process.kill()
        self._remove_home()

    def _remove_home(self) -> None:
        if self._home is not None:
            shutil.rmtree(self._home, ignore_errors=True)
            self._home = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        # A clean stop takes Apache's broker 10 s; a test that cares about it calls stop().
        self.kill()


class ApacheNamesrv(_ApacheServer):
    """Apache's name server on a free port, or on the given one."""

    main_class = "org.apache.rocketmq.namesrv.NamesrvStartup"
    kind = "namesrv"
    label = "Apache RocketMQ 5.5.0 name server"

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        properties: Mapping[str, str] | None = None,
        jvm: tuple[str, ...] = (),
    ) -> None:
        port = port or free_port()
        ours = {"listenPort": str(port), "bindAddress": host}
        super().__init__(host, port, ours | dict(properties or {}), jvm)

    def _await_service(self) -> None:
        await_answer(self.address, GET_BROKER_CLUSTER_INFO, timeout_seconds=START_SECONDS)


class ApacheBroker(_ApacheServer):
    """Apache's broker over a store directory, registered with a name server (any that speaks it).

    Three ports must be free: the broker's, the VIP port below (−2) and the HA port above (+1).
    It tells the name server 127.0.0.1, whatever the host it listens on: room for a proxy between.
    """

    main_class = "org.apache.rocketmq.broker.BrokerStartup"
    kind = "broker"
    label = "Apache RocketMQ 5.5.0 broker"

    def __init__(
        self,
        store: Path,
        *,
        namesrv: str,
        host: str = "127.0.0.1",
        port: int = 0,
        name: str = "broker-a",
        cluster: str = "DefaultCluster",
        properties: Mapping[str, str] | None = None,
        jvm: tuple[str, ...] = (),
    ) -> None:
        port = port or free_port(-2, 1)
        self.store = store
        self.name = name
        self.cluster = cluster
        self._namesrv = namesrv
        ours = {
            "brokerClusterName": cluster,
            "brokerName": name,
            "brokerId": "0",
            "brokerIP1": "127.0.0.1",
            "brokerIP2": "127.0.0.1",
            "bindAddress": host,
            "listenPort": str(port),
            "namesrvAddr": namesrv,
            "storePathRootDir": str(store),
            "storePathCommitLog": str(store / "commitlog"),
            "autoCreateTopicEnable": "true",
            # timerWheelEnable=false would save a sparse file of 38 MB, but then deleting a topic is
            # answered with a NullPointerException.
        }
        super().__init__(host, port, ours | dict(properties or {}), jvm)

    def _await_service(self) -> None:
        await_answer(self.address, GET_BROKER_CONFIG, timeout_seconds=START_SECONDS)
        # The registration at start is lost: it comes before the broker has a connection to any name
        # server, and the next one is 10 s away. An update of this property registers at once.
        ask(self.address, UPDATE_BROKER_CONFIG, body=b"brokerPermission=6\n")
        for server in self._namesrv.split(";"):
            await_answer(
                server,
                GET_BROKER_CLUSTER_INFO,
                containing=f'"{self.name}"'.encode(),
                timeout_seconds=START_SECONDS,
            )
