"""Properties of the doors: NettyServerConfig and NettyClientConfig of org.apache.rocketmq.remoting
5.5.0, with the limits that Apache has as system properties or not at all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pyromq.config.addresses import is_loopback
from pyromq.config.prop import Origins, check_ranges, prop, require
from pyromq.config.sources import Source
from pyromq.units import GIB, HOUR_MS, MIB

LOOPBACK: Final = "127.0.0.1"
UNSENT_SIZE_HIGH: Final = 4 * MIB


@dataclass(frozen=True, kw_only=True)
class RemotingConfig:
    """Sockets of the remoting doors (name server and broker) and of our own client."""

    bind_address: str = prop(
        "bindAddress",
        LOOPBACK,
        boot_only=True,
        doc="Address to listen on; 0.0.0.0 is all. `--host` sets it. Apache's default is 0.0.0.0.",
    )
    allow_insecure: bool = prop(
        "allowInsecure",
        False,
        ours=True,
        boot_only=True,
        doc="Listen beyond loopback although anyone who reaches the port may do everything. "
        "`--insecure` sets it.",
    )
    server_channel_max_idle_time_s: int = prop(
        "serverChannelMaxIdleTimeSeconds",
        120,
        low=1,
        high=86_400,
        doc="A connection without traffic for so long (s) is closed.",
    )
    server_socket_backlog: int = prop(
        "serverSocketBacklog",
        1_024,
        low=1,
        high=65_535,
        boot_only=True,
        doc="Connections the system holds until they are accepted.",
    )
    write_buffer_high_water_mark: int = prop(
        "writeBufferHighWaterMark",
        0,
        high=GIB,
        doc="With so many unsent bytes nothing more is read from that connection; 0: 4 MiB "
        "(Apache's 0 is no limit).",
    )
    write_buffer_low_water_mark: int = prop(
        "writeBufferLowWaterMark",
        0,
        high=GIB,
        doc="Reading goes on when the unsent bytes are down to this; 0: a quarter of the other.",
    )
    connect_timeout_ms: int = prop(
        "connectTimeoutMillis",
        3_000,
        low=1,
        high=HOUR_MS,
        doc="Longest wait (ms) for an outgoing connection.",
    )
    frame_timeout_ms: int = prop(
        "frameTimeout",
        10_000,
        low=1,
        high=HOUR_MS,
        ours=True,
        doc="A frame may take so long (ms) whatever its pace; after that it must have kept 1 KiB/s "
        "on average, or its connection is closed.",
    )
    connection_count_max: int = prop(
        "connectionCountMax",
        20_000,
        low=1,
        high=1_000_000,
        ours=True,
        doc="Most connections of the process, all doors together; further ones are closed at once.",
    )
    buffered_size_max: int = prop(
        "bufferedSizeMax",
        256 * MIB,
        low=MIB,
        high=64 * GIB,
        ours=True,
        doc="Most bytes of incomplete frames held for all connections together; beyond it those "
        "that hold most are closed.",
    )
    first_bytes_timeout_ms: int = prop(
        "firstBytesTimeout",
        10_000,
        low=10,
        high=HOUR_MS,
        ours=True,
        doc="A new connection that says nothing for so long (ms) is closed.",
    )
    stop_timeout_ms: int = prop(
        "stopTimeout",
        3_000,
        high=60_000,
        ours=True,
        doc="Longest time (ms) a stop waits for answers to be sent.",
    )

    @property
    def unsent_size_high(self) -> int:
        """Unsent bytes of a connection at which reading from it pauses."""
        return self.write_buffer_high_water_mark or UNSENT_SIZE_HIGH

    @property
    def unsent_size_low(self) -> int:
        """Unsent bytes of a connection at which reading from it goes on."""
        return self.write_buffer_low_water_mark or self.unsent_size_high // 4

    @property
    def is_public(self) -> bool:
        """Whether other machines may reach it."""
        return not is_loopback(self.bind_address)

    def validate(self, origins: Origins) -> None:
        check_ranges(self, origins)
        require(
            bool(self.bind_address) and not any(c.isspace() for c in self.bind_address),
            "bindAddress",
            self.bind_address,
            origins,
            "an address of this machine, or 0.0.0.0",
        )
        require(
            self.allow_insecure or not self.is_public,
            "bindAddress",
            self.bind_address,
            origins,
            "without access control only loopback, such as 127.0.0.1; "
            "`--insecure` (allowInsecure=true) lifts this",
        )
        require(
            self.unsent_size_low <= self.unsent_size_high,
            "writeBufferLowWaterMark",
            self.write_buffer_low_water_mark,
            origins,
            f"at most writeBufferHighWaterMark ({self.unsent_size_high})",
        )


def defaults_for(remoting: RemotingConfig) -> tuple[Source, ...]:
    """Lowest source of a broker's properties that follow from where it listens."""
    if not remoting.is_public:
        return ()
    return (
        Source(
            f"default when listening on {remoting.bind_address}",
            {"autoCreateTopicEnable": "false"},
        ),
    )


__all__ = ["LOOPBACK", "UNSENT_SIZE_HIGH", "RemotingConfig", "defaults_for"]
