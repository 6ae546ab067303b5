"""What the broker and a door's express lane ask of each other.

The lane (`frontends/remoting/express.py`) stores and answers ordinary sends, and pulls that find
something or may wait for it, without a Python object per message. Which are ordinary, and what is
added to messages, the broker says beforehand; so the rules stay where they are. What the lane
cannot decide by these terms takes the verbs.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple, Protocol

from pyromq.api.caller import Caller
from pyromq.api.messages import PullRequest, PullResult
from pyromq.errors import RequestRefused
from pyromq.units import LogOffset, QueueOffset


class ExpressTerms(NamedTuple):
    """What holds for every send of the lane, as settings are now."""

    accept_from_ms: int
    """Sends before this time (ms since 1970) are not for the lane."""
    body_size_max: int
    properties_size_max: int
    """Bytes of the properties as stored."""
    refused_sys_flags: int
    """Bits of a sysFlag that are not for the lane."""
    added_properties: str
    """Behind the properties of each message, as text."""
    region_id: str
    is_traced: bool
    id_prefix: str
    """Beginning of each offsetMsgId."""


class ExpressTopic(NamedTuple):
    """A topic to which sends need no decision."""

    queue_count: int
    """Queue ids below this one may be sent to."""
    added_sys_flag: int
    """Bits that its messages' sysFlag gets."""
    may_batch: bool


class ExpressPull(NamedTuple):
    """A group that may pull from a topic by one filter."""

    queue_count: int
    """Queue ids below this one may be read."""
    tag_hashes: Collection[int] | None
    """What is wanted; None: everything."""
    sub_version: int
    """Pulls that know a newer subscription need a decision."""
    message_count_max: int
    body_size_max: int
    topic_sys_flag: int
    group_sys_flag: int
    hold_min_ms: int
    """A long poll waits at least so long, and at most `hold_max_ms`, whatever it asks for."""
    hold_max_ms: int


class ExpressPulled(NamedTuple):
    """Pulls that the lane has answered together, or that wait there now."""

    topic: str
    group: str
    request_count: int
    """Those that were answered."""
    message_count: int
    """None, if they were answered without messages."""
    size: int
    places: Sequence[tuple[int, QueueOffset]]
    """Queue id, and where its next pull goes on; the last one of a queue counts."""
    commits: Sequence[tuple[int, QueueOffset, QueueOffset]]
    """Queue id, the offset to be kept as the group's, and the queue's end."""


class ExpressParked(NamedTuple):
    """How far a pull has come that waited on the lane."""

    queue_offset: QueueOffset
    """Where it goes on: behind messages that it did not want."""
    deadline_ms: int
    """Monotonic ms until which it waits for messages; 0: not at all."""
    message_count_max: int
    body_size_max: int
    tag_hashes: frozenset[int] | None
    """What it wants; None: everything."""


class ExpressApi(Protocol):
    """What a lane asks the broker."""

    def express_terms(self) -> ExpressTerms | None:
        """None while no send may take the lane."""
        ...

    def express_topic(self, topic: str) -> ExpressTopic | None:
        """None if sends to it need a decision now."""
        ...

    def express_pull(self, topic: str, group: str, text: str | None) -> ExpressPull | None:
        """By a filter text of the pull's own, or by the group's subscription (None).

        None if such pulls need a decision now.
        """
        ...

    def express_pulled(self, caller: Caller, pulled: ExpressPulled) -> None:
        """Pulls of the caller were answered, or wait."""
        ...

    async def pull_parked(
        self, caller: Caller, request: PullRequest, parked: ExpressParked
    ) -> PullResult:
        """Goes on with a pull that waited on the lane: as `pull` would, had it waited there."""
        ...


Settled = tuple[Sequence[tuple[int, int]], Sequence[tuple[str, int, int, int]]]
"""What became of sends since it was asked last: (count, elapsed ms) of each group of requests that
were released together, and (topic, messages, bytes of their records, requests) of what is stored
and answered. A plain tuple, as one comes with each turn."""


class ExpressReplies(Protocol):
    """What the broker asks a lane: its replies wait for the same positions as the verbs do."""

    @property
    def waiter_count(self) -> int:
        """Requests that wait for their promise."""
        ...

    @property
    def oldest_ms(self) -> int | None:
        """Monotonic ms since which the longest waiting one waits; None if nobody does."""
        ...

    def changed(self, topics: Collection[str] | None) -> None:
        """These topics (None: all, and the terms) are not what they were: ask again."""
        ...

    def pullers_changed(self) -> None:
        """Something that decides on pulls is not what it was: ask again."""
        ...

    def mark(self, monotonic_ms: int) -> None:
        """Ends a turn: what came in it waits since now."""
        ...

    def release(self, written: LogOffset, commit: LogOffset, monotonic_ms: int) -> Settled | None:
        """The log is written and committed so far: answers whoever is covered."""
        ...

    def end_turn(self, monotonic_ms: int) -> bool | None:
        """Ends a turn in which nobody else appended: writes the log and lets go of what is covered.
        Whether all that was appended is committed; None: there is more to do, which `mark` and
        `release` go on with. Raises StoreFailed as `Engine.write`."""
        ...

    def take_counts(self) -> Settled:
        """What became of sends since it was asked last."""
        ...

    def fail_written_beyond(self, position: LogOffset, error: RequestRefused) -> None:
        """What waits to be written behind `position` will never be."""
        ...

    def fail_committed_beyond(self, position: LogOffset, error: RequestRefused) -> None:
        """What waits for the commit of more than `position` will never be committed."""
        ...

    def expire(self, monotonic_ms: int, timeout_ms: int) -> Settled | None:
        """Answers with code 10 whoever has waited for the whole timeout."""
        ...


class ExpressPolls(Protocol):
    """What the broker asks a lane on which pulls wait for messages.

    What the lane cannot decide it gives back: the pull goes on in `ExpressApi.pull_parked` before
    the call that gave it back has ended.
    """

    @property
    def poll_count(self) -> int:
        """Pulls that wait there."""
        ...

    def poll_count_of(self, connection_id: int) -> int:
        """Those of one connection."""
        ...

    def limit_polls(self, room: int, connection_room: int) -> None:
        """So many may wait there in all, and so many of each connection."""
        ...

    def limit_polls_of(self, connection_id: int, room: int) -> None:
        """So many of this connection, as others of it wait elsewhere."""
        ...

    def watch(self, topic: str, *, is_watched: bool) -> None:
        """Arrivals of this topic are told by `wake`, or not any more."""
        ...

    def wake(self, monotonic_ms: int) -> Sequence[tuple[str, int, int]]:
        """Takes the engine's arrivals and answers who waits for them. Returns (topic, queue, one
        past the newest message) of those that are watched, or by which a pull was given back."""
        ...

    def end_waits(self, monotonic_ms: int) -> None:
        """Answers those whose time is over, or gives them back."""
        ...

    def give_back_topic(self, topic: str) -> None:
        """Gives back all pulls from this topic."""
        ...

    def give_back_groups(self, groups: Collection[str]) -> None:
        """Gives back all pulls of these groups."""
        ...

    def refuse_polls(self, error: RequestRefused) -> None:
        """Answers all with this refusal."""
        ...


class ExpressDoor(ExpressReplies, ExpressPolls, Protocol):
    """All that the broker asks a lane."""


__all__ = [
    "ExpressApi",
    "ExpressDoor",
    "ExpressParked",
    "ExpressPolls",
    "ExpressPull",
    "ExpressPulled",
    "ExpressReplies",
    "ExpressTerms",
    "ExpressTopic",
    "Settled",
]
