"""Messages by key: code 12.

Sources: QueryMessageRequestHeader, QueryMessageResponseHeader of
org.apache.rocketmq.remoting.protocol.header, MixAll.UNIQUE_MSG_QUERY_FLAG 5.5.0.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct, field

from pyromq.wire.remoting.fields import I32, I64

EXT_UNIQUE_KEY_QUERY: Final = "_UNIQUE_KEY_QUERY"

INDEX_TYPE_TAG: Final = "T"
"""Asks for messages by their tag (MessageConst of common); "K" or nothing means by a key."""


class QueryMessageHeader(Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """Messages of a topic that carry a key, stored between two times."""

    topic: str
    key: str
    max_num: I32
    begin_timestamp: I64
    end_timestamp: I64
    index_type: str | None = None
    last_key: str | None = None
    unique_key_query: bool | None = field(name=EXT_UNIQUE_KEY_QUERY, default=None)
    """Whether `key` is a UNIQ_KEY; an ext field of its own in Apache."""


class QueryMessageResponse(Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """How far the index has come; the body is the messages."""

    index_last_update_timestamp: I64
    index_last_update_phyoffset: I64


__all__ = ["EXT_UNIQUE_KEY_QUERY", "INDEX_TYPE_TAG", "QueryMessageHeader", "QueryMessageResponse"]
