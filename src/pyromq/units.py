"""Sizes and times that carry their unit in their name.

`queue_offset` counts messages of one queue, `log_offset` counts bytes of the commit log; mixing
them up is the classic mistake of this domain, so they are two types.
"""

from __future__ import annotations

from typing import NewType

QueueOffset = NewType("QueueOffset", int)
"""Position of a message in its queue, counted in messages from 0."""

LogOffset = NewType("LogOffset", int)
"""Position in the commit log, counted in bytes from the log's very first byte."""

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB

SECOND_MS = 1000
MINUTE_MS = 60 * SECOND_MS
HOUR_MS = 60 * MINUTE_MS

__all__ = ["GIB", "HOUR_MS", "KIB", "MIB", "MINUTE_MS", "SECOND_MS", "LogOffset", "QueueOffset"]
