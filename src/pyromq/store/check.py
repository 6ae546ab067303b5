"""`pyromq store check`: is every file of a store what it should be? Nothing is changed.

The native walk compares log, queues and index; here come the small files, the metadata, and what
each finding means. The caller holds the store's lock.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from pyromq.store import metadata_check
from pyromq.store.engine import StoreSettings
from pyromq.store.findings import Finding, make
from pyromq.store.native import StoreCheck
from pyromq.units import MIB

Progress = Callable[[str, int, int], None]
"""What is being done, how many bytes of it are done, and how many there are."""

STEP_SIZE: Final = 8 * MIB
"""Bytes of the log between two reports of progress: some 10 ms."""
CHECKPOINT_SIZE: Final = 4096
MARKER_SLOT_SIZE: Final = 512
MARKER_BODY_SIZE: Final = 177
FORMAT: Final = 1
"""Of our marker and queue notes: the newest that can be read, see marker.rs."""
_HEAD: Final = struct.Struct(">8sII")
_UNCLEAN_NOTES: Final = ("queue-behind", "index-behind", "index-slots-newest", "queue-missing")
"""What an unclean stop leaves behind, and the next start completes."""


class LostMessage(msgspec.Struct, frozen=True):
    """A message that its queue knows and whose record is damaged."""

    topic: str
    queue_id: int
    queue_offset: int
    log_offset: int


class Report(msgspec.Struct, kw_only=True):
    """What a check found. Offsets are log positions; counts are of messages."""

    directory: str
    findings: list[Finding]
    segment_count: int
    segment_size_bytes: int
    queue_file_size_bytes: int
    log_min: int
    log_end: int
    message_count: int
    message_bytes: int
    bad_region_count: int
    bad_bytes: int
    lost_message_count: int
    """Messages whose queue unit points into a bad region: those that are known by name."""
    lost_messages: list[LostMessage]
    """The first thousand of them."""
    apache_cuts_messages: int
    """Valid messages behind the first bad place, which Apache's recovery would cut with it."""
    apache_cuts_bytes: int
    torn_tail_at: int | None = None
    """Log position of an interrupted last write."""


class Looked(NamedTuple):
    """A report and what repair wants to know besides."""

    report: Report
    metadata: metadata_check.Looked


def check_store(settings: StoreSettings, progress: Progress) -> Looked:
    """Looks at every file under `settings.root`. Raises StoreFailed if it cannot be read."""
    root = Path(settings.root)
    metadata = metadata_check.look(root)
    native = StoreCheck(
        root=root,
        segment_size=settings.segment_size,
        consume_queue_file_size=settings.consume_queue_file_size,
        index_slot_count=settings.index_slot_count,
        index_entry_count=settings.index_entry_count,
        index_enabled=settings.index_enabled,
        delay_levels_ms=settings.delay_levels_ms,
    )
    progress("checking", *native.progress())
    while native.step(STEP_SIZE):
        progress("checking", *native.progress())
    progress("checking", *native.progress())
    said = native.finish()
    findings = _log_findings(root, said)
    findings += _native_findings(root, said, metadata.topics)
    findings += _small_files(root, said)
    findings += metadata.findings
    regions: list[tuple[int, int, str]] = said["regions"]
    torn_tail = said["torn_tail"]
    report = Report(
        directory=str(root),
        findings=findings,
        segment_count=said["segment_count"],
        segment_size_bytes=said["segment_size"],
        queue_file_size_bytes=said["queue_file_size"],
        log_min=said["log_min"],
        log_end=said["log_end"],
        message_count=said["records"],
        message_bytes=said["record_bytes"],
        bad_region_count=len(regions),
        bad_bytes=sum(end - begin for begin, end, _ in regions),
        lost_message_count=said["lost_count"],
        lost_messages=[LostMessage(*lost) for lost in said["lost"]],
        apache_cuts_messages=said["records_behind"],
        apache_cuts_bytes=said["bytes_behind"],
        torn_tail_at=torn_tail[0] if torn_tail else None,
    )
    return Looked(report, metadata)


