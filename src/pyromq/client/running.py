"""What a push consumer tells of itself when a tool asks by way of its broker.

Source: impl.consumer.DefaultMQPushConsumerImpl (consumerRunningInfo) and ConsumeMessageConcurrently
Service (consumeMessageDirectly) of org.apache.rocketmq.client 5.5.0.
"""

from __future__ import annotations

from pyromq.client.consumption import Outcome, ReconsumeLater
from pyromq.client.queue_reader import QueueReader
from pyromq.units import MIB
from pyromq.wire.remoting.bodies.running import QueueInHand


def in_hand(reader: QueueReader, *, is_locked: bool) -> QueueInHand:
    """What is held of one queue."""
    window = reader.window
    first, last = (0, 0) if window is None else window.ends
    return QueueInHand(
        commit_offset=0 if window is None else window.commit_offset,
        cached_msg_min_offset=first,
        cached_msg_max_offset=last,
        cached_msg_count=0 if window is None else window.count,
        cached_msg_size_in_mib=0 if window is None else window.size_bytes // MIB,
        locked=is_locked,
        droped=reader.is_dropped,
        last_pull_timestamp=reader.last_pull_ms,
        last_consume_timestamp=reader.last_end_ms,
    )


def result_name(outcome: Outcome) -> str:
    """Of Apache's CMResult."""
    if outcome.is_success:
        return "CR_SUCCESS"
    return "CR_LATER" if isinstance(outcome.error, ReconsumeLater) else "CR_THROW_EXCEPTION"


__all__ = ["in_hand", "result_name"]
