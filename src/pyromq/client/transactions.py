"""Messages that become visible only if the program's own transaction succeeds.

    async def check(message: ReceivedMessage) -> TransactionState:
        is_booked = await find_booking(message.keys[0])
        return TransactionState.COMMIT if is_booked else TransactionState.ROLLBACK

    async with TransactionProducer(namesrv, "orders", check) as producer:
        result = await producer.send_in_transaction(message, book)

The broker stores the message where no consumer sees it, then `book` runs, and its outcome is told
to the broker. If that gets lost, or the program dies, the broker asks a member of the group later
(after 6 s, then every 30 s, 15 times by default), and `check` answers from what the program's
database holds. So `check` must be right for any transaction of the group, also of another process.

Needs a broker with transactions: Apache's; this package's broker refuses half messages so far.
Source: impl.producer.DefaultMQProducerImpl (sendMessageInTransaction, checkTransactionState,
endTransaction) of org.apache.rocketmq.client 5.5.0.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from enum import IntEnum
from typing import Any, Final

from msgspec import Struct

from pyromq.client.instance import ClientInstance
from pyromq.client.message import Message, ReceivedMessage, SendResult, SendStatus, received
from pyromq.client.producer import Producer
from pyromq.codes import RequestCode
from pyromq.domain.message import log_offset_of
from pyromq.domain.properties import TRAN_MSG
from pyromq.domain.route import MessageQueue
from pyromq.errors import MessageIllegal, PyromqError
from pyromq.wire.remoting.fields import decode_header
from pyromq.wire.remoting.frame import Command
from pyromq.wire.remoting.headers.transactions import CheckTransactionHeader, EndTransactionHeader
from pyromq.wire.remoting.native import encode_ext

CHECKS_MAX: Final = 2_000
"""Questions of brokers under way at a time, as Apache's checkRequestHoldMax; others go unanswered
and are asked again."""
_PREPARED_FLAG: Final = 0x4
_GROUP: Final = "PGROUP"

_log = logging.getLogger("pyromq.client")


class TransactionState(IntEnum):
    """What became of the program's transaction; the values are the wire's."""

    UNKNOWN = 0
    """Not decided yet: the broker shall ask again."""
    COMMIT = 0x8
    ROLLBACK = 0xC


class TransactionResult(Struct, frozen=True):
    """A half message's confirmation, and what the program decided."""

    sent: SendResult
    state: TransactionState
    error: Exception | None = None
    """What the program's part raised: the state is UNKNOWN then, and the broker will ask."""


Check = Callable[[ReceivedMessage], Awaitable[TransactionState]]
Execute = Callable[[Message], Awaitable[TransactionState]]


class TransactionProducer(Producer):
    """A producer whose group answers brokers' questions about its transactions."""

    def __init__(
        self,
        namesrv: str | Iterable[str],
        group: str,
        check: Check,
        *,
        instance: ClientInstance | None = None,
        **options: Any,
    ) -> None:
        """`options`: those of `Producer`. One transaction producer per client instance."""
        super().__init__(namesrv, group, instance=instance, **options)
        self._state_of = check
        self._checks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        await super().start()
        self.instance.serve(RequestCode.CHECK_TRANSACTION_STATE, self._asked)

    async def stop(self) -> None:
        """Questions under way are left to another member of the group."""
        checks = list(self._checks)
        for check in checks:
            check.cancel()
        await asyncio.gather(*checks, return_exceptions=True)
        await super().stop()

    async def send_in_transaction(
        self, message: Message, execute: Execute, *, timeout_ms: int | None = None
    ) -> TransactionResult:
        """Stores the message unseen, runs `execute`, and tells the broker how it went.

        Raises as `send` does if the message was not stored; then `execute` has not run.
        """
        if message.delay_level or message.deliver_at_ms:
            raise MessageIllegal("a message of a transaction cannot be delayed")
        extra = f"{TRAN_MSG}\x01true\x02{_GROUP}\x01{self.group}\x02"
        outgoing = self._prepared(message, extra_properties=extra, extra_flags=_PREPARED_FLAG)
        sent = await self._send_counted(outgoing, None, message.sharding_key, timeout_ms)
        error: Exception | None = None
        if sent.status is not SendStatus.SEND_OK:
            state = TransactionState.ROLLBACK
        else:
            try:
                state = await execute(message)
            except Exception as failure:  # noqa: BLE001 - the broker will ask what became of it
                state, error = TransactionState.UNKNOWN, failure
                _log.warning("transaction of %s failed", sent.message_id, exc_info=failure)
        header = EndTransactionHeader(
            topic=message.topic,
            producer_group=self.group,
            tran_state_table_offset=sent.queue_offset,
            commit_log_offset=log_offset_of(sent.offset_message_id),
            commit_or_rollback=state,
            msg_id=sent.message_id,
            transaction_id=sent.message_id,
            bname=sent.queue.broker_name,
        )
        try:
            await self._end(await self._master_of(sent.queue), header)
        except PyromqError as failure:
            _log.warning("%s: the broker was not told, it will ask: %s", sent.message_id, failure)
        return TransactionResult(sent, state, error)

    async def _end(self, address: str, header: EndTransactionHeader) -> None:
        await self.instance.remoting.tell(address, RequestCode.END_TRANSACTION, encode_ext(header))

    def _asked(self, address: str, request: Command) -> None:
        if len(self._checks) >= CHECKS_MAX:
            _log.warning("%s: too many transactions to check, one is left for later", address)
            return
        self._own_check(self._answer(address, request))

    def _own_check(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work, name=f"{self.group} check")
        self._checks.add(task)
        task.add_done_callback(self._checks.discard)

    async def _answer(self, address: str, request: Command) -> None:
        try:
            header = decode_header(CheckTransactionHeader, request.ext)
            queue = MessageQueue(header.bname or "", 0, header.topic or "")
            message = next(received(queue, request.body))
        except (PyromqError, StopIteration) as error:
            _log.warning("%s: a question about a transaction is not understood: %s", address, error)
            return
        try:
            state = await self._state_of(message)
        except Exception as error:  # noqa: BLE001 - the broker will ask again
            state = TransactionState.UNKNOWN
            _log.warning("check of %s failed", message.message_id, exc_info=error)
        try:
            await self._end(
                address,
                EndTransactionHeader(
                    topic=header.topic,
                    producer_group=message.properties.get(_GROUP, self.group),
                    tran_state_table_offset=header.tran_state_table_offset,
                    commit_log_offset=header.commit_log_offset,
                    commit_or_rollback=state,
                    from_transaction_check=True,
                    msg_id=message.message_id,
                    transaction_id=header.transaction_id,
                    bname=header.bname,
                ),
            )
        except PyromqError as error:
            _log.warning("%s was not told of %s: %s", address, message.message_id, error)


__all__ = ["TransactionProducer", "TransactionResult", "TransactionState"]
