"""The gate lets go in order, all that are covered, and nobody waits for ever."""

from __future__ import annotations

from collections.abc import Sequence

from pyromq.api import StoredSend
from pyromq.broker.commits import CommitGate
from pyromq.errors import FlushTimedOut, RequestRefused, ServiceUnavailable
from pyromq.units import LogOffset, QueueOffset
from pyromq.waiting import Latch


def went(latch: Latch[None], name: str, log: list[str]) -> None:
    latch.when_set(lambda: log.append(name))


def has_gone(latch: Latch[None]) -> bool:
    return latch.is_set


class Asker:
    """Who gets answers that were held."""

    def __init__(self, name: str, log: list[str]) -> None:
        self.name = name
        self.log = log

    def kept(self, count: int, answers: bytes) -> None:
        self.log.append(f"{self.name} {count} {answers.decode()}")

    def lost(self, answers: Sequence[bytes], error: RequestRefused) -> None:
        self.log.append(f"{self.name} lost {b''.join(answers).decode()}: {type(error).__name__}")


class Gate(CommitGate):
    """Its held sends have records of ten bytes."""

    def __init__(self) -> None:
        self.waits: list[tuple[int, int]] = []
        self.puts: list[tuple[str, int, int]] = []
        super().__init__(
            lambda count, elapsed_ms: self.waits.append((count, elapsed_ms)),
            lambda topic, count, size: self.puts.append((topic, count, size)),
        )

    def keep(self, end: int, answer: str, asker: Asker, topic: str = "T") -> None:
        place = QueueOffset(0), LogOffset(end - 10), LogOffset(end)
        stored = StoredSend(topic, 0, *place, "", False, "R", True, 0)
        self.hold(stored, answer.encode(), asker)


def error_of(latch: Latch[None]) -> Exception:
    try:
        latch.result()
    except RequestRefused as error:
        return error
    raise AssertionError("it was let go")


def test_a_waiter_goes_when_the_commit_covers_its_position() -> None:
    gate = CommitGate()
    latch = gate.until(100)
    gate.release(99, 0)
    assert not has_gone(latch)
    gate.release(100, 0)
    assert has_gone(latch)
    assert gate.waiter_count == 0


def test_what_is_committed_already_does_not_wait() -> None:
    gate = CommitGate()
    gate.release(100, 0)
    assert has_gone(gate.until(100))
    assert not has_gone(gate.until(101))


def test_waiters_go_in_the_order_they_came() -> None:
    gate, log = CommitGate(), list[str]()
    for name, position in (("a", 10), ("b", 20), ("c", 20), ("d", 30)):
        went(gate.until(position), name, log)
    gate.release(20, 0)
    assert log == ["a", "b", "c"]
    gate.release(30, 0)
    assert log == ["a", "b", "c", "d"]


def test_the_commit_never_goes_back() -> None:
    gate = CommitGate()
    gate.release(100, 0)
    gate.release(50, 0)
    assert has_gone(gate.until(100))


def test_a_lost_turn_fails_only_what_lies_behind_the_position() -> None:
    gate = CommitGate()
    kept, lost, also_lost = gate.until(10), gate.until(20), gate.until(30)
    gate.mark(0)
    gate.fail_beyond(10, lambda: ServiceUnavailable("disk full"))
    assert not has_gone(kept)
    assert str(error_of(lost)) == "disk full"
    assert isinstance(error_of(also_lost), ServiceUnavailable)
    gate.until(15)  # positions are given again after a lost turn
    gate.release(15, 0)
    assert has_gone(kept)


def test_whoever_waited_for_the_whole_timeout_learns_that_the_outcome_is_unknown() -> None:
    gate = CommitGate()
    early = gate.until(10)
    gate.mark(1_000)
    late = gate.until(20)
    gate.mark(3_000)
    gate.expire(5_999, 5_000)
    assert not has_gone(early)
    gate.expire(6_000, 5_000)
    assert isinstance(error_of(early), FlushTimedOut)
    assert "5000 ms" in str(error_of(early))
    assert not has_gone(late)
    gate.release(20, 6_500)
    assert has_gone(late)


def test_time_counts_from_the_end_of_the_turn_in_which_one_came() -> None:
    gate = CommitGate()
    first = gate.until(10)
    gate.mark(0)
    gate.mark(4_000)  # a turn without a new waiter
    gate.expire(5_000, 5_000)
    assert has_gone(first)


