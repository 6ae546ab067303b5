"""How far a queue is consumed: the offset below which everything has ended."""

from __future__ import annotations

from pyromq.client.message import ReceivedMessage
from pyromq.client.window import Window
from pyromq.domain.route import MessageQueue
from pyromq.units import QueueOffset
from pyromq.wire.record import Record

QUEUE = MessageQueue("a", 0, "T")


def message(offset: int, body: bytes = b"x") -> ReceivedMessage:
    return ReceivedMessage("T", body, QUEUE, QueueOffset(offset), Record("T", body))


def test_the_offset_is_that_of_the_lowest_that_has_not_ended() -> None:
    window = Window(5)
    assert window.commit_offset == 5
    messages = [message(offset) for offset in (5, 6, 8)]
    assert window.put(messages, 12) == messages
    assert (window.commit_offset, window.count, window.span) == (5, 3, 3)
    window.end(messages[1])
    assert window.commit_offset == 5
    window.end(messages[0])
    assert (window.commit_offset, window.span) == (8, 0)
    window.end(messages[2])
    # Everything up to 12 was filtered out, so nobody need look at it again.
    assert (window.commit_offset, window.count, window.size_bytes) == (12, 0, 0)


def test_ending_twice_counts_once() -> None:
    window = Window(0)
    first, second = message(0, b"x" * 10), message(1, b"y" * 1_000)
    window.put([first, second], 2)
    window.end(first)
    window.end(first)
    assert (window.count, window.size_bytes) == (1, second.size_bytes)


def test_what_was_pulled_already_is_not_taken_again() -> None:
    window = Window(0)
    window.put([message(0), message(1)], 2)
    assert [m.queue_offset for m in window.put([message(1), message(2)], 3)] == [2]
    assert window.count == 3
