"""A remoting client: requests by address, answers by number, each within its deadline.

One connection per address, opened by the first request and again after it was lost. It is what
broker registration, tests and tools speak through; producers and consumers will stand on it.
Follows NettyRemotingClient and NettyRemotingAbstract of org.apache.rocketmq.remoting 5.5.0.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final, cast

from pyromq.codes import LanguageCode, ResponseCode
from pyromq.errors import PyromqError
from pyromq.units import KIB
from pyromq.wire.remoting.connection import RemotingConnection
from pyromq.wire.remoting.frame import CLIENT_LIMITS, Command, SerializeType

CONNECT_TIMEOUT_MS: Final = 3_000
REQUEST_TIMEOUT_MS: Final = 3_000
"""Both as Apache's clients."""
PENDING_MAX: Final = 65_536
"""Requests under way on one connection; Apache's clientAsyncSemaphoreValue."""
WRITE_SIZE: Final = 64 * KIB
"""Requests of one turn of the loop are written together, at the latest when they are this many
bytes: one system call for dozens of small requests, and back-pressure is felt in time."""
_OPAQUE_MASK: Final = 0x7FFF_FFFF

OnRequest = Callable[[str, Command], Command | None]
"""Gets the server's address and its request; what it returns is sent as the answer."""

_log = logging.getLogger("pyromq.client")


class PeerUnreachable(PyromqError):
    """No connection, or lost before the answer came: the request may have been carried out."""


class ConnectFailed(PeerUnreachable):
    """There was no connection and none could be opened: nothing was sent."""


class AnswerOverdue(PyromqError):
    """No answer within the deadline. The request may have been carried out."""


class _Channel(asyncio.Protocol):
    """One open connection."""

    def __init__(
        self,
        address: str,
        on_request: OnRequest | None,
        on_lost: Callable[[_Channel], None],
        on_leave: Callable[[_Channel], None],
    ) -> None:
        self.address = address
        self._on_leave = on_leave
        self._is_leaving = False
        """The server goes down in order and wants no more requests: code GO_AWAY."""
        self._on_request = on_request
        self._on_lost = on_lost
        self._wire = RemotingConnection(CLIENT_LIMITS)
        self._wire.is_proven = True  # we chose whom to speak to
        self._transport: asyncio.Transport | None = None
        self._waiting: dict[int, asyncio.Future[Command]] = {}
        self._next_opaque = 0
        self._has_room = asyncio.Event()
        self._has_room.set()
        self._loop = asyncio.get_running_loop()
        self._is_write_due = False
        self.is_ready = False
        """Whether a request may be begun now: it is open and takes data."""
        self._gone: asyncio.Future[None] = self._loop.create_future()

    @property
    def is_open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    # ── called by the event loop ────────────────────────────────────────────────────────────────

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self.is_ready = True

    def data_received(self, data: bytes) -> None:
        for command in self._wire.receive_data(data):
            if command.is_response:
                if command.code == ResponseCode.GO_AWAY and not self._is_leaving:
                    self._is_leaving = True
                    self._on_leave(self)
                waiting = self._waiting.pop(command.opaque, None)
                if waiting is not None and not waiting.done():
                    waiting.set_result(command)
            else:
                self._serve(command)
        if self._wire.violation is not None:
            _log.warning("%s: %s; connection closed", self.address, self._wire.violation)
            self.close()
        elif self._is_leaving and not self._waiting:
            self.close()

    def pause_writing(self) -> None:
        self.is_ready = False
        self._has_room.clear()

    def resume_writing(self) -> None:
        self.is_ready = self.is_open
        self._has_room.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self.is_ready = False
        self._has_room.set()
        reason = f"{self.address}: connection lost" + (f": {exc}" if exc else "")
        waiting, self._waiting = self._waiting, {}
        for future in waiting.values():
            if not future.done():
                future.set_exception(PeerUnreachable(reason))
        self._gone.set_result(None)
        self._on_lost(self)

    def _serve(self, request: Command) -> None:
        if self._on_request is None:
            _log.debug("%s: request %d of the server ignored", self.address, request.code)
            return
        answer = self._on_request(self.address, request)
        if answer is not None and not request.is_oneway:
            self._write(answer)

    # ── called by the client ────────────────────────────────────────────────────────────────────

    async def room(self) -> None:
        """Waits until the other side takes data again, or the connection is lost."""
        # All who wait are woken together, and the first of them may fill it up again.
        while not self._has_room.is_set():
            await self._has_room.wait()

    def begin(self, request: Command) -> asyncio.Future[Command]:
        """Sends the request; its answer will be in the future. Deadlines are the caller's."""
        if len(self._waiting) >= PENDING_MAX:
            raise PeerUnreachable(f"{self.address}: {PENDING_MAX} requests are under way already")
        request.opaque = self._new_opaque()
        self._write(request)
        future: asyncio.Future[Command] = self._loop.create_future()
        self._waiting[request.opaque] = future
        return future

    def forget(self, opaque: int) -> None:
        """Nobody waits for this answer any longer."""
        self._waiting.pop(opaque, None)

    def tell(self, request: Command) -> None:
        """Sends a one-way request; it is on its way at the end of this turn of the loop."""
        request.opaque = self._new_opaque()
        self._write(request)

    def answer(self, command: Command) -> bool:
        """Whether the connection was there to take it."""
        if self.is_open:
            self._write(command)
        return self.is_open

    def close(self) -> None:
        self.is_ready = False
        if self._transport is not None:
            self._flush()
            self._transport.close()

    async def closed(self) -> None:
        await asyncio.shield(self._gone)

    def _new_opaque(self) -> int:
        self._next_opaque = (self._next_opaque + 1) & _OPAQUE_MASK
        return self._next_opaque

    def _write(self, command: Command) -> None:
        if not self.is_ready and not self.is_open:
            raise PeerUnreachable(f"{self.address}: connection lost")
        self._wire.send(command)
        if self._wire.unsent_bytes >= WRITE_SIZE:
            self._flush()
        elif not self._is_write_due:
            self._is_write_due = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._is_write_due = False
        if self._transport is not None and self._wire.unsent_bytes:
            self._transport.write(self._wire.data_to_send())


