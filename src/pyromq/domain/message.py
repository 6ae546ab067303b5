"""Bits and ids of a message that the broker's rules need.

Sources: sysflag.MessageSysFlag and message.MessageDecoder (createMessageId, decodeMessageId) of
org.apache.rocketmq.common 5.5.0.
"""

from __future__ import annotations

import re
from typing import Final

from pyromq.errors import RequestFailed
from pyromq.units import LogOffset

COMPRESSION_FLAGS: Final = 0x701
"""The body is compressed 0x1, and how 0x700."""
MULTI_TAGS_FLAG: Final = 0x2
TRANSACTION_FLAGS: Final = 0xC
"""Prepared 0x4, commit 0x8, rollback 0xC."""
INNER_BATCH_FLAGS: Final = 0xC0
"""NEED_UNWRAP 0x40 and INNER_BATCH 0x80."""


def offset_message_id_prefix(store_host: bytes) -> str:
    """The part of an offsetMsgId before the log offset (16 hex digits): where it is stored."""
    assert len(store_host) in (8, 20)
    return store_host.hex().upper()


_MESSAGE_ID: Final = re.compile(r"(?:[0-9A-Fa-f]{16}|[0-9A-Fa-f]{40})([0-9A-Fa-f]{16})")
_MESSAGE_ID_SHOWN_MAX: Final = 128


def log_offset_of(message_id: str) -> LogOffset:
    """Where the log has the message of an offsetMsgId. Raises RequestFailed if it is none."""
    match = _MESSAGE_ID.fullmatch(message_id)
    if match is None:
        raise RequestFailed(
            f"msgId[{message_id[:_MESSAGE_ID_SHOWN_MAX]}] is illegal, "
            "accepted is an offsetMsgId of 32 or 56 hex digits"
        )
    return LogOffset(int.from_bytes(bytes.fromhex(match.group(1)), signed=True))


__all__ = [
    "COMPRESSION_FLAGS",
    "INNER_BATCH_FLAGS",
    "MULTI_TAGS_FLAG",
    "TRANSACTION_FLAGS",
    "log_offset_of",
    "offset_message_id_prefix",
]
