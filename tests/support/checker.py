"""The rules that a broker's history must keep, whatever was done to its process and its disk.

K1  what was acknowledged is there          K2  what is there was sent, byte for byte
K3  offsets are dense; one of them is one message for ever
K4  a producer's messages in a queue keep his order
K5  a try is stored at most once            K6  groups get all; nothing comes again after a commit
K8  delays: never early, none lost          K9  retries as often as allowed, then one dead letter
K10 a queue's max offset never goes back    K13 sends and consumption go on after the last fault

Pure functions: a history goes in, broken rules come out. What cannot be decided (an unknown call)
counts for the broker.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from typing import NamedTuple

from tests.support.history import (
    History,
    Outcome,
    Queue,
    Sent,
    Stored,
    Try,
    try_of,
)

LATE_MS_MAX = 5_000
"""How late a delayed message may be, counted from when the broker was up again."""
LIVE_SECONDS_MAX = 10.0
"""From the last fault to the first send and the first delivery after it."""


class Violation(NamedTuple):
    """A broken rule."""

    rule: str
    text: str


def check(history: History) -> list[Violation]:
    """All violations of all rules."""
    facts = _Facts(history)
    return [Violation(rule, text) for rule, broken in RULES.items() for text in broken(facts)]


class _Facts:
    """A history, and views of it that several rules want."""

    def __init__(self, history: History) -> None:
        self.history = history
        self.tries: dict[Try, Sent] = {sent.which: sent for sent in history.sent}
        self.by_place: dict[tuple[Queue, int], Stored] = {
            (stored.queue, stored.queue_offset): stored for stored in history.log
        }
        self.of_groups = frozenset(
            topic for topics in history.retry_topics.values() for topic in topics
        )
        """Topics that the broker fills, not producers."""

    def is_produced(self, topic: str) -> bool:
        """Producers' messages stand there as they came, in their order."""
        return topic not in self.history.delay_topics and topic not in self.of_groups

    def acknowledged(self) -> Iterator[Sent]:
        return (sent for sent in self.history.sent if sent.outcome is Outcome.OK)


def acknowledged_is_there(facts: _Facts) -> Iterator[str]:
    """K1, also at the place that was answered."""
    present = {
        (stored.queue.topic, which)
        for stored in facts.history.log
        if (which := try_of(stored.body)) is not None
    }
    for sent in facts.acknowledged():
        if (sent.queue.topic, sent.which) not in present:
            yield f"{sent.which} was acknowledged and is lost"
        elif sent.queue_offset is not None:
            there = facts.by_place.get((sent.queue, sent.queue_offset))
            if there is None or try_of(there.body) != sent.which:
                yield f"{sent.which} is not at {sent.queue}@{sent.queue_offset} as answered"


def stored_was_sent(facts: _Facts) -> Iterator[str]:
    """K2, for all that anybody ever read."""
    delivered = (delivery.what for delivery in facts.history.delivered)
    for stored in (*facts.history.log, *delivered):
        place = f"{stored.queue}@{stored.queue_offset}"
        which = try_of(stored.body)
        sent = facts.tries.get(which) if which is not None else None
        if sent is None:
            yield f"{place}: bytes that nobody sent"
        elif stored.body != sent.body:
            yield f"{place}: not the bytes of {which}"
        elif sent.outcome is Outcome.REFUSED:
            yield f"{place}: {which} was refused with code {sent.code}"
        elif stored.queue.topic not in facts.of_groups and stored.queue != sent.queue:
            yield f"{place}: {which} was sent to {sent.queue}"


def offsets_are_places(facts: _Facts) -> Iterator[str]:
    """K3."""
    history = facts.history
    offsets: dict[Queue, list[int]] = {queue: [] for queue in history.ranges}
    for stored in history.log:
        offsets.setdefault(stored.queue, []).append(stored.queue_offset)
    for queue, found in offsets.items():
        low, high = history.ranges.get(queue, (0, 0))
        if found != list(range(low, high)):
            missing = sorted(set(range(low, high)) - set(found))
            yield f"{queue}: {len(found)} offsets in [{low}, {high}), missing {missing[:5]}"
    for delivery in history.delivered:
        what = delivery.what
        there = facts.by_place.get((what.queue, what.queue_offset))
        if there is None:
            yield f"{what.queue}@{what.queue_offset} was read by {delivery.group} and is gone"
        elif there.body != what.body:
            yield (
                f"{what.queue}@{what.queue_offset} was {try_of(what.body)} "
                f"and is {try_of(there.body)}"
            )


