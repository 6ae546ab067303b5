"""A broker behind its remoting door: commands in, commands out, no sockets.

The broker is real, its store is in memory; clients are connections that a test writes to.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pyromq.frontends.remoting import RemotingDoor, RemotingPeers, broker_table
from pyromq.turn import Turn
from pyromq.wire.remoting.frame import Command, encode
from tests.support.brokers import BrokerInHand
from tests.support.connections import ManualTurns, MemoryOutput


class BrokerDoor:
    """A broker over a memory store, its door, and clients of it."""

    def __init__(self, **settings: Any) -> None:
        """`settings` are attributes of BrokerConfig."""
        self.hand = BrokerInHand(**settings)
        self.turns = ManualTurns()
        turn = Turn(self.turns.call_soon)
        broker = self.hand.broker
        self.door = RemotingDoor(
            "broker",
            broker_table(broker),
            turn,
            call_soon=self.turns.call_soon,
            call_later=self.turns.call_later,
            connection_lost=broker.connection_lost,
        )
        self.hand.peers.owns_all = False
        broker.add_peers(RemotingPeers(self.door))
        turn.set_stages([self.door.flush])
        self.client = Client(self)
        self.hand.create_topic("TopicTest")

    def end_turn(self) -> None:
        self.hand.end_turn()
        self.turns.run()


class Client:
    """One connection."""

    def __init__(self, house: BrokerDoor, port: int = 40_960, *, version: int = 513) -> None:
        self.house = house
        self.version = version
        self.output = MemoryOutput(("127.0.0.1", port))
        self.connection = house.door.connect(self.output)
        self.opaque = 0
        self.notices: list[Command] = []

    def put(self, code: int, ext: Mapping[str, str] | None = None, body: bytes = b"") -> None:
        """Sends a request."""
        self.opaque += 1
        command = Command.request(code, dict(ext or {}), body, opaque=self.opaque)
        command.version = self.version
        self.connection.receive(memoryview(encode(command)))

    def take(self) -> list[Command]:
        """The answers that came since the last look, after the turn."""
        self.house.end_turn()
        arrived, self.output.answers = self.output.answers, []
        self.notices += [command for command in arrived if not command.is_response]
        return [command for command in arrived if command.is_response]

    def take_notices(self) -> list[Command]:
        """What the broker said by itself."""
        assert self.take() == []
        notices, self.notices = self.notices, []
        return notices

    def ask(self, code: int, ext: Mapping[str, str] | None = None, body: bytes = b"") -> Command:
        self.put(code, ext, body)
        (answer,) = self.take()
        assert answer.opaque == self.opaque
        return answer

    def beat(
        self, client_id: str, *, consumer_group: str | None = None, producer_group: str = ""
    ) -> None:
        """Sends a heartbeat: a consumer of TopicTest, a producer, or both."""
        heartbeat: dict[str, Any] = {"clientID": client_id}
        if producer_group:
            heartbeat["producerDataSet"] = [{"groupName": producer_group}]
        if consumer_group is not None:
            wanted = {"topic": "TopicTest", "subString": "*", "subVersion": 1}
            heartbeat["consumerDataSet"] = [
                {"groupName": consumer_group, "subscriptionDataSet": [wanted]}
            ]
        assert self.ask(34, body=json.dumps(heartbeat).encode()).code == 0
        self.notices.clear()

    def take_question(self) -> Command:
        """The one request of the broker that wants an answer."""
        (question,) = self.take_notices()
        assert not question.is_oneway
        return question

    def answer(
        self, question: Command, code: int = 0, body: bytes = b"", remark: str | None = None
    ) -> None:
        """Answers a request of the broker."""
        response = Command.response_to(question, code, {}, body, remark=remark)
        self.connection.receive(memoryview(encode(response)))

    def leave(self) -> None:
        self.connection.closed("closed by the peer")

    def send(self, text: str = "", body: bytes = b"Hello", **changed: str) -> Command:
        return self.ask(310, send_ext(i=text, **changed), body)


def send_ext(**changed: str) -> dict[str, str]:
    """Header of a send as Java sends it."""
    ext = {
        "a": "PG2", "b": "TopicTest", "c": "TBW102", "d": "4", "e": "0", "f": "0",
        "g": "1795222505090", "h": "0", "i": "", "j": "0", "k": "false", "m": "false",
        "n": "broker-a",
    }  # fmt: skip
    return {**ext, **changed}


def pull_ext(**changed: str) -> dict[str, str]:
    """Header of a pull with its own subscription."""
    ext = {
        "queueId": "0", "maxMsgBytes": "262144", "maxMsgNums": "32", "sysFlag": "4",
        "suspendTimeoutMillis": "15000", "commitOffset": "0", "bname": "broker-a",
        "topic": "TopicTest", "queueOffset": "0", "expressionType": "TAG",
        "subVersion": "1795222506472", "consumerGroup": "CG2", "subscription": "*",
    }  # fmt: skip
    return {**ext, **changed}


__all__ = ["BrokerDoor", "Client", "pull_ext", "send_ext"]
