"""What can go wrong between a client and its servers, by meaning.

PyromqError
├── PeerUnreachable, AnswerOverdue     no answer: the request may have been carried out (remoting)
├── ServerRefused                      an answer with a code that is not success
├── RouteNotFound                      no name server knows the topic
├── NamesrvUnreachable                 no name server answered at all
├── SendFailed                         a message was not stored, or nobody can tell
└── ClientClosed                       used before its start or after its stop
"""

from __future__ import annotations

from pyromq.codes import RequestCode, ResponseCode
from pyromq.errors import PyromqError


class ServerRefused(PyromqError):
    """A server answered with a code other than success."""

    def __init__(self, address: str, request_code: int, code: int, remark: str | None) -> None:
        self.address = address
        self.request_code = request_code
        self.code = code
        """A `ResponseCode`."""
        self.remark = remark or ""
        super().__init__(
            f"{address}: {_name(RequestCode, request_code)} answered with "
            f"{_name(ResponseCode, code)}: {self.remark}"
        )


class RouteNotFound(PyromqError):
    """The topic does not exist, or none of its brokers is there."""


class NamesrvUnreachable(PyromqError):
    """No name server answered."""


class SendFailed(PyromqError):
    """No broker confirmed the message.

    `may_be_stored`: at least one try ended without an answer, so the message may be in a queue all
    the same; sending it again may store it twice (with the same message id).
    """

    def __init__(self, text: str, *, code: int | None, may_be_stored: bool) -> None:
        super().__init__(text)
        self.code = code
        """Response code of the last try; None if it got no answer."""
        self.may_be_stored = may_be_stored


class ClientClosed(PyromqError):
    """The producer or consumer was not started, or is stopped."""


def _name(names: type[RequestCode] | type[ResponseCode], code: int) -> str:
    try:
        return f"{names(code).name} ({code})"
    except ValueError:
        return str(code)


__all__ = [
    "ClientClosed",
    "NamesrvUnreachable",
    "RouteNotFound",
    "SendFailed",
    "ServerRefused",
]
