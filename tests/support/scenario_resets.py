"""What scenario texts say of groups that are moved, and of how far they are.

reset [time=…] [queue=…] [offset=…] [gently]   sets CG's offsets in T (by default to the end)
pushed                                         which clients were told of resets, and what
clone from=CG to=CG2 [topic=T] [offline]       gives a group another one's offsets
status [of=c2] [as=s1]                         asks the clients of CG for their offsets in T
tell by=c2 [0:5 1:7]                           a client answers that
silent by=c2                                   a client does not
progress [group=CG] [topic=T]                  queue: consumed/pulled/end of each queue
rate [group=CG] [topic=T]                      messages per second given to the group
drop-group name=CG [clean]
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pyromq.api import ResetRequest
from pyromq.domain.route import MessageQueue
from pyromq.errors import AnswerTimedOut
from tests.support.brokers import BrokerInHand, StatusQuestion, caller

Words = dict[str, str]


class ResetVerbs:
    """A part of `Stage`."""

    hand: BrokerInHand
    connections: dict[str, int]

    def _ask(self, words: Words, coroutine: Any, say: Callable[[Any], str]) -> None:
        raise NotImplementedError

    def _connection(self, words: Words) -> int:
        raise NotImplementedError

    def do_reset(self, words: Words) -> None:
        request = ResetRequest(
            group=words.get("group", "CG"),
            topic=words.get("topic", "T"),
            timestamp_ms=int(words.get("time", "-1")),
            queue_id=int(words.get("queue", "-1")),
            queue_offset=int(words["offset"]) if "offset" in words else None,
            is_forced="gently" not in words,
        )
        by = caller(self._connection({"by": "operator", **words}))
        self._ask(words, self.hand.broker.reset_offsets(by, request), _offsets)

    def do_pushed(self, words: Words) -> str:
        del words
        pushed, self.hand.peers.resets = self.hand.peers.resets, []
        names = {number: name for name, number in self.connections.items()}
        return ", ".join(
            f"{names[number]}: {one.topic} of {one.group} to {_offsets(one.offsets)}"
            f"{' for C++' * one.is_for_cpp}"
            for number, one in pushed
        ) or "nobody"  # fmt: skip

    def do_clone(self, words: Words) -> None:
        self._ask(
            words,
            self.hand.broker.clone_offsets(
                words.get("from", "CG"),
                words["to"],
                words.get("topic", ""),
                is_offline="offline" in words,
            ),
            lambda _none: "ok",
        )

    def do_status(self, words: Words) -> None:
        self._ask(
            words,
            self.hand.broker.consumer_status(
                words.get("group", "CG"), words.get("topic", "T"), words.get("of", "")
            ),
            _said_of_status,
        )

    def do_tell(self, words: Words) -> None:
        question = self._status_question(words)
        offsets = {
            MessageQueue(broker_name="broker-a", queue_id=int(queue), topic=question.topic): int(at)
            for queue, _, at in (word.partition(":") for word in words if ":" in word)
        }
        question.latch.set(offsets)

    def do_silent(self, words: Words) -> None:
        self._status_question(words).latch.fail(AnswerTimedOut("no answer within 5000 ms"))

    def _status_question(self, words: Words) -> StatusQuestion:
        of = self.connections[words["by"]]
        return next(
            one
            for one in self.hand.peers.status_asked
            if one.connection_id == of and not one.latch.is_set
        )

    def do_progress(self, words: Words) -> str:
        stats = self.hand.broker.consume_stats(
            words.get("group", "CG"), topic=words.get("topic", "")
        )
        return " ".join(
            f"{one.topic}/{one.queue_id}:{one.consumer_offset}/{one.pull_offset}"
            f"/{one.broker_offset}"
            for one in stats.queues
        ) or "nothing"  # fmt: skip

    def do_rate(self, words: Words) -> str:
        stats = self.hand.broker.consume_stats(
            words.get("group", "CG"), topic=words.get("topic", "T")
        )
        return f"{stats.consume_rate:.1f}/s"

    def do_drop_group(self, words: Words) -> None:
        self._ask(
            words,
            self.hand.broker.delete_group(words["name"], is_offset_cleaned="clean" in words),
            lambda _none: "ok",
        )


def _offsets(offsets: Mapping[int, int]) -> str:
    return " ".join(f"{queue_id}:{offset}" for queue_id, offset in offsets.items())


def _said_of_status(status: Mapping[str, Mapping[MessageQueue, int]]) -> str:
    return ", ".join(
        f"{client}: " + " ".join(f"{queue.queue_id}:{at}" for queue, at in offsets.items())
        for client, offsets in status.items()
    ) or "nobody"  # fmt: skip


__all__ = ["ResetVerbs"]
