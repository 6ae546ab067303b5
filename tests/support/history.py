"""What clients did to a broker and what they saw of it, for `checker.py` to judge.

A message is known by who sent it and the how-manieth of his it is; each try to send it has a number
of its own, which stands in the body together with a checksum. So every copy in a log can be led
back to the one call that may have put it there.
"""

from __future__ import annotations

import random
import time
import zlib
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

from pyromq.codes import ResponseCode

CHECKSUM_DIGITS = 8


class Instant(NamedTuple):
    """A moment on both clocks: durations by the first, what the broker stamped by the second."""

    monotonic_s: float
    wall_ms: int

    @classmethod
    def now(cls) -> Instant:
        return cls(time.monotonic(), time.time_ns() // 1_000_000)


class Try(NamedTuple):
    """One call that tried to send one message. `number` counts a message's tries from 0."""

    producer: str
    seq: int
    number: int

    @property
    def message(self) -> tuple[str, int]:
        return self.producer, self.seq


class Queue(NamedTuple):
    topic: str
    queue_id: int


class Outcome(Enum):
    """What a caller may believe after a call."""

    OK = "ok"
    """The promise of its mode holds."""
    REFUSED = "refused"
    """It has no effect and never will."""
    UNKNOWN = "unknown"
    """It has its effect at most once, or none."""


UNKNOWN_CODES = frozenset(
    {
        ResponseCode.FLUSH_DISK_TIMEOUT,
        ResponseCode.SLAVE_NOT_AVAILABLE,
        ResponseCode.FLUSH_SLAVE_TIMEOUT,
    }
)
IN_FLIGHT_FAILURES = ("the store failed", "the metadata journal failed")
"""Remarks that begin so: the disk refused something after the call had begun to be carried out.
The bytes may be in the file, so that such a call is unknown whatever its code."""


def outcome_of(code: int, remark: str | None) -> Outcome:
    """What an answer's code and remark promise."""
    if code == ResponseCode.SUCCESS:
        return Outcome.OK
    if code in UNKNOWN_CODES or (remark or "").startswith(IN_FLIGHT_FAILURES):
        return Outcome.UNKNOWN
    return Outcome.REFUSED


def body_of(which: Try, size: int) -> bytes:
    """Bytes that only this try has; at least as many as its name and checksum take."""
    name = f"{which.producer} {which.seq} {which.number} "
    filler = random.Random(name).randbytes(size)
    checksum = zlib.crc32(filler, zlib.crc32(name.encode()))
    return f"{name}{checksum:0{CHECKSUM_DIGITS}x} ".encode() + filler


def try_of(body: bytes) -> Try | None:
    """Who sent these bytes; None if they are not what anybody sent."""
    try:
        producer, seq, number, checksum, filler = body.split(b" ", 4)
        name = b" ".join((producer, seq, number, b""))
        if int(checksum, 16) != zlib.crc32(filler, zlib.crc32(name)):
            return None
        return Try(producer.decode(), int(seq), int(number))
    except ValueError:
        return None


@dataclass(frozen=True, slots=True)
class Sent:
    """One try and its answer."""

    which: Try
    queue: Queue
    body: bytes
    invoked: Instant
    ended: Instant
    outcome: Outcome
    queue_offset: int | None = None
    """As answered; None where nothing was answered or where the message waited for its delay."""
    delay_ms: int = 0
    code: int | None = None


@dataclass(frozen=True, slots=True)
class Stored:
    """A message as a reader got it."""

    queue: Queue
    queue_offset: int
    body: bytes
    reconsume_times: int = 0
    store_timestamp_ms: int = 0
    log_offset: int = 0


@dataclass(frozen=True, slots=True)
class Delivered:
    """A message that a group got."""

    group: str
    what: Stored
    at: Instant


@dataclass(frozen=True, slots=True)
class Committed:
    """A commit of a group's offset."""

    group: str
    queue: Queue
    offset: int
    invoked: Instant
    ended: Instant
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Asked:
    """What the broker said a group's committed offset is; −1: it knows of none."""

    group: str
    queue: Queue
    offset: int
    invoked: Instant
    ended: Instant


@dataclass(frozen=True, slots=True)
class GivenBack:
    """A message that a group sent back because it could not consume it."""

    group: str
    what: Stored
    invoked: Instant
    ended: Instant
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class MaxSeen:
    """A queue's max offset, as the broker answered it."""

    queue: Queue
    offset: int
    invoked: Instant
    ended: Instant


@dataclass(slots=True)
class Uptime:
    """From READY to the fault that ended it, if one did."""

    began: Instant
    ended: Instant | None = None


@dataclass(slots=True)
class History:
    """All calls of a run, in the order of their ends, and what was there at its end."""

    sent: list[Sent] = field(default_factory=list)
    delivered: list[Delivered] = field(default_factory=list)
    committed: list[Committed] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)
    given_back: list[GivenBack] = field(default_factory=list)
    max_seen: list[MaxSeen] = field(default_factory=list)
    uptimes: list[Uptime] = field(default_factory=list)

    log: list[Stored] = field(default_factory=list)
    """Every queue read in full after the last fault, each in the order of its offsets."""
    ranges: dict[Queue, tuple[int, int]] = field(default_factory=dict)
    """Min and max offset of the queues read."""

    subscriptions: dict[str, frozenset[str]] = field(default_factory=dict)
    """Group → topics it consumed to the end."""
    delay_topics: frozenset[str] = frozenset()
    """Topics whose messages come after a delay: at least once, in the order of their times."""
    retry_topics: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Group → its topics of retries and of dead letters."""
    retries_max: int = 0

    @property
    def fault_count(self) -> int:
        return sum(uptime.ended is not None for uptime in self.uptimes)

    def is_poison(self, message: tuple[str, int]) -> bool:
        """A group with retries gives every copy of such a message back."""
        producer, seq = message
        return bool(self.retry_topics) and producer.startswith("sync") and seq % POISON_EVERY == 0


POISON_EVERY = 25

__all__ = [
    "POISON_EVERY",
    "Asked",
    "Committed",
    "Delivered",
    "GivenBack",
    "History",
    "Instant",
    "MaxSeen",
    "Outcome",
    "Queue",
    "Sent",
    "Stored",
    "Try",
    "Uptime",
    "body_of",
    "outcome_of",
    "try_of",
]