def producers_keep_their_order(facts: _Facts) -> Iterator[str]:
    """K4: of one producer's calls, a later one stands later in the queue."""
    order = {sent.which: at for at, sent in enumerate(sorted(facts.history.sent, key=_began))}
    last: dict[tuple[Queue, str], tuple[int, Try]] = {}
    for stored in facts.history.log:
        which = try_of(stored.body)
        if which is None or which not in order or not facts.is_produced(stored.queue.topic):
            continue
        before = last.get((stored.queue, which.producer))
        if before is not None and before[0] > order[which]:
            yield f"{stored.queue}@{stored.queue_offset}: {which} stands behind {before[1]}"
        last[stored.queue, which.producer] = order[which], which


def _began(sent: Sent) -> tuple[float, int]:
    """Calls of one pipeline or batch may begin within one tick of the clock."""
    return sent.invoked.monotonic_s, sent.which.seq


def tries_are_stored_once(facts: _Facts) -> Iterator[str]:
    """K5. So a message has at most one copy more than it has unknown tries."""
    copies = Counter(
        (stored.queue.topic, try_of(stored.body))
        for stored in facts.history.log
        if facts.is_produced(stored.queue.topic)
    )
    for (topic, which), count in copies.items():
        if which is not None and count > 1:
            yield f"{topic}: {count} copies of {which}"


def groups_get_everything(facts: _Facts) -> Iterator[str]:
    """K6, first half: what was acknowledged is what each group consumed."""
    got: dict[str, set[tuple[str, Try | None]]] = defaultdict(set)
    for delivery in facts.history.delivered:
        got[delivery.group].add((delivery.what.queue.topic, try_of(delivery.what.body)))
    for group, topics in facts.history.subscriptions.items():
        for sent in facts.acknowledged():
            topic = sent.queue.topic
            if topic in topics and (topic, sent.which) not in got[group]:
                yield f"{group} never got {sent.which} of {topic}"


def commits_are_kept(facts: _Facts) -> Iterator[str]:
    """K6, second half: an acknowledged commit is the group's offset until the next one."""
    history = facts.history
    commits = sorted(history.committed, key=lambda commit: commit.invoked)
    for asked in history.asked:
        mine = [
            commit
            for commit in commits
            if commit.group == asked.group
            and commit.queue == asked.queue
            and commit.outcome is not Outcome.REFUSED
            and commit.invoked <= asked.ended
        ]
        sure = [c for c in mine if c.outcome is Outcome.OK and c.ended <= asked.invoked]
        at_least = sure[-1].offset if sure else -1
        possible = {at_least} | {c.offset for c in mine if not sure or c.invoked > sure[-1].invoked}
        if asked.offset not in possible:
            yield (
                f"{asked.group} committed {at_least} of {asked.queue}; "
                f"afterwards the broker says {asked.offset}"
            )


def delays_are_kept(facts: _Facts) -> Iterator[str]:
    """K8, by the broker's stamps: its clock is ours. Copies after a fault may come later."""
    history = facts.history
    copies: dict[Try | None, list[Stored]] = defaultdict(list)
    for stored in history.log:
        if stored.queue.topic in history.delay_topics:
            copies[try_of(stored.body)].append(stored)
    for sent in history.sent:
        if not sent.delay_ms:
            continue
        times = sorted(stored.store_timestamp_ms for stored in copies[sent.which])
        due_ms = sent.invoked.wall_ms + sent.delay_ms
        if times and times[0] < due_ms:
            yield f"{sent.which} came {due_ms - times[0]} ms early"
        if sent.outcome is not Outcome.OK:
            continue
        if not times:
            yield f"{sent.which}, delayed by {sent.delay_ms} ms, never came"
        elif times[0] > (latest := _latest_ms(history, sent.ended.wall_ms + sent.delay_ms)):
            yield f"{sent.which} came {times[0] - latest} ms after the latest time"
        if not history.fault_count and len(times) > 1:
            yield f"{sent.which} came {len(times)} times, and there was no fault"


def _latest_ms(history: History, due_ms: int) -> int:
    """When the broker has been up long enough since the message was due."""
    latest = due_ms + LATE_MS_MAX
    for uptime in history.uptimes:
        latest = max(due_ms, uptime.began.wall_ms) + LATE_MS_MAX
        if uptime.ended is None or latest <= uptime.ended.wall_ms:
            break
    return latest


