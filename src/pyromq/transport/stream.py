"""A connected socket on the loop: reads chunks for its owner, and writes what the owner says.

Reading is native (`SocketReader`): a chunk goes to an express lane, if the owner's door has one,
and only what is not the lane's comes here. Chunks of all streams are read into one buffer: a chunk
is dealt with before the next is read. Writing is tried at once; what the socket does not take waits
here and goes when there is room, and the owner is told while too much waits.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections import deque
from typing import Protocol

from pyromq._native import SocketReader


class StreamOwner(Protocol):
    """Who is told."""

    def received(self, start: int, end: int) -> None:
        """These bytes of the common buffer came."""
        ...

    def ended(self) -> None:
        """The peer will send no more."""
        ...

    def failed(self, number: int) -> None:
        """Reading failed with this error number."""
        ...

    def pause_writing(self) -> None:
        """More waits than the upper limit."""
        ...

    def resume_writing(self) -> None:
        """No more waits than the lower limit."""
        ...

    def lost(self, error: OSError | None) -> None:
        """The last call; the socket is closed afterwards. `error`: why, if not on purpose."""
        ...


class Stream:
    """Reads nothing until `resume_reading`."""

    __slots__ = (
        "_high", "_is_closing", "_is_lost", "_is_over", "_is_reading", "_is_waiting", "_loop",
        "_low", "_owner", "_socket", "_unsent", "reader", "unsent_bytes",
    )  # fmt: skip

    def __init__(
        self,
        connected: socket.socket,
        owner: StreamOwner,
        buffer: bytearray,
        *,
        high: int,
        low: int,
    ) -> None:
        """`connected` does not block. `high`, `low`: limits of what may wait, in bytes."""
        self._loop = asyncio.get_running_loop()
        self._socket = connected
        self._owner = owner
        self._high = high
        self._low = low
        self._unsent: deque[memoryview] = deque()
        self._is_reading = False
        self._is_closing = False
        self._is_lost = False
        self._is_over = False
        """More waits than the upper limit, and has not fallen to the lower one since."""
        self._is_waiting = False
        """For the socket to take more."""
        self.unsent_bytes = 0
        self.reader = SocketReader(connected.fileno(), buffer, owner)

    @property
    def descriptor(self) -> int:
        return self._socket.fileno()

    @property
    def is_closing(self) -> bool:
        return self._is_closing

    @property
    def is_reading(self) -> bool:
        return self._is_reading

    def pause_reading(self) -> None:
        if self._is_reading:
            self._is_reading = False
            self._loop.remove_reader(self._socket)

    def resume_reading(self) -> None:
        if not self._is_reading and not self._is_closing:
            self._is_reading = True
            self._loop.add_reader(self._socket, self.reader.ready)

    def write(self, data: bytes) -> None:
        if self._is_closing:
            return
        rest = memoryview(data)
        if not self._unsent:
            try:
                rest = rest[os.write(self._socket.fileno(), data) :]
            except (BlockingIOError, InterruptedError):
                pass
            except OSError as error:
                self.abort(error)
                return
            if not rest:
                return
        self._unsent.append(rest)
        self.unsent_bytes += len(rest)
        if not self._is_waiting:
            self._is_waiting = True
            self._loop.add_writer(self._socket, self._write_on)
        if self.unsent_bytes > self._high and not self._is_over:
            self._is_over = True
            self._owner.pause_writing()

    def close(self) -> None:
        """Ends it after what was written."""
        if not self._is_closing:
            self.pause_reading()
            self._is_closing = True
            if not self._unsent:
                self._lose(None)

    def abort(self, error: OSError | None = None) -> None:
        """Ends it at once; what waits is dropped."""
        self.pause_reading()
        self._is_closing = True
        self._drop()
        self._lose(error)

    def _write_on(self) -> None:
        unsent = self._unsent
        while unsent:
            head = unsent[0]
            try:
                count = os.write(self._socket.fileno(), head)
            except (BlockingIOError, InterruptedError):
                break
            except OSError as error:
                self.abort(error)
                return
            self.unsent_bytes -= count
            if count < len(head):
                unsent[0] = head[count:]
                break
            unsent.popleft()
        if not unsent:
            self._stop_waiting()
            if self._is_closing:
                self._lose(None)
                return
        if self._is_over and self.unsent_bytes <= self._low:
            self._is_over = False
            self._owner.resume_writing()

    def _drop(self) -> None:
        self._unsent.clear()
        self.unsent_bytes = 0
        self._stop_waiting()

    def _stop_waiting(self) -> None:
        if self._is_waiting:
            self._is_waiting = False
            self._loop.remove_writer(self._socket)

    def _lose(self, error: OSError | None) -> None:
        """Tells the owner soon, but not inside its own call."""
        if not self._is_lost:
            self._is_lost = True
            self._loop.call_soon(self._lost, error)

    def _lost(self, error: OSError | None) -> None:
        try:
            self._owner.lost(error)
        finally:
            # Whoever writes to the socket by its number knows by now that it must not.
            self.reader.close()
            self._socket.close()


__all__ = ["SocketReader", "Stream", "StreamOwner"]
