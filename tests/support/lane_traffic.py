"""Traffic for two brokers that must not differ: mostly what takes the express lane, between it
everything that does not.

A step is four numbers, so that what fails shrinks well; what they stand for is decided here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from pyromq.domain.subscription import tag_hash
from pyromq.units import LogOffset
from pyromq.wire.batch import BatchItem, encode_batch
from pyromq.wire.remoting.command import FLAG_ONEWAY, FLAG_RESPONSE, SerializeType
from pyromq.wire.remoting.frame import Command, encode
from tests.support.lane_house import LaneHouse

TOPICS: Final = ("TopicTest", "Other", "Tagged", "New", "%RETRY%CG")
"""TopicTest and Other exist, Tagged has the filter type MULTI_TAG, New does not exist, and the last
is what consumers give back to."""
GROUP: Final = "CG"
LANE_CODES: Final = (10, 310, 320)
ODD_COUNT: Final = 46
"""Kinds of requests that the lane must leave to a verb."""

LONG_NAMES: Final = {
    "a": "producerGroup", "b": "topic", "c": "defaultTopic", "d": "defaultTopicQueueNums",
    "e": "queueId", "f": "sysFlag", "g": "bornTimestamp", "h": "flag", "i": "properties",
    "j": "reconsumeTimes", "k": "unitMode", "l": "maxReconsumeTimes", "m": "batch",
}  # fmt: skip


class Step(NamedTuple):
    """One step of the traffic."""

    kind: int
    a: int
    b: int
    c: int


class Traffic:
    """Turns steps into what happens; both houses get the same bytes."""

    def __init__(self) -> None:
        self.opaque = 0
        self.lane_count = 0
        """Sends with a code of the lane."""
        self.found_count = 0
        """Pulls that found something."""
        self.poll_count = 0
        """Pulls made to wait."""

    def next_opaque(self) -> int:
        self.opaque += 1
        return self.opaque

    def run(self, house: Sequence[LaneHouse], step: Step) -> None:
        action = _ACTIONS[step.kind % len(_ACTIONS)]
        action(self, house, step)

    # ── commands ────────────────────────────────────────────────────────────────────────────────

    def send(self, n: int, **changed: str | None) -> Command:
        """An ordinary send; its kind and size follow from `n`."""
        code = (310, 310, 310, 10)[n % 4]
        wait = ("WAIT\x01true\x02", "", "WAIT\x01false\x02")[0 if n % 5 else n % 3]
        tags = ("TAGS\x01TagA\x02", "TAGS\x01TagB\x02", "KEYS\x01k1 k2\x02", "")[n % 3]
        end = "" if n % 7 == 0 and wait == "" and tags else "\x02"
        properties = f"{tags}UNIQ_KEY\x01ID{self.opaque:08X}\x02{wait}color\x01blau é {n}{end}"
        ext: dict[str, str | None] = {
            "a": "PG", "b": ("TopicTest", "Other", "Tagged")[n % 13 % 3], "c": "TBW102", "d": "4",
            "e": str(n % 4), "f": str((0, 1, 0)[n % 3]), "g": "1795222505090", "h": str(n % 2),
            "i": properties, "j": "0", "k": "false", "m": "false", "n": "broker-a",
        }  # fmt: skip
        ext.update(changed)
        body = bytes((n + at) % 251 for at in range(1 + n % 40 * 7))
        return self.command(code, ext, body, n)

    def batch(self, n: int, **changed: str | None) -> Command:
        items = [
            BatchItem(at % 3, b"item%d" % at, b"TAGS\x01T%d\x02UNIQ_KEY\x01B%d\x02" % (at, at))
            for at in range(1 + n % 6)
        ]
        ext: dict[str, str | None] = {
            "a": "PG", "b": ("TopicTest", "Other", "Tagged")[n % 3], "c": "TBW102", "d": "4",
            "e": str(n % 4), "f": "0", "g": "1795222505090", "h": "0",
            "i": f"UNIQ_KEY\x01BATCH{self.opaque:X}\x02" if n % 4 else "WAIT\x01true\x02",
            "j": "0", "k": "false", "m": "true", "n": "broker-a",
        }  # fmt: skip
        ext.update(changed)
        return self.command((320, 320, 310)[n % 3], ext, encode_batch(items), n)

    def command(self, code: int, ext: dict[str, str | None], body: bytes, n: int) -> Command:
        plain = {name: value for name, value in ext.items() if value is not None}
        if code == 10:
            plain = {LONG_NAMES[name]: value for name, value in plain.items() if name != "n"}
        self.lane_count += code in LANE_CODES
        return Command(
            code,
            self.next_opaque(),
            FLAG_ONEWAY if n % 11 == 10 else 0,
            ext=plain,
            body=body,
            serialize_type=SerializeType(n // 2 % 2),
        )

    def plain(self, code: int, ext: dict[str, str] | None = None, body: bytes = b"") -> Command:
        return Command.request(code, ext or {}, body, opaque=self.next_opaque())

    # ── actions ─────────────────────────────────────────────────────────────────────────────────

    def burst(self, houses: Sequence[LaneHouse], step: Step) -> None:
        count = 20 + step.a % 60
        self.give(houses, step, [self.send(step.b + at) for at in range(count)])

    def batches(self, houses: Sequence[LaneHouse], step: Step) -> None:
        self.give(houses, step, [self.batch(step.b + at) for at in range(1 + step.a % 8)])

    def mixed(self, houses: Sequence[LaneHouse], step: Step) -> None:
        """Ordinary sends with one command of another kind between them."""
        commands = [self.send(step.b + at) for at in range(8 + step.a % 24)]
        odd = self.odd(step.a + step.b * 7)
        if odd.code == 222:
            self.end_polls(houses, step)
        commands.insert(step.b % (len(commands) + 1), odd)
        commands += [self.send(step.c + at) for at in range(step.c % 5)]
        self.give(houses, step, commands)

    def pulls(self, houses: Sequence[LaneHouse], step: Step) -> None:
        """Mostly of what is there, sometimes of what is not, or of what was never."""
        self.end_turn(houses, step)
        commands = []
        for at in range(20 + step.a % 50):
            n = step.b + at
            command = self.pull(n)
            topic, queue_id = command.ext["topic"], int(command.ext["queueId"])
            end = houses[1].engine.queue_range(topic, queue_id).max_offset
            command.ext["queueOffset"] = str(n * 7 % (end + 1 + (n % 13 == 0)))
            commands.append(command)
        self.give(houses, step, commands)

    def polls(self, houses: Sequence[LaneHouse], step: Step) -> None:
        """Pulls at the ends of queues, which wait for what comes; some by filters that are new."""
        self.end_turn(houses, step)
        commands = []
        for at in range(10 + step.a % 30):
            n = step.b + at
            command = self.pull(
                n,
                (6, 2, 7, 3, 6)[n % 5],
                topic=("TopicTest", "Other", "TopicTest", "Tagged")[n // 4 % 4],
                suspendTimeoutMillis=str((90, 700, 5000, -1)[n % 4 - (n % 9 == 0)]),
            )
            if n % 8 == 0 and "subscription" in command.ext:
                command.ext["subscription"] = f"TagA || Tag{n}"
            topic, queue_id = command.ext["topic"], int(command.ext["queueId"])
            command.ext["queueOffset"] = str(
                houses[1].engine.queue_range(topic, queue_id).max_offset
            )
            commands.append(command)
        self.poll_count += len(commands)
        self.give(houses, step, commands)

    def pull(self, n: int, flags: int | None = None, **changed: str | None) -> Command:
        if flags is None:
            flags = (4, 5, 0, 3, 6, 4)[n % 6]
        text = ("*", "TagA", "*", "TagC")[n % 4 * (n % 19 < 12)]
        ext: dict[str, str | None] = {
            "consumerGroup": GROUP if n % 23 else "Other",
            "topic": "TopicTest" if n % 7 else ("Tagged", "Other")[n // 7 % 2],
            "queueId": str(n % 4), "queueOffset": str(n % 9), "maxMsgNums": str(1 + n % 40),
            "sysFlag": str(flags), "commitOffset": str(n % 50), "suspendTimeoutMillis": "500",
            "subscription": text if flags & 4 else None,
            "subVersion": str(n % 3), "maxMsgBytes": (None, "2000")[n % 2],
            "expressionType": (None, "TAG")[n % 2], "bname": "broker-a",
        }  # fmt: skip
        if flags & 2:
            # It may wait. Then it wants all that comes, so that it is the same which of several
            # polls of one queue is the last to tell how far its group is.
            ext |= {"maxMsgNums": "1000", "maxMsgBytes": None}
        ext.update(changed)
        plain = {name: value for name, value in ext.items() if value is not None}
        command = self.plain(11, plain)
        command.serialize_type = SerializeType(n // 2 % 2)
        return command

    def odd(self, n: int) -> Command:
        """Something that the lane must leave to a verb."""
        odd: list[Callable[[], Command]] = [
            lambda: self.plain(34, body=_heartbeat(n)),
            lambda: self.plain(30, {"topic": TOPICS[n % 3], "queueId": str(n % 5)}),
            lambda: self.plain(
                15,
                {
                    "consumerGroup": GROUP,
                    "topic": "TopicTest",
                    "queueId": "0",
                    "commitOffset": str(n % 9),
                },
            ),
            lambda: self.plain(17, _topic(f"Made{n % 3}")),
            lambda: self.plain(17, _topic("Other", 2 + n % 4)),
            lambda: self.plain(215, {"topic": "Other"}),
            lambda: self.plain(9999),
            lambda: self.send(n, b="New"),
            lambda: self.send(n, b="%RETRY%CG"),
            lambda: self.send(n, b="SCHEDULE_TOPIC_XXXX"),
            lambda: self.send(n, e="-1"),
            lambda: self.send(n, e="77"),
            lambda: self.send(n, e="+1"),
            lambda: self.send(n, e="zero"),
            lambda: self.send(n, g=None),
            lambda: self.send(n, f="4"),
            lambda: self.send(n, f="128"),
            lambda: self.send(n, k="true"),
            lambda: self.send(n, m="True"),
            lambda: self.send(n, i="TAGS\x01TagA\x02"),
            lambda: self.send(n, i=None),
            lambda: self.send(n, i=f"UNIQ_KEY\x01D{n}\x02DELAY\x01{n % 4}\x02"),
            lambda: self.send(n, i=f"UNIQ_KEY\x01D{n}\x02WAIT\x01TRUE\x02"),
            lambda: self.send(n, i=f"UNIQ_KEY\x01D{n}\x02TRAN_MSG\x01true\x02"),
            lambda: self.send(n, i=f"UNIQ_KEY\x01D{n}\x02_SYS_MSG_PRIORITY_\x012\x02"),
            lambda: self.send(n, i=f"UNIQ_KEY\x01D{n}\x02CLUSTER\x01other\x02\x02"),
            lambda: self.send(n, i="UNIQ_KEY\x01" + "x" * 33_000 + "\x02"),
            lambda: self.batch(n, b="%RETRY%CG"),
            lambda: self.batch(n, i="DELAY\x011\x02"),
            lambda: self.broken_batch(n),
            lambda: self.sized(n, 0),
            lambda: self.sized(n, 20_000),
            lambda: self.answer(n),
            lambda: self.plain(34, body=_heartbeat(n + 1)),
            lambda: self.plain(34, body=_heartbeat(n, "BROADCASTING")),
            lambda: self.plain(35, {"clientID": "client-0", "consumerGroup": GROUP}),
            lambda: self.plain(200, body=_group(GROUP, may_consume=n % 3 > 0)),
            lambda: self.plain(200, body=_group(GROUP, may_consume=True)),
            lambda: self.plain(207, {"groupName": "Other", "cleanOffset": "true"}),
            lambda: self.plain(
                222,
                {
                    "topic": "TopicTest",
                    "group": GROUP,
                    "timestamp": "-1",
                    "isForce": "true",
                    "queueId": str(n % 4),
                    "offset": str(n % 6),
                },
            ),
            lambda: self.plain(17, {**_topic("TopicTest"), "perm": ("6", "2")[n % 2]}),
            lambda: self.pull(n, sysFlag="12"),
            lambda: self.pull(n, expressionType="SQL92"),
            lambda: self.pull(n, queueOffset="0x1"),
            lambda: self.pull(n, topic="New"),
            lambda: self.pull(n, queueId="9"),
        ]
        assert len(odd) == ODD_COUNT
        return odd[n % len(odd)]()

    def broken_batch(self, n: int) -> Command:
        command = self.batch(n)
        command.body = command.body[:-1]
        return command

    def sized(self, n: int, size: int) -> Command:
        command = self.send(n)
        command.body = bytes(size)
        return command

    def answer(self, n: int) -> Command:
        """A send with the flag of an answer."""
        command = self.send(n)
        command.flag |= FLAG_RESPONSE
        return command

    def end_turn(self, houses: Sequence[LaneHouse], step: Step) -> None:
        for house in houses:
            house.end_turn()

    def mend(self, houses: Sequence[LaneHouse], step: Step) -> None:
        """Polls are possible again, whatever was changed."""
        commands = [
            self.plain(200, body=_group(GROUP, may_consume=True)),
            self.plain(17, _topic("TopicTest")),
            self.plain(34, body=_heartbeat(step.a)),
        ]
        self.give(houses, step, commands)
        self.end_turn(houses, step)

    def change(self, houses: Sequence[LaneHouse], step: Step) -> None:
        """What polls wait for changes: topic, group or subscription."""
        odd = (3, 4, 5, 33, 34, 35, 36, 37, 38, 39, 40)[step.a % 11]
        if odd == 39:
            self.end_polls(houses, step)
        self.give(houses, step, [self.odd(ODD_COUNT * step.b + odd)])

    def end_polls(self, houses: Sequence[LaneHouse], step: Step) -> None:
        """Before a reset: of several polls of one client and queue it is told to the one that is
        asked first, whichever that is. Clients have one each; so has the test of it alone."""
        self.end_turn(houses, step)
        for house in houses:
            house.advance(6000)

    def advance(self, houses: Sequence[LaneHouse], step: Step) -> None:
        for house in houses:
            house.advance(step.a % 700)

    def configure(self, houses: Sequence[LaneHouse], step: Step) -> None:
        for house in houses:
            house.configure(region_id=f"Region{step.b % 3}", trace_on=step.c % 2 == 0)

    def too_early(self, houses: Sequence[LaneHouse], step: Step) -> None:
        """Sends are refused for a moment."""
        for house in houses:
            later_ms = house.clock.now_ms() + 1 + step.b % 300
            house.configure(start_accept_send_request_timestamp_ms=later_ms)
        self.give(houses, step, [self.send(step.b), self.batch(step.b)])
        self.advance(houses, step._replace(a=301))

    def limit(self, houses: Sequence[LaneHouse], step: Step) -> None:
        """The disk is full soon, and then has room again."""
        for house in houses:
            end = house.engine.positions().appended + step.b % 3000
            house.engine.limit_appends(LogOffset(end), "no room")
        self.give(houses, step, [self.send(step.b + at) for at in range(step.a % 9)])
        self.batches(houses, step)
        for house in houses:
            house.engine.limit_appends(LogOffset(0), None)

    def slow_sync(self, houses: Sequence[LaneHouse], step: Step) -> None:
        """The commit stands still for a while: some wait too long, or the sync fails at last."""
        for house in houses:
            house.engine.held_commit = house.engine.positions().commit
        self.burst(houses, step)
        self.end_turn(houses, step)
        self.advance(houses, step._replace(a=600))
        self.burst(houses, step._replace(a=step.a + 1))
        for house in houses:
            if step.b % 3 == 0:
                house.engine.told_failure = "the sync failed"
                house.turn.end()
                house.engine.told_failure = None
            house.end_turn()
            house.clock.advance(4_500)
            house.broker.cleanup.run_due()
            house.end_turn()
            house.engine.held_commit = None
            house.turn.end()
            house.end_turn()

    def mangled(self, houses: Sequence[LaneHouse], step: Step) -> None:
        """A new client whose bytes are wrong in one place; then it leaves."""
        self.end_turn(houses, step)
        commands = [self.send(step.a), self.pull(step.b), self.batch(step.c), self.send(step.b)]
        data = bytearray(b"".join(encode(command) for command in commands))
        data[(step.a * 1009 + step.b * 31 + step.c) % len(data)] = step.b % 256
        for house in houses:
            house.connect(41_000)
            connection = house.connections.pop()
            connection.receive(memoryview(data))
            house.end_turn()
            connection.closed("closed by the peer")

    def reconnect(self, houses: Sequence[LaneHouse], step: Step) -> None:
        """A client leaves, perhaps without its answers, and comes again. Where the lane may write
        to its socket some of them have left already, so there the turn ends before."""
        if any(house.has_sockets for house in houses):
            self.end_turn(houses, step)
        for house in houses:
            place = step.a % len(house.connections)
            house.connections[place].closed("closed by the peer")
            output = house.outputs[place]
            house.connections[place] = house.door.connect(output)

    def give(self, houses: Sequence[LaneHouse], step: Step, commands: list[Command]) -> None:
        """To one client's connection, in one piece or cut somewhere."""
        if not commands:
            return
        data = b"".join(encode(command) for command in commands)
        client = step.c % 3
        cut = step.c * 997 % len(data) if step.c % 2 else len(data)
        for house in houses:
            for part in (data[:cut], data[cut:]):
                if part:
                    house.receive(client, part)