def retries_end_in_one_dead_letter(facts: _Facts) -> Iterator[str]:
    """K9. A dead letter is stored by the call that gives the last retry back: at once, and once."""
    history = facts.history
    for group, (retry_topic, dead_topic) in history.retry_topics.items():
        stored: Counter[tuple[tuple[str, int], int]] = Counter()
        dead: Counter[tuple[str, int]] = Counter()
        for record in history.log:
            which = try_of(record.body)
            if which is None:
                continue
            if record.queue.topic == dead_topic:
                dead[which.message] += 1
            elif record.queue.topic == retry_topic:
                stored[which.message, record.reconsume_times] += 1
                if record.reconsume_times > history.retries_max:
                    yield f"{group}: {which} is retried for the {record.reconsume_times}th time"
        sure: Counter[tuple[tuple[str, int], int]] = Counter()
        possible: Counter[tuple[tuple[str, int], int]] = Counter()
        for back in history.given_back:
            which = try_of(back.what.body)
            if which is None or back.group != group or back.outcome is Outcome.REFUSED:
                continue
            times = back.what.reconsume_times
            possible[which.message, times] += 1
            sure[which.message, times] += back.outcome is Outcome.OK
        for message in {sent.which.message for sent in facts.acknowledged()}:
            if history.is_poison(message) and not dead[message]:
                yield f"{group}: {message} was given back and is no dead letter"
        for message in {message for message, _ in possible} | dead.keys():
            last = message, history.retries_max
            if not sure[last] <= dead[message] <= possible[last]:
                yield (
                    f"{group}: {dead[message]} dead letters of {message}, "
                    f"whose last retry was given back {sure[last]} to {possible[last]} times"
                )
        for message, times in possible.keys() | stored.keys():
            if times < history.retries_max:
                yield from _wrong_retries(
                    f"{group}: {message}, retry {times + 1}",
                    sure[message, times],
                    possible[message, times] * (1 + history.fault_count),
                    stored[message, times + 1],
                )


def _wrong_retries(what: str, at_least: int, at_most: int, count: int) -> Iterator[str]:
    """A retry waits for its delay, which delivers at least once: again after each fault."""
    if not at_least <= count <= at_most:
        yield f"{what}: {count} copies, not {at_least} to {at_most}"


def queues_never_shrink(facts: _Facts) -> Iterator[str]:
    """K10, on what clients see of the commit position."""
    highest: dict[Queue, tuple[int, float]] = {}
    seen = sorted(facts.history.max_seen, key=lambda seen: seen.invoked)
    ended = sorted(facts.history.max_seen, key=lambda seen: seen.ended)
    at = 0
    for look in seen:
        while at < len(ended) and ended[at].ended <= look.invoked:
            known = highest.get(ended[at].queue, (-1, 0.0))
            highest[ended[at].queue] = max(known, (ended[at].offset, ended[at].ended.monotonic_s))
            at += 1
        before = highest.get(look.queue, (-1, 0.0))[0]
        if look.offset < before:
            yield f"{look.queue}: max offset went back from {before} to {look.offset}"
    for queue, (_, high) in facts.history.ranges.items():
        if any(look.queue == queue and look.offset > high for look in ended):
            yield f"{queue}: max offset at the end is {high}, and was more"


def the_broker_is_live(facts: _Facts) -> Iterator[str]:
    """K13."""
    history = facts.history
    faults = [uptime.ended for uptime in history.uptimes if uptime.ended is not None]
    if not faults:
        return
    last_s = max(fault.monotonic_s for fault in faults)
    sends = [s.ended.monotonic_s for s in facts.acknowledged() if s.invoked.monotonic_s > last_s]
    got = [d.at.monotonic_s for d in history.delivered if d.at.monotonic_s > last_s]
    for what, times in (("send", sends), ("delivery", got)):
        if not times:
            yield f"no {what} after the last fault"
        elif min(times) - last_s > LIVE_SECONDS_MAX:
            yield f"the first {what} came {min(times) - last_s:.1f} s after the last fault"


def _both_halves(facts: _Facts) -> Iterator[str]:
    yield from groups_get_everything(facts)
    yield from commits_are_kept(facts)


RULES: dict[str, Callable[[_Facts], Iterator[str]]] = {
    "K1": acknowledged_is_there,
    "K2": stored_was_sent,
    "K3": offsets_are_places,
    "K4": producers_keep_their_order,
    "K5": tries_are_stored_once,
    "K6": _both_halves,
    "K8": delays_are_kept,
    "K9": retries_end_in_one_dead_letter,
    "K10": queues_never_shrink,
    "K13": the_broker_is_live,
}

__all__ = ["LATE_MS_MAX", "LIVE_SECONDS_MAX", "RULES", "Violation", "check"]
