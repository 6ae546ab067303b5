"""Message traces: what producers and consumers wrote into the trace topic about a message.

Fields are separated by 0x01 and records end with 0x02. Source: TraceDataEncoder of
org.apache.rocketmq.client.trace 5.5.0.
"""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct

FIELD_SEPARATOR = "\x01"
RECORD_SEPARATOR = "\x02"

_CONSUMED = {"0": "SUCCESS", "1": "TIME_OUT", "2": "EXCEPTION", "3": "RETURNNULL", "4": "FAILED"}


class Trace(Struct, frozen=True, kw_only=True):
    """One thing that happened to a message."""

    kind: str
    """Pub, SubBefore, SubAfter, EndTransaction or Recall."""
    message_id: str
    time_ms: int = 0
    group: str = ""
    topic: str = ""
    cost_ms: int | None = None
    status: str = ""
    request_id: str = ""
    """The same in SubBefore and SubAfter of one consumption."""
    retry_times: int | None = None


def decode_traces(body: bytes) -> Iterator[Trace]:
    """The records of a trace message's body; what is no record is passed over."""
    for record in body.decode("utf-8", "replace").split(RECORD_SEPARATOR):
        trace = _trace(record.lstrip("\n").split(FIELD_SEPARATOR))
        if trace is not None:
            yield trace


def _trace(fields: list[str]) -> Trace | None:
    try:
        if fields[0] == "Pub":
            return Trace(
                kind="Pub",
                time_ms=int(fields[1]),
                group=fields[3],
                topic=fields[4],
                message_id=fields[5],
                cost_ms=int(fields[10]),
                # 4.x clients before 4.4 wrote no offsetMsgId.
                status=_success(fields[13] if len(fields) > 13 else fields[12]),
            )
        if fields[0] == "SubBefore":
            return Trace(
                kind="SubBefore",
                time_ms=int(fields[1]),
                group=fields[3],
                request_id=fields[4],
                message_id=fields[5],
                retry_times=int(fields[6]),
            )
        if fields[0] == "SubAfter":
            return Trace(
                kind="SubAfter",
                request_id=fields[1],
                message_id=fields[2],
                cost_ms=int(fields[3]),
                status=_CONSUMED.get(fields[6], fields[6])
                if len(fields) > 6
                else _success(fields[4]),
                time_ms=int(fields[7]) if len(fields) > 7 else 0,
                group=fields[8] if len(fields) > 8 else "",
            )
        if fields[0] == "EndTransaction":
            return Trace(
                kind="EndTransaction",
                time_ms=int(fields[1]),
                group=fields[3],
                topic=fields[4],
                message_id=fields[5],
                status=fields[11],
            )
        if fields[0] == "Recall":
            return Trace(
                kind="Recall",
                time_ms=int(fields[1]),
                group=fields[3],
                topic=fields[4],
                message_id=fields[5],
                status=_success(fields[6]),
            )
    except (IndexError, ValueError):
        return None
    return None


def _success(text: str) -> str:
    return "SUCCESS" if text == "true" else "FAILED"


__all__ = ["Trace", "decode_traces"]
