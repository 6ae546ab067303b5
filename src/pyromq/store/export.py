"""`pyromq store export`: the messages of a store as JSON lines, read from the log itself.

Queues, index and metadata are not looked at, so they may be damaged; bad records are skipped and
counted. Messages of deleted topics stay out as long as our notes still know of the deletion.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from pyromq.store.check import STEP_SIZE, Progress
from pyromq.store.native import StoreRecords
from pyromq.wire.record import decode_host, decode_record, parse_properties

TIME_MAX_MS: Final = (1 << 63) - 1

_encoder: Final = msgspec.json.Encoder()


class Message(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One line. Times are ms since 1970; of `body` and `body_base64` one is there."""

    topic: str
    queue_id: int
    queue_offset: int
    log_offset: int
    store_time_ms: int
    born_time_ms: int
    born_host: str
    store_host: str
    message_id: str
    flag: int
    sys_flag: int
    reconsume_times: int
    tags: str | None = None
    keys: list[str] = msgspec.field(default_factory=list)
    unique_key: str | None = None
    properties: dict[str, str]
    body: str | None = None
    """If the body is text in UTF-8; a compressed one is not unpacked."""
    body_base64: str | None = None


class Selection(NamedTuple):
    """Which messages: of one topic or all, stored from `from_ms` on and before `to_ms`."""

    topic: str | None = None
    from_ms: int = 0
    to_ms: int = TIME_MAX_MS


class Export:
    """The messages of the store under `root`; iterate over `lines`, then look at the counts."""

    def __init__(
        self, root: Path, segment_size: int, selection: Selection, progress: Progress
    ) -> None:
        self._records = StoreRecords(
            root=root,
            segment_size=segment_size,
            topic=selection.topic,
            from_ms=selection.from_ms,
            to_ms=selection.to_ms,
        )
        self._progress = progress
        self.message_count = 0

    def lines(self) -> Iterator[bytes]:
        """One JSON object per message, in the order of the log, each with its line end."""
        while (records := self._records.step(STEP_SIZE)) is not None:
            for record in records:
                self.message_count += 1
                yield _encoder.encode(message_of(record)) + b"\n"
            self._progress("exporting", *self._records.progress())

    def skipped(self) -> tuple[int, int, int]:
        """Bad places, their bytes, and messages of deleted topics so far."""
        return self._records.skipped()


def message_of(data: bytes) -> Message:
    """What a record says, for people and programs."""
    record = decode_record(data)
    properties = parse_properties(record.properties.decode("utf-8", "replace"))
    message = Message(
        topic=record.topic,
        queue_id=record.queue_id,
        queue_offset=record.queue_offset,
        log_offset=record.log_offset,
        store_time_ms=record.store_timestamp_ms,
        born_time_ms=record.born_timestamp_ms,
        born_host=_host(record.born_host),
        store_host=_host(record.store_host),
        message_id=record.message_id,
        flag=record.flag,
        sys_flag=record.sys_flag,
        reconsume_times=record.reconsume_times,
        tags=properties.get("TAGS"),
        keys=properties.get("KEYS", "").split(),
        unique_key=properties.get("UNIQ_KEY"),
        properties=properties,
    )
    try:
        message.body = record.body.decode()
    except UnicodeDecodeError:
        message.body_base64 = base64.b64encode(record.body).decode()
    return message


def _host(host: bytes) -> str:
    address, port = decode_host(host)
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


__all__ = ["Export", "Message", "Selection", "message_of"]