def test_a_group_let_go_together_is_counted_with_its_wait() -> None:
    counted: list[tuple[int, int]] = []
    gate = CommitGate(lambda count, elapsed_ms: counted.append((count, elapsed_ms)))
    gate.until(10)
    gate.until(20)
    gate.mark(100)
    gate.until(30)
    gate.mark(150)
    gate.until(40)
    gate.mark(190)
    gate.release(30, 200)
    assert counted == [(2, 100), (1, 50)]
    gate.release(40, 260)
    assert counted[2:] == [(1, 70)]


def test_one_commit_within_a_turn_is_counted_once_however_it_cuts_the_turn() -> None:
    counted: list[tuple[int, int]] = []
    gate = CommitGate(lambda count, elapsed_ms: counted.append((count, elapsed_ms)))
    gate.until(10)
    gate.until(20)
    gate.mark(100)
    gate.release(10, 130)
    gate.release(20, 160)
    assert counted == [(1, 30), (1, 60)]


def test_held_sends_of_one_client_and_topic_are_let_go_by_one_call() -> None:
    gate, log = Gate(), list[str]()
    a, b = Asker("a", log), Asker("b", log)
    for end, answer, asker, topic in (
        (10, "1", a, "T"), (20, "2", a, "T"), (30, "3", b, "T"), (40, "4", a, "T"),
        (50, "5", a, "U"),
    ):  # fmt: skip
        gate.keep(end, answer, asker, topic)
    gate.mark(100)
    assert gate.waiter_count == 5
    gate.release(50, 130)
    assert log == ["a 2 12", "b 1 3", "a 1 4", "a 1 5"]
    assert gate.puts == [("T", 2, 20), ("T", 1, 10), ("T", 1, 10), ("U", 1, 10)]
    assert gate.waits == [(5, 30)]
    assert gate.waiter_count == 0


def test_verbs_and_held_sends_go_in_one_order() -> None:
    gate, log = Gate(), list[str]()
    asker = Asker("a", log)
    gate.keep(10, "1", asker)
    went(gate.until(20), "verb", log)
    gate.keep(30, "2", asker)
    gate.release(30, 0)
    assert log == ["a 1 1", "verb", "a 1 2"]


def test_a_commit_within_a_run_lets_go_its_first_part_only() -> None:
    gate, log = Gate(), list[str]()
    asker = Asker("a", log)
    for end in (10, 20, 30):
        gate.keep(end, str(end), asker)
    gate.mark(0)
    gate.release(25, 7)
    assert log == ["a 2 1020"]
    assert gate.waiter_count == 1
    gate.keep(40, "40", asker)  # does not join what an earlier turn began
    gate.mark(10)
    gate.release(35, 20)
    assert log == ["a 2 1020", "a 1 30"]
    gate.release(40, 20)
    assert log[2:] == ["a 1 40"]
    assert gate.waits == [(2, 7), (1, 20), (1, 10)]


def test_a_lost_turn_fails_the_part_of_a_run_that_lies_behind_the_position() -> None:
    gate, log = Gate(), list[str]()
    asker = Asker("a", log)
    for end in (10, 20, 30):
        gate.keep(end, str(end), asker)
    gate.mark(0)
    gate.fail_beyond(10, lambda: ServiceUnavailable("disk full"))
    assert log == ["a lost 2030: ServiceUnavailable"]
    gate.keep(20, "again", asker)  # positions are given again after a lost turn
    gate.mark(1)
    gate.release(20, 1)
    assert log[1:] == ["a 1 10", "a 1 again"]
    assert gate.puts == [("T", 1, 10), ("T", 1, 10)]


def test_held_sends_that_wait_too_long_are_counted_as_stored() -> None:
    gate, log = Gate(), list[str]()
    asker = Asker("a", log)
    gate.keep(10, "1", asker)
    gate.mark(1_000)
    gate.keep(20, "2", asker)
    gate.mark(2_000)
    gate.expire(6_000, 5_000)
    assert log == ["a lost 1: FlushTimedOut"]
    assert gate.puts == [("T", 1, 10)]
    gate.release(20, 6_500)
    assert log[1:] == ["a 1 2"]
