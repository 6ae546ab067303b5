"""Long polls on the express lane: who waits there, who is looked at, and who goes back to a verb.

Both lanes are given the same; that they say the same of random traffic is in
tests/properties/test_lanes_equal.py.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyromq.domain.subscription import tag_hash
from pyromq.frontends.remoting.express import ExpressLane
from pyromq.wire.remoting.frame import Command, encode
from tests.support.lane_house import LaneHouse, SocketOutput, split_answers
from tests.support.lane_traffic import Traffic

QUEUES = 4
FOUND, NOT_FOUND, RETRY_IMMEDIATELY, OFFSET_MOVED = 0, 19, 20, 21


class Pair:
    """A broker with the lane and one without; CG may pull from TopicTest on the lane."""

    def __init__(self, root: Path) -> None:
        self.lane = LaneHouse(root / "one", has_lane=True)
        self.verbs = LaneHouse(root / "two", has_lane=False)
        self.houses = (self.lane, self.verbs)
        self.traffic = Traffic()
        self.heartbeat("*")
        for house in self.houses:
            house.create_topic("TopicTest", QUEUES)
        self.give(self.poll(0, sysFlag="0"), self.poll(0, sysFlag="4", subscription="TagB"))
        self.send(0)
        self.answers()

    def heartbeat(self, wanted: str, version: int = 1) -> None:
        subscription = {
            "topic": "TopicTest",
            "subString": wanted,
            "subVersion": version,
            "codeSet": [] if wanted == "*" else [tag_hash(wanted)],
        }
        consumer = {
            "groupName": "CG",
            "messageModel": "CLUSTERING",
            "subscriptionDataSet": [subscription],
        }
        beat = {"clientID": "client-0", "consumerDataSet": [consumer]}
        self.give(self.traffic.plain(34, body=json.dumps(beat).encode()))

    def poll(self, queue_id: int, offset: int = 0, **changed: str) -> Command:
        fields = {
            "consumerGroup": "CG", "topic": "TopicTest", "queueId": str(queue_id),
            "queueOffset": str(offset), "maxMsgNums": "32", "sysFlag": "2", "commitOffset": "0",
            "suspendTimeoutMillis": "15000", "subVersion": "1",
        }  # fmt: skip
        return self.traffic.plain(11, fields | changed)

    def give(self, *commands: Command, client: int = 0) -> None:
        data = b"".join(map(encode, commands))
        for house in self.houses:
            house.receive(client, data)

    def send(self, queue_id: int, tag: str = "TagA", size: int = 10, count: int = 1) -> None:
        """Messages are stored in one turn; their answers, to another client, are dropped."""
        for _ in range(count):
            properties = f"TAGS\x01{tag}\x02UNIQ_KEY\x01ID{self.traffic.opaque:08X}\x02"
            command = self.traffic.send(1, b="TopicTest", e=str(queue_id), i=properties)
            command.body = bytes(size)
            self.give(command, client=2)
        self.end_turn()
        for house in self.houses:
            house.outputs[2].drop()

    def end_turn(self) -> None:
        for house in self.houses:
            house.end_turn()

    def advance(self, duration_ms: int) -> None:
        for house in self.houses:
            house.advance(duration_ms)

    def answers(self, client: int = 0) -> list[Command]:
        """Of a client since the last look: the same from both."""
        self.end_turn()
        told = [house.answers()[client] for house in self.houses]
        assert told[0] == told[1]
        assert self.lane.broker.parked_count == self.verbs.broker.parked_count
        assert self.lane.offsets() == self.verbs.offsets()
        return split_answers(told[0])

    def codes(self) -> list[int]:
        return [answer.code for answer in self.answers()]

    @property
    def on_lane(self) -> int:
        """Polls that wait there."""
        return self._lane.poll_count

    @property
    def looked_at(self) -> int:
        """Polls that were looked at so far."""
        return self._lane.native.looked_at_count()

    @property
    def _lane(self) -> ExpressLane:
        assert self.lane.lane is not None
        return self.lane.lane


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    made = Pair(tmp_path)
    yield made
    for house in made.houses:
        house.close()


def test_each_poll_of_a_queue_gets_what_came(pair: Pair) -> None:
    pair.give(pair.poll(0, 1), pair.poll(0, 1), pair.poll(1), pair.poll(0, 1), pair.poll(2))
    assert (pair.on_lane, pair.codes()) == (5, [])
    pair.send(0)
    answers = pair.answers()
    assert [answer.ext["nextBeginOffset"] for answer in answers] == ["2", "2", "2"]
    assert {answer.code for answer in answers} == {FOUND}
    assert all(answer.body for answer in answers)
    assert pair.on_lane == 2


def test_a_filter_moves_a_poll_on_and_its_deadline_tells_it(pair: Pair) -> None:
    pair.give(pair.poll(0, 1, sysFlag="6", subscription="TagB"))
    pair.send(0, "TagA")
    pair.advance(14_900)
    assert (pair.on_lane, pair.codes()) == (1, [])
    pair.advance(200)
    (answer,) = pair.answers()
    assert (answer.code, answer.ext["nextBeginOffset"]) == (RETRY_IMMEDIATELY, "2")
    pair.give(pair.poll(0, 2, sysFlag="6", subscription="TagB"))
    pair.send(0, "TagA")
    pair.send(0, "TagB")
    assert pair.codes() == [FOUND]


def test_a_deadline_counts_from_the_coming_of_its_poll(pair: Pair) -> None:
    pair.advance(300)
    pair.give(pair.poll(0, 1, suspendTimeoutMillis="500"), pair.poll(1, suspendTimeoutMillis="-1"))
    assert pair.on_lane == 2
    pair.advance(400)
    assert pair.codes() == [NOT_FOUND]
    pair.advance(100)
    (answer,) = pair.answers()
    assert (answer.code, answer.remark) == (NOT_FOUND, "OFFSET_OVERFLOW_ONE")
    for house in pair.houses:
        house.configure(long_polling_enable=False, short_polling_time_ms=200)
    pair.give(pair.poll(0, 1))
    pair.give(pair.poll(0, 1))
    assert pair.on_lane == 1, "the first one took its verb"
    pair.advance(200)
    assert pair.codes() == [NOT_FOUND] * 2


def test_a_poll_of_a_subscription_that_changed_is_judged_by_its_verb(pair: Pair) -> None:
    pair.give(pair.poll(0, 1), pair.poll(1, subVersion="2"))
    assert pair.on_lane == 1
    pair.heartbeat("TagB", 2)
    for _ in range(2):  # the first takes its verb
        pair.give(pair.poll(1, subVersion="2"))
    assert pair.on_lane == 2, "the old one is not looked at, a new one waits beside it"
    pair.answers()
    pair.send(0, "TagA")
    assert pair.codes() == [FOUND], "it came by the subscription of its time"
    pair.send(1, "TagA")
    pair.send(1, "TagB")
    assert pair.codes() == [FOUND] * 2


def test_a_reset_is_told_to_a_poll_at_once(pair: Pair) -> None:
    pair.send(0, count=3)
    pair.give(pair.poll(0, 4), pair.poll(1, 0))
    assert pair.on_lane == 2
    fields = {
        "topic": "TopicTest", "group": "CG", "timestamp": "-1", "isForce": "true", "queueId": "0",
        "offset": "2",
    }  # fmt: skip
    pair.give(pair.traffic.plain(222, fields), client=1)
    (answer, *_) = pair.answers()
    assert (answer.code, answer.remark) == (OFFSET_MOVED, "OFFSET_RESET")
    assert answer.ext["nextBeginOffset"] == "2"


def test_a_topic_that_goes_ends_its_polls(pair: Pair) -> None:
    pair.give(pair.poll(0, 1), pair.poll(1))
    pair.give(pair.traffic.plain(215, {"topic": "TopicTest"}), client=1)
    answers = pair.answers()
    assert pair.on_lane == 0
    assert {answer.remark and answer.remark[:27] for answer in answers} == {
        "topic[TopicTest] not exist,"
    }


def test_a_connection_that_goes_takes_its_polls_along(pair: Pair) -> None:
    pair.give(pair.poll(0, 1), pair.poll(1))
    pair.give(pair.poll(0, 1), client=1)
    for house in pair.houses:
        house.connections[0].closed("closed by the peer")
        house.connections[0] = house.door.connect(house.outputs[0])
    assert pair.on_lane == 1
    pair.send(0)
    pair.send(1)
    assert pair.answers() == [], "its number is another's now"
    assert pair.on_lane == 0


def test_the_end_of_the_broker_ends_all_polls(pair: Pair) -> None:
    pair.give(pair.poll(0, 1), pair.poll(1), pair.poll(0, 1, subscription="New", sysFlag="6"))
    assert pair.on_lane == 2
    for house in pair.houses:
        house.stop()
    answers = pair.answers()
    assert [answer.remark for answer in answers] == ["the broker is shutting down"] * 3
    pair.give(pair.poll(0, 1))
    assert [answer.remark for answer in pair.answers()] == ["the broker is shutting down"]


def test_the_bounds_are_for_both_lanes_together(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pyromq.broker.parked.CONNECTION_POLLS_MAX", 4)
    monkeypatch.setattr("pyromq.broker.parked.POLLS_MAX", 6)

    def wait(count: int, client: int, *, on_lane: bool, offset: int = 1) -> None:
        for number in range(count):
            changed = {} if on_lane else {"sysFlag": "6", "subscription": f"New{number}"}
            pair.give(pair.poll(0, offset, **changed), client=client)

    wait(2, 0, on_lane=False)
    wait(3, 0, on_lane=True)
    (refused,) = pair.answers()
    assert refused.remark == "4 pulls of this connection are waiting, no more are held"
    wait(1, 1, on_lane=True)
    wait(1, 1, on_lane=False)
    wait(2, 1, on_lane=True)
    assert [answer.remark for answer in pair.answers(client=1)] == [
        "6 pulls are waiting for messages, no more are held"
    ] * 2
    assert pair.lane.broker.parked_count == 6
    assert 3 <= pair.on_lane <= 4
    pair.send(0)
    pair.answers()
    wait(3, 1, on_lane=True, offset=2)
    assert pair.answers(client=1) == []


def test_more_answers_than_a_connection_may_have_at_once_are_given_by_verbs(pair: Pair) -> None:
    pair.give(*(pair.poll(0, 1) for _ in range(30)))
    before = pair.looked_at
    pair.send(0, size=12_000, count=1)
    assert len(pair.codes()) == 30
    pair.give(*(pair.poll(0, 2, maxMsgNums="32") for _ in range(30)))
    assert pair.on_lane == 30
    for _ in range(8):
        pair.give(pair.traffic.send(9, b="TopicTest", e="0"), client=2)
    commands = [pair.traffic.send(1, b="TopicTest", e="0") for _ in range(16)]
    for command in commands:
        command.body = bytes(15_000)
    pair.give(*commands, client=2)
    answers = pair.answers()
    assert [answer.code for answer in answers] == [FOUND] * 30
    assert sum(len(answer.body) for answer in answers) > 4 << 20
    assert pair.looked_at - before == 60


def test_who_waits_elsewhere_is_not_looked_at(tmp_path: Path) -> None:
    """100,000 polls: only those whose queue has got a message are looked at, each once."""
    queues, per_queue = 1_000, 100
    house = LaneHouse(tmp_path, has_lane=True, clients=8)
    traffic = Traffic()
    house.create_topic("TopicTest", queues)
    assert house.lane is not None
    native = house.lane.native

    def polls(count: int, first: int) -> bytes:
        fields = {
            "consumerGroup": "CG", "topic": "TopicTest", "queueOffset": "0", "maxMsgNums": "32",
            "sysFlag": "6", "commitOffset": "0", "suspendTimeoutMillis": "30000",
            "subscription": "*", "subVersion": "0",
        }  # fmt: skip
        commands = (
            traffic.plain(11, {**fields, "queueId": str((first + at) % queues)})
            for at in range(count)
        )
        return b"".join(map(encode, commands))

    house.receive(0, encode(traffic.plain(200, body=b'{"groupName":"CG"}')))
    house.end_turn()
    house.receive(0, polls(1, 0))  # it takes its verb, and opens the lane for the others
    share = queues * per_queue // 8
    for client in range(8):
        house.receive(client, polls(share, client * share))
    assert native.poll_count() == queues * per_queue
    assert house.broker.parked_count == queues * per_queue + 1
    house.end_turn()
    house.answers()
    for _ in range(20):
        house.turn.end()
        house.advance(10)
    assert native.looked_at_count() == 0
    _send(house, traffic, 7)
    assert native.looked_at_count() == per_queue
    assert native.poll_count() == (queues - 1) * per_queue
    answers = [split_answers(told) for told in house.answers()]
    assert sum(answer.code == FOUND for told in answers for answer in told) == per_queue + 1
    _send(house, traffic, 7)
    assert native.looked_at_count() == per_queue, "nobody waits there any more"
    house.advance(30_000)
    assert native.poll_count() == 0
    assert native.looked_at_count() == queues * per_queue, "each was looked at once"
    house.close()


def _send(house: LaneHouse, traffic: Traffic, queue_id: int) -> None:
    house.receive(0, encode(traffic.send(1, b="TopicTest", e=str(queue_id))))
    house.end_turn()


def test_answers_of_polls_go_straight_to_the_socket(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = LaneHouse(tmp_path, has_lane=True, has_sockets=True)
    traffic = Traffic()
    house.create_topic("TopicTest")
    house.receive(0, encode(traffic.plain(200, body=b'{"groupName":"CG"}')))
    house.receive(0, encode(traffic.send(1, b="TopicTest", e="0")))
    house.end_turn()
    wanted = {"topic": "TopicTest", "queueId": "0"}
    house.receive(1, encode(traffic.pull(2, 4, queueOffset="0", **wanted)))  # opens the lane
    house.receive(1, encode(traffic.pull(2, 6, queueOffset="1", **wanted)))
    house.end_turn()
    house.answers()
    assert house.lane is not None
    assert house.lane.poll_count == 1
    output = house.outputs[1]
    assert isinstance(output, SocketOutput)
    output.write_sizes.clear()
    wakes: list[int] = []
    monkeypatch.setattr(house.lane, "wake", wakes.append)
    _send(house, traffic, 0)
    assert wakes == [], "the turn ended in one native call"
    assert output.write_sizes == [], "nobody but the lane wrote"
    assert b'"TopicTest@CG":{0:2}' in house.offsets(), "the broker knows of it all the same"
    (answer,) = split_answers(output.read())
    assert (answer.code, answer.ext["nextBeginOffset"]) == (FOUND, "2")
    house.close()


def test_a_broker_that_may_only_be_read_has_polls_on_the_lane(pair: Pair) -> None:
    for house in pair.houses:
        house.configure(broker_permission=4)
    pair.give(pair.poll(1))
    pair.end_turn()
    before = pair.on_lane
    pair.give(pair.poll(2))
    assert pair.on_lane == before + 1


def test_what_comes_with_a_poll_is_not_kept_while_it_waits(pair: Pair) -> None:
    poll = pair.poll(1)
    poll.body = bytes(1_000_000)
    before = pair.on_lane
    pair.give(poll)
    assert pair.on_lane == before, "a verb has it, without the bytes"
    pair.send(1)
    assert pair.codes() == [FOUND]
