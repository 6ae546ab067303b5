"""Bits and ids of a message that the broker's rules need.

Sources: sysflag.MessageSysFlag and message.MessageDecoder (createMessageId) of
org.apache.rocketmq.common 5.5.0.
"""

from __future__ import annotations

from typing import Final

MULTI_TAGS_FLAG: Final = 0x2
TRANSACTION_FLAGS: Final = 0xC
"""Prepared 0x4, commit 0x8, rollback 0xC."""
INNER_BATCH_FLAGS: Final = 0xC0
"""NEED_UNWRAP 0x40 and INNER_BATCH 0x80."""


def offset_message_id_prefix(store_host: bytes) -> str:
    """The part of an offsetMsgId before the log offset (16 hex digits): where it is stored."""
    assert len(store_host) in (8, 20)
    return store_host.hex().upper()


__all__ = [
    "INNER_BATCH_FLAGS",
    "MULTI_TAGS_FLAG",
    "TRANSACTION_FLAGS",
    "offset_message_id_prefix",
]
