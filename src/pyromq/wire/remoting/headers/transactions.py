"""Transactions: codes 37 (client to broker) and 39 (broker to client).

Sources: EndTransactionRequestHeader and CheckTransactionStateRequestHeader of
org.apache.rocketmq.remoting.protocol.header 5.5.0.
"""

from __future__ import annotations

from msgspec import Struct, field

from pyromq.wire.remoting.fields import I32, I64


class EndTransactionHeader(Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """What shall become of a half message; usually one-way."""

    topic: str | None = None
    producer_group: str
    tran_state_table_offset: I64
    """Its place in the queue of half messages."""
    commit_log_offset: I64
    commit_or_rollback: I32
    """0x8 commit, 0xC rollback, 0 not known (yet): bits of a sysFlag."""
    from_transaction_check: bool = False
    msg_id: str
    transaction_id: str | None = None
    bname: str | None = field(name="bname", default=None)


class CheckTransactionHeader(Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """The broker asks what became of a transaction; the body is the half message's record."""

    topic: str | None = None
    tran_state_table_offset: I64
    commit_log_offset: I64
    msg_id: str | None = None
    transaction_id: str | None = None
    offset_msg_id: str | None = None
    bname: str | None = field(name="bname", default=None)


__all__ = ["CheckTransactionHeader", "EndTransactionHeader"]
