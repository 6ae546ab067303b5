"""What scenario texts say of requests that the broker makes to clients: replies and relays.

reply to=c1 body=hello as=r1      a reply to client c1
running-info group=CG of=c2       what is consumer c2 doing?
consume group=CG of=c2 id=…       c2 shall consume that message
asked                             whom the broker asks, and what
say [code=0] [body=…] [by=c2]     the oldest question (to c2) is answered
lapse [by=c2]                     its time is over
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pyromq.api import (
    ClientAnswer,
    DirectConsumption,
    PushedReply,
    ReplyResult,
    RunningInfoRequest,
)
from pyromq.errors import AnswerTimedOut
from tests.support.brokers import BrokerInHand, Question, caller, properties, send_request

Words = dict[str, str]


class ReplyVerbs:
    """A part of `Stage`."""

    hand: BrokerInHand
    connections: dict[str, int]

    def _ask(self, words: Words, coroutine: Any, say: Callable[[Any], str]) -> None:
        raise NotImplementedError

    def _connection(self, words: Words) -> int:
        raise NotImplementedError

    def do_reply(self, words: Words) -> None:
        topic = words.get("topic", "DefaultCluster_REPLY_TOPIC")
        text = properties(UNIQ_KEY="ID", MSG_TYPE="reply", CORRELATION_ID=words.get("id", "R1"))
        if "to" in words:
            text += properties(REPLY_TO_CLIENT=words["to"])
        request = send_request(
            topic,
            words.get("body", "hello").encode(),
            queue_id=int(words.get("queue", "0")),
            properties=text,
        )
        self._ask(
            words,
            self.hand.broker.reply(caller(self._connection(words)), request),
            lambda result: _said_of_reply(topic, result),
        )

    def do_running_info(self, words: Words) -> None:
        request = RunningInfoRequest(
            consumer_group=words.get("group", "CG"),
            client_id=words["of"],
            is_stack_wanted="stack" in words,
        )
        self._ask(words, self.hand.broker.consumer_running_info(request), _said_of_answer)

    def do_consume(self, words: Words) -> None:
        request = DirectConsumption(
            consumer_group=words.get("group", "CG"),
            client_id=words["of"],
            message_id=words["id"],
            topic=words.get("topic", "T"),
        )
        self._ask(words, self.hand.broker.consume_directly(request), _said_of_answer)

    def do_asked(self, words: Words) -> str:
        del words
        names = {number: name for name, number in self.connections.items()}
        open_ones = [one for one in self.hand.peers.asked if not one.latch.is_set]
        return ", ".join(f"{names[one.connection_id]}: {_named(one)}" for one in open_ones) or (
            "nobody"
        )

    def do_say(self, words: Words) -> None:
        self._oldest(words).latch.set(
            ClientAnswer(
                code=int(words.get("code", "0")),
                remark=words.get("remark"),
                body=words.get("body", "").encode(),
            )
        )

    def do_lapse(self, words: Words) -> None:
        self._oldest(words).latch.fail(AnswerTimedOut("the client did not answer within 10000 ms"))

    def _oldest(self, words: Words) -> Question:
        of = self.connections[words["by"]] if "by" in words else None
        return next(
            one
            for one in self.hand.peers.asked
            if not one.latch.is_set and of in (None, one.connection_id)
        )


def _named(question: Question) -> str:
    what = question.what
    if isinstance(what, PushedReply):
        return f"reply {what.request.body.decode()}"
    if isinstance(what, RunningInfoRequest):
        return f"running info of {what.consumer_group}{' with stacks' * what.is_stack_wanted}"
    return f"consume {what.message_id} of {what.topic} in {what.consumer_group}"


def _said_of_reply(topic: str, result: ReplyResult) -> str:
    stored = result.stored
    where = "" if stored is None else f"{topic}/{stored.queue_id}@{stored.queue_offset}"
    if stored is not None and stored.msg_id == "0":
        where = "not stored"
    return " ".join(part for part in (result.failure or "pushed", where) if part)


def _said_of_answer(answer: ClientAnswer) -> str:
    return " ".join(
        str(part)
        for part in (answer.code, answer.remark, answer.body.decode())
        if part or part == 0
    )


__all__ = ["ReplyVerbs"]
