"""What the transport and a door know of each other: two small interfaces and the peer's name.

The door supplies a `Connection` (bytes in), the transport an `Outlet` (bytes out). Neither sees
more of the other, so a door is tested without a socket and the transport without a protocol.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from pyromq.transport.stream import SocketReader


class Peer(NamedTuple):
    """Who is at the other end; behind HAProxy the client, not the proxy."""

    address: str
    """`ip:port`."""
    host: bytes
    """As records store it: 4 or 16 address bytes and a 4-byte port."""
    ip: str
    is_loopback: bool

    @classmethod
    def of(cls, ip: str, port: int) -> Peer:
        """An IPv4 address in IPv6 clothes is taken as IPv4."""
        parsed = ipaddress.ip_address(ip.partition("%")[0])
        if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
            parsed = parsed.ipv4_mapped
        text = f"[{parsed}]" if parsed.version == 6 else str(parsed)
        host = parsed.packed + struct.pack(">i", port)
        return cls(f"{text}:{port}", host, str(parsed), parsed.is_loopback)


class Outlet(Protocol):
    """One connection's way out, for the door. Calls after its end do nothing."""

    @property
    def peer(self) -> Peer: ...

    @property
    def unsent_bytes(self) -> int:
        """Written, but not yet taken by the operating system."""
        ...

    @property
    def is_congested(self) -> bool:
        """So much is unsent that nothing is read from the peer; `drained` follows."""
        ...

    @property
    def descriptor(self) -> int | None:
        """The socket, if everything written so far is with the operating system: then somebody else
        may write to it, without waiting, before the next `write`. None: it has to be `write`."""
        ...

    @property
    def reader(self) -> SocketReader | None:
        """Who reads the socket: may be told of an express lane. None once it is closed."""
        ...

    def write(self, data: bytes) -> None: ...

    def pause_reading(self) -> None:
        """The door has enough to do: no more `receive` until `resume_reading`."""
        ...

    def resume_reading(self) -> None: ...

    def close(self, reason: str) -> None:
        """Ends the connection after what was written; `closed(reason)` follows."""
        ...


class Connection(Protocol):
    """One connection as its door sees it. The transport is the only caller, on the loop."""

    @property
    def pending_bytes(self) -> int:
        """Memory held for an unfinished frame, 0 between frames."""
        ...

    @property
    def received_bytes_of_frame(self) -> int:
        """How much of the unfinished frame has arrived."""
        ...

    @property
    def received_frame_count(self) -> int:
        """Whole frames so far."""
        ...

    @property
    def is_proven(self) -> bool:
        """Whether the peer has shown that it speaks the protocol."""
        ...

    def receive(self, data: memoryview) -> None:
        """Bytes as they came; `data` is reused after the call."""
        ...

    def drained(self) -> None:
        """What was written has left; the door may go on with work it put off."""
        ...

    def closed(self, reason: str) -> None:
        """The last call. The reason is a phrase for a log line."""
        ...


Connect = Callable[[Outlet], Connection]
"""What a door gives to its listener: called once per accepted connection."""


def peer_of(accepted: socket.socket) -> Peer:
    """Raises OSError if the peer has already gone."""
    ip, port = accepted.getpeername()[:2]
    return Peer.of(ip, port)


__all__ = ["Connect", "Connection", "Outlet", "Peer", "peer_of"]
