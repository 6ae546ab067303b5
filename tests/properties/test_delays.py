"""Any mixture of sends, time, clocks set back, syncs, failed writes and crashes: no delayed message
is lost, none is early, and none comes again but those whose copies were not safe at a crash."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from pyromq.broker import delay_level, delays
from pyromq.units import QueueOffset
from pyromq.wire.record import decode_records
from tests.support.brokers import BrokerInHand, caller, properties, send_request

TOPIC = "TopicTest"
LEVELS_MS = (1_000, 2_000, 5_000)


class DelayMachine(RuleBasedStateMachine):
    """A broker, and what is known of each message."""

    def __init__(self) -> None:
        super().__init__()
        self.hand = BrokerInHand(store={"message_delay_level": "1s 2s 5s"})
        self.hand.create_topic(TOPIC)
        self.sent = 0
        self.due_ms: dict[int, int] = {}
        """Message → monotonic time before which it must not come."""
        self.offsets: dict[int, tuple[int, int]] = {}
        """Message → level and offset in its queue."""
        self.copies_max: dict[int, int] = {}
        """Message → copies it may have: one, and one more for each crash that met it unsafe."""
        self.delivered: list[int] = []

    @rule(level=st.integers(1, 3), count=st.integers(1, 12))
    def send(self, level: int, count: int) -> None:
        asked = []
        for _ in range(count):
            text = properties(UNIQ_KEY=str(self.sent), DELAY=str(level))
            request = send_request(TOPIC, str(self.sent).encode(), properties=text)
            asked.append((self.sent, self.hand.ask(self.hand.broker.send(caller(), request))))
            self.sent += 1
        self.hand.end_turn()
        for number, answer in asked:
            if answer.error is None:
                self.due_ms[number] = self.hand.clock.monotonic_ms() + LEVELS_MS[level - 1]
                self.offsets[number] = (level, answer.result.queue_offset)
                self.copies_max[number] = 1

    @rule(duration_ms=st.sampled_from([0, 1, 7, 100, 999, 1_000, 3_000]))
    def advance(self, duration_ms: int) -> None:
        self.hand.advance(duration_ms)

    @rule(by_ms=st.sampled_from([1, 900, 4_000, 3_600_000]))
    def set_clock_back(self, by_ms: int) -> None:
        self.hand.clock.wall_ms -= by_ms

    @rule()
    def flush(self) -> None:
        self.hand.flush()

    @rule()
    def fail_next_write(self) -> None:
        self.hand.engine.fail_next_write("no space", is_final=False)

    @rule()
    def crash(self) -> None:
        """The log keeps all that was written: the operating system lives on."""
        safe = self.hand.metadata.tables.delay_offsets
        for number, (level, offset) in self.offsets.items():
            if offset >= safe.get(level, 0):
                self.copies_max[number] += 1
        self.hand.engine._next_write_failure = None
        self.hand.restart()

    @invariant()
    def nothing_is_early_and_nothing_comes_too_often(self) -> None:
        for number in self.copies()[len(self.delivered) :]:
            assert self.hand.clock.monotonic_ms() >= self.due_ms[number]
            self.delivered.append(number)
            assert self.delivered.count(number) <= self.copies_max[number]

    def teardown(self) -> None:
        """In the end everything is there, each level's first copies in order, and all is safe."""
        for _ in range(100):
            self.hand.advance(1_000)
        self.nothing_is_early_and_nothing_comes_too_often()
        assert set(self.delivered) == set(self.due_ms)
        firsts = list(dict.fromkeys(self.delivered))
        for level in (1, 2, 3):
            own = [self.offsets[number][1] for number in firsts if self.offsets[number][0] == level]
            assert own == sorted(own)
        self.hand.flush()
        assert self.hand.metadata.tables.delay_offsets == {
            level: 1 + max(offset for own, offset in self.offsets.values() if own == level)
            for level in {level for level, _ in self.offsets.values()}
        }

    def copies(self) -> list[int]:
        """Number of each delivered copy."""
        read = self.hand.engine.read(
            TOPIC,
            0,
            QueueOffset(0),
            message_count_max=100_000,
            body_size_max=1 << 30,
            tag_hashes=None,
        )
        return [int(one.body) for one in decode_records(read.body)]


@pytest.fixture(autouse=True)
def small_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a few messages are many turns."""
    monkeypatch.setattr(delays, "TURN_COUNT_MAX", 5)
    monkeypatch.setattr(delay_level, "READ_COUNT_MIN", 2)
    monkeypatch.setattr(delays, "RETRY_INTERVAL_MS", 50)


@pytest.mark.usefixtures("small_turns")
class TestDelays(DelayMachine.TestCase):  # type: ignore[misc,valid-type]
    settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
