"""Offsets of one queue under commits, pulls, resets and restarts in any order.

A model that knows only the rules runs beside the broker. What the broker must never do: move an
offset by itself, take a commit from the time before a reset, or forget whom it has to tell.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from pyromq.api import PullResult, ResetRequest
from pyromq.domain.group import GroupConfig
from pyromq.units import QueueOffset
from tests.support.brokers import Asked, BrokerInHand, caller

MESSAGES = 8
OFFSETS = st.integers(0, MESSAGES)
CLIENTS = st.integers(1, 3)


@dataclass
class Mark:
    """A reset that its group has not adopted."""

    offset: int
    told_to: int | None = None


@dataclass
class Waiting:
    """A long poll at the queue's end."""

    client: int
    asked: Asked[PullResult] = field(repr=False)


class OffsetMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.hand = BrokerInHand()
        self.hand.create_topic("T", 1)
        self.hand.run(self.hand.broker.put_group(GroupConfig(group_name="CG")))
        self.end = 0
        for _ in range(MESSAGES):
            self.send()
        self.committed: int | None = None
        self.mark: Mark | None = None
        self.waiting: Waiting | None = None

    def send(self) -> None:
        self.hand.send("T")
        self.end += 1

    def adopts(self, client: int, offset: int | None) -> bool:
        """What a request of the queue does to the mark; True if it may be served."""
        if self.mark is None:
            return True
        if self.mark.told_to is not None and (
            offset is None or client == self.mark.told_to or offset == self.mark.offset
        ):
            self.mark = None
            return True
        return False

    @rule(client=CLIENTS, offset=OFFSETS)
    def commit(self, client: int, offset: int) -> None:
        is_taken = self.hand.run(
            self.hand.broker.commit_offset(caller(client), "CG", "T", 0, QueueOffset(offset))
        )
        assert is_taken == self.adopts(client, None)
        if is_taken:
            self.committed = offset

    @rule(client=CLIENTS, offset=OFFSETS, commit=st.none() | OFFSETS)
    def pull(self, client: int, offset: int, commit: int | None) -> None:
        result = self.hand.pull(
            "T",
            by=caller(client),
            queue_offset=QueueOffset(offset),
            commit_offset=None if commit is None else QueueOffset(commit),
        )
        if self.adopts(client, offset):
            assert result.remark != "OFFSET_RESET"
            if commit is not None:
                self.committed = commit
        else:
            assert self.mark is not None
            assert (result.remark, result.next_begin_offset) == ("OFFSET_RESET", self.mark.offset)
            self.mark.told_to = client

    @precondition(lambda self: self.waiting is None and self.mark is None)
    @rule(client=CLIENTS, commit=st.none() | OFFSETS)
    def begin_to_wait(self, client: int, commit: int | None) -> None:
        asked = self.hand.start_pull(
            "T",
            by=caller(client),
            queue_offset=QueueOffset(self.end),
            commit_offset=None if commit is None else QueueOffset(commit),
        )
        self.hand.end_turn()
        assert asked.is_waiting
        self.waiting = Waiting(client, asked)
        if commit is not None:
            self.committed = commit

    @precondition(lambda self: self.waiting is not None)
    @rule()
    def message_for_who_waits(self) -> None:
        assert self.waiting is not None
        waiting, self.waiting = self.waiting, None
        self.send()
        assert waiting.asked.result.message_count == 1

    @rule(offset=OFFSETS)
    def reset(self, offset: int) -> None:
        self.hand.run(
            self.hand.broker.reset_offsets(
                caller(9),
                ResetRequest(
                    group="CG", topic="T", timestamp_ms=-1, queue_id=0, queue_offset=offset
                ),
            )
        )
        self.committed = offset
        self.mark = Mark(offset)
        if self.waiting is not None:
            waiting, self.waiting = self.waiting, None
            assert waiting.asked.result.remark == "OFFSET_RESET"
            assert waiting.asked.result.next_begin_offset == offset
            self.mark.told_to = waiting.client

    @rule()
    def restart(self) -> None:
        self.hand.restart()
        self.waiting = None
        if self.mark is not None:
            self.mark.told_to = None

    @rule(is_cleaned=st.booleans())
    def delete_group(self, is_cleaned: bool) -> None:
        self.hand.run(self.hand.broker.delete_group("CG", is_offset_cleaned=is_cleaned))
        self.hand.run(self.hand.broker.put_group(GroupConfig(group_name="CG")))
        self.mark = None
        self.waiting = None
        if is_cleaned:
            self.committed = None

    @invariant()
    def the_offset_is_the_one_that_counts(self) -> None:
        offset = self.hand.broker.consumer_offset("CG", "T", 0, is_zero_if_not_found=None)
        assert offset == (self.committed or 0)
        [queue] = self.hand.broker.consume_stats("CG", topic="T").queues
        assert queue.consumer_offset == (self.committed or 0)
        assert queue.broker_offset == self.end
        assert queue.pull_offset >= queue.consumer_offset


OffsetMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestOffsets = OffsetMachine.TestCase


@given(offsets=st.lists(OFFSETS, min_size=1, max_size=20), restarts=st.sets(st.integers(0, 19)))
@settings(max_examples=50, deadline=None)
def test_the_last_commit_of_a_connection_counts_wherever_the_broker_restarts(
    offsets: list[int], restarts: set[int]
) -> None:
    hand = BrokerInHand()
    hand.create_topic("T", 1)
    hand.run(hand.broker.put_group(GroupConfig(group_name="CG")))
    for number, offset in enumerate(offsets):
        hand.ask(hand.broker.commit_offset(caller(), "CG", "T", 0, QueueOffset(offset)))
        if number in restarts:
            hand.end_turn()
            hand.restart()
    hand.end_turn()
    assert hand.broker.consumer_offset("CG", "T", 0, is_zero_if_not_found=None) == offsets[-1]
