"""Typed headers: the text fields of a command as checked values, and back.

A header is a frozen msgspec Struct with Apache's names by rule (`queue_id` is `queueId` on the
wire). `decode_header` checks that required fields are there and numbers fit 32 or 64 bits, and
ignores fields it does not know, as RemotingCommand.decodeCommandCustomHeader does; what Apache
answers with code 1 raises RequestFailed. `REQUEST_HEADERS` and `RESPONSE_HEADERS` say which header
belongs to which request code.
"""

from __future__ import annotations

from pyromq.wire.remoting.fields import I32, I64, decode_header
from pyromq.wire.remoting.headers.table import REQUEST_HEADERS, RESPONSE_HEADERS
from pyromq.wire.remoting.native import encode_ext

__all__ = ["I32", "I64", "REQUEST_HEADERS", "RESPONSE_HEADERS", "decode_header", "encode_ext"]
