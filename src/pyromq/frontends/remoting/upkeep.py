"""Rows that keep a broker going: codes 25, 26, 316, 401, 907, 908, 2001 to 2004.

Sources: AdminBrokerProcessor and QueryAssignmentProcessor of org.apache.rocketmq.broker 5.5.0.
"""

from __future__ import annotations

from typing import Final

import msgspec

from pyromq.api import Caller, UpkeepApi
from pyromq.codes import RequestCode
from pyromq.errors import InvalidParameter, RequestFailed, RequestNotSupported
from pyromq.frontends.remoting.changes import changed_properties
from pyromq.frontends.remoting.table import DONE, Answer, PlainVerb, WaitingVerb
from pyromq.wire.remoting.bodies.admin import encode_properties
from pyromq.wire.remoting.bodies.upkeep import (
    decode_consume_mode_change,
    encode_cold_reads,
    encode_replication_of_master,
)
from pyromq.wire.remoting.frame import Command
from pyromq.wire.remoting.headers import encode_ext
from pyromq.wire.remoting.headers.admin import BrokerConfigResponse

_READ_AHEAD_MODE: Final = "READ_AHEAD_MODE"
"""Field of code 2004, outside any header class (FIleReadaheadMode)."""
_READ_AHEAD: Final = "0"
_NO_READ_AHEAD: Final = "1"
_LONG_DIGITS_MAX: Final = 18


class UpkeepRows:
    """The rows, bound to one broker."""

    def __init__(self, broker: UpkeepApi) -> None:
        self._broker = broker

    def rows(self) -> list[tuple[RequestCode, PlainVerb | WaitingVerb]]:
        return [
            (RequestCode.UPDATE_BROKER_CONFIG, self.update_configuration),
            (RequestCode.GET_BROKER_CONFIG, self.configuration),
            (RequestCode.CLEAN_UNUSED_TOPIC, self.clean_unused_topics),
            (RequestCode.SET_MESSAGE_REQUEST_MODE, self.set_consume_mode),
            (RequestCode.GET_BROKER_HA_STATUS, self.replication),
            (RequestCode.RESET_MASTER_FLUSH_OFFSET, self.reset_master_flush_offset),
            (RequestCode.UPDATE_COLD_DATA_FLOW_CTR_CONFIG, self.put_cold_read_limits),
            (RequestCode.REMOVE_COLD_DATA_FLOW_CTR_CONFIG, self.delete_cold_read_limit),
            (RequestCode.GET_COLD_DATA_FLOW_CTR_INFO, self.cold_reads),
            (RequestCode.SET_COMMITLOG_READ_MODE, self.set_read_ahead),
        ]

    # ── configuration ───────────────────────────────────────────────────────────────────────────

    async def update_configuration(self, caller: Caller, header: None, command: Command) -> Answer:
        del caller, header
        await self._broker.update_configuration(changed_properties(command.body))
        return DONE

    def configuration(self, caller: Caller, header: None, command: Command) -> Answer:
        del caller, header, command
        version, texts = self._broker.configuration()
        ext = encode_ext(BrokerConfigResponse(version=msgspec.json.encode(version).decode()))
        return Answer(ext, encode_properties(texts))

    # ── topics and groups ───────────────────────────────────────────────────────────────────────

    def clean_unused_topics(self, caller: Caller, header: None, command: Command) -> Answer:
        del caller, header, command
        self._broker.clean_unused_topics()
        return DONE

    def set_consume_mode(self, caller: Caller, header: None, command: Command) -> Answer:
        del caller, header
        change = decode_consume_mode_change(command.body)
        self._broker.set_consume_mode(change.topic, change.consumer_group, change.mode)
        return DONE

    # ── replicas ────────────────────────────────────────────────────────────────────────────────

    def replication(self, caller: Caller, header: None, command: Command) -> Answer:
        del caller, header, command
        return Answer(body=encode_replication_of_master(self._broker.log_end()))

    def reset_master_flush_offset(self, caller: Caller, header: None, command: Command) -> Answer:
        """It concerns replicas; a master says yes and does nothing, as Apache's."""
        del caller, header, command
        return DONE

    # ── cold reads ──────────────────────────────────────────────────────────────────────────────

    def put_cold_read_limits(self, caller: Caller, header: None, command: Command) -> Answer:
        del caller, header
        limits = changed_properties(command.body)
        for group, limit in limits.items():
            if not limit.removeprefix("-").isdecimal() or len(limit) > _LONG_DIGITS_MAX:
                raise InvalidParameter(
                    f"the limit {limit[:32]!r} of {group[:128]} is no number of bytes a second"
                )
        for group, limit in limits.items():
            self._broker.put_cold_read_limit(group, int(limit))
        return DONE

    def delete_cold_read_limit(self, caller: Caller, header: None, command: Command) -> Answer:
        del caller, header
        self._broker.delete_cold_read_limit(command.body.decode("utf-8", "replace"))
        return DONE

    def cold_reads(self, caller: Caller, header: None, command: Command) -> Answer:
        del caller, header, command
        return Answer(body=encode_cold_reads(self._broker.cold_read_limits()))

    def set_read_ahead(self, caller: Caller, header: None, command: Command) -> Answer:
        """The system reads ahead of what is read in order: that cannot be switched off here."""
        del caller, header
        mode = command.ext.get(_READ_AHEAD_MODE)
        if mode is None or not mode.isdecimal():
            raise RequestFailed("set commitlog readahead mode failed")
        if mode == _NO_READ_AHEAD:
            raise RequestNotSupported(
                "the mode 1 is not supported: this server leaves read-ahead to the system (mode 0)"
            )
        if mode != _READ_AHEAD:
            raise InvalidParameter("set commitlog readahead mode param value error")
        return Answer(remark=f"set commitlog readahead mode success, mode: {mode}")


__all__ = ["UpkeepRows"]
