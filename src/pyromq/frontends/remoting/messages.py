"""Rows that store and read messages: codes 10, 310, 320, 11, 361, 12, 33.

What the answers look like, member by member, follows SendMessageProcessor, PullMessageProcessor and
QueryMessageProcessor of org.apache.rocketmq.broker 5.5.0. These are the most travelled rows, so
their answers are built by hand from text, not through `encode_ext`.
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, Final

from pyromq.api import (
    Caller,
    ExpressApi,
    ExpressParked,
    MessagesApi,
    PullRequest,
    PullResult,
    PullStatus,
    SendReceiver,
    SendRequest,
    SendResult,
    StoredSend,
)
from pyromq.codes import RequestCode, ResponseCode
from pyromq.errors import FlushTimedOut, PullForbidden, RequestRefused
from pyromq.frontends.remoting.table import Answer, Holding, Verb
from pyromq.units import LogOffset, QueueOffset
from pyromq.wire.remoting.frame import CLIENT_LIMITS, Command
from pyromq.wire.remoting.headers import encode_ext
from pyromq.wire.remoting.headers.pull import PullFlag, PullHeader, ViewMessageHeader
from pyromq.wire.remoting.headers.query import (
    INDEX_TYPE_TAG,
    QueryMessageHeader,
    QueryMessageResponse,
)
from pyromq.wire.remoting.headers.send import (
    EXT_MSG_REGION,
    EXT_TRACE_ON,
    SendHeader,
    SendHeaderV2,
)
from pyromq.wire.remoting.native import SendAnswerWriter, send_answers, split

_COMMIT: Final = int(PullFlag.COMMIT_OFFSET)
_SUSPEND: Final = int(PullFlag.SUSPEND)
_SUBSCRIPTION: Final = int(PullFlag.SUBSCRIPTION)
_CLASS_FILTER: Final = int(PullFlag.CLASS_FILTER)


class MessageRows:
    """The rows, bound to one broker."""

    def __init__(self, broker: MessagesApi) -> None:
        self._broker = broker
        self._write: SendAnswerWriter
        """Writes answers with the marks that the next two say."""
        self._region_id: str | None = None
        self._is_traced: bool | None = None

    def rows(self) -> list[tuple[RequestCode, Verb]]:
        send = Holding(self.send, send_request)
        return [
            (RequestCode.SEND_MESSAGE, send),
            (RequestCode.SEND_MESSAGE_V2, send),
            (RequestCode.SEND_BATCH_MESSAGE, send),
            (RequestCode.PULL_MESSAGE, self.pull),
            (RequestCode.LITE_PULL_MESSAGE, self.pull),
            (RequestCode.QUERY_MESSAGE, self.query),
            (RequestCode.VIEW_MESSAGE_BY_ID, self.view),
        ]

    def send(
        self, caller: Caller, request: SendRequest, command: Command, receiver: SendReceiver
    ) -> Answer | Coroutine[Any, None, Answer] | None:
        """A batch may also come under the codes of single messages, told by its header alone."""
        if request.is_batch:
            return self._send_batch(caller, request)
        broker = self._broker
        try:
            stored = broker.store(caller, request)
        except RequestRefused as error:
            return refused_send(broker, error)
        if stored.sequence:
            return self._finish(request, stored)
        if request.is_oneway:
            broker.hold(stored, b"", receiver)
            return None
        if stored.region_id is not self._region_id or stored.is_traced is not self._is_traced:
            self._settle_marks(stored)
        answer = self._write(
            command.serialize_type,
            command.opaque,
            stored.queue_id,
            stored.queue_offset,
            stored.log_offset,
            stored.unique_key,
        )
        broker.hold(stored, answer, receiver)
        return None

    async def _finish(self, request: SendRequest, stored: StoredSend) -> Answer:
        try:
            return sent(await self._broker.finish(request, stored))
        except RequestRefused as error:
            return refused_send(self._broker, error)

    async def _send_batch(self, caller: Caller, request: SendRequest) -> Answer:
        try:
            return sent(await self._broker.send_batch(caller, request))
        except RequestRefused as error:
            return refused_send(self._broker, error)

    def _settle_marks(self, stored: StoredSend) -> None:
        """From now on answers tell of the broker what this one does."""
        marks = _marks(stored.region_id, is_traced=stored.is_traced)
        self._write = send_answers(self._broker.message_id_prefix, marks).write
        self._region_id, self._is_traced = stored.region_id, stored.is_traced

    async def pull(self, caller: Caller, header: PullHeader, command: Command) -> Answer:
        command.body = b""  # of no use; and it may wait long
        try:
            return _pulled(await self._broker.pull(caller, _pull_request(header, command)))
        except PullForbidden as error:
            return _forbidden(error)

    def query(self, caller: Caller, header: QueryMessageHeader, command: Command) -> Answer:
        del caller, command
        found = self._broker.query_by_key(
            header.topic,
            header.key,
            count_max=header.max_num,
            begin_ms=header.begin_timestamp,
            end_ms=header.end_timestamp,
            is_unique_key=bool(header.unique_key_query),
            is_tag=header.index_type == INDEX_TYPE_TAG,
        )
        ext = encode_ext(
            QueryMessageResponse(
                index_last_update_timestamp=found.index_last_timestamp_ms,
                index_last_update_phyoffset=found.index_last_log_offset,
            )
        )
        if not found.records:
            remark = "can not find message, maybe time range not correct"
            return Answer(ext, b"", ResponseCode.QUERY_NOT_FOUND, remark)
        return Answer(ext, b"".join(found.records))

    def view(self, caller: Caller, header: ViewMessageHeader, command: Command) -> Answer:
        del caller, command
        return Answer(body=self._broker.message_at(LogOffset(header.offset)))


async def parked_pull(
    broker: ExpressApi, parked: ExpressParked, caller: Caller, header: PullHeader, command: Command
) -> Answer:
    """The verb of a pull that waited on the express lane."""
    try:
        request = _pull_request(header, command)
        return _pulled(await broker.pull_parked(caller, request, parked))
    except PullForbidden as error:
        return _forbidden(error)


def send_marks(broker: MessagesApi) -> dict[str, str]:
    """What the answer to a send tells of the broker, whatever became of the message."""
    return _marks(broker.region_id, is_traced=broker.is_traced)


def _marks(region_id: str, *, is_traced: bool) -> dict[str, str]:
    return {EXT_MSG_REGION: region_id, EXT_TRACE_ON: "true" if is_traced else "false"}


def refused_send(broker: MessagesApi, error: RequestRefused) -> Answer:
    """The answer that a refused send gets."""
    return Answer(send_marks(broker), code=int(error.code), remark=error.remark)


def send_request(header: SendHeader | SendHeaderV2, command: Command) -> SendRequest:
    return SendRequest(
        topic=header.topic,
        producer_group=header.producer_group,
        queue_id=header.queue_id,
        body=command.body,
        properties=header.properties or "",
        flag=header.flag,
        sys_flag=header.sys_flag,
        born_timestamp_ms=header.born_timestamp,
        reconsume_times=header.reconsume_times or 0,
        max_reconsume_times=header.max_reconsume_times,
        default_topic=header.default_topic,
        default_topic_queue_nums=header.default_topic_queue_nums,
        unit_mode=bool(header.unit_mode),
        is_oneway=command.is_oneway,
        is_batch=bool(header.batch) or command.code == RequestCode.SEND_BATCH_MESSAGE,
    )


def lost_send(answer: bytes, error: RequestRefused) -> Command:
    """What is said instead of `answer`, made beforehand, to a send whose promise was not kept."""
    # An answer may be longer than what a client may ask with.
    response = split(answer, CLIENT_LIMITS).commands[0]
    if isinstance(error, FlushTimedOut):
        response.code = ResponseCode.FLUSH_DISK_TIMEOUT
        return response
    response.code = int(error.code)
    response.remark = error.remark
    # Readers leave empty fields out, as those of a region without a name.
    response.ext = {name: response.ext.get(name, "") for name in (EXT_MSG_REGION, EXT_TRACE_ON)}
    return response


def _pull_request(header: PullHeader, command: Command) -> PullRequest:
    flags = header.sys_flag
    return PullRequest(
        consumer_group=header.consumer_group,
        topic=header.topic,
        queue_id=header.queue_id,
        queue_offset=QueueOffset(header.queue_offset),
        message_count_max=header.max_msg_nums,
        body_size_max=header.max_msg_bytes,
        commit_offset=QueueOffset(header.commit_offset) if flags & _COMMIT else None,
        may_suspend=flags & _SUSPEND != 0,
        suspend_timeout_ms=header.suspend_timeout_millis,
        subscription=(header.subscription or "") if flags & _SUBSCRIPTION else None,
        subscription_version=header.sub_version,
        expression_type=header.expression_type or "TAG",
        is_class_filter=flags & _CLASS_FILTER != 0,
        is_lite=command.code == RequestCode.LITE_PULL_MESSAGE,
    )


def _pulled(result: PullResult) -> Answer:
    return Answer(
        {
            "suggestWhichBrokerId": str(result.suggest_which_broker_id),
            "nextBeginOffset": str(result.next_begin_offset),
            "minOffset": str(result.min_offset),
            "maxOffset": str(result.max_offset),
            "topicSysFlag": str(result.topic_sys_flag),
            "groupSysFlag": str(result.group_sys_flag),
        },
        result.body if result.status is PullStatus.FOUND else b"",
        int(result.status),
        result.remark,
    )


def _forbidden(error: PullForbidden) -> Answer:
    ext = {"forbiddenType": str(error.forbidden_type)}
    return Answer(ext, code=int(error.code), remark=error.remark)


def sent(result: SendResult) -> Answer:
    """The answer that a stored message gets. `SendAnswers` is its native twin."""
    ext = {
        "msgId": result.msg_id,
        "queueId": str(result.queue_id),
        "queueOffset": str(result.queue_offset),
        **_marks(result.region_id, is_traced=result.is_traced),
    }
    if result.transaction_id:
        ext["transactionId"] = result.transaction_id
    if result.is_sync_late:
        return Answer(ext, code=ResponseCode.FLUSH_DISK_TIMEOUT)
    return Answer(ext)


__all__ = [
    "MessageRows",
    "lost_send",
    "parked_pull",
    "refused_send",
    "send_marks",
    "send_request",
    "sent",
]
