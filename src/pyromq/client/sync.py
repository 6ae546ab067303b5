"""The same client without `await`, for scripts: the event loop runs in a thread of its own.

    from pyromq.client import Message
    from pyromq.client.sync import Producer, PullConsumer

    with Producer("127.0.0.1:9876", "orders") as producer:
        print(producer.send(Message("Orders", b"...")).message_id)

Classes, methods and arguments are those of `pyromq.client`; each call waits for its result. A
listener is a plain function and runs in a thread. All objects share one loop, which ends with the
program. Calls may come from any thread. For many sends at a time there is `send_all`.
"""

from __future__ import annotations

import asyncio
import atexit
import threading
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any, Final, Generic, Self, TypeVar

from pyromq.client import producer as _producer
from pyromq.client import pull_consumer as _pull_consumer
from pyromq.client import push_consumer as _push_consumer
from pyromq.client.consumption import Listener
from pyromq.client.message import Message, ReceivedMessage, SendResult
from pyromq.client.pull import PULL_COUNT_MAX
from pyromq.domain.route import MessageQueue
from pyromq.domain.subscription import SUB_ALL, TAG
from pyromq.units import QueueOffset

_T = TypeVar("_T")
_END_SECONDS: Final = 5.0


class _LoopThread:
    """One event loop for all clients of the program."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def run(self, work: Coroutine[Any, Any, _T]) -> _T:
        """The result of `work`, which runs in the loop's thread."""
        if threading.current_thread() is self._thread:
            work.close()
            raise RuntimeError("a synchronous client cannot be used within the loop's own thread")
        future = asyncio.run_coroutine_threadsafe(work, self._running())
        try:
            return future.result()
        except BaseException:
            future.cancel()  # Ctrl-C: nobody waits for it any more
            raise

    def _running(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = _new_loop()
                self._thread = threading.Thread(
                    target=self._loop.run_forever, name="pyromq client", daemon=True
                )
                self._thread.start()
                atexit.register(self.end)
            return self._loop

    def end(self) -> None:
        """Ends the loop; a client that was not stopped loses its connections."""
        with self._lock:
            loop, thread, self._loop, self._thread = self._loop, self._thread, None, None
        if loop is not None and thread is not None:
            loop.call_soon_threadsafe(loop.stop)
            thread.join(_END_SECONDS)
            if not loop.is_running():
                loop.close()


def _new_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


_loop_thread: Final = _LoopThread()

_C = TypeVar("_C", _producer.Producer, _pull_consumer.PullConsumer, _push_consumer.PushConsumer)


class _Facade(Generic[_C]):
    """A client of the loop thread, made and used there."""

    def __init__(self, make: Callable[[], _C]) -> None:
        async def made() -> _C:
            return make()

        self._client: _C = _loop_thread.run(made())

    @property
    def client(self) -> _C:
        """The asyncio client behind it; belongs to the loop's thread."""
        return self._client

    def start(self) -> None:
        _loop_thread.run(self._client.start())

    def stop(self) -> None:
        _loop_thread.run(self._client.stop())

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class Producer(_Facade[_producer.Producer]):
    """`pyromq.client.Producer`, each call waiting for its result."""

    def __init__(
        self, namesrv: str | Iterable[str], group: str = "PYROMQ_PRODUCER", **options: Any
    ) -> None:
        super().__init__(lambda: _producer.Producer(namesrv, group, **options))

    def send(
        self, message: Message, *, queue: MessageQueue | None = None, timeout_ms: int | None = None
    ) -> SendResult:
        return _loop_thread.run(self._client.send(message, queue=queue, timeout_ms=timeout_ms))

    def send_all(self, messages: Iterable[Message]) -> list[SendResult | BaseException]:
        """Many at a time, in no particular order: for each its result or its error."""

        async def all_of_them() -> list[SendResult | BaseException]:
            return await asyncio.gather(
                *(self._client.send(message) for message in messages), return_exceptions=True
            )

        return _loop_thread.run(all_of_them())

    def send_batch(
        self,
        messages: Sequence[Message],
        *,
        queue: MessageQueue | None = None,
        timeout_ms: int | None = None,
    ) -> SendResult:
        return _loop_thread.run(
            self._client.send_batch(messages, queue=queue, timeout_ms=timeout_ms)
        )

    def send_one_way(self, message: Message, *, queue: MessageQueue | None = None) -> None:
        _loop_thread.run(self._client.send_one_way(message, queue=queue))

    def queues(self, topic: str) -> tuple[MessageQueue, ...]:
        return _loop_thread.run(self._client.queues(topic))


class PullConsumer(_Facade[_pull_consumer.PullConsumer]):
    """`pyromq.client.PullConsumer`, each call waiting for its result."""

    def __init__(self, namesrv: str | Iterable[str], group: str, **options: Any) -> None:
        super().__init__(lambda: _pull_consumer.PullConsumer(namesrv, group, **options))

    def queues(self, topic: str) -> tuple[MessageQueue, ...]:
        return _loop_thread.run(self._client.queues(topic))

    @property
    def assignment(self) -> tuple[MessageQueue, ...]:
        return self._client.assignment

    def assign(self, queues: Iterable[MessageQueue]) -> None:
        async def assign() -> None:
            self._client.assign(queues)

        _loop_thread.run(assign())

    def seek(self, queue: MessageQueue, offset: int) -> None:
        async def seek() -> None:
            self._client.seek(queue, offset)

        _loop_thread.run(seek())

    def seek_to_begin(self, queue: MessageQueue) -> None:
        _loop_thread.run(self._client.seek_to_begin(queue))

    def seek_to_end(self, queue: MessageQueue) -> None:
        _loop_thread.run(self._client.seek_to_end(queue))

    def seek_to_timestamp(self, queue: MessageQueue, timestamp_ms: int) -> None:
        _loop_thread.run(self._client.seek_to_timestamp(queue, timestamp_ms))

    def position(self, queue: MessageQueue) -> QueueOffset | None:
        return self._client.position(queue)

    def committed(self, queue: MessageQueue) -> QueueOffset | None:
        return _loop_thread.run(self._client.committed(queue))

    def commit(self, offset_of: dict[MessageQueue, int] | None = None) -> None:
        _loop_thread.run(self._client.commit(offset_of))

    def poll(
        self, timeout_ms: int = 5_000, *, count_max: int = PULL_COUNT_MAX
    ) -> list[ReceivedMessage]:
        return _loop_thread.run(self._client.poll(timeout_ms, count_max=count_max))


class PushConsumer(_Facade[_push_consumer.PushConsumer]):
    """`pyromq.client.PushConsumer`; its listener is a plain function and runs in a thread."""

    def __init__(
        self, namesrv: str | Iterable[str], group: str, listener: Listener, **options: Any
    ) -> None:
        super().__init__(lambda: _push_consumer.PushConsumer(namesrv, group, listener, **options))

    def subscribe(self, topic: str, expression: str = SUB_ALL, expression_type: str = TAG) -> None:
        async def subscribe() -> None:
            self._client.subscribe(topic, expression, expression_type)

        _loop_thread.run(subscribe())

    def unsubscribe(self, topic: str) -> None:
        async def unsubscribe() -> None:
            self._client.unsubscribe(topic)

        _loop_thread.run(unsubscribe())

    @property
    def assignment(self) -> tuple[MessageQueue, ...]:
        return self._client.assignment

    def commit(self) -> None:
        _loop_thread.run(self._client.commit())


__all__ = ["Producer", "PullConsumer", "PushConsumer"]
