"""Rows about offsets: codes 14, 15, 29, 30, 31, 32, 43, 45.

Source: ConsumerManageProcessor and AdminBrokerProcessor of org.apache.rocketmq.broker 5.5.0.
"""

from __future__ import annotations

from typing import Final

from pyromq.api import Caller, OffsetsApi
from pyromq.codes import RequestCode
from pyromq.frontends.remoting.lists import listed
from pyromq.frontends.remoting.table import DONE, Answer, PlainVerb, WaitingVerb
from pyromq.units import QueueOffset
from pyromq.wire.remoting.frame import Command
from pyromq.wire.remoting.headers.offsets import (
    BoundaryType,
    EarliestStoreTimeHeader,
    MaxOffsetHeader,
    MinOffsetHeader,
    QueryConsumerOffsetHeader,
    SearchOffsetHeader,
    UpdateConsumerOffsetHeader,
)

_VOID_COMMIT: Final = Answer(remark="Offset has been previously reset")
"""A commit that was ignored succeeds all the same."""
_EMPTY_REMARK: Final = ""
"""Apache's own RPC form of code 31 answers with an empty remark instead of none."""


class OffsetRows:
    """The rows, bound to one broker."""

    def __init__(self, broker: OffsetsApi) -> None:
        self._broker = broker

    def rows(self) -> list[tuple[RequestCode, PlainVerb | WaitingVerb]]:
        return [
            (RequestCode.QUERY_CONSUMER_OFFSET, self.consumer_offset),
            (RequestCode.UPDATE_CONSUMER_OFFSET, self.commit),
            (RequestCode.SEARCH_OFFSET_BY_TIMESTAMP, self.by_time),
            (RequestCode.GET_MAX_OFFSET, self.maximum),
            (RequestCode.GET_MIN_OFFSET, self.minimum),
            (RequestCode.GET_EARLIEST_MSG_STORETIME, self.earliest_store_time),
            (RequestCode.GET_ALL_CONSUMER_OFFSET, self.all_consumer_offsets),
            (RequestCode.GET_ALL_DELAY_OFFSET, self.all_delay_offsets),
        ]

    def consumer_offset(
        self, caller: Caller, header: QueryConsumerOffsetHeader, command: Command
    ) -> Answer:
        del caller, command
        offset = self._broker.consumer_offset(
            header.consumer_group,
            header.topic,
            header.queue_id,
            is_zero_if_not_found=header.set_zero_if_not_found,
        )
        return _offset(offset)

    async def commit(
        self, caller: Caller, header: UpdateConsumerOffsetHeader, command: Command
    ) -> Answer:
        del command
        is_taken = await self._broker.commit_offset(
            caller,
            header.consumer_group,
            header.topic,
            header.queue_id,
            QueueOffset(header.commit_offset),
        )
        return DONE if is_taken else _VOID_COMMIT

    def by_time(self, caller: Caller, header: SearchOffsetHeader, command: Command) -> Answer:
        del caller, command
        offset = self._broker.offset_by_time(
            header.topic,
            header.queue_id,
            header.timestamp,
            is_upper=header.boundary_type is BoundaryType.UPPER,
        )
        return _offset(offset)

    def maximum(self, caller: Caller, header: MaxOffsetHeader, command: Command) -> Answer:
        del caller, command
        return _offset(self._broker.max_offset(header.topic, header.queue_id))

    def minimum(self, caller: Caller, header: MinOffsetHeader, command: Command) -> Answer:
        del caller, command
        offset = self._broker.min_offset(header.topic, header.queue_id)
        return Answer({"offset": str(offset)}, remark=_EMPTY_REMARK)

    def earliest_store_time(
        self, caller: Caller, header: EarliestStoreTimeHeader, command: Command
    ) -> Answer:
        del caller, command
        store_time = self._broker.earliest_store_time(header.topic, header.queue_id)
        return Answer({"timestamp": str(store_time)})

    def all_consumer_offsets(self, caller: Caller, header: None, command: Command) -> Answer:
        del caller, header, command
        return listed(self._broker.all_consumer_offsets())

    def all_delay_offsets(self, caller: Caller, header: None, command: Command) -> Answer:
        del caller, header, command
        return Answer(body=self._broker.all_delay_offsets())


def _offset(offset: QueueOffset) -> Answer:
    return Answer({"offset": str(offset)})


__all__ = ["OffsetRows"]
