"""One tree of errors. Each class says whose fault it is and which code the wire carries for it.

PyromqError
├── RequestRefused              the peer's request; answered with `code` and the text as remark
│   ├── RequestFailed SystemBusy RequestNotSupported MessageIllegal ServiceUnavailable NoPermission
│   ├── TopicNotFound InvalidParameter QueryNotFound SubscriptionParseFailed SubscriptionNotFound
│   ├── SubscriptionNotLatest GroupNotFound ConsumerNotOnline FlushTimedOut
│   └── AnswerTimedOut PullForbidden
├── ProtocolViolation           the peer's bytes; framing is lost, the connection is closed
├── StartFailed                 why a process cannot start, with its `exit_code`
│   ├── ConfigInvalid           2: a key, its value, where it came from, what is accepted
│   ├── Occupied                3: port or data directory in use
│   └── StoreDamaged            4: nothing was changed; names the file and the way out
└── StoreFailed                 the disk's fault while running: the write or sync did not happen
    ├── StoreBusy               it is slow: too much waits for it, this was not taken
    └── StoreRebuilding         not yet: the queue is being made anew from the log
"""

from __future__ import annotations

from typing import ClassVar

from pyromq.codes import ResponseCode


class PyromqError(Exception):
    """Root of everything this package raises on purpose."""


class RequestRefused(PyromqError):
    """A request that cannot be served; the text goes to the client as the remark."""

    code: ClassVar[ResponseCode] = ResponseCode.SYSTEM_ERROR

    @property
    def remark(self) -> str:
        return str(self)


class RequestFailed(RequestRefused):
    """The request was understood and could not be carried out."""


class SystemBusy(RequestRefused):
    """Too much at once; clients try another broker."""

    code = ResponseCode.SYSTEM_BUSY


class RequestNotSupported(RequestRefused):
    """No such request code here."""

    code = ResponseCode.REQUEST_CODE_NOT_SUPPORTED


class FlushTimedOut(RequestRefused):
    """The message is stored but its sync did not end in time: clients must treat it as unknown."""

    code = ResponseCode.FLUSH_DISK_TIMEOUT


class MessageIllegal(RequestRefused):
    """Body or properties over a limit, or a message kind that cannot be stored."""

    code = ResponseCode.MESSAGE_ILLEGAL


class ServiceUnavailable(RequestRefused):
    """The store does not take writes (disk full, failed sync, shutting down)."""

    code = ResponseCode.SERVICE_NOT_AVAILABLE


class NoPermission(RequestRefused):
    """Broker, topic or group permission forbids it."""

    code = ResponseCode.NO_PERMISSION


class PullForbidden(NoPermission):
    """As above, for a pull: its client also wants to know what forbids it."""

    def __init__(self, text: str, forbidden_type: int) -> None:
        """`forbidden_type`: a ForbiddenType of org.apache.rocketmq.remoting.protocol, 1 to 5."""
        super().__init__(text)
        self.forbidden_type = forbidden_type


class TopicNotFound(RequestRefused):
    """No such topic, and it may not be created automatically."""

    code = ResponseCode.TOPIC_NOT_EXIST


class InvalidParameter(RequestRefused):
    """A field outside its range; the remark names field, value and range."""

    code = ResponseCode.INVALID_PARAMETER


class QueryNotFound(RequestRefused):
    """A question whose answer does not exist."""

    code = ResponseCode.QUERY_NOT_FOUND


class SubscriptionParseFailed(RequestRefused):
    """A filter expression that cannot be read."""

    code = ResponseCode.SUBSCRIPTION_PARSE_FAILED


class SubscriptionNotFound(RequestRefused):
    """The group is not known or not subscribed to that topic."""

    code = ResponseCode.SUBSCRIPTION_NOT_EXIST


class SubscriptionNotLatest(RequestRefused):
    """The client knows a newer subscription than the broker; it must heartbeat first."""

    code = ResponseCode.SUBSCRIPTION_NOT_LATEST


class GroupNotFound(RequestRefused):
    """No such consumer group, and it may not be created automatically."""

    code = ResponseCode.SUBSCRIPTION_GROUP_NOT_EXIST


class ConsumerNotOnline(RequestRefused):
    """No client of that group is connected."""

    code = ResponseCode.CONSUMER_NOT_ONLINE


class AnswerTimedOut(RequestRefused):
    """A client that the broker asked did not answer in time."""

    code = ResponseCode.CONSUME_MSG_TIMEOUT


class ProtocolViolation(PyromqError):
    """Bytes that cannot be a frame: the connection is closed, nothing else notices."""


class StartFailed(PyromqError):
    """Why a process cannot start; printed as one line."""

    exit_code: ClassVar[int] = 1


class ConfigInvalid(StartFailed):
    """A property that cannot be taken; the text names key, value, origin and range."""

    exit_code = 2


class Occupied(StartFailed):
    """A port or the data directory is in use by another process."""

    exit_code = 3


class StoreDamaged(StartFailed):
    """Store or metadata damaged beyond automatic repair. Nothing was deleted or changed."""

    exit_code = 4


class StoreFailed(PyromqError):
    """A write or sync failed while running: what waited for it was not stored durably."""


class StoreBusy(StoreFailed):
    """The disk is slow and too much waits for it: nothing was appended, and later it may be."""


class StoreRebuilding(StoreFailed):
    """The queue is being rebuilt from the log: nothing is known of it yet, and nothing enters it.

    What is asked again later succeeds. Clients are told code 14 (SERVICE_NOT_AVAILABLE), upon which
    producers try again and consumers pull again from where they were.
    """


__all__ = [
    "AnswerTimedOut",
    "ConfigInvalid",
    "ConsumerNotOnline",
    "FlushTimedOut",
    "GroupNotFound",
    "InvalidParameter",
    "MessageIllegal",
    "NoPermission",
    "Occupied",
    "ProtocolViolation",
    "PullForbidden",
    "PyromqError",
    "QueryNotFound",
    "RequestFailed",
    "RequestNotSupported",
    "RequestRefused",
    "ServiceUnavailable",
    "StartFailed",
    "StoreBusy",
    "StoreDamaged",
    "StoreFailed",
    "StoreRebuilding",
    "SubscriptionNotFound",
    "SubscriptionNotLatest",
    "SubscriptionParseFailed",
    "SystemBusy",
    "TopicNotFound",
]
