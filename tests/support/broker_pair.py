"""Brokers of either kind that keep their port and store while they are killed and started again."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Self

from pyromq.codes import RequestCode, ResponseCode
from tests.support.apache import MEDIUM_FILES, UPDATE_BROKER_CONFIG, ApacheBroker
from tests.support.peers import Kind
from tests.support.processes import Answer, ask, free_port
from tests.support.pyromq_server import PyromqServer

CLUSTER = "DefaultCluster"
WHOLE_TOPIC = 4
"""The system flag of a pull that names its subscription."""


class RestartableBroker:
    """One master; `properties` are in force from each start on."""

    def __init__(
        self,
        kind: Kind,
        folder: Path,
        *,
        namesrv: str,
        name: str,
        properties: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self.properties = dict(properties or {})
        self._kind = kind
        self._folder = folder
        self._namesrv = namesrv
        self._port = free_port(-2, 1)
        self._store = folder / f"store-{name}"
        self._running: ApacheBroker | PyromqServer | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._port}"

    def start(self) -> Self:
        assert self._running is None, f"{self.name} runs"
        self._running = self._apache() if self._kind == "apache" else self._ours()
        return self

    def _apache(self) -> ApacheBroker:
        broker = ApacheBroker(
            self._store,
            namesrv=self._namesrv,
            port=self._port,
            name=self.name,
            cluster=CLUSTER,
            properties={**MEDIUM_FILES, **self.properties},
        ).start()
        # Its start sets brokerPermission=6 to be registered at once; here the last word is ours.
        permission = self.properties.get("brokerPermission", "6")
        ask(broker.address, UPDATE_BROKER_CONFIG, body=f"brokerPermission={permission}\n".encode())
        return broker

    def _ours(self) -> PyromqServer:
        file = self._folder / f"{self.name}.conf"
        lines = {
            "brokerClusterName": CLUSTER,
            "brokerName": self.name,
            "brokerId": "0",
            "brokerIP1": "127.0.0.1",
            "listenPort": str(self._port),
            "storePathRootDir": str(self._store),
            **MEDIUM_FILES,
            **self.properties,
        }
        file.write_text("".join(f"{key}={value}\n" for key, value in lines.items()))
        return PyromqServer("broker", "-c", file, "-n", self._namesrv).start()

    def kill(self) -> None:
        """kill -9; nothing happens if it has ended."""
        if self._running is not None:
            running, self._running = self._running, None
            running.kill()

    def stored(self, topic: str, queues: int) -> int:
        """How many messages of a topic it has ever stored in queues 0 … queues−1."""
        total = 0
        for queue in range(queues):
            fields = {"topic": topic, "queueId": str(queue), "committed": "true"}
            answer = ask(self.address, RequestCode.GET_MAX_OFFSET, fields)
            assert answer.code == ResponseCode.SUCCESS, answer
            total += int(answer.fields["offset"])
        return total

    def send(self, topic: str) -> Answer:
        """Asks it to store a message in queue 0, whatever the route says."""
        fields = {
            "producerGroup": "asking",
            "topic": topic,
            "defaultTopic": "TBW102",
            "defaultTopicQueueNums": "1",
            "queueId": "0",
            "sysFlag": "0",
            "bornTimestamp": "1700000000000",
            "flag": "0",
        }
        return ask(self.address, RequestCode.SEND_MESSAGE, fields, b"body")

    def pull(self, topic: str) -> Answer:
        """Asks it for the first messages of queue 0, whatever the route says."""
        fields = {
            "consumerGroup": "asking",
            "topic": topic,
            "queueId": "0",
            "queueOffset": "0",
            "maxMsgNums": "32",
            "sysFlag": str(WHOLE_TOPIC),
            "commitOffset": "0",
            "suspendTimeoutMillis": "0",
            "subscription": "*",
            "subVersion": "0",
        }
        return ask(self.address, RequestCode.PULL_MESSAGE, fields)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.kill()
