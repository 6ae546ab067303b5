"""The express lane at a door: bounds, failures, the end; what both lanes say of the same is in
tests/properties/test_lanes_equal.py."""

from __future__ import annotations

import asyncio
import gc
import resource
import socket
import weakref
from collections.abc import Iterator, Sequence
from contextlib import nullcontext, suppress
from pathlib import Path

import pytest

from pyromq.errors import StoreFailed
from pyromq.frontends.remoting import served
from pyromq.frontends.remoting.served import ServedConnection
from pyromq.wire.remoting.frame import FLAG_ONEWAY, Command, encode
from tests.support.lane_house import LaneHouse, SocketOutput, split_answers
from tests.support.lane_traffic import Step, Traffic


class Pair:
    """A broker with the lane, one without, and what they are given."""

    def __init__(self, root: Path) -> None:
        self.lane = LaneHouse(root / "one", has_lane=True)
        self.verbs = LaneHouse(root / "two", has_lane=False)
        self.houses = (self.lane, self.verbs)
        self.traffic = Traffic()
        for house in self.houses:
            house.create_topic("TopicTest")
        self.give([self.send()])
        self.end_turn()
        self.answers()

    def send(self, n: int = 0, size: int = 10) -> Command:
        command = self.traffic.send(n, b="TopicTest")
        command.body = bytes(size)
        return command

    def give(self, commands: Sequence[Command]) -> None:
        data = b"".join(map(encode, commands))
        for house in self.houses:
            house.receive(0, data)

    def end_turn(self) -> None:
        self.traffic.end_turn(self.houses, Step(0, 0, 0, 0))

    def answers(self) -> list[Command]:
        """The same from both, but for the folder that a failure names."""
        one, other = (house.answers() for house in self.houses)
        assert one == [[data.replace(b"/two/", b"/one/") for data in told] for told in other]
        return split_answers(one[0])

    @property
    def held_count(self) -> int:
        assert self.lane.lane is not None
        return self.lane.lane.waiter_count


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    made = Pair(tmp_path)
    yield made
    for house in made.houses:
        with suppress(StoreFailed) if house.engine.failure() else nullcontext():
            house.close()


def test_sends_take_the_lane_once_their_topic_was_sent_to(pair: Pair) -> None:
    pair.give([pair.send(), pair.send()])
    assert pair.held_count == 2
    pair.end_turn()
    assert pair.held_count == 0
    assert [answer.code for answer in pair.answers()] == [0, 0]


def test_answers_of_both_lanes_leave_with_one_write(pair: Pair) -> None:
    output = pair.lane.outputs[0]
    output.write_sizes.clear()
    pair.give([pair.send(), pair.traffic.plain(30, {"topic": "TopicTest", "queueId": "0"})])
    pair.give([pair.send(5), pair.traffic.pull(0)])
    pair.end_turn()
    assert len(output.write_sizes) == 1
    assert len(pair.answers()) == 4


@pytest.mark.parametrize("which", [0, 1], ids=["lane", "verbs"])
def test_one_turn_writes_and_answers(pair: Pair, which: int) -> None:
    house = pair.houses[which]
    house.receive(0, encode(pair.send()))
    number = house.turn.number
    house.end_turn()
    assert house.turn.number == number + 1
    assert len(house.answers()[0]) == 1


def test_a_failed_write_refuses_the_turn_and_gives_offsets_again(pair: Pair) -> None:
    pair.give([pair.send(), pair.send(1)])
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1, hard))
    try:
        pair.end_turn()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    answers = pair.answers()
    assert [answer.code for answer in answers] == [14, 14]
    assert all((answer.remark or "").startswith("the store failed: ") for answer in answers)
    assert pair.held_count == 0
    for house in pair.houses:
        assert house.engine.queue_range("TopicTest", 0).max_offset == 1
        assert house.broker.counters.put_count == 1
    pair.give([pair.send()])
    pair.end_turn()
    (refused,) = pair.answers()
    assert refused.code == 14


