"""Bodies of order locks. What Apache's client and broker say to each other: test_vectors.py."""

from __future__ import annotations

import pytest

from pyromq.errors import RequestFailed
from pyromq.wire.remoting.bodies.locks import (
    LockBatch,
    decode_lock_batch,
    encode_locked,
)


def test_no_lock_at_all_is_an_empty_list() -> None:
    assert encode_locked([]) == b'{"lockOKMQSet":[]}'


def test_what_is_missing_or_null_is_nothing() -> None:
    assert decode_lock_batch(b"{}") == LockBatch()
    assert decode_lock_batch(b'{"clientId":null,"consumerGroup":null}') == LockBatch()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not json",
        b"[]",
        b'{"mqSet":{}}',
        b'{"mqSet":[{"brokerName":"b","topic":"T"}]}',
        b'{"mqSet":[{"brokerName":"b","topic":"T","queueId":4294967296}]}',
        b'{"mqSet":[{"brokerName":"b","topic":5,"queueId":0}]}',
    ],
)
def test_what_is_no_such_body_is_refused_by_name(body: bytes) -> None:
    with pytest.raises(RequestFailed, match=r"^LockBatchRequestBody body: "):
        decode_lock_batch(body)
