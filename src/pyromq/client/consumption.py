"""One call of a program's listener, and what it means for the message.

A listener is an `async def`, or a plain function, which then runs in a thread. When it returns, the
message is consumed; when it raises, it comes again. Source: consumer.listener.{ConsumeConcurrently
Status,ConsumeOrderlyStatus} of org.apache.rocketmq.client 5.5.0, said in Python.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeAlias

from msgspec import Struct

from pyromq.client.hooks import ConsumeEvent, ConsumeHook, call_hooks
from pyromq.client.instance import ClientInstance
from pyromq.client.message import ReceivedMessage
from pyromq.errors import MessageIllegal

CONSUME_TIMEOUT_MS: Final = 15 * 60_000

Listener: TypeAlias = Callable[[ReceivedMessage], object]

_log = logging.getLogger("pyromq.client")


class ReconsumeLater(Exception):
    """Raised by a listener: the message shall come again, and this is no fault to be logged.

    `delay_level` (concurrent): 1 to 18 for 1 s to 2 h, 0 for the broker's growing delays, −1 for
    the dead letters at once. `suspend_ms` (ordered): when it is tried again, else after 1 s.
    """

    def __init__(
        self, text: str = "later", *, delay_level: int = 0, suspend_ms: int | None = None
    ) -> None:
        super().__init__(text)
        self.delay_level = delay_level
        self.suspend_ms = suspend_ms


class Outcome(Struct, frozen=True):
    """What became of one message."""

    is_success: bool
    delay_level: int = 0
    suspend_ms: int | None = None
    error: Exception | None = None
    """What the listener raised."""


class ListenerCalls:
    """Calls the listener, with its hooks and its time limit."""

    def __init__(
        self,
        instance: ClientInstance,
        group: str,
        listener: Listener,
        *,
        timeout_ms: int,
        threads_max: int,
        hooks: Sequence[ConsumeHook],
    ) -> None:
        self._instance = instance
        self._group = group
        self._listener = listener
        self._timeout_ms = timeout_ms
        self._hooks = list(hooks)
        self._threads: ThreadPoolExecutor | None = None
        if not _is_async(listener):
            self._threads = ThreadPoolExecutor(threads_max, thread_name_prefix=f"consume {group}")

    async def call(self, message: ReceivedMessage) -> Outcome:
        """Never raises, unless cancelled."""
        event = self._event(message) if self._hooks else None
        error: Exception | None = None
        outcome = Outcome(True)
        try:
            async with asyncio.timeout(self._timeout_ms / 1000):
                await self._run(message)
        except ReconsumeLater as later:
            error = later
            outcome = Outcome(False, later.delay_level, later.suspend_ms, later)
        except Exception as failure:  # noqa: BLE001 - a stranger's code: the message comes again
            error = failure
            outcome = Outcome(False, error=failure)
            _log.warning(
                "%s: message %s of topic %s not consumed",
                self._group,
                message.message_id,
                message.topic,
                exc_info=failure,
            )
        if event is not None:
            event.took_ms = max(0, self._instance.clock.now_ms() - event.begin_ms)
            event.is_success, event.error = outcome.is_success, error
            call_hooks([hook.after_consume for hook in self._hooks], event)
        return outcome

    async def _run(self, message: ReceivedMessage) -> None:
        if message.fault is not None:
            raise MessageIllegal(message.fault)
        if self._threads is None:
            result = self._listener(message)
        else:
            loop = asyncio.get_running_loop()
            result = await loop.run_in_executor(self._threads, self._listener, message)
        if inspect.isawaitable(result):
            await result

    def _event(self, message: ReceivedMessage) -> ConsumeEvent:
        event = ConsumeEvent(
            self._group,
            self._instance.client_id,
            (message,),
            message.queue,
            self._instance.clock.now_ms(),
            request_id=uuid.uuid4().hex,
        )
        call_hooks([hook.before_consume for hook in self._hooks], event)
        return event

    def close(self) -> None:
        """A thread that still runs a listener is left to its end: it cannot be interrupted."""
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)


def _is_async(listener: Listener) -> bool:
    return inspect.iscoroutinefunction(listener) or inspect.iscoroutinefunction(
        getattr(listener, "__call__", None)  # noqa: B004 - an object whose call is `async def`
    )


__all__ = ["CONSUME_TIMEOUT_MS", "Listener", "ListenerCalls", "Outcome", "ReconsumeLater"]
