"""Long polls on the express lane: pulls that found nothing and wait inside native code.

The native lane answers them itself when messages arrive that they want, or at their deadline; the
broker is told what it must know of it. What the lane cannot decide (the puller is not what it was,
its topic or group changed, the store refuses, a record is damaged) it gives back: the request goes
on by its verb as if it had waited there, within the call that gave it back.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import partial
from typing import Final, Protocol, cast

from pyromq.api import Caller, ExpressApi, ExpressParked, ExpressPulled
from pyromq.clock import Clock
from pyromq.errors import RequestRefused
from pyromq.frontends.remoting.messages import parked_pull
from pyromq.frontends.remoting.table import WaitingVerb
from pyromq.turn import Turn
from pyromq.units import QueueOffset
from pyromq.wire.remoting.frame import Command
from pyromq.wire.remoting.native import NativeLane

PullsDone = tuple[
    int,
    int,
    int,
    int,
    Sequence[tuple[int, QueueOffset]],
    Sequence[tuple[int, QueueOffset, QueueOffset]],
]
"""Pair, pulls answered, messages, their bytes, (queue, next offset), (queue, commit, end)."""
GivenBack = tuple[object, object, int, int, int, int, list[int] | None]
"""Peer, command, where it goes on, deadline, most messages and bytes wanted, tag hashes."""
Woken = tuple[
    list[tuple[object, int, int, bytes]],
    list[PullsDone],
    list[GivenBack],
    list[tuple[str, int, int]],
]


_NOBODY: Final = Caller(connection_id=0, address="", host=bytes(8))
"""Whose commits these are: pulls commit when they come, not when they are woken."""


class PollPeer(Protocol):
    """A connection of the door, as its polls see it."""

    def resume(self, command: Command, verb: WaitingVerb) -> None:
        """This waited on the lane, and goes on by a verb."""
        ...

    def released(self, under_way_size: int, data: bytes) -> None:
        """Some are done: so many bytes still wait, and `data` are the frames of the answers."""
        ...


class LanePolls:
    """The polls of one lane; an `ExpressPolls`."""

    def __init__(self, native: NativeLane, broker: ExpressApi, clock: Clock, turn: Turn) -> None:
        self.native = native
        self._turn = turn
        self.numbers: dict[int, int] = {}
        """The lane's number of each connection, by its id."""
        self._monotonic_ms = clock.monotonic_ms
        self._broker = broker
        self._pairs: list[tuple[str, str]] = []
        """(topic, group) by the number that the native table has."""

    def note_pulled(self, caller: Caller, pulled: Sequence[object]) -> None:
        """These were answered, or wait from now on; the broker is told in their order."""
        self._tell(caller, pulled)
        self.native.begin_waits(self._monotonic_ms())

    def note_woken(self, pulled: Sequence[object]) -> None:
        """These waited, and were answered."""
        self._tell(_NOBODY, pulled)

    def _tell(self, caller: Caller, pulled: Sequence[object]) -> None:
        pairs, tell = self._pairs, self._broker.express_pulled
        for pair, request_count, message_count, size, places, commits in cast(
            "Sequence[PullsDone]", pulled
        ):
            topic, group = pairs[pair]
            tell(
                caller,
                ExpressPulled(topic, group, request_count, message_count, size, places, commits),
            )

    # ── what the broker asks ────────────────────────────────────────────────────────────────────

    @property
    def poll_count(self) -> int:
        return self.native.poll_count()

    def poll_count_of(self, connection_id: int) -> int:
        number = self.numbers.get(connection_id)
        return 0 if number is None else self.native.poll_count_of(number)

    def limit_polls(self, room: int, connection_room: int) -> None:
        self.native.limit_polls(max(room, 0), connection_room)

    def limit_polls_of(self, connection_id: int, room: int) -> None:
        number = self.numbers.get(connection_id)
        if number is not None:
            self.native.limit_polls_of(number, max(room, 0))

    def watch(self, topic: str, *, is_watched: bool) -> None:
        self.native.watch(topic, is_watched)

    def wake(self, monotonic_ms: int) -> Sequence[tuple[str, int, int]]:
        woken = self.native.wake(monotonic_ms)
        return () if woken is None else self._serve(cast(Woken, woken))

    def end_waits(self, monotonic_ms: int) -> None:
        woken = self.native.end_waits(monotonic_ms)
        if woken is not None:
            self._serve(cast(Woken, woken))
            self._turn.request_end()

    def give_back_topic(self, topic: str) -> None:
        self._resume(self.native.take_polls_of_topic(topic))

    def give_back_groups(self, groups: Collection[str]) -> None:
        self._resume(self.native.take_polls_of_groups(list(groups)))

    def refuse_polls(self, error: RequestRefused) -> None:
        self.native.refuse_polls(int(error.code), error.remark)
        self._turn.request_end()

    def _serve(self, woken: Woken) -> Sequence[tuple[str, int, int]]:
        replies, answered, given_back, arrivals = woken
        for peer, _, under_way, data in replies:
            cast(PollPeer, peer).released(under_way, data)
        self.note_woken(answered)
        self._resume(given_back)
        return arrivals

    def _resume(self, given_back: Sequence[GivenBack]) -> None:
        for peer, command, queue_offset, deadline_ms, count_max, size_max, hashes in given_back:
            parked = ExpressParked(
                QueueOffset(queue_offset),
                deadline_ms,
                count_max,
                size_max,
                None if hashes is None else frozenset(hashes),
            )
            verb = partial(parked_pull, self._broker, parked)
            cast(PollPeer, peer).resume(cast(Command, command), verb)


__all__ = ["LanePolls", "PollPeer", "PullsDone"]
