"""TCP: listening sockets, our own accept, and the one sweep that looks after every connection.

A port is taken in `bind` (a second process is told at once, and the real port is known before
anything else opens) and served from `start` on; in between, connections wait in the backlog. We
accept ourselves, a bounded number per wake-up, because the first bytes decide what a connection is
(`greeting.py`) before a protocol gets it.

One timer runs once a second and sees to idle, silent and dawdling peers; no connection has a timer
of its own. Everything here happens on the loop.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections import Counter
from functools import partial
from typing import Final

from pyromq.clock import Clock
from pyromq.errors import ConfigInvalid, Occupied
from pyromq.transport.budget import PendingBytes
from pyromq.transport.connection import Connect, Peer, peer_of
from pyromq.transport.greeting import Greeting
from pyromq.transport.incidents import Incidents
from pyromq.transport.limits import TransportLimits
from pyromq.transport.session import Session

_NO_DESCRIPTORS: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class Listener:
    """One bound door: a socket that listens, and what to do with who comes."""

    def __init__(self, listening: socket.socket, connect: Connect) -> None:
        self.socket = listening
        self.connect = connect
        self.host, self.port = listening.getsockname()[:2]
        """The real port, also where 0 was asked for."""

    @property
    def address(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Transport:
    """All listeners and connections of the process."""

    def __init__(self, clock: Clock, limits: TransportLimits | None = None) -> None:
        self.limits = TransportLimits() if limits is None else limits
        self.budget = PendingBytes(self.limits)
        self.receive_buffer = bytearray(self.limits.receive_buffer_size)
        self.receive_view = memoryview(self.receive_buffer)
        self.now_ms = clock.monotonic_ms()
        self.unsent_total = 0
        self._is_relieving = False
        self._clock = clock
        self._incidents = Incidents(self.limits.incident_lines_per_sweep)
        self._listeners: list[Listener] = []
        self._sessions: set[Session] = set()
        self._greetings: set[Greeting] = set()
        self._count_by_ip: Counter[str] = Counter()
        self._resting_listeners: list[Listener] = []
        """Not accepting because descriptors ran out; tried again by the next sweep."""
        self._sweep_timer: asyncio.TimerHandle | None = None
        self._is_stopping = False
        self._all_lost: asyncio.Future[None] | None = None

    # ── opening ─────────────────────────────────────────────────────────────────────────────────

    def bind(self, host: str, port: int, connect: Connect) -> Listener:
        """Takes a port (0: any free one). Raises Occupied, or ConfigInvalid for a bad host."""
        try:
            family, _, _, _, address = socket.getaddrinfo(
                host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )[0]
        except OSError as error:
            raise ConfigInvalid(f"bindAddress={host}: not an address of this machine") from error
        listening = socket.socket(family, socket.SOCK_STREAM)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.setblocking(False)
            listening.bind(address)
            listening.listen(self.limits.backlog)
        except OSError as error:
            listening.close()
            if error.errno == errno.EADDRINUSE:
                raise Occupied(f"{host}:{port} is in use by another process") from error
            raise ConfigInvalid(f"cannot listen on {host}:{port}: {error.strerror}") from error
        listener = Listener(listening, connect)
        self._listeners.append(listener)
        return listener

    def start(self) -> None:
        """Begins to accept on all listeners."""
        loop = asyncio.get_running_loop()
        for listener in self._listeners:
            loop.add_reader(listener.socket, partial(self._accept, listener))
        self._schedule_sweep()

    @property
    def connection_count(self) -> int:
        return len(self._sessions) + len(self._greetings)

    # ── accepting ───────────────────────────────────────────────────────────────────────────────

    def _accept(self, listener: Listener) -> None:
        for _ in range(self.limits.accept_count_per_wakeup):
            try:
                accepted, _ = listener.socket.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                if error.errno in _NO_DESCRIPTORS:
                    self._rest(listener, error)
                    return
                continue  # that one peer gave up while it waited
            self._admit(listener, accepted)

    def _rest(self, listener: Listener, error: OSError) -> None:
        self.report("%s accepts again in a moment: %s", listener.address, error.strerror)
        asyncio.get_running_loop().remove_reader(listener.socket)
        self._resting_listeners.append(listener)

    def _admit(self, listener: Listener, accepted: socket.socket) -> None:
        try:
            peer = peer_of(accepted)
            accepted.setblocking(False)
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError:  # gone already
            accepted.close()
            return
        if (reason := self._no_room(peer)) is not None:
            self.report("%s refused: %s", peer.address, reason)
            accepted.close()
            return
        self._count_by_ip[peer.ip] += 1
        self._greetings.add(
            Greeting(
                accepted,
                peer,
                self._clock.monotonic_ms(),
                welcome=partial(self._welcome, listener),
                refuse=self._refuse,
            )
        )

    def _no_room(self, peer: Peer) -> str | None:
        if self.connection_count >= self.limits.connection_count_max:
            return f"{self.limits.connection_count_max} connections are open"
        limit = self.limits.connection_count_per_address_max
        if not peer.is_loopback and self._count_by_ip[peer.ip] >= limit:
            return f"{limit} connections from its address are open"
        return None

    def _welcome(self, listener: Listener, greeting: Greeting) -> None:
        greeting.stop()
        self._greetings.discard(greeting)
        Session(self, greeting, greeting.accepted).start(listener.connect)

    def _refuse(self, greeting: Greeting, reason: str | None) -> None:
        greeting.stop()
        self._greetings.discard(greeting)
        self._forget_socket(greeting)
        if reason is not None:
            self.report("%s closed: %s", greeting.peer.address, reason)

    def _forget_socket(self, greeting: Greeting) -> None:
        greeting.accepted.close()
        self._forget_ip(greeting.socket_peer.ip)

    def _forget_ip(self, ip: str) -> None:
        self._count_by_ip[ip] -= 1
        if not self._count_by_ip[ip]:
            del self._count_by_ip[ip]

    # ── what sessions ask ───────────────────────────────────────────────────────────────────────

    def opened(self, session: Session) -> None:
        self._sessions.add(session)

    def lost(self, session: Session) -> None:
        self._sessions.discard(session)
        self._forget_ip(session.socket_ip)
        if not self._sessions and self._all_lost is not None and not self._all_lost.done():
            self._all_lost.set_result(None)

    def relieve(self, reason: str) -> None:
        """Ends whoever holds the most unfinished bytes: an honest peer rarely is that one."""
        max(self._sessions, key=lambda session: session.pending_bytes).abort(reason)

    def unsent_changed(self, by: int) -> None:
        self.unsent_total += by
        if by > 0 and self.unsent_total > self.limits.outgoing_total_max and not self._is_relieving:
            self._is_relieving = True
            self._relieve_unsent()
            self._is_relieving = False

    def _relieve_unsent(self) -> None:
        """Gives up the peers that let most pile up, until a quarter of the limit is free."""
        sizes = [(session.count_unsent(), session) for session in self._sessions]
        sizes.sort(key=lambda pair: pair[0])
        while sizes and self.unsent_total > self.limits.outgoing_total_max * 3 // 4:
            sizes.pop()[1].abort(
                f"answers to all peers hold over {self.limits.outgoing_total_max} bytes"
            )

    def report(self, text: str, *args: object) -> None:
        self._incidents.report(text, *args)

    # ── the sweep ───────────────────────────────────────────────────────────────────────────────

    def _schedule_sweep(self) -> None:
        loop = asyncio.get_running_loop()
        self._sweep_timer = loop.call_later(self.limits.sweep_interval_ms / 1000, self._on_sweep)

    def _on_sweep(self) -> None:
        self._schedule_sweep()
        self.sweep()

    def sweep(self) -> None:
        """Ends connections that idle, dawdle or never said anything; wakes resting listeners."""
        self.now_ms = self._clock.monotonic_ms()
        self._incidents.begin_period()
        overdue = self.now_ms - self.limits.greeting_timeout_ms
        for greeting in [
            greeting for greeting in self._greetings if greeting.started_ms <= overdue
        ]:
            self._refuse(greeting, f"said nothing for {self.limits.greeting_timeout_ms} ms")
        for session in list(self._sessions):
            session.check()
        resting, self._resting_listeners = self._resting_listeners, []
        for listener in resting:
            loop = asyncio.get_running_loop()
            loop.add_reader(listener.socket, partial(self._accept, listener))

    # ── closing ─────────────────────────────────────────────────────────────────────────────────

    def stop_accepting(self) -> None:
        """Gives the ports back and drops who has not said anything yet."""
        loop = asyncio.get_running_loop()
        for listener in self._listeners:
            loop.remove_reader(listener.socket)
            listener.socket.close()
        self._listeners.clear()
        self._resting_listeners.clear()
        for greeting in list(self._greetings):
            self._refuse(greeting, None)

    async def stop(self, drain_ms: int) -> None:
        """Closes every connection after what it has still to send, at most `drain_ms` long."""
        self.stop_accepting()
        if self._sweep_timer is not None:
            self._sweep_timer.cancel()
        if not self._sessions:
            return
        self._all_lost = asyncio.get_running_loop().create_future()
        for session in list(self._sessions):
            session.finish("the server stops")
        try:
            async with asyncio.timeout(drain_ms / 1000):
                await asyncio.shield(self._all_lost)
        except TimeoutError:
            for session in list(self._sessions):
                session.abort("the server stops and the peer does not read")
            await self._all_lost


__all__ = ["Listener", "Transport"]
