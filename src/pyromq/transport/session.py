"""One accepted connection between its `Stream` and the door's `Connection`.

Reading pauses while the peer does not take what was written, or while the door asks for it: so a
peer that asks faster than it listens is slowed down by TCP, not by our memory.
"""

from __future__ import annotations

import os
import traceback
from typing import TYPE_CHECKING, Final, Protocol

from pyromq.transport.budget import PendingBytes
from pyromq.transport.connection import Connection, Peer
from pyromq.transport.limits import TransportLimits
from pyromq.transport.stream import Stream

if TYPE_CHECKING:
    import socket

    from pyromq.transport.connection import Connect
    from pyromq.transport.stream import SocketReader


_NOT_MEASURED: Final = -1


class Sessions(Protocol):
    """What a session asks of the transport that owns it."""

    limits: TransportLimits
    budget: PendingBytes
    receive_buffer: bytearray
    receive_view: memoryview
    now_ms: int
    """Monotonic time of the last sweep: exact to a sweep interval, free to read."""

    def opened(self, session: Session) -> None: ...

    def lost(self, session: Session) -> None: ...

    def relieve(self, reason: str) -> None:
        """The budget of unfinished frames is exceeded: end whoever holds most."""
        ...

    def unsent_changed(self, by: int) -> None:
        """This many more (or fewer) bytes wait for their peer."""
        ...

    def report(self, text: str, *args: object) -> None: ...


class Greeted(Protocol):
    """What is known of a connection when its first bytes were seen."""

    peer: Peer
    socket_peer: Peer
    started_ms: int


