"""Requests of mqadmin that belong to parts this server does not have: each is told which.

A code that nobody knows is answered by the door itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from pyromq.api import Caller
from pyromq.codes import RequestCode
from pyromq.errors import RequestNotSupported
from pyromq.frontends.remoting.table import Answer, PlainVerb, WaitingVerb
from pyromq.wire.remoting.frame import Command

_ACCESS_CONTROL: Final = "access control"
_CONTROLLER: Final = "controller"
_CONTAINER: Final = "broker container"
_LIGHT_TOPICS: Final = "light topics"
_ROCKSDB: Final = "RocksDB"

ABSENT_PARTS: Final[Mapping[RequestCode, str]] = {
    RequestCode.CHECK_ROCKSDB_CQ_WRITE_PROGRESS: _ROCKSDB,
    RequestCode.EXPORT_ROCKSDB_CONFIG_TO_JSON: _ROCKSDB,
    RequestCode.UPDATE_AND_CREATE_STATIC_TOPIC: "static topics",
    RequestCode.ADD_BROKER: _CONTAINER,
    RequestCode.REMOVE_BROKER: _CONTAINER,
    RequestCode.CONTROLLER_ELECT_MASTER: _CONTROLLER,
    RequestCode.CONTROLLER_GET_METADATA_INFO: _CONTROLLER,
    RequestCode.CONTROLLER_GET_SYNC_STATE_DATA: _CONTROLLER,
    RequestCode.GET_BROKER_EPOCH_CACHE: _CONTROLLER,
    RequestCode.UPDATE_CONTROLLER_CONFIG: _CONTROLLER,
    RequestCode.GET_CONTROLLER_CONFIG: _CONTROLLER,
    RequestCode.CLEAN_BROKER_DATA: _CONTROLLER,
    RequestCode.AUTH_CREATE_USER: _ACCESS_CONTROL,
    RequestCode.AUTH_UPDATE_USER: _ACCESS_CONTROL,
    RequestCode.AUTH_DELETE_USER: _ACCESS_CONTROL,
    RequestCode.AUTH_GET_USER: _ACCESS_CONTROL,
    RequestCode.AUTH_LIST_USER: _ACCESS_CONTROL,
    RequestCode.AUTH_CREATE_ACL: _ACCESS_CONTROL,
    RequestCode.AUTH_UPDATE_ACL: _ACCESS_CONTROL,
    RequestCode.AUTH_DELETE_ACL: _ACCESS_CONTROL,
    RequestCode.AUTH_GET_ACL: _ACCESS_CONTROL,
    RequestCode.AUTH_LIST_ACL: _ACCESS_CONTROL,
    RequestCode.SWITCH_TIMER_ENGINE: "timer message store",
    RequestCode.POP_ROLLBACK: "POP consumption",
    RequestCode.GET_BROKER_LITE_INFO: _LIGHT_TOPICS,
    RequestCode.GET_PARENT_TOPIC_INFO: _LIGHT_TOPICS,
    RequestCode.GET_LITE_TOPIC_INFO: _LIGHT_TOPICS,
    RequestCode.GET_LITE_CLIENT_INFO: _LIGHT_TOPICS,
    RequestCode.GET_LITE_GROUP_INFO: _LIGHT_TOPICS,
    RequestCode.TRIGGER_LITE_DISPATCH: _LIGHT_TOPICS,
}
"""What a request is about, for those that this server does not carry out."""


def unsupported_rows() -> list[tuple[RequestCode, PlainVerb | WaitingVerb]]:
    """Rows that refuse."""
    return [(code, refuse) for code in ABSENT_PARTS]


def refuse(caller: Caller, header: None, command: Command) -> Answer:
    del caller, header
    code = RequestCode(command.code)
    raise RequestNotSupported(
        f"{code.name} ({int(code)}) is not supported: this server has no {ABSENT_PARTS[code]}"
    )


__all__ = ["ABSENT_PARTS", "refuse", "unsupported_rows"]
