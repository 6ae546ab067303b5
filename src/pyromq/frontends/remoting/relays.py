"""Rows of questions that go on to a consumer: codes 307, 309.

Source: AdminBrokerProcessor of org.apache.rocketmq.broker 5.5.0.
"""

from __future__ import annotations

from pyromq.api import (
    Caller,
    ClientAnswer,
    DirectConsumption,
    RelaysApi,
    RunningInfoRequest,
)
from pyromq.codes import RequestCode
from pyromq.frontends.remoting.table import Answer, PlainVerb, WaitingVerb
from pyromq.wire.remoting.frame import Command
from pyromq.wire.remoting.headers.relays import ConsumeDirectlyHeader, RunningInfoHeader


class RelayRows:
    """The rows, bound to one broker."""

    def __init__(self, broker: RelaysApi) -> None:
        self._broker = broker

    def rows(self) -> list[tuple[RequestCode, PlainVerb | WaitingVerb]]:
        return [
            (RequestCode.GET_CONSUMER_RUNNING_INFO, self.running_info),
            (RequestCode.CONSUME_MESSAGE_DIRECTLY, self.consume_directly),
        ]

    async def running_info(
        self, caller: Caller, header: RunningInfoHeader, command: Command
    ) -> Answer:
        del caller, command
        request = RunningInfoRequest(
            consumer_group=header.consumer_group,
            client_id=header.client_id,
            is_stack_wanted=header.jstack_enable,
        )
        return _relayed(await self._broker.consumer_running_info(request))

    async def consume_directly(
        self, caller: Caller, header: ConsumeDirectlyHeader, command: Command
    ) -> Answer:
        del caller, command
        request = DirectConsumption(
            consumer_group=header.consumer_group,
            client_id=header.client_id or "",
            message_id=header.msg_id or "",
            topic=header.topic or "",
        )
        return _relayed(await self._broker.consume_directly(request))


def _relayed(answer: ClientAnswer) -> Answer:
    return Answer(dict(answer.ext), answer.body, answer.code, answer.remark)


__all__ = ["RelayRows"]