def test_more_requests_than_may_wait_are_busy(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(served, "IN_FLIGHT_MAX", 3)
    pair.give([pair.send() for _ in range(5)])
    pair.end_turn()
    assert [answer.code for answer in pair.answers()] == [0, 0, 0, 2, 2]
    pair.give([pair.send() for _ in range(3)])
    assert pair.held_count == 3
    pair.end_turn()
    assert [answer.code for answer in pair.answers()] == [0, 0, 0]


def test_who_has_too_many_bytes_under_way_is_read_when_half_are_committed(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(served, "IN_FLIGHT_SIZE_MAX", 10_000)
    house, output = pair.lane, pair.lane.outputs[0]
    house.engine.held_commit = house.engine.positions().commit
    pair.give([pair.send(size=4_000)])
    house.end_turn()
    middle = house.engine.positions().written
    seen = [output.is_reading]
    pair.give([pair.send(size=8_000)])
    house.end_turn()
    seen.append(output.is_reading)
    house.engine.held_commit = middle
    house.turn.end()
    seen.append(output.is_reading)
    house.engine.held_commit = None
    house.turn.end()
    seen.append(output.is_reading)
    assert seen == [True, False, False, True]


@pytest.mark.parametrize("which", [0, 1], ids=["lane", "verbs"])
def test_an_endless_pipeline_rests_until_the_others_had_their_turn(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, which: int
) -> None:
    monkeypatch.setattr(served, "TURN_SIZE_MAX", 2_000)
    house, output = pair.houses[which], pair.houses[which].outputs[0]
    data = encode(pair.send(size=1_500))
    house.receive(0, data)
    seen = [output.is_reading]
    house.receive(0, data)
    seen.append(output.is_reading)
    house.end_turn()
    seen.append(output.is_reading)
    house.receive(0, data)
    seen.append(output.is_reading)
    assert seen == [True, False, True, True]
    assert len(house.answers()[0]) == 2


def test_pulls_wait_for_room_and_are_all_answered(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair.give([pair.send(size=5_000) for _ in range(4)])
    pair.end_turn()
    pulls = [
        pair.traffic.pull(24, queueOffset="0", queueId="0", maxMsgNums="32") for _ in range(12)
    ]
    pair.give(pulls[:1])
    pair.end_turn()
    pair.answers()
    monkeypatch.setattr(served, "UNSENT_MAX", 30_000)
    pair.give(pulls[1:])
    assert [house.outputs[0].is_reading for house in pair.houses] == [False, False]
    pair.end_turn()
    answers = pair.answers()
    assert [answer.code for answer in answers] == [0] * 11
    assert len({answer.body for answer in answers}) == 1
    assert [house.outputs[0].is_reading for house in pair.houses] == [True, True]


def test_a_damaged_record_is_passed_over_by_a_pull_on_the_lane(pair: Pair) -> None:
    pair.give([pair.send() for _ in range(3)])
    pair.end_turn()
    pull = pair.traffic.pull(24, queueOffset="0", queueId="0", maxMsgNums="32")
    pair.give([pull])
    pair.end_turn()
    pair.answers()
    for house in pair.houses:
        (path,) = (house.root / "commitlog").iterdir()
        with path.open("r+b") as segment:
            segment.seek(100)  # inside the body of the first
            segment.write(b"\xff")
    pair.give([pull])
    pair.end_turn()
    (answer,) = pair.answers()
    assert (answer.code, answer.ext["nextBeginOffset"]) == (0, "4")
    assert len(answer.body) > 0
    assert [house.engine.damage().place_count for house in pair.houses] == [1, 1]


@pytest.fixture
def direct(tmp_path: Path) -> Iterator[LaneHouse]:
    """A broker whose lane may write to its clients' sockets."""
    house = LaneHouse(tmp_path, has_lane=True, has_sockets=True)
    house.create_topic("TopicTest")
    house.receive(0, encode(Traffic().send(0, b="TopicTest")))
    house.end_turn()
    house.answers()
    yield house
    house.close()


def test_answers_on_the_lane_go_straight_to_the_socket(direct: LaneHouse) -> None:
    output = direct.outputs[0]
    output.write_sizes.clear()
    direct.receive(0, encode(Traffic().send(0, b="TopicTest")))
    direct.end_turn()
    assert [answer.code for answer in split_answers(direct.answers()[0])] == [0]
    assert output.write_sizes == []


def pulls(house: LaneHouse, traffic: Traffic, count: int) -> list[bytes]:
    """Pulls of some 20 KB each, which the lane takes."""
    house.receive(0, b"".join(encode(traffic.send(0, b="TopicTest")) for _ in range(4)))
    sent = traffic.send(0, b="TopicTest", e="0")
    sent.body = bytes(5_000)
    house.receive(0, b"".join(encode(sent) for _ in range(4)))
    house.end_turn()
    made = [
        traffic.pull(24, queueOffset="0", queueId="0", maxMsgNums="32") for _ in range(count + 1)
    ]
    house.receive(0, encode(made[0]))
    house.end_turn()
    house.answers()
    return [encode(pull) for pull in made[1:]]


def test_what_pulls_find_leaves_in_the_call_that_read_them(direct: LaneHouse) -> None:
    output, traffic = direct.outputs[0], Traffic()
    first, second = pulls(direct, traffic, 2)
    output.write_sizes.clear()
    direct.receive(0, first + second)
    assert not direct.turns.is_due, "nothing is left for a turn's end"
    answers = split_answers(direct.answers()[0])
    assert [answer.code for answer in answers] == [0, 0]
    assert len(answers[0].body) > 5_000
    assert output.write_sizes == []


def test_pulls_wait_for_room_where_answers_go_straight_to_the_socket(
    direct: LaneHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = direct.outputs[0]
    frames = pulls(direct, Traffic(), 11)
    monkeypatch.setattr(served, "UNSENT_MAX", 30_000)
    direct.receive(0, b"".join(frames))
    assert [output.is_reading] == [False]
    assert 0 < len(output.read()) < 11
    direct.end_turn()
    assert [output.is_reading] == [True]
    direct.receive(0, frames[0])
    assert len(direct.answers()[0]) > 0


def test_pulls_among_other_requests_have_no_more_room(
    direct: LaneHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    output, traffic = direct.outputs[0], Traffic()
    frames = pulls(direct, traffic, 40)
    monkeypatch.setattr(served, "UNSENT_MAX", 60_000)
    verb = encode(traffic.plain(30, {"topic": "TopicTest", "queueId": "0"}))
    direct.receive(0, b"".join(verb + pull for pull in frames))
    assert [output.is_reading] == [False]
    before = split_answers(output.read())
    assert 0 < sum(len(answer.body) for answer in before) < 120_000
    direct.end_turn()
    assert [output.is_reading] == [True]
    answers = before + split_answers(output.read())
    assert {answer.code for answer in answers} == {0}
    assert len(answers) == 80


def test_what_a_socket_does_not_take_of_pulls_goes_before_what_comes_after(
    direct: LaneHouse,
) -> None:
    output, traffic = direct.outputs[0], Traffic()
    assert isinstance(output, SocketOutput)
    frames = pulls(direct, traffic, 40)
    output.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
    verb = encode(traffic.plain(30, {"topic": "TopicTest", "queueId": "0"}))
    direct.receive(0, verb + b"".join(frames[:20]) + verb + b"".join(frames[20:]))
    assert output.waiting, "the socket does not take all"
    assert output.descriptor is None
    direct.end_turn()
    answers = split_answers(output.read())
    assert {answer.code for answer in answers} == {0}
    assert len(answers) == 42
    assert len({answer.opaque for answer in answers}) == 41


def test_the_rest_of_a_pulls_answer_follows_its_beginning_where_its_client_is_paused(
    direct: LaneHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    output, traffic = direct.outputs[0], Traffic()
    assert isinstance(output, SocketOutput)
    (pull,) = pulls(direct, traffic, 1)
    monkeypatch.setattr(served, "IN_FLIGHT_SIZE_MAX", 20_000)
    output.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
    sends = [traffic.send(0, b="TopicTest") for _ in range(2)]
    for send in sends:
        send.body = bytes(15_000)
    verb = traffic.plain(30, {"topic": "TopicTest", "queueId": "0"})
    direct.receive(0, b"".join(map(encode, [verb, *sends])) + pull * 3)
    assert [output.is_reading] == [False]
    direct.end_turn()
    answers = split_answers(output.read())
    assert len(answers) == 6, "each is whole"


def test_who_wants_no_answers_keeps_nobody_from_the_short_end(
    direct: LaneHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(served, "IN_FLIGHT_SIZE_MAX", 20_000)
    connection = direct.connections[0] = direct.door.connect(direct.outputs[0])
    traffic = Traffic()
    sends = [traffic.send(0, b="TopicTest") for _ in range(4)]
    for send in sends:
        send.flag, send.body = FLAG_ONEWAY, bytes(9_000)
    direct.receive(0, b"".join(map(encode, sends)))
    assert [direct.outputs[0].is_reading] == [False]
    direct.end_turn()
    assert direct.outputs[0].is_reading
    ends: list[bool] = []

    def end_short() -> bool:
        ends.append(direct.broker.end_short())
        return ends[-1]

    direct.turn.set_stages([*direct.broker.stages(), direct.door.flush], end_short)
    direct.receive(0, encode(sends[0]))
    direct.end_turn()
    assert ends == [True]
    assert connection is direct.connections[0]


def test_what_a_socket_does_not_take_follows_in_its_order(direct: LaneHouse) -> None:
    output, traffic = direct.outputs[0], Traffic()
    assert isinstance(output, SocketOutput)
    output.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
    output.write_sizes.clear()
    count = 0
    while not output.waiting:  # the first that does not go, and some behind it
        direct.receive(0, b"".join(encode(traffic.send(0, b="TopicTest")) for _ in range(50)))
        direct.end_turn()
        count += 50
        assert count < 100_000
    assert output.descriptor is None
    direct.receive(0, encode(traffic.send(0, b="TopicTest")))
    direct.end_turn()
    assert len(output.write_sizes) == 2
    answers = split_answers(output.read())
    assert [answer.opaque for answer in answers] == list(range(1, count + 2))
    assert {answer.code for answer in answers} == {0}

    for write_count in (1, 0):  # nothing waits any more: the socket is the lane's again
        output.write_sizes.clear()
        direct.receive(0, encode(traffic.send(0, b="TopicTest")))
        direct.end_turn()
        assert len(direct.answers()[0]) == 1
        assert len(output.write_sizes) == write_count


def test_the_lane_takes_sends_out_of_the_socket_as_long_as_the_client_may_have_more_under_way(
    direct: LaneHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(served, "IN_FLIGHT_MAX", 3)
    monkeypatch.setattr(served, "ROOM_STEP", 1)
    direct.receive(0, encode(Traffic().pull(0)))  # a verb: its connection sees the new limit
    direct.end_turn()
    direct.answers()
    before = direct.taken_count
    traffic = Traffic()
    direct.receive(0, b"".join(encode(traffic.send(0, b="TopicTest")) for _ in range(5)))
    assert direct.taken_count == before + 3
    direct.end_turn()
    answers = split_answers(direct.answers()[0])
    assert sorted(answer.code for answer in answers) == [0, 0, 0, 2, 2]


def test_the_socket_is_not_read_while_too_many_bytes_wait_for_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(served, "IN_FLIGHT_SIZE_MAX", 10_000)
    house = LaneHouse(tmp_path, has_lane=True, has_sockets=True)
    house.create_topic("TopicTest")
    house.receive(0, encode(Traffic().send(0, b="TopicTest")))
    house.end_turn()
    house.answers()
    output, traffic = house.outputs[0], Traffic()
    sends = [traffic.send(0, b="TopicTest") for _ in range(2)]
    for send in sends:
        send.body = bytes(6_000)
    house.receive(0, b"".join(map(encode, sends)))
    assert [output.is_reading] == [False]
    house.end_turn()
    assert output.is_reading
    assert len(split_answers(house.answers()[0])) == 2
    house.close()


def test_nothing_is_written_to_the_socket_of_a_connection_that_was_closed(
    direct: LaneHouse,
) -> None:
    output = direct.outputs[0]
    assert isinstance(output, SocketOutput)
    direct.receive(0, encode(Traffic().send(0, b="TopicTest")))
    direct.connections.pop(0).closed("closed by the peer")
    direct.end_turn()
    with pytest.raises(BlockingIOError):
        output.client.recv(1)


async def test_the_stop_answers_what_waits_and_refuses_what_comes(pair: Pair) -> None:
    house = pair.lane
    house.engine.held_commit = house.engine.positions().commit
    house.receive(0, encode(pair.send()))
    house.end_turn()
    stopping = asyncio.create_task(house.broker.stop())
    await asyncio.sleep(0)
    assert house.answers()[0] == []
    house.engine.held_commit = None
    house.turn.end()
    await stopping
    house.end_turn()
    assert [answer.code for answer in split_answers(house.answers()[0])] == [0]
    house.receive(0, encode(pair.send()))
    house.end_turn()
    (refused,) = split_answers(house.answers()[0])
    assert (refused.code, refused.remark) == (
        14,
        "service not available now: the broker is shutting down",
    )


def test_who_left_gets_nothing_and_his_messages_stay(pair: Pair) -> None:
    pair.give([pair.send()])
    for house in pair.houses:
        house.connections.pop(0).closed("closed by the peer")
    pair.end_turn()
    assert pair.answers() == []
    assert pair.lane.counted() == pair.verbs.counted()
    assert pair.lane.broker.counters.put_count == 2


def test_what_a_connection_holds_is_free_as_soon_as_it_is_closed(pair: Pair) -> None:
    house = pair.lane
    number = house.connect(41_000)
    house.receive(number, encode(pair.send())[:-1])
    connection = house.connections.pop()
    connection_id = connection.connection_id
    house.outputs.pop()
    gc.disable()
    try:
        connection.closed("closed by the peer")
        del connection
        known = [thing for thing in gc.get_objects() if isinstance(thing, ServedConnection)]
        assert known
        assert connection_id not in {connection.connection_id for connection in known}
    finally:
        gc.enable()


def test_a_broker_that_was_closed_is_forgotten(tmp_path: Path) -> None:
    house = LaneHouse(tmp_path / "store", has_lane=True)
    house.create_topic("TopicTest")
    house.receive(0, encode(Traffic().send(0, b="TopicTest")))
    house.end_turn()
    house.engine.close()
    gone = weakref.ref(house.broker)
    del house
    gc.collect()
    assert gone() is None
