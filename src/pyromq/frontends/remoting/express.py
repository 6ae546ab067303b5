"""The express lane: ordinary sends and pulls go from frame to answer inside native code.

A chunk of frames is handed to the native lane, which takes what is ordinary. A send is decoded,
checked against the table below, appended, and its reply kept until the promise holds; a pull is
answered at once if it finds something, or waits (`polls.py`), and what the broker must know of it
comes back. At the first frame that is not for the lane it collects commands up to the next that is;
those are served by the table of verbs before anything behind them is looked at. So appends have the
order of the frames, whichever lane they took, and nothing in Python happens per message on this
one.

The table is owned here. An entry is made when a request took its verb although it might have taken
the lane, and is made anew, or goes, as soon as the broker says that what it rests on has changed;
during a call of the native lane nothing can change.

One-way sends and what waits for the commit are let go by the broker's turn, like the verbs
(`ExpressReplies`); the bytes of a connection's replies join those of its verbs and leave with them
in one write. Where there are none of these, and nothing waits for the socket to take it, the native
lane writes them to the socket by itself. What a pull found waits for nothing: its answer leaves in
the call that dealt with it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final, Protocol, cast

from pyromq.api import Caller, ExpressApi, Settled
from pyromq.clock import Clock
from pyromq.codes import VERSION_5_5_0, RequestCode, ResponseCode
from pyromq.errors import RequestRefused
from pyromq.frontends.remoting.polls import LanePolls
from pyromq.frontends.remoting.table import WaitingVerb
from pyromq.turn import Turn
from pyromq.units import LogOffset
from pyromq.wire.remoting import frame
from pyromq.wire.remoting.frame import Command, FrameLimits
from pyromq.wire.remoting.headers.pull import PullFlag
from pyromq.wire.remoting.headers.send import EXT_MSG_REGION, EXT_TRACE_ON
from pyromq.wire.remoting.native import NOT_PLAIN, NativeLane, SocketReader, split

_GO_ON: Final = -3
"""The native lane stopped before a frame that it takes once the commands before it are served."""

_NO_ROOM: Final = -2
"""It stopped because the answers are enough for one turn."""

# How the native lane ended a turn, as bits.
_UNSETTLED: Final = 1
"""Something waits for its sync."""
_UNENDED: Final = 2
"""Not at all: all stages have to run."""
_WOKEN: Final = 4
"""Long polls were answered."""

PULLERS_MAX: Final = 10_000
"""Pairs of topic and group, with their filters, that pull on the lane; all are forgotten when there
are more."""

FILTER_LENGTH_MAX: Final = 256
"""Characters of a filter text that is remembered for the lane; a pull with a longer one takes its
verb."""

_TOPIC_FIELD: Final = {
    int(RequestCode.SEND_MESSAGE): "topic",
    int(RequestCode.SEND_MESSAGE_V2): "b",
    int(RequestCode.SEND_BATCH_MESSAGE): "b",
}
"""Sends that may take the lane, and which of their fields names the topic."""
_SUBSCRIPTION: Final = int(PullFlag.SUBSCRIPTION)


def begin_turn_of(clock: Clock, turn: Turn) -> Callable[[], int]:
    """What the native lane calls when it takes the first send of a turn."""
    now_ms, request_end = clock.now_ms, turn.request_short_end

    def begin_turn() -> int:
        request_end()
        return now_ms()

    return begin_turn


class LanePeer(Protocol):
    """A connection of the door, as the lane sees it."""

    @property
    def caller(self) -> Caller: ...

    def rooms(self) -> tuple[int, int]:
        """Requests that may still wait for an answer, and bytes of answers that it may still be
        given in this turn."""
        ...

    def is_put_off(self) -> bool:
        """Earlier commands wait until their peer has taken its answers."""
        ...

    def took(self, under_way_size: int) -> None:
        """Sends are under way on the lane; their records have so many bytes in all."""
        ...

    def answered(self, data: bytes | None) -> None:
        """Requests were answered at once, or wait; `data`: what is still to be written of the
        answers."""
        ...

    def resume(self, command: Command, verb: WaitingVerb) -> None:
        """This waited on the lane, and goes on by a verb."""
        ...

    def put_off(self, commands: list[Command]) -> None:
        """These wait until the peer has taken its answers."""
        ...

    def serve(self, commands: list[Command]) -> None:
        """Serves these by their verbs, or puts them off."""
        ...

    def released(self, under_way_size: int, data: bytes) -> None:
        """Some are done: so many bytes still wait, and `data` are the frames of the answers."""
        ...

    def write(self, data: bytes) -> None:
        """Frames, or the end of one, that the socket did not take."""
        ...


class LaneConnection:
    """One connection on the lane."""

    __slots__ = ("_feed", "_lane", "_peer", "number")

    def __init__(self, lane: ExpressLane, number: int, peer: LanePeer) -> None:
        self._lane = lane
        self._peer = peer
        self._feed = lane.native.feed
        self.number = number

    def deal(
        self, buffer: bytes | bytearray | memoryview, limits: FrameLimits = frame.SERVER_LIMITS
    ) -> tuple[list[Command], int, int, str | None]:
        """Takes the place of `frame.split`, and deals with the frames at once: what it answers as
        commands is only what has to wait behind commands that were put off, or may find no room."""
        peer, lane, number = self._peer, self._lane, self.number
        start = pulled_size = 0
        while not peer.is_put_off():
            room, unsent_room = peer.rooms()
            if pulled_size > unsent_room:
                break  # a peer that takes all at once must not keep the others waiting
            found, start, ahead, taken, under_way, answers, pulled = self._feed(
                number, buffer, start, lane.now_ms(), room, unsent_room - pulled_size
            )
            if pulled is not None:
                # First: the rest of an answer follows what the socket took of it.
                peer.answered(answers)
                pulled_size += sum(row[3] for row in pulled)
                lane.note_pulled(peer.caller, pulled)
            if taken:
                peer.took(under_way)
                lane.request_end()
            if found is not None:
                commands = cast("list[Command]", found)
                peer.serve(commands)
                lane.offer(commands)
            if ahead == NOT_PLAIN:
                one = frame.split(memoryview(buffer)[start:], limits, count_max=1)
                if one.violation is not None:
                    return [], start, 0, one.violation
                if peer.is_put_off():
                    break
                start += one.consumed
                peer.serve(one.commands)
                lane.offer(one.commands)
            elif ahead == _NO_ROOM:
                rest = split(memoryview(buffer)[start:], limits)
                peer.put_off(rest.commands)
                return [], start + rest.consumed, rest.needed, rest.violation
            elif ahead != _GO_ON:
                return [], start, ahead, None
        rest = split(memoryview(buffer)[start:], limits)
        return rest.commands, start + rest.consumed, rest.needed, rest.violation

    @property
    def held_count(self) -> int:
        """Requests of the connection that wait on the lane, for their promise or for a message."""
        native = self._lane.native
        return native.held(self.number)[0] + native.poll_count_of(self.number)

    @property
    def taken_count(self) -> int:
        """Sends of the connection so far."""
        return self._lane.native.taken(self.number)

    def read_by(self, reader: SocketReader, size_max: int) -> None:
        """`reader` may give it sends out of the socket, once it has room for them, until records of
        more than `size_max` bytes wait."""
        reader.set_lane(self._lane.native, self.number, size_max)

    def set_direct(self, descriptor: int | None) -> None:
        """Where its answers are written to without a stop here; None: they come to the peer."""
        self._lane.native.set_direct(self.number, descriptor)

    def take_out(self) -> bytes | None:
        """Answers that would be written there in this turn, for who writes to the socket before."""
        return self._lane.native.take_out(self.number)

    def close(self) -> None:
        """The connection is gone: its replies are dropped, and what it holds is free at once, as no
        reference leads back to it."""
        self._lane.disconnect(self.number, self._peer.caller.connection_id)
        del self._peer


class ExpressLane(LanePolls):
    """The lane of one broker's doors; an `ExpressDoor`."""

    def __init__(self, native: NativeLane, broker: ExpressApi, clock: Clock, turn: Turn) -> None:
        super().__init__(native, broker, clock, turn)
        self.now_ms = clock.now_ms
        self.request_end = turn.request_short_end
        self._is_open = False
        self._topics: set[str] = set()
        """Those in the native table."""
        self._pullers: set[tuple[str, str, str | None]] = set()
        """(topic, group, filter text) of those in the native table."""
        self._pair_numbers: dict[tuple[str, str], int] = {}
        """One for all filters: what a pair's pulls commit must be told in their order."""

    def connect(self, peer: LanePeer, connection_id: int, host: bytes) -> LaneConnection:
        """`host`: the address that its messages carry."""
        number = self.native.connect(peer, host)
        self.numbers[connection_id] = number
        return LaneConnection(self, number, peer)

    def disconnect(self, number: int, connection_id: int) -> None:
        """Drops what it waits for."""
        del self.numbers[connection_id]
        self.native.disconnect(number)

    # ── the table ───────────────────────────────────────────────────────────────────────────────

    def offer(self, commands: Sequence[Command]) -> None:
        """These took their verbs: opens the lane for those that come after them."""
        for command in commands:
            field = _TOPIC_FIELD.get(command.code)
            if field is not None:
                topic = command.ext.get(field)
                if self._is_open and topic is not None and topic not in self._topics:
                    self._open(topic)
            elif command.code == RequestCode.PULL_MESSAGE:
                self._offer_pull(command.ext)

    def _offer_pull(self, ext: Mapping[str, str]) -> None:
        topic, group = ext.get("topic"), ext.get("consumerGroup")
        flags = ext.get("sysFlag", "")
        if topic is None or group is None or not flags.isdecimal() or len(flags) > 3:
            return
        text = ext.get("subscription", "") if int(flags) & _SUBSCRIPTION else None
        puller = (topic, group, text)
        if puller in self._pullers or (text is not None and len(text) > FILTER_LENGTH_MAX):
            return
        terms = self._broker.express_pull(topic, group, text)
        if terms is None:
            return
        if len(self._pullers) >= PULLERS_MAX:
            self.pullers_changed()
        self._pullers.add(puller)
        self.native.put_puller(
            topic,
            group,
            text,
            pair=self._pair_number(topic, group),
            queue_count=terms.queue_count,
            tag_hashes=None if terms.tag_hashes is None else list(terms.tag_hashes),
            sub_version=terms.sub_version,
            message_count_max=terms.message_count_max,
            body_size_max=terms.body_size_max,
            topic_sys_flag=terms.topic_sys_flag,
            group_sys_flag=terms.group_sys_flag,
            hold_min_ms=terms.hold_min_ms,
            hold_max_ms=terms.hold_max_ms,
        )

    def _pair_number(self, topic: str, group: str) -> int:
        number = self._pair_numbers.setdefault((topic, group), len(self._pairs))
        if number == len(self._pairs):
            self._pairs.append((topic, group))
        return number

    def pullers_changed(self) -> None:
        if self._pullers:
            self._pullers.clear()
            self._pairs = []
            self._pair_numbers.clear()
            self.native.close_pullers()

    def _open(self, topic: str) -> None:
        terms = self._broker.express_topic(topic)
        if terms is not None:
            self.native.put_topic(topic, *terms)
            self._topics.add(topic)
        elif topic in self._topics:
            self._topics.discard(topic)
            self.native.close_topic(topic)

    def changed(self, topics: Collection[str] | None) -> None:
        if topics is None:
            self._take_terms()
            topics = list(self._topics)
        for topic in topics:
            if topic in self._topics:
                self._open(topic)

    def _take_terms(self) -> None:
        terms = self._broker.express_terms()
        self._is_open = terms is not None
        if terms is None:
            self.native.close()
            return
        self.native.open(
            accept_from_ms=terms.accept_from_ms,
            body_size_max=terms.body_size_max,
            properties_size_max=terms.properties_size_max,
            refused_sys_flags=terms.refused_sys_flags,
            suffix=terms.added_properties,
            marks=[
                (EXT_MSG_REGION, terms.region_id),
                (EXT_TRACE_ON, "true" if terms.is_traced else "false"),
            ],
            id_prefix=terms.id_prefix,
            version=VERSION_5_5_0,
        )

    # ── the turn ────────────────────────────────────────────────────────────────────────────────

    @property
    def waiter_count(self) -> int:
        return self.native.held_count()

    @property
    def oldest_ms(self) -> int | None:
        return self.native.oldest_ms()

    def mark(self, monotonic_ms: int) -> None:
        self.native.mark(monotonic_ms)

    def release(self, written: LogOffset, commit: LogOffset, monotonic_ms: int) -> Settled | None:
        return self._settle(self.native.release(written, commit, monotonic_ms))

    def end_turn(self, monotonic_ms: int) -> bool | None:
        ended = self.native.end_turn(monotonic_ms)
        if ended & _WOKEN:
            self.note_woken(self.native.take_woken())
        return None if ended & _UNENDED else not ended & _UNSETTLED

    def take_counts(self) -> Settled:
        return self.native.take_counts()

    def fail_written_beyond(self, position: LogOffset, error: RequestRefused) -> None:
        self.native.fail_written_beyond(position, int(error.code), error.remark)

    def fail_committed_beyond(self, position: LogOffset, error: RequestRefused) -> None:
        self.native.fail_committed_beyond(position, int(error.code), error.remark)

    def expire(self, monotonic_ms: int, timeout_ms: int) -> Settled | None:
        late = int(ResponseCode.FLUSH_DISK_TIMEOUT)
        self._turn.request_end()
        return self._settle(self.native.expire(monotonic_ms, timeout_ms, late))

    def _settle(self, happened: _Happened | None) -> Settled | None:
        if happened is None:
            return None
        replies, acknowledged, puts = happened
        for peer, _, under_way, data in replies:
            cast(LanePeer, peer).released(under_way, data)
        return acknowledged, puts

    def write(self) -> None:
        """The turn's last stage, after what the verbs say: the answers that need nobody here."""
        left = self.native.write_direct()
        if left is not None:
            for peer, rest in left:
                cast(LanePeer, peer).write(rest)


_Happened = tuple[
    list[tuple[object, int, int, bytes]], list[tuple[int, int]], list[tuple[str, int, int, int]]
]

__all__ = ["ExpressLane", "LaneConnection", "LanePeer", "begin_turn_of"]
