"""The first bytes of a connection: what they tell before a protocol may see them.

They are peeked at, not read, because a TLS handshake must later find them in the socket. Only a
HAProxy header is read, and exactly that: it names the real client and precedes everything else.

0x16 begins a TLS ClientHello, `P` (text, v1) or 0x0D (binary, v2) a HAProxy header; a remoting
frame begins with the high byte of a length below 16 MiB, which is none of these. As Apache's
NettyRemotingServer.HandshakeHandler does it.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Final

from pyromq.errors import ProtocolViolation
from pyromq.transport.connection import Peer
from pyromq.wire.haproxy import may_be_proxy_header, parse_proxy_header

_PEEK_SIZE: Final = 1_024
"""As long as the longest HAProxy header we take."""
_TLS_HANDSHAKE: Final = 0x16


class Greeting:
    """Waits for one connection's first bytes, then hands its socket on or drops it."""

    __slots__ = (
        "_header", "_is_proxied", "_loop", "_refuse", "_welcome", "accepted", "peer", "socket_peer",
        "started_ms",
    )  # fmt: skip

    def __init__(
        self,
        accepted: socket.socket,
        peer: Peer,
        started_ms: int,
        *,
        welcome: Callable[[Greeting], None],
        refuse: Callable[[Greeting, str | None], None],
    ) -> None:
        """`refuse` gets the reason, or None if the peer just left: port probes do."""
        self.accepted = accepted
        self.socket_peer = peer
        self.peer = peer
        """The client; another than the socket's peer once a HAProxy header named it."""
        self.started_ms = started_ms
        self._welcome = welcome
        self._refuse = refuse
        self._header = b""
        """Of a HAProxy header what was taken out of the socket so far."""
        self._is_proxied = False
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(accepted, self._look)

    def stop(self) -> None:
        """Leaves the socket alone; its owner closes or keeps it."""
        self._loop.remove_reader(self.accepted)

    def _look(self) -> None:
        try:
            seen = self.accepted.recv(_PEEK_SIZE, socket.MSG_PEEK)
            if not seen:
                self._refuse(self, None)
            elif not self._is_proxied and may_be_proxy_header(self._header + seen):
                self._take_header(seen)
            elif self._header and not self._is_proxied:
                self._refuse(self, "neither a HAProxy header nor anything else")
            elif seen[0] == _TLS_HANDSHAKE:
                self._refuse(self, "TLS ClientHello, and TLS is not configured")
            else:
                self._welcome(self)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self._refuse(self, None)
        except ProtocolViolation as violation:
            self._refuse(self, str(violation))

    def _take_header(self, seen: bytes) -> None:
        """Takes exactly the header's bytes; what follows is looked at anew."""
        header = parse_proxy_header(self._header + seen)
        if header is None:
            self._header += self.accepted.recv(len(seen))
            return
        self.accepted.recv(header.size - len(self._header))
        self._is_proxied = True
        if header.source is not None:
            self.peer = Peer.of(*header.source)


__all__ = ["Greeting"]
