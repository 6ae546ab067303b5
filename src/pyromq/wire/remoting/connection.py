"""One remoting connection's two byte streams, without a socket.

`receive_data` takes what arrived and returns the commands it completed; `send` queues commands and
`data_to_send` hands over their bytes. Any cutting of a stream gives the same commands.

A broken stream does not raise, because commands before the break are still good: `violation` tells
it, and the owner closes the connection after serving them. Bytes behind a violation are dropped.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from pyromq.errors import ProtocolViolation
from pyromq.wire.remoting.frame import (
    PREFIX_SIZE,
    SERVER_LIMITS,
    Command,
    FrameLimits,
    Split,
)
from pyromq.wire.remoting.native import encode_head, split

Splitter = Callable[
    [bytes | bytearray | memoryview, FrameLimits],
    Split | tuple[list[Command], int, int, str | None],
]
"""Answers the members of a `Split`."""

_LENGTH_SIZE: Final = 4


class RemotingConnection:
    """Bytes ⇄ commands of one connection, and what is left over between two reads."""

    __slots__ = ("_filled", "_limits", "_needed", "_outgoing", "_split", "_tail", "is_proven",
                 "unsent_bytes", "violation")  # fmt: skip

    def __init__(
        self, limits: FrameLimits = SERVER_LIMITS, *, splitter: Splitter | None = None
    ) -> None:
        """`splitter`: the native one unless a test wants the reference, `frame.split`."""
        self._limits = limits
        self._split = split if splitter is None else splitter
        self._tail = bytearray()
        """The unfinished frame; its first `_filled` bytes have arrived."""
        self._filled = 0
        self._needed = 0
        """Size of the unfinished frame; 0 while its prefix is incomplete."""
        self._outgoing: list[bytes] = []
        self.unsent_bytes = 0
        """How much `data_to_send` would return now."""
        self.is_proven = False
        """Set by the owner once a request was accepted. Before, an unfinished frame takes about as
        much memory as arrived of it, whatever length it declares; after, its whole size at once."""
        self.violation: ProtocolViolation | None = None
        """Why the stream cannot be read any further; None while it is well."""

    @property
    def pending_bytes(self) -> int:
        """Memory held by the unfinished frame; 0 between frames. For the owner's byte budgets."""
        return len(self._tail)

    @property
    def received_bytes_of_frame(self) -> int:
        """How much of the unfinished frame has arrived. For the owner's stall check."""
        return self._filled

    def receive_data(self, data: bytes | bytearray | memoryview) -> list[Command]:
        """The commands that `data` completes. `data` may be reused after the call."""
        if self.violation is not None:
            return []
        if not self._filled:
            return self._take(data)
        view = memoryview(data)
        commands: list[Command] = []
        while self._filled and len(view):
            # Up to the prefix first: its lengths are judged before anything else is kept.
            missing = (self._needed or PREFIX_SIZE) - self._filled
            self._keep(view[:missing])
            view = view[missing:]
            if self._filled >= (self._needed or _LENGTH_SIZE):
                commands += self._take_tail()
        if len(view) and self.violation is None:
            commands += self._take(view)
        return commands

    def _take(self, data: bytes | bytearray | memoryview) -> list[Command]:
        """Whole frames out of `data`; the rest becomes the tail."""
        return self.receive_split(data, self._split(data, self._limits))

    def receive_split(
        self,
        data: bytes | bytearray | memoryview,
        found: Split | tuple[list[Command], int, int, str | None],
    ) -> list[Command]:
        """As `receive_data`, of `data` that was split already. Between frames only."""
        commands, consumed, needed, violation = found
        if violation is not None:
            self._fail(violation)
        elif consumed < len(data):
            self._needed = needed if len(data) - consumed >= PREFIX_SIZE else 0
            self._keep(memoryview(data)[consumed:])
        return commands

    def _take_tail(self) -> list[Command]:
        """The same for the tail, after it grew to its next boundary."""
        commands, consumed, needed, violation = self._split(
            memoryview(self._tail)[: self._filled], self._limits
        )
        if violation is not None:
            self._fail(violation)
        elif consumed:
            assert consumed == self._filled, "a tail holds at most one frame"
            self._reset()
        elif self._filled >= PREFIX_SIZE:
            self._needed = needed
        return commands

    def _keep(self, data: memoryview) -> None:
        end = self._filled + len(data)
        if self.is_proven and self._needed > len(self._tail):
            reserved = bytearray(self._needed)
            reserved[: self._filled] = self._tail
            self._tail = reserved
        if end <= len(self._tail):
            self._tail[self._filled : end] = data
        else:
            assert self._filled == len(self._tail), "only a proven connection reserves ahead"
            self._tail += data
        self._filled = end

    def _reset(self) -> None:
        self._tail = bytearray()
        self._filled = 0
        self._needed = 0

    def _fail(self, reason: str) -> None:
        self._reset()
        self.violation = ProtocolViolation(reason)

    def send(self, command: Command) -> None:
        """Queues one command. Raises ValueError if its header form cannot carry it."""
        head = encode_head(command)
        self._outgoing.append(head)
        self.unsent_bytes += len(head)
        if command.body:
            self._outgoing.append(command.body)
            self.unsent_bytes += len(command.body)

    def send_encoded(self, data: bytes) -> None:
        """Queues whole frames."""
        self._outgoing.append(data)
        self.unsent_bytes += len(data)

    def data_to_send(self) -> bytes:
        """All queued bytes, joined once; the queue is empty afterwards."""
        data = b"".join(self._outgoing)
        self._outgoing.clear()
        self.unsent_bytes = 0
        return data


__all__ = ["RemotingConnection", "Splitter"]
