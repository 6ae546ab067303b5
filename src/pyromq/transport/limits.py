"""Every number that keeps a peer from taking more than its share, and why it is that number.

Each default answers what an unknown peer may hold, or how long it may dawdle. Tests shorten them.
"""

from __future__ import annotations

import resource
from dataclasses import dataclass
from typing import Final

from pyromq.units import KIB, MIB, SECOND_MS

DESCRIPTORS_KEPT: Final = 256
"""File descriptors that connections never take: the store and the admin's way in need them."""
CONNECTION_SHARE: Final = 0.8
"""Of all descriptors, what connections may take together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TransportLimits:
    """What peers may take, in bytes, milliseconds and counts."""

    connection_count_max: int = 10_000
    connection_count_per_address_max: int = 1_024
    """Loopback is exempt: a test run or a proxy on this host is one address."""
    accept_count_per_wakeup: int = 64
    """Accepted at most before the loop serves others."""
    backlog: int = 1_024

    greeting_timeout_ms: int = 10 * SECOND_MS
    """From accept to the first whole frame; also for the bytes that tell TLS and HAProxy."""
    idle_timeout_ms: int = 120 * SECOND_MS
    """Neither read nor write progress: Apache's serverChannelMaxIdleTimeSeconds."""
    stall_grace_ms: int = 10 * SECOND_MS
    """So long a frame may take whatever its pace."""
    frame_rate_min: int = 1 * KIB
    """Bytes per second, on average since the frame was first seen, once the grace is over."""

    unproven_bytes_max: int = 64 * MIB
    """Unfinished frames of all connections that have not had a request accepted."""
    pending_bytes_per_connection_max: int = 32 * MIB
    pending_bytes_max: int = 256 * MIB
    """Unfinished frames of all connections."""

    receive_buffer_size: int = 256 * KIB
    """One buffer for all connections: a chunk is split before the next is read."""
    outgoing_high: int = 1 * MIB
    """Unsent bytes from which on a connection is not read any more."""
    outgoing_low: int = 256 * KIB
    outgoing_max: int = 64 * MIB
    """Unsent bytes at which a peer that does not read its answers is given up."""

    outgoing_total_max: int = 256 * MIB
    """Unsent bytes of all connections; beyond it those with most are given up."""

    sweep_interval_ms: int = 1 * SECOND_MS
    """One timer looks after all of the above."""
    incident_lines_per_sweep: int = 10
    """Log lines about misbehaving peers; the rest of a flood is counted."""


def connection_count_max() -> int:
    """From this process's descriptor limit, which is first raised as far as allowed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            soft = hard
        except (OSError, ValueError):
            pass  # some systems set a lower ceiling than the hard limit says; the soft one holds
    if soft == resource.RLIM_INFINITY:
        return _UNLIMITED_CONNECTIONS
    return max(1, min(int(soft * CONNECTION_SHARE), soft - DESCRIPTORS_KEPT))


_UNLIMITED_CONNECTIONS: Final = 500_000
"""Where the system sets no limit: what 10 GiB of memory would carry at 20 KiB each."""

__all__ = ["TransportLimits", "connection_count_max"]
