"""What scenario texts say of retries and order locks.

back message=T/0@5 by=c1 [group=CG] [level=3] [max=16]   c1 gives that message back
look topic=%DLQ%CG                                       what lies there, and how often it came
lock by=c1 queues=0,1 [topic=T] [group=CG]               c1 wants these queues for itself
unlock by=c1 queues=0
restart                                                  the broker dies and comes again
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pyromq.api import LockRequest, SendBackRequest
from pyromq.domain.route import MessageQueue
from pyromq.units import QueueOffset
from pyromq.wire.record import Record, decode_records, parse_properties
from tests.support.brokers import BrokerInHand, caller

Words = dict[str, str]


class RetryVerbs:
    """A part of `Stage`."""

    hand: BrokerInHand

    def _ask(self, words: Words, coroutine: Any, say: Callable[[Any], str]) -> None:
        raise NotImplementedError

    def _connection(self, words: Words) -> int:
        raise NotImplementedError

    def do_back(self, words: Words) -> None:
        topic, _, place = words["message"].partition("/")
        queue_id, _, offset = place.partition("@")
        [record] = self._records(topic, int(queue_id), int(offset), 1)
        request = SendBackRequest(
            group=words.get("group", "CG"),
            log_offset=record.log_offset,
            delay_level=int(words.get("level", "0")),
            max_reconsume_times=int(words["max"]) if "max" in words else None,
        )
        client = caller(self._connection(words))
        self._ask(words, self.hand.broker.send_back(client, request), lambda _none: "ok")

    def do_look(self, words: Words) -> str:
        records = self._records(words["topic"], int(words.get("queue", "0")), 0, 100)
        return ", ".join(map(_told, records)) or "nothing"

    def do_lock(self, words: Words) -> str:
        locked = self.hand.broker.lock_queues(_lock_request(words))
        return " ".join(str(queue.queue_id) for queue in locked) or "none"

    def do_unlock(self, words: Words) -> None:
        self.hand.broker.unlock_queues(_lock_request(words))

    def do_restart(self, words: Words) -> None:
        del words
        self.hand.restart()

    def _records(self, topic: str, queue_id: int, offset: int, count: int) -> list[Record]:
        read = self.hand.engine.read(
            topic,
            queue_id,
            QueueOffset(offset),
            message_count_max=count,
            body_size_max=1 << 20,
            tag_hashes=None,
        )
        return decode_records(read.body)


def _lock_request(words: Words) -> LockRequest:
    topic = words.get("topic", "T")
    queue_ids = [int(one) for one in words["queues"].split(",")]
    return LockRequest(
        group=words.get("group", "CG"),
        client_id=words.get("by", "c1"),
        queues=[MessageQueue("broker-a", queue_id, topic) for queue_id in queue_ids],
    )


def _told(record: Record) -> str:
    first = parse_properties(record.properties.decode()).get("RETRY_TOPIC")
    times = record.reconsume_times
    came = f" came {times} time{'s' * (times != 1)}" if times else ""
    return f"{record.queue_offset} {record.body.decode()}{came}{f' from {first}' * bool(first)}"


__all__ = ["RetryVerbs"]
