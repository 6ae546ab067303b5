"""The express lane and the verbs do the same, for any traffic.

Two brokers over stores on disk get the same bytes, one of them has the lane. After every step their
clients were told the same frames, byte for byte; in the end arrivals, counters, committed offsets
and the store's files are the same. The other takes the verbs as they are, or, so that natively read
fields and natively made answers are not compared with themselves, verbs that await their promise,
with fields and answers that go through dictionaries of text. That the lane was really taken is
asserted over all of the traffic, and that a difference would be seen is shown with planted ones.
"""

from __future__ import annotations

import gc
import os
import random
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pyromq.wire.remoting.native import NativeLane
from tests.support.lane_house import LaneHouse, Plant
from tests.support.lane_traffic import KINDS, ODD_COUNT, Step, Traffic

MEMORY = Path("/dev/shm")
LANE_SHARE_MIN = 0.9
EXAMPLES = int(os.environ.get("PYROMQ_LANE_EXAMPLES", "50"))

numbers = st.integers(0, 1000)
steps = st.lists(st.builds(Step, numbers, numbers, numbers, numbers), min_size=1, max_size=25)


@pytest.fixture(autouse=True, scope="module")
def few_objects() -> Iterator[None]:
    """What other tests have left is not looked at by each collection."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


class CountingLane:
    """Passes everything on, and counts what the lane took."""

    def __init__(self, native: NativeLane, counts: Counter[str]) -> None:
        self.native = native
        self.counts = counts

    def __getattr__(self, name: str) -> Any:
        return getattr(self.native, name)

    def feed(self, *arguments: Any) -> Any:
        before = self.native.poll_count()
        fed = self.native.feed(*arguments)
        self.counts["pulled on the lane"] += sum(row[1] for row in fed[6] or ())
        self.counts["parked on the lane"] += self.native.poll_count() - before
        return fed

    def wake(self, monotonic_ms: int) -> Any:
        return self.woken("woken", self.native.wake(monotonic_ms))

    def end_waits(self, monotonic_ms: int) -> Any:
        return self.woken("ended", self.native.end_waits(monotonic_ms))

    def woken(self, how: str, woken: Any) -> Any:
        if woken is not None:
            self.counts[f"{how} on the lane"] += sum(row[1] for row in woken[1])
            self.counts["given back"] += len(woken[2])
        return woken

    def take_polls_of_topic(self, topic: str) -> Any:
        return self.given_back(self.native.take_polls_of_topic(topic))

    def take_polls_of_groups(self, groups: Sequence[str]) -> Any:
        return self.given_back(self.native.take_polls_of_groups(groups))

    def given_back(self, polls: Sequence[Any]) -> Any:
        self.counts["given back"] += len(polls)
        return polls


def run(
    traffic: Sequence[Step],
    plant: Plant = lambda native: native,
    *,
    is_disk_slow: bool = False,
    has_sockets: bool = False,
    has_held_answers: bool = True,
) -> Traffic:
    """Feeds both brokers and compares them. Raises AssertionError at the first difference."""
    gc.collect()  # those of the run before, with their open files
    root = Path(tempfile.mkdtemp(dir=MEMORY if MEMORY.is_dir() else None))
    try:
        houses = (
            LaneHouse(
                root / "lane",
                has_lane=True,
                plant=plant,
                is_disk_slow=is_disk_slow,
                has_sockets=has_sockets,
            ),
            LaneHouse(
                root / "verbs",
                has_lane=False,
                is_disk_slow=is_disk_slow,
                has_held_answers=has_held_answers,
            ),
        )
        try:
            return compare(houses, traffic)
        finally:
            for house in houses:
                house.close()
    finally:
        shutil.rmtree(root)


def arrived(house: LaneHouse) -> dict[tuple[str, int], int]:
    """The end of each queue as it was told last. A turn of the lane alone in which nobody waits
    for messages leaves it to the next turn to tell."""
    return {(each.topic, each.queue_id): each.max_offset for each in house.engine.arrivals}


def compare(houses: tuple[LaneHouse, LaneHouse], traffic: Sequence[Step]) -> Traffic:
    made = Traffic()
    for house in houses:
        house.create_topic("TopicTest")
        house.create_topic("Other")
        house.create_topic("Tagged", topic_filter_type="MULTI_TAG")
    opened = [made.send(n) for n in (0, 1, 2)]
    made.give(houses, Step(0, 0, 0, 0), [*opened, made.odd(0), made.pull(0)])
    for n in range(120):
        made.give(houses, Step(0, 0, 0, 0), [made.pull(n, sysFlag=str(n % 2 * 4))])
    made.end_turn(houses, Step(0, 0, 0, 0))
    one, other = houses
    for step in traffic:
        made.run(houses, step)
        assert places(one) == places(other), step
        if not one.turns.is_due and not other.turns.is_due:
            # Before the turn's end a verb's answer waits, and one of the lane may have left.
            assert one.answers() == other.answers(), step
        assert one.close_reasons() == other.close_reasons(), step
        assert one.broker.parked_count == other.broker.parked_count, step
        assert one.offsets() == other.offsets(), step
    for house in houses:
        house.end_turn()
        house.turn.end()
    assert one.answers() == other.answers()
    assert one.lane is not None
    told = iter(other.engine.arrivals)
    assert all(arrival in told for arrival in one.lane.arrivals), "told in their order"
    made.found_count = one.broker.counters.found_count
    assert one.counted() == other.counted()
    assert one.offsets() == other.offsets()
    assert [len(house.connections) for house in houses] == [3, 3]
    for name in ("mend", "polls", "polls"):
        made.run(houses, Step(KINDS[name], 20, 1, 1))
    for house in houses:
        house.stop()
    assert one.answers() == other.answers()
    assert [house.broker.parked_count for house in houses] == [0, 0]
    for house in houses:
        house.close()
    assert one.files() == other.files()
    return made


def places(house: LaneHouse) -> tuple[int, int, int]:
    """Without what is synced, as its thread takes its time."""
    now = house.engine.positions()
    return now.appended, now.written, now.commit


def test_both_lanes_do_the_same() -> None:
    counts = Counter[str]()

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(steps, st.booleans(), st.booleans(), st.booleans())
    def check(
        traffic: list[Step], is_disk_slow: bool, has_sockets: bool, has_held_answers: bool
    ) -> None:
        counted(
            traffic,
            counts,
            is_disk_slow=is_disk_slow,
            has_sockets=has_sockets,
            has_held_answers=has_held_answers,
        )

    check()
    assert counts["lane"] > 0


def test_nine_of_ten_requests_take_the_express_lane() -> None:
    counts = Counter[str]()
    for seed in range(6):
        dice = random.Random(seed)
        counted([Step(*(dice.randrange(1000) for _ in range(4))) for _ in range(60)], counts)
    assert counts["sent"] > 3_000
    assert counts["found"] > 500
    assert counts["lane"] >= LANE_SHARE_MIN * counts["sent"], counts
    on_lane = counts["lane"] + counts["pulled on the lane"]
    assert on_lane >= LANE_SHARE_MIN * (counts["sent"] + counts["found"]), counts


def test_long_polls_wait_and_end_on_the_express_lane() -> None:
    """Also where one in ten steps changes a topic, a group or a subscription; groups that may not
    pull for a while then, and filters that are new, take the verb."""
    counts = Counter[str]()
    kinds = [KINDS[name] for name in ("burst", "polls", "burst", "end_turn", "polls", "advance")]
    for seed in range(6):
        dice = random.Random(seed)
        traffic = [
            Step(
                KINDS["change"] if dice.randrange(10) == 0 else dice.choice(kinds),
                *(dice.randrange(1000) for _ in range(3)),
            )
            for _ in range(60)
        ]
        counted(traffic, counts)
    assert counts["polls"] > 2_000
    assert counts["parked on the lane"] >= counts["polls"] * 0.4, counts
    ended = counts["woken on the lane"] + counts["ended on the lane"]
    assert ended > counts["given back"] > 50, counts
    assert min(counts["woken on the lane"], counts["ended on the lane"]) > 100, counts


def counted(traffic: Sequence[Step], counts: Counter[str], **houses: bool) -> None:
    """Runs the traffic, and adds what took the lane."""
    lanes: list[NativeLane] = []

    def plant(native: NativeLane) -> CountingLane:
        lanes.append(native)
        return CountingLane(native, counts)

    made = run(traffic, plant, **houses)
    counts["lane"] += sum(native.taken_by_all() for native in lanes)
    counts["sent"] += made.lane_count
    counts["found"] += made.found_count
    counts["polls"] += made.poll_count


class PlantedLane:
    """A native lane of which one thing is not as it should be."""

    def __init__(self, native: NativeLane, name: str, wrong: Callable[..., Any]) -> None:
        self.native = native
        self.name = name
        self.wrong = wrong

    def __getattr__(self, name: str) -> Any:
        right = getattr(self.native, name)
        if name != self.name:
            return right
        return lambda *arguments, **named: self.wrong(right, *arguments, **named)


def in_terms(**changed: Any) -> Callable[..., Any]:
    """Terms with some of them changed."""
    return lambda right, **terms: right(**{**terms, **changed})


def in_puller(**changed: Any) -> Callable[..., Any]:
    """What is said of a puller, with some of it changed."""
    return lambda right, *names, **terms: right(*names, **{**terms, **changed})


def in_call(change: Callable[[list[Any]], None]) -> Callable[..., Any]:
    def wrong(right: Callable[..., Any], *arguments: Any) -> Any:
        changed = list(arguments)
        change(changed)
        return right(*changed)

    return wrong


def in_replies(old: bytes, new: bytes) -> Callable[..., Any]:
    """Other bytes in the first reply that has them."""

    def wrong(right: Callable[..., Any], *arguments: Any) -> Any:
        happened = right(*arguments)
        if happened is None:
            return None
        replies, *rest = happened
        changed = [
            (peer, count, size, data.replace(old, new, 1)) for peer, count, size, data in replies
        ]
        return changed, *rest

    return wrong


def in_counts(place: int, change: Callable[[list[Any]], list[Any]]) -> Callable[..., Any]:
    def wrong(right: Callable[..., Any], *arguments: Any) -> Any:
        happened = right(*arguments)
        if happened is None:
            return None
        changed = list(happened)
        changed[place] = change(changed[place])
        return tuple(changed)

    return wrong


def in_woken(place: int, change: Callable[[Any], Any]) -> Callable[..., Any]:
    """Each row of one list that `wake` or `end_waits` tells is changed."""

    def wrong(right: Callable[..., Any], monotonic_ms: int) -> Any:
        woken = right(monotonic_ms)
        if woken is None:
            return None
        changed = list(woken)
        changed[place] = [change(row) for row in changed[place]]
        return tuple(changed)

    return wrong


def other_pull(place: int, inner: int | None = None) -> Callable[[Any], Any]:
    """One more in one number of a row that is told of pulls, or of each part in that place."""

    def more(row: tuple[Any, ...], place: int) -> tuple[Any, ...]:
        return *row[:place], row[place] + 1, *row[place + 1 :]

    def change(row: Any) -> Any:
        if inner is None:
            return more(row, place)
        return *row[:place], [more(part, inner) for part in row[place]], *row[place + 1 :]

    return change


def other_poll(place: int, value: Any) -> Callable[[Any], Any]:
    """Another value in one place of a poll that is given back."""
    return lambda row: (*row[:place], value(row[place]), *row[place + 1 :])


def other_frames(old: bytes, new: bytes) -> Callable[[Any], Any]:
    return lambda row: (*row[:3], row[3].replace(old, new))


def nothing(*_: Any) -> None:
    """It does not happen."""


def delay_now(arguments: list[Any]) -> None:
    arguments[3] += 1


def in_topic(*, queue_count: int | None = None, flag: int | None = None) -> Callable[..., Any]:
    def wrong(right: Callable[..., Any], name: str, *terms: Any) -> Any:
        queues, flags, may_batch = terms
        return right(
            name,
            queues if queue_count is None else queue_count,
            flags if flag is None else flag,
            may_batch,
        )

    return wrong


def in_answers(old: bytes, new: bytes) -> Callable[..., Any]:
    """Other bytes in answers to pulls."""

    def wrong(right: Callable[..., Any], *arguments: Any) -> Any:
        *fed, answers, pulled = right(*arguments)
        return *fed, None if answers is None else answers.replace(old, new), pulled

    return wrong


def in_pulled(place: int, inner: int | None = None) -> Callable[..., Any]:
    """One more in one number of each row that is told of pulls, or of each part in that place."""

    def more(row: tuple[Any, ...], place: int) -> tuple[Any, ...]:
        return *row[:place], row[place] + 1, *row[place + 1 :]

    def wrong(right: Callable[..., Any], *arguments: Any) -> Any:
        *fed, pulled = right(*arguments)
        if pulled is None:
            return *fed, None
        if inner is None:
            return *fed, [more(row, place) for row in pulled]
        changed = [
            (*row[:place], [more(part, inner) for part in row[place]], *row[place + 1 :])
            for row in pulled
        ]
        return *fed, changed

    return wrong


REGION = ("MSG_REGION", "DefaultRegion")
PLANTED: dict[str, tuple[str, Callable[..., Any]]] = {
    "added property": ("open", in_terms(suffix="MSG_REGION\x01DefaultRegion\x02")),
    "region": ("open", in_terms(marks=[("MSG_REGION", "Elsewhere"), ("TRACE_ON", "true")])),
    "trace": ("open", in_terms(marks=[REGION, ("TRACE_ON", "false")])),
    "a mark too few": ("open", in_terms(marks=[REGION])),
    "message id": ("open", in_terms(id_prefix="7F00000100002A9E")),
    "version": ("open", in_terms(version=512)),
    "refused flags": ("open", in_terms(refused_sys_flags=0)),
    "added flag": ("put_topic", in_topic(flag=2)),
    "queue count": ("put_topic", in_topic(queue_count=99)),
    "born host": ("connect", lambda right, peer, _: right(peer, bytes(8))),
    "store time": ("feed", in_call(delay_now)),
    "opaque": ("release", in_replies(b'"opaque":1', b'"opaque":2')),
    "queue id": ("release", in_replies(b'"queueId":"1"', b'"queueId":"2"')),
    "queue offset": ("release", in_replies(b'"queueOffset":"1', b'"queueOffset":"2')),
    "log offset": ("release", in_replies(b"0000000001", b"0000000002")),
    "unique key": ("release", in_replies(b"ID0", b"ID1")),
    "binary field": ("release", in_replies(b"\x00\x0aMSG_REGION", b"\x00\x0amsg_region")),
    "code of late": ("expire", in_replies(b'"code":10', b'"code":0 ')),
    "late messages": ("expire", in_counts(2, lambda puts: puts[1:])),
    "code of failed": (
        "fail_committed_beyond",
        lambda right, position, code, remark: right(position, code + 1, remark),
    ),
    "remark of failed": (
        "fail_committed_beyond",
        lambda right, position, code, remark: right(position, code, remark + "."),
    ),
    "pull's next offset": ("feed", in_answers(b'"nextBeginOffset":"', b'"nextBeginOffset":"1')),
    "pull's form": ("feed", in_answers(b"\x00\x09minOffset", b"\x00\x09minoffset")),
    "pull's body": ("feed", in_answers(b"item", b"Item")),
    "pulls": ("feed", in_pulled(1)),
    "messages pulled": ("feed", in_pulled(2)),
    "bytes pulled": ("feed", in_pulled(3)),
    "queue pulled from": ("feed", in_pulled(4, 0)),
    "pulled up to": ("feed", in_pulled(4, 1)),
    "queue committed to": ("feed", in_pulled(5, 0)),
    "committed": ("feed", in_pulled(5, 1)),
    "tags to pull": ("put_puller", in_puller(tag_hashes=None)),
    "messages of a pull": ("put_puller", in_puller(message_count_max=2)),
    "bytes of a pull": ("put_puller", in_puller(body_size_max=300)),
    "topic's flag": ("put_puller", in_puller(topic_sys_flag=1)),
    "group's flag": ("put_puller", in_puller(group_sys_flag=1)),
    "newest subscription": ("put_puller", in_puller(sub_version=1 << 40)),
    "hold at least": ("put_puller", in_puller(hold_min_ms=300)),
    "hold at most": ("put_puller", in_puller(hold_max_ms=300)),
    "begin of waits": ("begin_waits", lambda right, now_ms: right(now_ms + 300)),
    "nobody is woken": ("wake", nothing),
    "woken by": (
        "wake",
        in_woken(0, other_frames(b'"nextBeginOffset":"', b'"nextBeginOffset":"1')),
    ),
    "woken with": ("wake", in_woken(0, other_frames(b"\x00\x09minOffset", b"\x00\x09minoffset"))),
    "woken up to": ("wake", in_woken(1, other_pull(4, 1))),
    "messages woken for": ("wake", in_woken(1, other_pull(2))),
    "bytes woken for": ("wake", in_woken(1, other_pull(3))),
    "given back at": ("wake", in_woken(2, other_poll(2, lambda offset: offset + 1))),
    "an arrival too few": (
        "wake",
        lambda right, now_ms: (lambda woken: woken and (*woken[:3], []))(right(now_ms)),
    ),
    "watched": ("watch", nothing),
    "nobody is due": ("end_waits", nothing),
    "ended by": ("end_waits", in_woken(1, other_pull(4, 1))),
    "misses": ("end_waits", in_woken(1, other_pull(1))),
    "polls of a topic": ("take_polls_of_topic", lambda _, topic: [topic][:0]),
    "polls of groups": ("take_polls_of_groups", lambda _, groups: list(groups)[:0]),
    "code of the end": ("refuse_polls", lambda right, code, remark: right(code + 1, remark)),
    "remark of the end": ("refuse_polls", lambda right, code, remark: right(code, remark + ".")),
    "waits": ("release", in_counts(1, lambda waits: [(n + 1, ms) for n, ms in waits])),
    "time of waits": ("release", in_counts(1, lambda waits: [(n, ms + 11) for n, ms in waits])),
    "messages": ("release", in_counts(2, lambda puts: [(t, n + 1, b, r) for t, n, b, r in puts])),
    "bytes": ("release", in_counts(2, lambda puts: [(t, n, b + 1, r) for t, n, b, r in puts])),
    "requests": ("release", in_counts(2, lambda puts: [(t, n, b, r + 1) for t, n, b, r in puts])),
}


def fixed_traffic() -> list[Step]:
    """Every kind of step a few times, and every kind of odd request."""
    names = (
        "burst", "batches", "end_turn", "mixed", "end_turn", "burst", "pulls", "pulls", "advance",
        "polls", "burst", "end_turn", "polls", "change", "polls", "advance", "burst", "polls",
        "configure", "too_early", "limit", "reconnect", "mangled", "slow_sync",
    )  # fmt: skip
    traffic = [
        Step(KINDS[name], 7 * turn + place, 5 * place + turn, place + turn)
        for turn in range(4)
        for place, name in enumerate(names)
    ]
    traffic += [
        Step(KINDS[name], a, 0, a) for a in range(ODD_COUNT) for name in ("mixed", "end_turn")
    ]
    for change in range(11):
        ways = ("mend", "polls", "polls", "burst", "end_turn", "polls", "advance", "polls")
        traffic += [Step(KINDS[name], 99 + change, 8 * change, change) for name in ways]
        traffic.append(Step(KINDS["change"], change, 0, change))
    return traffic


@pytest.mark.parametrize("has_sockets", [False, True], ids=["outputs", "sockets"])
@pytest.mark.parametrize("is_disk_slow", [False, True], ids=["quick disk", "slow disk"])
@pytest.mark.parametrize("has_held_answers", [False, True], ids=["awaited", "held"])
def test_the_fixed_traffic_finds_no_difference_without_a_planted_one(
    is_disk_slow: bool, has_sockets: bool, has_held_answers: bool
) -> None:
    run(
        fixed_traffic(),
        is_disk_slow=is_disk_slow,
        has_sockets=has_sockets,
        has_held_answers=has_held_answers,
    )


@pytest.mark.parametrize("planted", PLANTED)
def test_a_planted_difference_is_seen(planted: str) -> None:
    name, wrong = PLANTED[planted]
    with pytest.raises(AssertionError):
        run(fixed_traffic(), lambda native: PlantedLane(native, name, wrong))
