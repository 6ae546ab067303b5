"""Row of messages given back: code 36.

Source: SendMessageProcessor of org.apache.rocketmq.broker 5.5.0.
"""

from __future__ import annotations

from pyromq.api import Caller, RetriesApi, SendBackRequest
from pyromq.codes import RequestCode
from pyromq.frontends.remoting.table import DONE, Answer, PlainVerb, WaitingVerb
from pyromq.units import LogOffset
from pyromq.wire.remoting.frame import Command
from pyromq.wire.remoting.headers.retries import SendBackHeader


class RetryRows:
    """The row, bound to one broker."""

    def __init__(self, broker: RetriesApi) -> None:
        self._broker = broker

    def rows(self) -> list[tuple[RequestCode, PlainVerb | WaitingVerb]]:
        return [(RequestCode.CONSUMER_SEND_MSG_BACK, self.send_back)]

    async def send_back(self, caller: Caller, header: SendBackHeader, command: Command) -> Answer:
        del command
        await self._broker.send_back(
            caller,
            SendBackRequest(
                group=header.group,
                log_offset=LogOffset(header.offset),
                delay_level=header.delay_level,
                max_reconsume_times=header.max_reconsume_times,
                unit_mode=header.unit_mode,
            ),
        )
        return DONE


__all__ = ["RetryRows"]
