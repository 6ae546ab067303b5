"""What a door's table is made of: request code → (header type, verb).

A verb gets the caller, the typed header and the command (for its body) and returns an `Answer`,
at once or, if it is `async`, once its latches are set. What it refuses it raises. So a table is
data, and a door that serves it knows nothing of topics.

Sends, the most travelled rows, have a third kind of verb: what is left to do when a message is in
the log is to wait for one position, so the verb makes the answer beforehand and lets the broker
hold it, with no coroutine (`HoldingVerb`).
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Mapping
from inspect import iscoroutinefunction
from typing import Any, Final, NamedTuple, cast

import msgspec
from msgspec import Struct

from pyromq.api import Caller, SendReceiver
from pyromq.codes import RequestCode, ResponseCode
from pyromq.errors import RequestRefused
from pyromq.wire.remoting.frame import Command
from pyromq.wire.remoting.headers import REQUEST_HEADERS


class Answer(msgspec.Struct, frozen=True, gc=False):
    """What goes back: everything of a response that is not the request's own."""

    ext: dict[str, str] = {}
    body: bytes = b""
    code: int = ResponseCode.SUCCESS
    remark: str | None = None


DONE: Final = Answer()
"""Success and nothing to say."""

PlainVerb = Callable[[Caller, Any, Command], Answer]
"""The second argument is the typed header, or None for a request without one."""
WaitingVerb = Callable[[Caller, Any, Command], Coroutine[Any, None, Answer]]
HoldingVerb = Callable[
    [Caller, Any, Command, SendReceiver], "Answer | Coroutine[Any, None, Answer] | None"
]
"""The second argument is what `Holding.request` made, or the native reader. None: the answer is
held, and the receiver will get it."""


class Holding(NamedTuple):
    """A verb whose answer is mostly held, and how its request is made of the typed header."""

    verb: HoldingVerb
    request: Callable[[Any, Command], Struct]


Verb = PlainVerb | WaitingVerb | Holding


class Row(NamedTuple):
    """How one request code is served: by one of three kinds of verbs."""

    header: type[Struct] | None
    plain: PlainVerb | None
    waiting: WaitingVerb | None
    holding: Holding | None = None


Table = Mapping[int, Row]


def table_of(verbs: Iterable[tuple[RequestCode, Verb]]) -> Table:
    """Looks up each code's header. A code may stand once."""
    rows: dict[int, Row] = {}
    for code, verb in verbs:
        assert code not in rows, f"{code.name} stands twice in the table"
        header = REQUEST_HEADERS.get(code)
        if isinstance(verb, Holding):
            rows[int(code)] = Row(header, None, None, verb)
        elif iscoroutinefunction(verb):
            rows[int(code)] = Row(header, None, verb)
        else:
            rows[int(code)] = Row(header, cast(PlainVerb, verb), None)
    return rows


def refusal(error: RequestRefused) -> Answer:
    """The answer that a refused request gets."""
    return Answer(code=int(error.code), remark=error.remark)


__all__ = [
    "DONE",
    "Answer",
    "Holding",
    "HoldingVerb",
    "PlainVerb",
    "Row",
    "Table",
    "Verb",
    "WaitingVerb",
    "refusal",
    "table_of",
]
