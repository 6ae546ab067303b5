"""What a broker says to its clients by itself, in RocketMQ's own protocol.

Source: client.net.Broker2Client of org.apache.rocketmq.broker 5.5.0, and the requests that
impl.ClientRemotingProcessor of org.apache.rocketmq.client 5.5.0 takes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from pyromq.api import ClientAnswer, DirectMessage, PushedReply, PushedReset, RunningInfoRequest
from pyromq.codes import RequestCode, ResponseCode
from pyromq.domain.route import MessageQueue
from pyromq.errors import RequestFailed
from pyromq.waiting import Latch
from pyromq.wire.remoting.bodies.resets import (
    decode_own_status,
    encode_reset_offsets,
    encode_reset_offsets_for_cpp,
)
from pyromq.wire.remoting.frame import Command
from pyromq.wire.remoting.headers import encode_ext
from pyromq.wire.remoting.headers.clients import ConsumerIdsChangedHeader
from pyromq.wire.remoting.headers.relays import ConsumeDirectlyHeader, RunningInfoHeader
from pyromq.wire.remoting.headers.replies import PushReplyHeader
from pyromq.wire.remoting.headers.resets import ConsumerStatusHeader, ResetOffsetHeader


class WayOut(Protocol):
    """How commands reach a client: the door it came by."""

    def is_connected(self, connection_id: int) -> bool: ...

    def notify(
        self, connection_id: int, code: RequestCode, ext: dict[str, str], body: bytes = b""
    ) -> None: ...

    def ask(
        self,
        connection_id: int,
        code: RequestCode,
        ext: dict[str, str],
        body: bytes = b"",
        *,
        timeout_ms: int,
    ) -> Latch[Command]: ...


class RemotingPeers:
    """The `Peers` of a remoting door."""

    def __init__(self, door: WayOut) -> None:
        self._door = door
        self.is_connected = door.is_connected

    def notify_consumer_ids_changed(self, connection_id: int, group: str) -> None:
        self._door.notify(
            connection_id,
            RequestCode.NOTIFY_CONSUMER_IDS_CHANGED,
            encode_ext(ConsumerIdsChangedHeader(consumer_group=group)),
        )

    def push_reset(self, connection_id: int, reset: PushedReset) -> None:
        header = ResetOffsetHeader(
            group=reset.group, topic=reset.topic, timestamp=reset.timestamp_ms
        )
        offsets = {
            MessageQueue(broker_name=reset.broker_name, queue_id=queue_id, topic=reset.topic): int(
                offset
            )
            for queue_id, offset in reset.offsets.items()
        }
        encode = encode_reset_offsets_for_cpp if reset.is_for_cpp else encode_reset_offsets
        code = RequestCode.RESET_CONSUMER_CLIENT_OFFSET
        self._door.notify(connection_id, code, encode_ext(header), encode(offsets))

    async def ask_consumer_status(
        self, connection_id: int, group: str, topic: str, *, timeout_ms: int
    ) -> Mapping[MessageQueue, int]:
        header = ConsumerStatusHeader(topic=topic, group=group)
        code = RequestCode.GET_CONSUMER_STATUS_FROM_CLIENT
        answer = await self._door.ask(
            connection_id, code, encode_ext(header), timeout_ms=timeout_ms
        )
        if answer.code != ResponseCode.SUCCESS:
            raise RequestFailed(f"the client answered {answer.code}: {answer.remark}")
        return decode_own_status(answer.body)

    async def ask_running_info(
        self, connection_id: int, request: RunningInfoRequest, *, timeout_ms: int
    ) -> ClientAnswer:
        header = RunningInfoHeader(
            consumer_group=request.consumer_group,
            client_id=request.client_id,
            jstack_enable=request.is_stack_wanted,
        )
        code = RequestCode.GET_CONSUMER_RUNNING_INFO
        return _answer(
            await self._door.ask(connection_id, code, encode_ext(header), timeout_ms=timeout_ms)
        )

    async def consume_directly(
        self, connection_id: int, message: DirectMessage, *, timeout_ms: int
    ) -> ClientAnswer:
        header = ConsumeDirectlyHeader(
            consumer_group=message.consumer_group,
            client_id=message.client_id,
            msg_id=message.message_id,
            broker_name=message.broker_name,
            topic=message.topic or None,
            topic_sys_flag=message.topic_sys_flag,
            group_sys_flag=message.group_sys_flag,
        )
        return _answer(
            await self._door.ask(
                connection_id,
                RequestCode.CONSUME_MESSAGE_DIRECTLY,
                encode_ext(header),
                message.record,
                timeout_ms=timeout_ms,
            )
        )

    async def push_reply(
        self, connection_id: int, reply: PushedReply, *, timeout_ms: int
    ) -> ClientAnswer:
        request = reply.request
        header = PushReplyHeader(
            producer_group=request.producer_group,
            topic=request.topic,
            default_topic=request.default_topic,
            default_topic_queue_nums=request.default_topic_queue_nums,
            queue_id=request.queue_id,
            sys_flag=request.sys_flag,
            born_timestamp=request.born_timestamp_ms,
            flag=request.flag,
            properties=reply.properties,
            reconsume_times=request.reconsume_times,
            unit_mode=request.unit_mode,
            born_host=reply.born_host,
            store_host=reply.store_host,
            store_timestamp=reply.store_timestamp_ms,
        )
        return _answer(
            await self._door.ask(
                connection_id,
                RequestCode.PUSH_REPLY_MESSAGE_TO_CLIENT,
                encode_ext(header),
                request.body,
                timeout_ms=timeout_ms,
            )
        )


def _answer(response: Command) -> ClientAnswer:
    return ClientAnswer(
        code=response.code, remark=response.remark, ext=response.ext, body=response.body
    )


__all__ = ["RemotingPeers", "WayOut"]