_ACTIONS: Final[Sequence[Callable[[Traffic, Sequence[LaneHouse], Step], None]]] = (
    Traffic.burst,
    Traffic.end_turn,
    Traffic.burst,
    Traffic.mixed,
    Traffic.batches,
    Traffic.end_turn,
    Traffic.burst,
    Traffic.mixed,
    Traffic.burst,
    Traffic.advance,
    Traffic.burst,
    Traffic.end_turn,
    Traffic.burst,
    Traffic.configure,
    Traffic.burst,
    Traffic.too_early,
    Traffic.burst,
    Traffic.limit,
    Traffic.burst,
    Traffic.reconnect,
    Traffic.mangled,
    Traffic.burst,
    Traffic.slow_sync,
    Traffic.pulls,
    Traffic.burst,
    Traffic.polls,
    Traffic.burst,
    Traffic.end_turn,
    Traffic.polls,
    Traffic.pulls,
    Traffic.change,
    Traffic.mend,
    Traffic.pulls,
    Traffic.polls,
    Traffic.mixed,
    Traffic.pulls,
    Traffic.pulls,
)

KINDS: Final = {action.__name__: kind for kind, action in enumerate(_ACTIONS)}
"""A kind of step by its name."""


def _group(name: str, *, may_consume: bool) -> bytes:
    return json.dumps({"groupName": name, "consumeEnable": may_consume}).encode()


def _heartbeat(n: int, model: str = "CLUSTERING") -> bytes:
    tags = ([], ["TagA"], ["TagA", "TagB"])[n % 3]
    wanted = {
        "topic": "TopicTest",
        "subString": " || ".join(tags) or "*",
        "codeSet": [tag_hash(tag) for tag in tags],
        "subVersion": n % 5,
    }
    consumer = {"groupName": GROUP, "messageModel": model, "subscriptionDataSet": [wanted]}
    beat: dict[str, Any] = {
        "clientID": f"client-{n % 2}",
        "producerDataSet": [{"groupName": "PG"}],
        "consumerDataSet": [consumer],
    }
    return json.dumps(beat).encode()


def _topic(name: str, queues: int = 4) -> dict[str, str]:
    return {
        "topic": name, "defaultTopic": "TBW102", "readQueueNums": str(queues),
        "writeQueueNums": str(queues), "perm": "6", "topicFilterType": "SINGLE_TAG",
        "topicSysFlag": "0", "order": "false",
    }  # fmt: skip


__all__ = ["KINDS", "LANE_CODES", "ODD_COUNT", "Step", "Traffic"]
