"""Random values of the wire layer, for Hypothesis."""

from __future__ import annotations

from typing import Any

import hypothesis.strategies as st
from hypothesis.strategies import SearchStrategy

from pyromq.codes import LanguageCode
from pyromq.units import LogOffset, QueueOffset
from pyromq.wire.batch import BatchItem
from pyromq.wire.record import Record
from pyromq.wire.remoting.frame import Command, SerializeType

I16 = st.integers(-(1 << 15), (1 << 15) - 1)
I32 = st.integers(-(1 << 31), (1 << 31) - 1)
I64 = st.integers(-(1 << 63), (1 << 63) - 1)
TEXT = st.text(max_size=40)
NAMES = st.sampled_from(["a", "topic", "queueId", "consumerGroup", "x" * 33]) | st.text(
    min_size=1, max_size=12
)
HOSTS = st.binary(min_size=8, max_size=8) | st.binary(min_size=20, max_size=20)


def _command(serialize_type: SerializeType) -> SearchStrategy[Command]:
    is_binary = serialize_type is SerializeType.ROCKETMQ
    values = st.text(min_size=1, max_size=40) if is_binary else TEXT
    return st.builds(
        Command,
        code=I16 if is_binary else I32,
        opaque=I32,
        flag=I32,
        language=st.sampled_from(LanguageCode),
        version=I16 if is_binary else I32,
        remark=st.none() | values,
        ext=st.dictionaries(NAMES, values, max_size=12),
        body=st.binary(max_size=60),
        serialize_type=st.just(serialize_type),
    )


COMMANDS: SearchStrategy[Command] = st.one_of(*map(_command, SerializeType))
"""What both header forms can carry; the binary one reads empty text as absent."""

BATCH_ITEMS = st.builds(
    BatchItem, flag=I32, body=st.binary(max_size=60), properties=st.binary(max_size=60)
)

RECORDS = st.builds(
    Record,
    topic=st.text(max_size=60) | st.just("t" * 200),
    body=st.binary(max_size=60),
    queue_id=I32,
    flag=I32,
    queue_offset=I64.map(QueueOffset),
    log_offset=I64.map(LogOffset),
    sys_flag=I32,
    born_timestamp_ms=I64,
    born_host=HOSTS,
    store_timestamp_ms=I64,
    store_host=HOSTS,
    reconsume_times=I32,
    prepared_transaction_offset=I64,
    properties=st.binary(max_size=60),
)

_KEYS = TEXT | I64
TREES: SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | I64 | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_KEYS, inner, max_size=4),
    max_leaves=20,
)

_MEMBERS = st.sampled_from(
    ["code", "extFields", "flag", "language", "opaque", "remark", "serializeTypeCurrentRPC",
     "version", "suspended"]
)  # fmt: skip
_MEMBER_VALUES = TREES | I32 | st.dictionaries(NAMES, TEXT | I64 | st.booleans(), max_size=4)
JSON_HEADERS: SearchStrategy[dict[str, Any]] = st.dictionaries(_MEMBERS, _MEMBER_VALUES, max_size=9)
"""Headers with the right names and anything as values."""