class Session:
    """The owner of a stream and the door's `Outlet` in one."""

    __slots__ = (
        "_close_reason", "_closing_since_ms", "_connection", "_counted", "_counted_unproven",
        "_frame_count_seen", "_frame_seen_ms", "_frame_seen_size", "_frames_swept",
        "_is_door_busy", "_is_peer_slow", "_sessions", "_stream", "_unsent_counted",
        "_unsent_seen", "accepted_ms", "last_active_ms", "peer", "socket_ip",
    )  # fmt: skip

    def __init__(self, sessions: Sessions, greeting: Greeted, accepted: socket.socket) -> None:
        self._sessions = sessions
        self._connection: Connection | None = None
        limits = sessions.limits
        self._stream: Stream | None = Stream(
            accepted,
            self,
            sessions.receive_buffer,
            high=limits.outgoing_high,
            low=limits.outgoing_low,
        )
        self._close_reason: str | None = None
        self._closing_since_ms = 0
        self._is_peer_slow = False
        self._is_door_busy = False
        self._counted = 0
        self._counted_unproven = 0
        self._frame_count_seen = _NOT_MEASURED
        """Whole frames before the one whose pace is measured since `_frame_seen_ms`."""
        self._frame_seen_ms = 0
        self._frame_seen_size = 0
        self._frames_swept = 0
        """Whole frames that the last sweep saw."""
        self._unsent_seen = 0
        self._unsent_counted = 0
        self.peer = greeting.peer
        self.socket_ip = greeting.socket_peer.ip
        self.accepted_ms = greeting.started_ms
        self.last_active_ms = greeting.started_ms

    @property
    def pending_bytes(self) -> int:
        return self._counted

    def start(self, connect: Connect) -> None:
        """Hands it to a door and begins to read."""
        self._sessions.opened(self)
        self._connection = connect(self)
        self._resume_if_free()

    # ── called by its stream ────────────────────────────────────────────────────────────────────

    def received(self, start: int, end: int) -> None:
        """Bytes from the peer. The greeting took none of them, and no lane did."""
        connection = self._connection
        if connection is None or self._close_reason is not None:
            return
        self.last_active_ms = self._sessions.now_ms
        try:
            connection.receive(self._sessions.receive_view[start:end])
        except Exception as error:  # noqa: BLE001 — what follows could be taken for something else
            self._door_failed(error)
            return
        pending = connection.pending_bytes
        if pending or self._counted:
            self._count(pending, 0 if connection.is_proven else pending)
            self._check_budget()

    def ended(self) -> None:
        """The peer will send no more; Apache closes then, and so do we."""
        self.finish("closed by the peer")

    def failed(self, number: int) -> None:
        if self._stream is not None:
            self._stream.abort(OSError(number, os.strerror(number)))

    def pause_writing(self) -> None:
        self._is_peer_slow = True
        self._pause()

    def resume_writing(self) -> None:
        self._is_peer_slow = False
        self._resume_if_free()
        if self._connection is not None:
            try:
                self._connection.drained()
            except Exception as error:  # noqa: BLE001 — nobody else would go on with what waits
                self._door_failed(error)

    def lost(self, error: OSError | None) -> None:
        reason = self._close_reason or (f"lost: {error}" if error else "closed by the peer")
        self._stream = None
        self._count(0, 0)
        self.count_unsent()
        connection, self._connection = self._connection, None
        self._sessions.lost(self)
        if connection is not None:
            connection.closed(reason)

    # ── the door's way out ──────────────────────────────────────────────────────────────────────

    @property
    def unsent_bytes(self) -> int:
        return 0 if self._stream is None else self._stream.unsent_bytes

    @property
    def is_congested(self) -> bool:
        return self._is_peer_slow

    @property
    def descriptor(self) -> int | None:
        stream = self._stream
        if stream is None or stream.is_closing or stream.unsent_bytes:
            return None
        return stream.descriptor

    @property
    def reader(self) -> SocketReader | None:
        return None if self._stream is None else self._stream.reader

    def write(self, data: bytes) -> None:
        stream = self._stream
        if stream is None or stream.is_closing:
            return
        self.last_active_ms = self._sessions.now_ms
        stream.write(data)
        if (stream.unsent_bytes or self._unsent_counted) and (
            self.count_unsent() > self._sessions.limits.outgoing_max
        ):
            self.abort("does not read its answers")

    def pause_reading(self) -> None:
        self._is_door_busy = True
        self._pause()

    def resume_reading(self) -> None:
        self._is_door_busy = False
        self._resume_if_free()

    def close(self, reason: str) -> None:
        if self._close_reason is None:
            self._sessions.report("%s closed: %s", self.peer.address, reason)
        self.finish(reason)

    # ── called by the transport that owns it ────────────────────────────────────────────────────

    def abort(self, reason: str) -> None:
        """Ends it at once; what is unsent is dropped."""
        if self._close_reason is None:
            self._sessions.report("%s closed: %s", self.peer.address, reason)
        self._end(reason)
        if self._stream is not None:
            self._stream.abort()
            self.count_unsent()

    def count_unsent(self) -> int:
        """Brings the transport's sum up to date."""
        unsent = self.unsent_bytes
        if unsent != self._unsent_counted:
            difference = unsent - self._unsent_counted
            self._unsent_counted = unsent
            self._sessions.unsent_changed(difference)
        return unsent

    def finish(self, reason: str) -> None:
        """Ends it after what was written."""
        self._end(reason)
        if self._stream is not None:
            self._stream.close()

    def check(self) -> None:
        """Ends the connection if it idles or dawdles. Called by each sweep."""
        connection, now_ms, limits = self._connection, self._sessions.now_ms, self._sessions.limits
        if connection is None:
            self.abort("its door did not take it")
            return
        if self._close_reason is not None:
            if now_ms - self._closing_since_ms >= limits.stall_grace_ms:
                self.abort("does not read the last of its answers")
            return
        if (unsent := self.count_unsent()) < self._unsent_seen:
            self.last_active_ms = now_ms
        self._unsent_seen = unsent
        if (frame_count := connection.received_frame_count) != self._frames_swept:
            self._frames_swept = frame_count  # a lane may have taken them without a word
            self.last_active_ms = now_ms
        if now_ms - self.last_active_ms >= limits.idle_timeout_ms:
            self.abort(f"idle for {(now_ms - self.last_active_ms) // 1000} s")
        elif self._counted or not connection.received_frame_count:
            self._check_pace(connection, now_ms)

    def _check_pace(self, connection: Connection, now_ms: int) -> None:
        limits = self._sessions.limits
        frame_count = connection.received_frame_count
        if not frame_count:
            if now_ms - self.accepted_ms >= limits.greeting_timeout_ms:
                self.abort(f"no whole frame within {limits.greeting_timeout_ms} ms")
        elif self._is_door_busy or self._is_peer_slow:
            self._frame_count_seen = _NOT_MEASURED  # we do not read: it cannot get on
        elif frame_count != self._frame_count_seen:
            self._frame_count_seen, self._frame_seen_ms = frame_count, now_ms
            self._frame_seen_size = connection.received_bytes_of_frame
        else:
            inside_ms = now_ms - self._frame_seen_ms
            size_due = self._frame_seen_size + limits.frame_rate_min * inside_ms // 1000
            if inside_ms >= limits.stall_grace_ms and connection.received_bytes_of_frame < size_due:
                self.abort(f"stalled inside a frame for {inside_ms} ms")

    def _door_failed(self, error: Exception) -> None:
        text = "".join(traceback.format_exception(error))
        self._sessions.report("%s: a fault of ours: %s", self.peer.address, text)
        self.abort("its bytes could not be dealt with")

    # ── inside ──────────────────────────────────────────────────────────────────────────────────

    def _end(self, reason: str) -> None:
        if self._close_reason is None:
            self._close_reason = reason
            self._closing_since_ms = self._sessions.now_ms

    def _count(self, pending: int, unproven: int) -> None:
        self._sessions.budget.change(pending - self._counted, unproven - self._counted_unproven)
        self._counted, self._counted_unproven = pending, unproven

    def _check_budget(self) -> None:
        limit = self._sessions.limits.pending_bytes_per_connection_max
        if self._counted > limit:
            self.abort(f"an unfinished frame holds over {limit} bytes")
        elif (excess := self._sessions.budget.excess) is not None:
            self._sessions.relieve(excess)

    def _pause(self) -> None:
        if self._stream is not None:
            self._stream.pause_reading()

    def _resume_if_free(self) -> None:
        if self._stream is not None and not self._is_peer_slow and not self._is_door_busy:
            self._stream.resume_reading()


__all__ = ["Greeted", "Session", "Sessions"]