def _log_findings(root: Path, said: dict[str, Any]) -> list[Finding]:
    findings = []
    size = said["segment_size"]

    def place(log_offset: int) -> tuple[Path, int]:
        base = log_offset - log_offset % size
        return root / "commitlog" / f"{base:020}", log_offset - base

    for number, (begin, end, reason) in enumerate(said["regions"]):
        if reason == "segment missing":
            continue  # a finding of its own
        file, byte = place(begin)
        count = sum(begin <= lost[3] < end for lost in said["lost"])
        what = f"{reason}; {end - begin} bytes up to log position {end} hold no valid record"
        if number == 0:
            what += (
                f". Apache's recovery would cut everything from here on: "
                f"{said['records_behind']} valid messages, {said['bytes_behind']} bytes"
            )
        findings.append(
            make("bad-record", file, what, byte=byte, size_bytes=end - begin, count=count)
        )
    if said["torn_tail"]:
        begin, _, reason = said["torn_tail"]
        file, byte = place(begin)
        findings.append(make("torn-tail", file, f"{reason}, and nothing valid follows", byte=byte))
    return findings


def _native_findings(
    root: Path, said: dict[str, Any], topics: frozenset[str] | None
) -> list[Finding]:
    is_unclean = (root / "abort").exists()
    findings = []
    for native_kind, path, byte, size, what, queue, count in said["findings"]:
        kind = native_kind
        if kind == "queue-of-unknown-topic":
            if topics is None or queue[0] not in topics:
                continue  # the topic was deleted, its queues with it
            kind = "queue-missing"
        text = f"{count} {what}" if count else what
        findings.append(
            make(
                kind,
                Path(path),
                text,
                byte=byte,
                size_bytes=size,
                queue=queue,
                count=count,
                is_note=is_unclean and kind in _UNCLEAN_NOTES,
            )
        )
    return findings


def _small_files(root: Path, said: dict[str, Any]) -> list[Finding]:
    findings: list[Finding] = []
    abort = root / "abort"
    if abort.exists():
        findings.append(make("unclean-stop", abort, "the last broker here did not stop cleanly"))
    has_log = said["segment_count"] > 0
    findings += _checkpoint(root / "checkpoint", said, has_log=has_log)
    findings += _marker(root / "pyromq" / "dispatch")
    findings += _queue_notes(root / "pyromq" / "queues")
    return findings


def _checkpoint(path: Path, said: dict[str, Any], *, has_log: bool) -> list[Finding]:
    if not path.exists():
        return [make("checkpoint", path, "missing")] if has_log else []
    data = path.read_bytes()
    if len(data) != CHECKPOINT_SIZE:
        what = f"{len(data)} bytes, a checkpoint has {CHECKPOINT_SIZE}"
        return [make("checkpoint", path, what, size_bytes=len(data))]
    times_and_places = struct.unpack_from(">6q", data)
    end = said["log_min"] + said["segment_count"] * said["segment_size"]
    if min(times_and_places[:4]) < 0 or not 0 <= times_and_places[5] <= end:
        return [make("checkpoint", path, "says what cannot be", size_bytes=48)]
    return []


def _newer(data: bytes, magic: bytes) -> int | None:
    """The version a program needs to read the file, if ours is too old."""
    if len(data) < _HEAD.size:
        return None
    found, _, oldest_reader = _HEAD.unpack_from(data)
    return oldest_reader if found == magic and oldest_reader > FORMAT else None


def _marker(path: Path) -> list[Finding]:
    if not path.exists():
        return []
    data = path.read_bytes()
    slots = [data[at : at + MARKER_SLOT_SIZE] for at in range(0, len(data), MARKER_SLOT_SIZE)]
    findings = []
    sound = 0
    for number, slot in enumerate(slots):
        at = number * MARKER_SLOT_SIZE
        if newer := _newer(slot, b"PYROMQ-D"):
            return [make("newer-format", path, f"needs format version {newer}", byte=at)]
        body, crc = slot[:MARKER_BODY_SIZE], slot[MARKER_BODY_SIZE : MARKER_BODY_SIZE + 4]
        if crc == struct.pack(">I", zlib.crc32(body)) and body.startswith(b"PYROMQ-D"):
            sound += 1
        elif any(slot):
            what = "neither a marker nor empty"
            findings.append(make("marker", path, what, byte=at, size_bytes=len(slot)))
    if not sound and not findings:
        findings.append(make("marker", path, "holds no marker"))
    return findings


def _queue_notes(path: Path) -> list[Finding]:
    if not path.exists():
        return []
    data = path.read_bytes()
    if newer := _newer(data, b"PYROMQ-Q"):
        return [make("newer-format", path, f"needs format version {newer}")]
    body, crc = data[:-4], data[-4:]
    if not data.startswith(b"PYROMQ-Q") or crc != struct.pack(">I", zlib.crc32(body)):
        return [make("queue-notes", path, "the checksum differs", size_bytes=len(data))]
    return []


__all__ = ["Looked", "LostMessage", "Progress", "Report", "check_store"]
