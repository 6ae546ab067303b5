"""Rows that move groups: codes 222, 223, 314.

Source: AdminBrokerProcessor of org.apache.rocketmq.broker 5.5.0.
"""

from __future__ import annotations

from typing import Protocol

from pyromq.api import Caller, ResetRequest, ResetsApi
from pyromq.codes import RequestCode
from pyromq.domain.route import MessageQueue
from pyromq.frontends.remoting.table import DONE, Answer, PlainVerb, WaitingVerb
from pyromq.wire.remoting.bodies.resets import encode_consumer_status, encode_reset_offsets
from pyromq.wire.remoting.frame import Command
from pyromq.wire.remoting.headers.resets import (
    CloneOffsetsHeader,
    ConsumerStatusHeader,
    ResetOffsetHeader,
)


class BrokerResets(ResetsApi, Protocol):
    """A broker's resets, and its name."""

    @property
    def broker_name(self) -> str: ...


class ResetRows:
    """The rows, bound to one broker."""

    def __init__(self, broker: BrokerResets) -> None:
        self._broker = broker

    def rows(self) -> list[tuple[RequestCode, PlainVerb | WaitingVerb]]:
        return [
            (RequestCode.INVOKE_BROKER_TO_RESET_OFFSET, self.reset),
            (RequestCode.INVOKE_BROKER_TO_GET_CONSUMER_STATUS, self.consumer_status),
            (RequestCode.CLONE_GROUP_OFFSET, self.clone),
        ]

    async def reset(self, caller: Caller, header: ResetOffsetHeader, command: Command) -> Answer:
        del command
        offsets = await self._broker.reset_offsets(
            caller,
            ResetRequest(
                group=header.group,
                topic=header.topic,
                timestamp_ms=header.timestamp,
                queue_id=header.queue_id,
                queue_offset=header.offset,
                is_forced=header.is_force,
            ),
        )
        table = {
            MessageQueue(
                broker_name=self._broker.broker_name, queue_id=queue_id, topic=header.topic
            ): int(offset)
            for queue_id, offset in offsets.items()
        }
        return Answer(body=encode_reset_offsets(table))

    async def consumer_status(
        self, caller: Caller, header: ConsumerStatusHeader, command: Command
    ) -> Answer:
        del caller, command
        status = await self._broker.consumer_status(
            header.group, header.topic, header.client_addr or ""
        )
        return Answer(body=encode_consumer_status(status))

    async def clone(self, caller: Caller, header: CloneOffsetsHeader, command: Command) -> Answer:
        del caller, command
        await self._broker.clone_offsets(
            header.src_group, header.dest_group, header.topic or "", is_offline=header.offline
        )
        return DONE


__all__ = ["BrokerResets", "ResetRows"]
