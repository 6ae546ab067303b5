"""Offsets as rules: where a reset leads to, who has heard of it, and what others tell of a group.

A reset sets a group's offsets from outside while its clients go on with their own. So each reset
queue is marked until the client that pulls it has learned of it: commits are ignored meanwhile, and
the first pull is answered with the new offset. The mark ends with the next sign that the client
took the answer: whatever it asks of that queue next, or a pull of anybody from the new offset.

Sources: offset.ConsumerOffsetManager, client.net.Broker2Client.resetOffset and
processor.{PullMessageProcessor,AdminBrokerProcessor} of org.apache.rocketmq.broker 5.5.0. There the
mark ends when the answer is made; if that answer is lost, so is the reset.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Final

NEVER: Final = (1 << 63) - 1
"""Correction offset of a queue in which the compared group is behind all others."""
TO_THE_END: Final = -1
"""Instead of a time: behind the last message."""


def must_be_told(reset_offset: int, told_to: int | None, puller: int, queue_offset: int) -> bool:
    """Whether a pull of a marked queue is answered with the reset offset; otherwise its mark ends.

    `told_to` is the connection that was told last, if any, `puller` the one that pulls now.
    """
    if told_to is None:
        return True
    return told_to != puller and queue_offset != reset_offset


def forwarded_reset(found: int, committed: int, *, is_forced: bool) -> int:
    """Where a reset by time leads: unless it is forced it only ever goes back."""
    return found if is_forced or found < committed else committed


def correction_offsets(
    offsets_by_group: Mapping[str, Mapping[int, int]],
    compared: Mapping[int, int],
    begins: Mapping[int, int],
    *,
    left_out: Collection[str],
) -> dict[int, int]:
    """By queue: the least offset among the topic's groups, for a group that shall skip no message
    that any of them has not consumed; NEVER where `compared` has not come that far itself.

    Offsets before a queue's begin do not count, nor those of the groups that are `left_out`.
    """
    least: dict[int, int] = {}
    for group, offsets in offsets_by_group.items():
        if group in left_out:
            continue
        for queue_id, offset in offsets.items():
            if offset >= begins.get(queue_id, 0):
                least[queue_id] = min(offset, least.get(queue_id, offset))
    return {
        queue_id: NEVER if offset > compared.get(queue_id, offset) else offset
        for queue_id, offset in least.items()
    }


def total_lag(queues: Iterable[tuple[int, int]]) -> int:
    """Messages between the two offsets (behind, ahead) of each queue, all together."""
    return sum(ahead - behind for behind, ahead in queues)


__all__ = [
    "NEVER",
    "TO_THE_END",
    "correction_offsets",
    "forwarded_reset",
    "must_be_told",
    "total_lag",
]
