"""Tables: which codes a door answers, and with which header."""

from __future__ import annotations

import pytest

from pyromq.api import Caller
from pyromq.codes import RequestCode, ResponseCode
from pyromq.errors import InvalidParameter
from pyromq.frontends.remoting.table import DONE, Answer, refusal, table_of
from pyromq.wire.remoting.frame import Command
from pyromq.wire.remoting.headers.offsets import MaxOffsetHeader


def plain(caller: Caller, header: object, command: Command) -> Answer:
    return DONE


async def waiting(caller: Caller, header: object, command: Command) -> Answer:
    return DONE


def test_a_row_knows_its_header_and_whether_its_verb_waits() -> None:
    table = table_of([(RequestCode.GET_MAX_OFFSET, plain), (RequestCode.HEART_BEAT, waiting)])
    assert table[30].header is MaxOffsetHeader
    assert table[30].plain is plain
    assert table[30].waiting is None
    assert table[34].plain is None
    assert table[34].waiting is waiting


def test_a_code_stands_once() -> None:
    with pytest.raises(AssertionError, match="HEART_BEAT stands twice"):
        table_of([(RequestCode.HEART_BEAT, plain), (RequestCode.HEART_BEAT, waiting)])


def test_a_refusal_carries_code_and_text() -> None:
    answer = refusal(InvalidParameter("queueId[9] is illegal"))
    assert answer.code == ResponseCode.INVALID_PARAMETER
    assert answer.remark == "queueId[9] is illegal"
    assert answer.ext == {}
    assert answer.body == b""