def _set_overdue(answer: asyncio.Future[Command], address: str, code: int, timeout_ms: int) -> None:
    if not answer.done():
        answer.set_exception(
            AnswerOverdue(f"{address}: no answer to {code} within {timeout_ms} ms")
        )


class RemotingClient:
    """Connections to any number of servers. Belongs to one loop; `close` it at the end."""

    def __init__(
        self,
        *,
        on_request: OnRequest | None = None,
        on_lost: Callable[[str], None] | None = None,
        connect_timeout_ms: int = CONNECT_TIMEOUT_MS,
        language: LanguageCode = LanguageCode.PYTHON,
        serialize_type: SerializeType = SerializeType.JSON,
    ) -> None:
        """`on_lost` is told the address of each connection that ended."""
        self._on_request = on_request
        self._on_lost = on_lost
        self._connect_timeout_ms = connect_timeout_ms
        self._language = language
        self._serialize_type = serialize_type
        self._channels: dict[str, _Channel] = {}
        self._opening: dict[str, asyncio.Task[_Channel]] = {}
        self._leaving: set[_Channel] = set()
        """Connections that only wait for answers."""
        self._is_closed = False

    async def invoke(
        self,
        address: str,
        code: int,
        ext: dict[str, str] | None = None,
        body: bytes = b"",
        *,
        timeout_ms: int = REQUEST_TIMEOUT_MS,
        version: int | None = None,
    ) -> Command:
        """The answer, whatever its code. Raises PeerUnreachable or AnswerOverdue."""
        request = self._request(code, ext, body, version, is_oneway=False)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_ms / 1000
        answer = await self._ask(address, request, timeout_ms, deadline)
        if answer.code == ResponseCode.GO_AWAY:
            # Nothing was done, and this connection takes nothing more: once more on a new one.
            answer = await self._ask(address, request, timeout_ms, deadline)
        return answer

    async def _ask(
        self, address: str, request: Command, timeout_ms: int, deadline: float
    ) -> Command:
        code = request.code
        loop = asyncio.get_running_loop()
        channel = self._channels.get(address)
        if channel is None or not channel.is_ready:
            left_ms = max(1, int((deadline - loop.time()) * 1000))
            channel = await self._ready_channel(address, code, left_ms)
        answer = channel.begin(request)
        overdue = loop.call_at(deadline, _set_overdue, answer, address, code, timeout_ms)
        try:
            return await answer
        finally:
            overdue.cancel()
            channel.forget(request.opaque)
            if answer.done() and not answer.cancelled():
                answer.exception()  # seen, also where who waits was cancelled at the same moment

    async def tell(
        self,
        address: str,
        code: int,
        ext: dict[str, str] | None = None,
        body: bytes = b"",
        *,
        timeout_ms: int = REQUEST_TIMEOUT_MS,
    ) -> None:
        """A one-way request. Raises PeerUnreachable or AnswerOverdue if it could not be sent."""
        request = self._request(code, ext, body, None, is_oneway=True)
        channel = self._channels.get(address)
        if channel is None or not channel.is_ready:
            channel = await self._ready_channel(address, code, timeout_ms)
        channel.tell(request)

    def answer(self, address: str, answer: Command) -> bool:
        """Answers a server's request later than `on_request`; False if its connection is gone."""
        channel = self._channels.get(address)
        return channel is not None and channel.answer(answer)

    async def close(self) -> None:
        """Closes all connections; requests under way fail with PeerUnreachable."""
        self._is_closed = True
        opening = list(self._opening.values())
        for task in opening:
            task.cancel()
        await asyncio.gather(*opening, return_exceptions=True)
        channels = [*self._channels.values(), *self._leaving]
        for channel in channels:
            channel.close()
        for channel in channels:
            await channel.closed()

    # ── inside ──────────────────────────────────────────────────────────────────────────────────

    def _request(
        self,
        code: int,
        ext: dict[str, str] | None,
        body: bytes,
        version: int | None,
        *,
        is_oneway: bool,
    ) -> Command:
        request = Command.request(
            int(code),
            ext,
            body,
            oneway=is_oneway,
            language=self._language,
            serialize_type=self._serialize_type,
        )
        if version is not None:
            request.version = version
        return request

    async def _ready_channel(self, address: str, code: int, timeout_ms: int) -> _Channel:
        try:
            async with asyncio.timeout(timeout_ms / 1000):
                channel = await self._channel(address)
                await channel.room()
        except TimeoutError as error:
            raise AnswerOverdue(f"{address}: {code} not sent within {timeout_ms} ms") from error
        return channel

    async def _channel(self, address: str) -> _Channel:
        channel = self._channels.get(address)
        if channel is not None and channel.is_open:
            return channel
        if self._is_closed:
            raise ConnectFailed(f"{address}: the client is closed")
        opening = self._opening.get(address)
        if opening is None:
            opening = asyncio.get_running_loop().create_task(
                self._open(address), name=f"connect {address}"
            )
            self._opening[address] = opening
            opening.add_done_callback(self._opened)
        try:
            # Others may wait for the same connection: giving up must not take it from them.
            return await asyncio.shield(opening)
        except asyncio.CancelledError:
            if opening.cancelled():
                raise PeerUnreachable(f"{address}: the client is closed") from None
            raise

    async def _open(self, address: str) -> _Channel:
        host, _, port = address.rpartition(":")
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._connect_timeout_ms / 1000):
                _, channel = await loop.create_connection(
                    lambda: _Channel(address, self._on_request, self._lost, self._leave),
                    host.strip("[]"),
                    int(port),
                )
        except TimeoutError as error:
            raise ConnectFailed(
                f"{address}: no connection within {self._connect_timeout_ms} ms"
            ) from error
        except (OSError, ValueError, OverflowError) as error:
            raise ConnectFailed(f"{address}: no connection: {error}") from error
        self._channels[address] = channel
        return channel

    def _opened(self, opening: asyncio.Task[_Channel]) -> None:
        for address, task in list(self._opening.items()):
            if task is opening:
                del self._opening[address]
        if not opening.cancelled():
            opening.exception()  # seen, also where everyone who waited has given up

    def _leave(self, channel: _Channel) -> None:
        if self._channels.get(channel.address) is channel:
            del self._channels[channel.address]
        self._leaving.add(channel)

    def _lost(self, channel: _Channel) -> None:
        self._leaving.discard(channel)
        if self._channels.get(channel.address) is channel:
            del self._channels[channel.address]
        if self._on_lost is not None:
            self._on_lost(channel.address)


__all__ = [
    "CONNECT_TIMEOUT_MS",
    "PENDING_MAX",
    "REQUEST_TIMEOUT_MS",
    "AnswerOverdue",
    "ConnectFailed",
    "OnRequest",
    "PeerUnreachable",
    "RemotingClient",
]
